"""WMCA: 72 people, 1,679 short videos in colour, depth, infra-red and thermal; colour is read.

    …RGB/…/face-station/<day>/<name>.hdf5     the preprocessed, cut faces (telltale.data.stacks)
    PROTOCOL-grandtest.csv, PROTOCOL-LOO_<attack>.csv          here or in a folder below, no header:
        face-station/<day>/<name>,<0 for bona fide>,…,<train, dev or eval>

A name is <client>_<session>_<presenter>_<type>_<instrument>; type 0 is bona fide, and the last two
say which attack. "grandtest" has all attacks in all splits; a leave-one-out protocol tests on one
that training and validation do not hold.

Source: George et al., "Biometric Face Presentation Attack Detection with Multi-Channel
Convolutional Neural Network", IEEE TIFS 2019; numbers of instruments as in Idiap's published
converter. Assumed: a label other than 0 is an attack; a wig counts as one where a list has it.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from telltale.data.layout import Label, rows
from telltale.data.manifest import Row

ATTACKS = (
    *("fakehead", "flexiblemask", "glasses", "papermask"),
    *("prints", "replay", "rigidmask"),
)
PROTOCOLS = ("grandtest", *(f"LOO_{name}" for name in ATTACKS))
SPLITS = {"train": "train", "dev": "val", "eval": "test"}


def read(root: Path, protocol: str = "grandtest") -> Iterator[Row]:
    """Rows of the videos that a protocol takes.

    Args:
        root: The folder above the cut faces and the lists.
        protocol: One of :data:`PROTOCOLS`.

    Raises:
        ValueError: If a list or a file is missing, or a line or a name is not of that form.
    """
    found = sorted(root.rglob(f"PROTOCOL-{protocol}.csv"))
    if not found:
        raise ValueError(f"{root}: want PROTOCOL-{protocol}.csv in it; Idiap gives it out")
    files = {
        path.stem: path
        for path in sorted(root.rglob("*.hdf5"))
        if not any("CDIT" in part for part in path.relative_to(root).parts)
    }
    with found[0].open(encoding="utf-8-sig", newline="") as file:
        for number, cells in enumerate(csv.reader(file), 1):
            where = f"{found[0]}, line {number}"
            if len(cells) < 3 or cells[-1] not in SPLITS or not cells[1].strip().isdecimal():
                raise ValueError(f"{where}: want path,label,…,train|dev|eval, got {cells}")
            name = Path(cells[0]).name
            if name not in files:
                raise ValueError(f"{where}: no {cells[0]}.hdf5 of cut colour faces")
            kind, attack = kind_of(name, where), int(cells[1]) != 0
            if (kind != "live") != attack:
                raise ValueError(f"{where}: the name says {kind}, the label {cells[1]}")
            label, person = Label("wmca", kind, attack), f"wmca:{name.partition('_')[0]}"
            split = SPLITS[cells[-1]]
            yield from rows([files[name]], label, name, source=person, split=split)


def kind_of(name: str, where: str) -> str:
    """The attack that a name's type and instrument stand for, "live" for none.

    Raises:
        ValueError: If the name is of another form.
    """
    parts = name.split("_")
    if len(parts) != 5 or not (parts[3] + parts[4]).isdecimal() or int(parts[3]) > 5:
        raise ValueError(
            f"{where}: want a name <client>_<session>_<presenter>_<type>_<instrument>, got {name!r}"
        )
    of_type, instrument = int(parts[3]), int(parts[4])
    if of_type == 1:
        wig = 8 <= instrument <= 12
        return "wig" if wig else "rigidmask" if instrument in (2, 13, 14) else "glasses"
    if of_type == 2:
        ends = ((7, "fakehead"), (11, "papermask"), (17, "rigidmask"))
        return next((kind for end, kind in ends if instrument <= end), "flexiblemask")
    if of_type == 3:
        return "replay" if instrument in (5, 10, 15) else "prints"
    return {0: "live", 4: "replay", 5: "makeup"}[of_type]

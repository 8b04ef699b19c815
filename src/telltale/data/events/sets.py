"""Event datasets in the folders that they are published in, as frames with a class each.

N-MNIST: ``Train/<digit>/*.bin`` and ``Test/…``. DVS128-Gesture: ``user*.aedat`` with
``*_labels.csv`` and ``trials_to_train.txt``, ``trials_to_test.txt``. tonic's copy of it:
``ibmGestureTrain/user*/<label>.npy``. CIFAR10-DVS and folders of one's own: ``<class>/*``; these
have no published split, so theirs is drawn by the hash of each file's name: the same for everyone,
whatever the order on disk. CIFAR10-DVS's has the checksum :data:`CIFAR10_DVS_SPLIT`.
"""

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.data.events.files import Events, read_events
from telltale.data.events.frames import frames, shrunk

SUFFIXES = {".bin", ".aedat", ".mat", ".es", ".raw", ".npy", ".npz"}
SENSORS = {"n-mnist": 34, "gesture": 128, "classes": 128}
TEST_SHARE = 10  # one in ten, where no split is published
CIFAR10_DVS, CIFAR10_DVS_EACH = re.compile(r"cifar10_([a-z]+)_\d{1,3}"), 1000
# SHA-256 of the names of its 1,000 test files without endings, sorted, joined by line feeds.
CIFAR10_DVS_SPLIT = "4d93f8fa8b26482ded94950d007b6902bad9b0eaccaf1f6364260c82a1bf1a90"
Split = Literal["hash", "first"]


class EventSet(NamedTuple):
    """Clips (N, T, 2, H, W) of counts, classes (N,), their names, and which are for tests."""

    events: NDArray[np.uint16]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    is_test: NDArray[np.bool_]
    split: str  # "published", or how it was drawn


class _Clip(NamedTuple):
    path: Path
    name: str  # of its class
    is_test: bool
    span: tuple[int, int] | None = None  # microseconds, of a recording


def read_set(
    folder: Path,
    *,
    frames_each: int = 10,
    size: int | None = None,
    most: int = 0,
    seed: int = 0,
    split: Split = "hash",
) -> EventSet:
    """A dataset's clips as frames.

    Args:
        folder: One of the layouts above.
        frames_each: T.
        size: Side to sum the frames into; None is the sensor's.
        most: Clips of each class and split, drawn at random; 0 is all.
        seed: Of that draw.
        split: Where none is published: "hash", a tenth of each class by the hash of the files'
            names; "first", the first tenth of each class in the order of their numbers, which is
            common for CIFAR10-DVS, too, and easier. Never compare figures across the two.

    Raises:
        ValueError: If the folder has none of the layouts, or a file is not right.
    """
    if split not in ("hash", "first"):
        raise ValueError(f"want the split 'hash' or 'first', got {split!r}")
    layout, clips = _listed(folder, split)
    if not clips:
        raise ValueError(
            f"{folder}: no event data; want Train/<digit>/*.bin and Test/…, user*.aedat with "
            "trials_to_train.txt, ibmGestureTrain/…, or a subfolder a class"
        )
    if most:
        clips = _drawn(clips, most, seed)
    names = tuple(sorted({clip.name for clip in clips}, key=_natural))
    made: dict[Path, Events] = {}
    found = []
    for clip in clips:
        if clip.path not in made:  # a recording holds several clips: read it once
            made = {clip.path: read_events(clip.path)}
        events = made[clip.path]
        if clip.span is not None:
            events = events[(events["t"] >= clip.span[0]) & (events["t"] < clip.span[1])]
        found.append(_framed(events, clip.path, layout, frames_each, size))
    if len({part.shape for part in found}) > 1:
        raise ValueError(f"{folder}: sensors of different sizes; give a size")
    return EventSet(
        np.stack(found),
        np.array([names.index(clip.name) for clip in clips], np.int64),
        names,
        np.array([clip.is_test for clip in clips]),
        split if layout == "classes" else "published",
    )


def _framed(
    events: Events, path: Path, layout: str, count: int, size: int | None
) -> NDArray[np.uint16]:
    side = SENSORS[layout]
    if layout == "classes" and len(events):
        side = max(side, 1 + int(max(events["x"].max(), events["y"].max())))
    try:
        counts = frames(events[np.argsort(events["t"], kind="stable")], count, (side, side))
        return counts if size is None else shrunk(counts, size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def held_out(stems: Sequence[str], split: Split = "hash") -> set[str]:
    """Which of a class's files are for tests, where no split is published.

    Args:
        stems: Names of files without their endings. Of a part of CIFAR10-DVS those are chosen that
            are for tests in the whole set; of any other class a tenth, one at least.
        split: See :func:`read_set`.
    """
    found = [CIFAR10_DVS.fullmatch(stem) for stem in stems]
    kinds = {match[1] for match in found if match}
    whole = [*stems]
    if stems and all(found) and len(kinds) == 1:
        whole = [f"cifar10_{kind}_{n}" for kind in kinds for n in range(CIFAR10_DVS_EACH)]
    if split == "first":
        ordered = sorted(whole, key=_numbered)
    else:
        ordered = sorted(whole, key=lambda stem: hashlib.sha256(stem.encode()).digest())
    return {*ordered[: -(-len(whole) // TEST_SHARE)]} & {*stems}


def _numbered(stem: str) -> tuple[str | int, ...]:
    """A name so that 10 comes after 9: text and numbers in turns."""
    parts = re.split(r"([0-9]+)", stem)
    return tuple(int(part) if place % 2 else part for place, part in enumerate(parts))


def _listed(folder: Path, split: Split) -> tuple[str, list[_Clip]]:
    if (folder / "Train").is_dir() and (folder / "Test").is_dir():
        parts = ((folder / "Train", False), (folder / "Test", True))
        return "n-mnist", [
            _Clip(file, file.parent.name, is_test)
            for part, is_test in parts
            for file in sorted(part.glob("*/*.bin"))
        ]
    if (folder / "trials_to_train.txt").is_file():
        return "gesture", [*_gestures(folder)]
    if (folder / "ibmGestureTrain").is_dir():
        train = sorted(folder.glob("ibmGestureTrain/*/*.npy"))
        test = sorted(folder.glob("ibmGestureTest/*/*.npy"))
        return "gesture", [_Clip(file, file.stem, file in test) for file in chain(train, test)]
    clips = []
    for kind in sorted(path for path in folder.glob("*") if path.is_dir()):
        files = sorted(f for f in kind.rglob("*") if f.suffix.lower() in SUFFIXES)
        tests = held_out([file.stem for file in files], split)
        clips += [_Clip(file, kind.name, file.stem in tests) for file in files]
    return "classes", clips


def _gestures(folder: Path) -> Iterable[_Clip]:
    for name, is_test in (("trials_to_train.txt", False), ("trials_to_test.txt", True)):
        for line in (folder / name).read_text("utf-8").split():
            path = folder / line
            table = path.with_name(f"{path.stem}_labels.csv")
            try:
                with table.open(newline="") as file:
                    for row in csv.DictReader(file):
                        span = int(row["startTime_usec"]), int(row["endTime_usec"])
                        yield _Clip(path, str(int(row["class"]) - 1), is_test, span)
            except (OSError, KeyError, ValueError) as error:
                raise ValueError(
                    f"{table}: want columns class, startTime_usec, endTime_usec ({error})"
                ) from None


def _drawn(clips: list[_Clip], most: int, seed: int) -> list[_Clip]:
    random = np.random.default_rng([seed, 1])
    groups: dict[tuple[str, bool], list[_Clip]] = {}
    for clip in clips:
        groups.setdefault((clip.name, clip.is_test), []).append(clip)
    kept = []
    for group in groups.values():
        rows = sorted(random.permutation(len(group))[:most].tolist())
        kept += [group[row] for row in rows]
    return kept


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (1 << 30, name)

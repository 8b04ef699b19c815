"""CelebA-Spoof: 625,537 pictures of 10,177 people, ten types of attack.

    Data/{train,test}/<person>/{live,spoof}/<number>.{jpg,png}
    metas/intra_test/{train,test}_label.json     {"Data/train/1/live/1.jpg": [44 numbers], …}

Number 40 of a label is the type, number 43 is 0 for live and 1 for an attack.

Source: Zhang et al., "CelebA-Spoof", ECCV 2020; the order of the types as its page gives it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from telltale.data.layout import Label, rows, train_or_val, want
from telltale.data.manifest import Row

TYPES = (
    *("live", "photo", "poster", "a4", "face mask", "upper body mask", "region mask"),
    *("pc", "pad", "phone", "3d mask"),
)
TYPE, ATTACK, LENGTH = 40, 43, 44


def read(root: Path) -> Iterator[Row]:
    """Rows of the intra-dataset protocol; a tenth of the training people is for validation.

    Raises:
        ValueError: If a list is missing, broken, or names a picture that is not there.
    """
    want(root, "metas/intra_test")
    for half in ("train", "test"):
        path = root / f"metas/intra_test/{half}_label.json"
        try:
            table = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: cannot be read as JSON ({error})") from None
        for name, numbers in table.items():
            if not isinstance(numbers, list) or len(numbers) != LENGTH:
                raise ValueError(f"{path}: want {LENGTH} numbers for {name}, got {numbers!r}")
            if not (root / name).is_file():
                raise ValueError(f"{path}: {name} is not there")
            attack, kind_number = bool(numbers[ATTACK]), numbers[TYPE]
            if kind_number not in range(len(TYPES)) or (kind_number == 0) == attack:
                raise ValueError(
                    f"{path}: want a type of 0 to {len(TYPES) - 1}, 0 for live alone, for {name}, "
                    f"got {kind_number} and {numbers[ATTACK]}"
                )
            kind = TYPES[kind_number] if attack else "live"
            person = f"celebaspoof:{Path(name).parts[-3]}"
            split = "test" if half == "test" else train_or_val(person)
            label = Label("celebaspoof", kind, attack)
            yield from rows([root / name], label, name, source=person, split=split)

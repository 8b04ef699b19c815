"""The field's datasets as they lie on disk, one file for each family of layouts.

    telltale train osdfd --recipe paper --data ffpp-c40:/data/FaceForensics++
    read_manifest("celebdf-v1:/data/Celeb-DF")

A folder without a name is recognised by what lies in it, at the usual compression c23. Rows are
videos where the dataset has videos (``telltale prepare`` cuts faces from them) and pictures where
it has frames. ``docs/datasets.md`` shows each layout.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from telltale.data.forgery import (
    celebdf,
    deeperforensics,
    deepfakebench,
    df40,
    dfdc,
    ffpp,
    split_folders,
    wilddeepfake,
)
from telltale.data.manifest import Row
from telltale.data.quality import READERS as QUALITY
from telltale.data.quality import SIGNS as QUALITY_SIGNS
from telltale.data.spoofing import READERS as SPOOFING
from telltale.data.spoofing import SIGNS as SPOOFING_SIGNS
from telltale.data.tampering import READERS as TAMPERING
from telltale.data.tampering import SIGNS as TAMPERING_SIGNS

Reader = Callable[[Path], Iterator[Row]]

LEVELS = ("c23", "c40", "raw")
READERS: dict[str, Reader] = {  # "name" or "name-variant"; the plain name is the first variant
    **{f"ffpp-{level}": partial(ffpp.read, level=level) for level in LEVELS},
    **{f"faceshifter-{lv}": partial(ffpp.read, level=lv, dataset="faceshifter") for lv in LEVELS},
    **{f"dfd-{level}": partial(ffpp.read_dfd, level=level) for level in LEVELS},
    **{f"celebdf-{v}": partial(celebdf.read, dataset=f"celebdf-{v}") for v in ("v2", "v1")},
    "dfdc": dfdc.read,
    "dfdcp": dfdc.read_preview,
    **{
        f"deeperforensics-{variant}": partial(deeperforensics.read, variant=variant)
        for variant in deeperforensics.VARIANTS
    },
    "wilddeepfake": wilddeepfake.read,
    "df40": df40.read,
    **{f"deepfakebench-{lv}": partial(deepfakebench.read, level=lv) for lv in LEVELS},
    "splits": split_folders.read,
    **SPOOFING,
    **TAMPERING,
    **QUALITY,
}
REMARKS: dict[str, Callable[[Path], Iterator[str]]] = {
    "ffpp": ffpp.remarks,
    "faceshifter": ffpp.remarks,
    "celebdf": celebdf.remarks,
    "deeperforensics": deeperforensics.remarks,
}
SIGNS = {  # what lies in a dataset's folder and in no other's, looked for in this order
    **SPOOFING_SIGNS,
    **TAMPERING_SIGNS,
    **QUALITY_SIGNS,
    "deeperforensics": ("manipulated_videos",),  # may hold FaceForensics++'s originals, too
    "df40": ("simswap", "DF40*"),
    "ffpp": ("manipulated_sequences", "original_sequences"),
    "celebdf": ("Celeb-synthesis", "List_of_testing_videos.txt"),
    "dfdcp": ("original_videos",),
    "wilddeepfake": ("real_train", "real_test", "real train", "real test"),
    "splits": ("train/original", "test/original", "train/*real*", "test/*real*"),
    "dfdc": ("dfdc_train_part_*", "train/dfdc_train_part_*", "test/labels.csv"),
}


def located(where: Path | str) -> tuple[str, Path]:
    """A dataset's name and its path; the name is "" for a table or a folder for each class.

    Args:
        where: A path, or a name of :data:`READERS` (or its first part), a colon and a path.

    Raises:
        ValueError: If there is no dataset of this name, or nothing at its path.
    """
    name, colon, rest = str(where).partition(":")
    short = {key.partition("-")[0] for key in READERS}
    known = short | READERS.keys()
    if colon and name in known:
        if not Path(rest).exists():
            raise ValueError(f"{where}: no file or folder {rest}")
        return name, Path(rest)
    path = Path(where)
    if colon and not path.exists() and len(name) > 1:  # one letter is a drive
        raise ValueError(f"{where}: no dataset {name!r}; there is {', '.join(sorted(short))}")
    if path.is_file():
        return ("deepfakebench" if path.suffix.lower() == ".json" else ""), path
    for name, signs in SIGNS.items():
        if any(next(path.glob(sign), None) for sign in signs):
            return name, path
    return "", path


def read_dataset(name: str, path: Path) -> Iterator[Row]:
    """The rows of a dataset.

    Args:
        name: As :func:`located` gives it.
        path: Its folder, or DeepfakeBench's file.

    Raises:
        ValueError: That names what is missing or wrong.
    """
    reader = next(it for key, it in READERS.items() if key == name or key.startswith(f"{name}-"))
    return reader(path)


def remarks(where: Path | str) -> list[str]:
    """What to know of a copy of a dataset, such as that its official splits are missing.

    Args:
        where: As :func:`located` takes it.

    Raises:
        ValueError: As :func:`located`, or if some of its split files are missing or wrong.
    """
    name, path = located(where)
    remark = REMARKS.get(name.partition("-")[0])
    return [*remark(path)] if remark else []

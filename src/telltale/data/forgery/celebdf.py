"""Celeb-DF, version 1 or 2.

    Celeb-real/id0_0000.mp4   YouTube-real/00000.mp4   Celeb-synthesis/id0_id1_0000.mp4
    List_of_testing_videos.txt                         lines "<flag> <folder>/<video>.mp4"

The list's flag is 1 for *real* videos, the opposite of a label. Of ``id0_id1_0000`` the video is
``id0_0000`` and the face id1's. All the fakes together tie all celebrities to each other, so the
source is the person whose video it is; the dataset's own test videos show people of its training
videos, which :meth:`Manifest.divided` says.

Source: Li et al., "Celeb-DF", CVPR 2020. The rest is for training, a tenth of its people for
validation; without a list a hash of the source splits everything.
"""

from collections.abc import Iterator
from pathlib import Path

from telltale.data.layout import Label, clips, place, rows, train_or_val, want
from telltale.data.manifest import Row, split_of

FORGED = {"Celeb-real": False, "YouTube-real": False, "Celeb-synthesis": True}
LIST = "List_of_testing_videos.txt"


def read(root: Path, dataset: str = "celebdf-v2") -> Iterator[Row]:
    """Rows of the three folders.

    Args:
        root: The folder above ``Celeb-real``.
        dataset: Name for the column: "celebdf-v1" or "celebdf-v2".

    Raises:
        ValueError: If there is no such folder, or the list names videos that aren't there or calls
            one by the wrong flag.
    """
    want(root, *FORGED)
    found = {name: clips(root / name) for name in FORGED}
    testing = _testing(root / LIST) if (root / LIST).is_file() else None
    if testing is not None:
        missing = sorted(it for it in testing if it[1] not in found[it[0]])
        if missing:
            name = "/".join(missing[0])
            raise ValueError(f"{root / LIST}: {len(missing)} videos are not there, e.g. {name}")
    for folder, forged in FORGED.items():
        for clip, files in found[folder].items():
            person, _, rest = clip.partition("_")
            source = f"{dataset}:{person if rest else f'{folder}/{clip}'}"
            behind = found["Celeb-real"].get(f"{person}_{rest.partition('_')[2]}")
            if testing is None:
                split = split_of(source)
            else:
                split = "test" if (folder, clip) in testing else train_or_val(source)
            yield from rows(
                files,
                Label(dataset, folder, forged),
                clip,
                source=source,
                split=split,
                partner=place(behind) if forged and behind else None,
            )


def remarks(root: Path) -> Iterator[str]:
    """What to know of a copy of the dataset before its figures are held against published ones."""
    if not (root / LIST).is_file():
        yield (
            f"{root}: without {LIST} a hash of each person splits it; published figures are for "
            "the videos of this list, which comes with them"
        )


def _testing(path: Path) -> set[tuple[str, str]]:
    """Folder and name of each test video."""
    found = set()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        flag, _, file = line.strip().partition(" ")
        folder, _, name = file.strip().replace("\\", "/").rpartition("/")
        if flag not in ("0", "1") or folder not in FORGED:
            raise ValueError(
                f'{path}, line {number}: want "1 YouTube-real/00170.mp4", got {line!r}'
            )
        if (flag == "1") == FORGED[folder]:
            raise ValueError(f"{path}, line {number}: flag {flag} on {folder}; 1 means real")
        found.add((folder, Path(name).stem))
    return found

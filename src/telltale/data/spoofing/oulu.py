"""OULU-NPU: 55 people, six phones, three sessions; two printers and two displays.

    {Train,Dev,Test}_files/<phone>_<session>_<user>_<file>.avi
    Protocols/Protocol_1/{Train,Dev,Test}.txt          lines "+1,1_1_01_1", +1 live
    Protocols/Protocol_3/{Train,Dev,Test}_<fold>.txt   and Protocol_4 likewise, six folds

File 1 is live, 2 and 3 are prints, 4 and 5 videos on displays.

Source: Boulkenafet et al., "OULU-NPU", FG 2017. Without a protocol every video is in its folder's
split.
"""

from collections.abc import Iterator
from pathlib import Path

from telltale.data.layout import Label, rows, want
from telltale.data.manifest import Row

FOLDS = range(1, 7)
PROTOCOLS = ("all", "1", "2", *(f"{p}.{fold}" for p in (3, 4) for fold in FOLDS))
SPLITS = {"Train": "train", "Dev": "val", "Test": "test"}
KINDS = {"1": "live", "2": "print 1", "3": "print 2", "4": "video 1", "5": "video 2"}
LABELS = {"+1": "live", "-1": "print", "-2": "video"}


def read(root: Path, protocol: str = "all") -> Iterator[Row]:
    """Rows of the videos that a protocol takes.

    Args:
        root: The folder above ``Train_files``.
        protocol: One of :data:`PROTOCOLS`; after the point is the fold.

    Raises:
        ValueError: If a folder or a list is missing, or names a video that is not there.
    """
    want(root, *(f"{name}_files" for name in SPLITS))
    for folder, split in SPLITS.items():
        videos = {path.stem: path for path in sorted((root / f"{folder}_files").glob("*.avi"))}
        names = [*videos] if protocol == "all" else _listed(root, protocol, folder)
        for name in names:
            if name not in videos:
                raise ValueError(f"{root}: protocol {protocol} wants {folder}_files/{name}.avi")
            parts = name.split("_")
            if len(parts) != 4 or parts[3] not in KINDS:
                raise ValueError(f"{videos[name]}: want a name <phone>_<session>_<user>_<file>.avi")
            kind, person = KINDS[parts[3]], f"oulu:{parts[2]}"
            label = Label("oulu", kind, kind != "live")
            yield from rows([videos[name]], label, name, source=person, split=split)


def _listed(root: Path, protocol: str, folder: str) -> list[str]:
    """The videos of one list, their labels checked against their names."""
    number, _, fold = protocol.partition(".")
    path = root / f"Protocols/Protocol_{number}/{folder}{f'_{fold}' if fold else ''}.txt"
    if not path.is_file():
        raise ValueError(f"{path}: is not there; protocol {protocol} wants it")
    found = []
    for line_number, line in enumerate(path.read_text("utf-8").split(), 1):
        label, _, name = line.partition(",")
        kind = KINDS.get(name.rpartition("_")[2], "")
        if label not in LABELS or not kind.startswith(LABELS[label]):
            raise ValueError(f'{path}, line {line_number}: want "+1,1_1_01_1", got {line!r}')
        found.append(name)
    return found

"""The one table format of data: a CSV of pictures, or a folder for each class.

    path,label,source,split,kind,mask
    a/001.png,0,anna,train,,
    a/001_swap.png,1,anna,train,swap,a/001_mask.png

Only ``path`` and ``label`` must be there; paths are relative to the file's folder. ``source`` is
who or what pictures have in common (a person, a camera); without it each path is its own.
``split`` is train, val or test; without it a hash of the source decides, so that no source is
divided. ``kind`` names the forgery, ``mask`` a picture of where it is, ``partner`` the real picture
behind it.

A folder's sub-folders are its classes: :data:`GENUINE` names are 0, all others 1 and their name is
the kind. A folder below that, if there is one, is the source.
"""

import csv
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.data.order import places
from telltale.media import find_media, read_picture

LABELS = {"0": 0, "real": 0, "genuine": 0, "1": 1, "fake": 1, "forged": 1}
SPLITS = ("train", "val", "test")
GENUINE = frozenset(("0", "real", "genuine", "bonafide", "live", "original", "pristine"))
FIELDS = ("images", "labels", "masks", "domains", "partners")  # what a manifest can give


class Table(NamedTuple):
    """A CSV file as text: its columns' names, a dict for each row, and the line of each row."""

    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int]


class Row(NamedTuple):
    """One picture; ``where`` is the file and line that an error names."""

    path: Path
    label: int
    source: str
    split: str
    kind: str
    mask: Path | None
    partner: Path | None
    where: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Pictures with labels, and all kinds of forgery that the whole table has.

    ``kinds`` stay the same in every split, so a kind's number (``domains``) does too.
    """

    name: str
    rows: tuple[Row, ...]
    kinds: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def of_split(self, split: str) -> Self:
        """The rows of one split; ValueError that names the splits if there are none."""
        rows = tuple(row for row in self.rows if row.split == split)
        if not rows:
            there = ", ".join(sorted({row.split for row in self.rows}))
            raise ValueError(f"{self.name}: no row has split {split!r}; there are {there}")
        return replace(self, rows=rows)

    def divided(self) -> list[str]:
        """Sources that several splits share, sorted: figures on such splits flatter."""
        splits: dict[str, set[str]] = {}
        for row in self.rows:
            splits.setdefault(row.source, set()).add(row.split)
        return sorted(source for source, found in splits.items() if len(found) > 1)


def read_table(path: Path, wanted: Sequence[str]) -> Table:
    """Read a CSV file (UTF-8, header first) that has at least the ``wanted`` columns.

    Raises:
        ValueError: That names the file, and the line if one is at fault.
    """
    lines: list[int] = []
    rows: list[dict[str, str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                rows.append(row)
                lines.append(reader.line_num)
            columns = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as CSV ({error})") from None
    if missing := [name for name in wanted if name not in columns]:
        raise ValueError(f"{path}: want the columns {', '.join(missing)}; there are {columns}")
    for row, line in zip(rows, lines, strict=True):
        if None in row or None in row.values():  # what DictReader makes of odd lengths
            raise ValueError(f"{path}, line {line}: want {len(columns)} fields")
    return Table(columns, rows, lines)


def label_of(text: str, where: str) -> int:
    """0 or 1 of a label in words or digits; the error says ``where`` it stands."""
    label = LABELS.get(text.strip().lower())
    if label is None:
        raise ValueError(f"{where}: want a label of {sorted(LABELS)}, got {text!r}")
    return label


def read_manifest(path: Path) -> Manifest:
    """Read a CSV or a folder for each class; see the module.

    Raises:
        ValueError: That names the file, and the line if one is at fault.
    """
    rows = tuple(_rows_of_folder(path) if path.is_dir() else _rows_of_table(path))
    if not rows:
        raise ValueError(f"{path}: there are no rows")
    seen: dict[Path, Row] = {}
    for row in rows:
        first = seen.setdefault(row.path, row)
        if first is not row:
            raise ValueError(f"{row.where}: {row.path.name} stands in {first.where} already")
    return Manifest(path.name, rows, tuple(sorted({row.kind for row in rows if row.label})))


def split_of(source: str) -> str:
    """Train (80 %), val (10 %) or test by a hash of the source, the same on every machine."""
    draw = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 100
    return "train" if draw < 80 else "val" if draw < 90 else "test"


def _rows_of_table(path: Path) -> Iterator[Row]:
    table = read_table(path, ("path", "label"))
    for line, cells in zip(table.lines, table.rows, strict=True):
        where = f"{path}, line {line}"
        source = cells.get("source") or cells["path"]
        split = cells["split"] if "split" in table.columns else split_of(source)
        if split not in SPLITS:
            raise ValueError(f"{where}: want a split of {', '.join(SPLITS)}, got {split!r}")
        label = label_of(cells["label"], where)
        kind = (cells.get("kind") or "forged") if label else ""
        files = {name: _file(path.parent, cells, name, where) for name in ("mask", "partner")}
        picture = _file(path.parent, cells, "path", where)
        if picture is None:
            raise ValueError(f"{where}: the path is empty")
        yield Row(picture, label, source, split, kind, files["mask"], files["partner"], where)


def _file(folder: Path, cells: dict[str, str], column: str, where: str) -> Path | None:
    if not cells.get(column):
        return None
    file = folder / cells[column].replace("\\", "/")
    if not file.is_file():
        raise ValueError(f"{where}: no {column} {file}")
    return file


def _rows_of_folder(folder: Path) -> Iterator[Row]:
    for group in sorted(path for path in folder.iterdir() if path.is_dir()):
        label = int(group.name.lower() not in GENUINE)
        for path in find_media([group]):
            inner = path.relative_to(group).parts
            source = inner[0] if len(inner) > 1 else path.stem
            kind = group.name if label else ""
            yield Row(path, label, source, split_of(source), kind, None, None, str(path))


# ── pictures as arrays ───────────────────────────────────────────────────────────────────────────


class Dataset:
    """A manifest's pictures as arrays, read when they are asked for.

    ``dataset[3]`` is one item: ``images`` (3, S, S) float32 in [0, 1], ``labels`` int64, ``masks``
    (1, S, S) float32 0 or 1, ``domains`` int64 (0 genuine, then the kinds as sorted), ``partners``
    (3, S, S): only the ``fields`` that were asked for. Pictures that are not square are cut to the
    square in their middle.
    """

    def __init__(self, manifest: Manifest, fields: Sequence[str], size: int) -> None:
        if unknown := [field for field in fields if field not in FIELDS]:
            raise ValueError(f"{manifest.name}: cannot give {unknown}; it has {', '.join(FIELDS)}")
        for row in manifest.rows:
            if "masks" in fields and row.label and row.mask is None:
                raise ValueError(f"{row.where}: a mask is wanted for each forged picture")
            if "partners" in fields and row.label and row.partner is None:
                raise ValueError(f"{row.where}: a partner is wanted for each forged picture")
        self.manifest = manifest
        self.labels = np.array([row.label for row in manifest.rows], np.int64)  # (N,)
        self.fields = tuple(fields)
        self.size = size

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        row = self.manifest.rows[index]
        makers: dict[str, Callable[[], NDArray[Any]]] = {
            "images": lambda: self._picture(row.path),
            "labels": lambda: np.array(row.label, np.int64),
            "masks": lambda: self._mask(row.mask),
            "domains": lambda: np.array(
                1 + self.manifest.kinds.index(row.kind) if row.label else 0, np.int64
            ),
            "partners": lambda: self._picture(row.partner or row.path),
        }
        return {field: makers[field]() for field in self.fields}

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Items stacked along a first axis B."""
        items = [self[int(index)] for index in indices]
        return {field: np.stack([item[field] for item in items]) for field in self.fields}

    def _picture(self, path: Path) -> NDArray[np.float32]:
        image = _square(read_picture(path).pixels, self.size, Image.Resampling.BILINEAR)
        return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255)

    def _mask(self, path: Path | None) -> NDArray[np.float32]:
        if path is None:
            return np.zeros((1, self.size, self.size), np.float32)
        grey = read_picture(path).pixels.max(-1)
        return (_square(grey, self.size, Image.Resampling.NEAREST) > 127).astype(np.float32)[None]


def read(manifest: Path | Manifest, fields: Sequence[str], *, size: int) -> Dataset:
    """The pictures of a manifest, or of its file, under the words of a batch in ``fields``.

    Args:
        manifest: Best one split of it: ``read_manifest(path).of_split("train")``.
        fields: Of :data:`FIELDS`.
        size: S in pixels.

    Raises:
        ValueError: That names the file, and the line if one is at fault.
    """
    made = manifest if isinstance(manifest, Manifest) else read_manifest(manifest)
    return Dataset(made, fields, size)


def draw(
    dataset: Dataset, number: int, *, batch: int, seed: int, balanced: bool = True
) -> dict[str, NDArray[Any]]:
    """The ``number``-th batch of :func:`batches`, at the cost of this batch alone."""
    if not balanced:
        return dataset.batch(places(len(dataset), batch, number, seed))
    classes = [np.flatnonzero(dataset.labels == label) for label in (0, 1)]
    if batch % 2 or not all(rows.size for rows in classes):
        raise ValueError(f"{dataset.manifest.name}: want both labels and an even batch to balance")
    halves = [rows[places(rows.size, batch // 2, number, seed)] for rows in classes]
    return dataset.batch(np.concatenate(halves))


def batches(
    dataset: Dataset, *, batch: int, seed: int, balanced: bool = True, start: int = 0
) -> Iterator[dict[str, NDArray[Any]]]:
    """Endless batches, the same for the same seed; half of each are genuine if ``balanced``.

    Args:
        dataset: Where from.
        batch: B.
        seed: Of the order, which is new in each epoch.
        balanced: Draw both classes alike, the genuine first; the smaller comes round more often.
        start: Batches to pass over, at no cost: a resumed run goes on with the next.

    Raises:
        ValueError: If classes are to be balanced and one is missing, or the batch is odd.
    """
    for number in count(start):
        yield draw(dataset, number, batch=batch, seed=seed, balanced=balanced)


def _square(pixels: NDArray[np.uint8], size: int, how: Image.Resampling) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    image = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(image if side == size else image.resize((size, size), how))

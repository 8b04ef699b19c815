"""The one table format of data: a CSV of pictures or videos, or a folder for each class.

    path,label,source,split,kind,mask
    a/001.png,0,anna,train,,
    a/001_swap.png,1,anna,train,swap,a/001_mask.png

Only ``path`` and ``label`` must be there, or in place of the label a ``score`` of quality from 0
(perfect) to 100; paths are relative to the file's folder. ``source`` is who or what pictures have
in common (a person, a camera); without it each path is its own. ``split`` is train, val or test;
without it a hash of the source decides, so that no source is divided. ``kind`` names the forgery,
``mask`` a picture of where it is, ``partner`` the real picture behind it, ``video`` the video that
a frame is of (else each path is its own), ``dataset`` where it was published, and ``sound`` the
recording that was made with the picture (:mod:`telltale.data.echoes`).

A folder's sub-folders are its classes: :data:`GENUINE` names are 0 (``0_real`` as well), all others
1 and their name is the kind. One of them must be genuine, and none may be called so by half, as
``real_youtube``: what is taken for the other class spoils every figure. A folder below that, if
there is one, is the source; of pictures that are called by a number it is the video.

The field's datasets are read as they lie on disk (:mod:`telltale.data.forgery`), by their layout or
by a name before the path: ``ffpp-c40:/data/FaceForensics++``.
"""

import csv
import hashlib
import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

from telltale import taxonomy
from telltale.media import find_media

LABELS = {"0": 0, "real": 0, "genuine": 0, "1": 1, "fake": 1, "forged": 1}
SPLITS = ("train", "val", "test")
GENUINE = frozenset(("0", "real", "genuine", "bonafide", "live", "original", "pristine"))


class Table(NamedTuple):
    """A CSV file as text: its columns' names, a dict for each row, and the line of each row."""

    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int]


class Row(NamedTuple):
    """One picture or video; ``where`` is the file and line that an error names."""

    path: Path
    label: int
    source: str
    split: str
    kind: str
    mask: Path | None
    partner: Path | None
    where: str
    video: str = ""  # "dataset/kind/id", the same for all frames of a video
    dataset: str = ""
    score: float = math.nan  # quality, 0 (perfect) to 100
    sound: Path | None = None  # recording or spectrogram that goes with the picture
    first: int = 0  # of a video, the first so many frames alone; 0 is all

    @property
    def clip(self) -> str:
        """What tells its video apart: dataset, kind (or label) and id, or the path without one."""
        return "/".join((self.dataset, self.kind or str(self.label), self.video or str(self.path)))


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

    def without(self, kinds: Collection[str]) -> Self:
        """All but the forgeries of some kinds, or of a family; ValueError if there are none."""
        for family in set(kinds) & {*taxonomy.FAMILIES} - {*self.kinds}:
            own = {kind for kind in self.kinds if taxonomy.family_of(kind) == family}
            kinds = {*kinds} - {family} | (own or {family})
        if unknown := sorted(set(kinds) - set(self.kinds)):
            raise ValueError(f"{self.name}: no kind {unknown[0]!r}; there is {self.kinds}")
        rows = tuple(row for row in self.rows if not row.label or row.kind not in kinds)
        return replace(self, rows=rows, kinds=tuple(k for k in self.kinds if k not in kinds))

    def thinned(self, frames: int, how: str = "even") -> Self:
        """At most ``frames`` of each video's frames, which are ordered by the number in their name.

        See :func:`chosen` for ``how``.
        """
        clips: dict[str, list[Row]] = {}
        for row in self.rows:
            clips.setdefault(row.clip, []).append(row)
        kept: list[Row] = []
        for rows in clips.values():
            rows.sort(key=lambda row: by_number(row.path))
            kept += [rows[index] for index in chosen(len(rows), frames, how)]
        return replace(self, rows=tuple(kept))

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


def read_manifest(path: Path | str) -> Manifest:
    """Read a CSV, a folder for each class, or a dataset of the field; see the module.

    Raises:
        ValueError: That names the file, and the line if one is at fault.
    """
    from telltale.data.forgery import located, read_dataset  # which makes rows, too

    name, path = located(path)
    if name:
        rows = tuple(read_dataset(name, path))
    else:
        rows = tuple(_rows_of_folder(path) if path.is_dir() else _rows_of_table(path))
    if not rows:
        raise ValueError(f"{path}: there are no rows")
    seen: dict[Path, Row] = {}
    for row in rows:
        first = seen.setdefault(row.path, row)
        if first is not row:
            raise ValueError(f"{row.where}: {row.path.name} stands in {first.where} already")
    title = f"{name}:{path.name}" if name else path.name
    return Manifest(title, rows, tuple(sorted({row.kind for row in rows if row.label})))


def chosen(length: int, count: int, how: str = "even") -> list[int]:
    """Which ``count`` of ``length`` frames to look at; all if there are no more than that.

    Args:
        length: Frames in order.
        count: How many at most, 1 or more.
        how: "even": the ⌊i·length/count⌋-th; "first": the first ones, as figures of some benchmarks
            were made.

    Raises:
        ValueError: If ``how`` is neither, or the count below 1.
    """
    if count < 1 or how not in ("even", "first"):
        raise ValueError(f"want one frame or more, even or first; got {count} and {how!r}")
    if length <= count or how == "first":
        return list(range(min(length, count)))
    return [i * length // count for i in range(count)]


def by_number(path: Path) -> tuple[int, str]:
    """A key to sort frames by: the last number in their name, 10 after 9."""
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else 0, path.name)


def split_of(source: str) -> str:
    """Train (80 %), val (10 %) or test by a hash of the source, the same on every machine."""
    draw = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 100
    return "train" if draw < 80 else "val" if draw < 90 else "test"


def _rows_of_table(path: Path) -> Iterator[Row]:
    rated = "score" in read_table(path, ("path",)).columns
    table = read_table(path, ("path", "score") if rated else ("path", "label"))
    for line, cells in zip(table.lines, table.rows, strict=True):
        where = f"{path}, line {line}"
        source = cells.get("source") or cells["path"]
        split = cells["split"] if "split" in table.columns else split_of(source)
        if split not in SPLITS:
            raise ValueError(f"{where}: want a split of {', '.join(SPLITS)}, got {split!r}")
        label = label_of(cells["label"], where) if "label" in table.columns else 1
        kind = (cells.get("kind") or "forged") if label else ""
        wanted = ("mask", "partner", "sound")
        files = {name: _file(path.parent, cells, name, where) for name in wanted}
        picture = _file(path.parent, cells, "path", where)
        if picture is None:
            raise ValueError(f"{where}: the path is empty")
        yield Row(
            *(picture, label, source, split, kind, files["mask"], files["partner"], where),
            video=cells.get("video", ""),
            dataset=cells.get("dataset", ""),
            score=_score(cells["score"], where) if rated else math.nan,
            sound=files["sound"],
        )


def _score(text: str, where: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"{where}: want a number as score, got {text!r}")
    return score


def _file(folder: Path, cells: dict[str, str], column: str, where: str) -> Path | None:
    if not cells.get(column):
        return None
    file = folder / cells[column].replace("\\", "/")
    if not file.is_file():
        raise ValueError(f"{where}: no {column} {file}")
    return file


def _rows_of_folder(folder: Path) -> Iterator[Row]:
    groups = sorted(path for path in folder.iterdir() if path.is_dir())
    labels = {group: _label_of_class(group) for group in groups}
    if groups and 0 not in labels.values():
        names = ", ".join(group.name for group in groups[:8])
        raise ValueError(
            f"{folder}: none of its folders ({names}) is called as genuine; want one of "
            f"{', '.join(sorted(GENUINE))}, or a dataset's name before the path, as dfdc:{folder}"
        )
    for group, label in labels.items():
        for path in find_media([group]):
            inner = path.relative_to(group).parts
            source = inner[0] if len(inner) > 1 else path.stem
            kind = group.name if label else ""
            numbered = len(inner) > 1 and path.stem.isdecimal()  # frames of a video
            video = path.parent.relative_to(folder).as_posix() if numbered else ""
            row = Row(path, label, source, split_of(source), kind, None, None, str(path))
            yield row._replace(video=video)


def _label_of_class(folder: Path) -> int:
    """0 or 1 by a folder's name; ValueError if it says neither."""
    name = folder.name.lower()
    words = set(re.findall(r"[^\W_]+", name))
    if words and words <= GENUINE:
        return 0
    half = sorted(words & GENUINE - {"0"}) or ["real"] * ("real" in name)
    if half:
        raise ValueError(
            f"{folder}: is this class genuine? Then call it real, else by a name without {half[0]}"
        )
    return 1

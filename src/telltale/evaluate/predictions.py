"""A table of predictions: a score and the truth for each item, from a CSV file or a detector."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from telltale.data.forgery import located
from telltale.data.layout import VIDEOS
from telltale.data.manifest import Table, by_number, chosen, label_of, read_manifest, read_table
from telltale.metrics import per_source

Strings = NDArray[np.str_]
CALIBRATED = "calibrated"  # a column: the score that a user is told, held to what is supported
_OWN = ("path", "label", "source", "score")


@dataclass(frozen=True, slots=True)
class Predictions:
    """Scores of N items, their labels, and what else is known of each.

    Args:
        name: Where they come from, for messages and titles.
        paths: (N,)
        labels: (N,) 0 genuine, 1 forged.
        scores: (N,) higher speaks for forged; NaN where there was no answer.
        sources: (N,) what makes items depend on each other: the person, camera or generator.
        columns: Further columns (N,) of text: kind, split, verdict, face_pixels, …
    """

    name: str
    paths: Strings
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    sources: Strings
    columns: Mapping[str, Strings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = (self.labels, self.scores, self.sources, *self.columns.values())
        if any(column.shape != self.paths.shape for column in given) or self.paths.ndim != 1:
            raise ValueError(f"{self.name}: want columns of one length")
        if not len(self.paths):
            raise ValueError(f"{self.name}: there are no rows")

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: NDArray[Any]) -> Self:
        """The rows that a mask (N,) or indices choose."""
        return type(self)(
            self.name,
            self.paths[rows],
            self.labels[rows],
            self.scores[rows],
            self.sources[rows],
            {name: column[rows] for name, column in self.columns.items()},
        )

    def of_split(self, split: str) -> Self:
        """The rows of one split; raises ValueError that names the splits if there are none."""
        if "split" not in self.columns:
            raise ValueError(f"{self.name}: there is no column 'split' to find {split!r} in")
        rows = self.columns["split"] == split
        if not rows.any():
            there = ", ".join(map(repr, np.unique(self.columns["split"]).tolist()))
            raise ValueError(f"{self.name}: no row has split {split!r}; there are {there}")
        return self.take(rows)

    def column(self, name: str) -> Strings:
        """A column (N,), or "source", or "folder"; ValueError if there is none of the name.

        Videos of different datasets or kinds may share an id, as the forgeries of one pair of
        people do; "video" then has the dataset and the kind (or the label) before the id.
        """
        if name == "source":
            return self.sources
        if name == "folder" and name not in self.columns:
            return np.array([Path(str(path)).parent.name for path in self.paths], np.str_)
        if name not in self.columns:
            raise ValueError(f"{self.name}: there is no column {name!r}; it has {[*self.columns]}")
        return self._videos() if name == "video" else self.columns[name]

    def _videos(self) -> Strings:
        """Names (N,) that tell videos apart: their ids, where these do by themselves."""
        ids, kinds = self.columns["video"], self.columns.get("kind", np.full(len(self), ""))
        parts = [np.where(kinds == "", self.labels.astype(np.str_), kinds), ids]
        if "dataset" in self.columns:
            parts.insert(0, self.columns["dataset"])
        whole = np.array(["/".join(names) for names in zip(*parts, strict=True)], np.str_)
        return ids if np.unique(ids).size == np.unique(whole).size else whole

    def calibrated(self) -> Self:
        """The rows with the scores that a user is told, where those differ."""
        if CALIBRATED not in self.columns:
            return self
        return replace(self, scores=_numbers(self.columns[CALIBRATED]))

    def one_class(self) -> str:
        """Why nothing ranks, if all answered items are of one class; else, or without any, ""."""
        classes = np.unique(self.labels[~np.isnan(self.scores)])
        if classes.size != 1:
            return ""
        which = "forged" if classes[0] else "genuine"
        return f"all answered items are {which}: AUC, EER and AP want both classes and are left out"

    def films(self) -> NDArray[np.bool_]:
        """Which rows (N,) are whole video files, by their names."""
        return np.array([Path(str(path)).suffix.lower() in VIDEOS for path in self.paths])

    def thinned(self, frames: int, how: str) -> Self:
        """At most ``frames`` items of each video; all of them where there is no column of videos.

        Frames are ordered by the number in their name; see :func:`telltale.data.manifest.chosen`.

        Raises:
            ValueError: If there are video files, of whose frames nothing is known here.
        """
        if frames and (films := self.films()).any():
            raise ValueError(
                f"{self.paths[films][0]}: frames = {frames} chooses among frames that were cut "
                "(telltale prepare); of a video file, video_fps says how many are looked at"
            )
        if not frames or "video" not in self.columns:
            return self
        clips: dict[str, list[int]] = {}
        for number, name in enumerate(self.column("video").tolist()):
            clips.setdefault(name, []).append(number)
        kept: list[int] = []
        for rows in clips.values():
            rows.sort(key=lambda row: by_number(Path(str(self.paths[row]))))
            kept += [rows[index] for index in chosen(len(rows), frames, how)]
        return self.take(np.sort(np.array(kept, np.intp)))

    def averaged(self, by: str) -> Self:
        """One row for each value of column ``by`` (e.g. "video"): the mean of its scores.

        "source" and "folder", the name of the folder that a path lies in, are always there.

        Frames without an answer are left out; without any answered frame the mean is NaN too.
        Columns in which a group does not agree are dropped.

        Raises:
            ValueError: If the column is missing, or a group holds both labels or two sources.
        """
        groups = self.column(by)
        names, first, which = np.unique(groups, return_index=True, return_inverse=True)
        for what, values in (("labels", self.labels), ("sources", self.sources)):
            if (mixed := values != values[first][which]).any():
                raise ValueError(f"{self.name}: {by} {str(groups[mixed][0])!r} has several {what}")
        scores = _means(self.scores, which, names.size)
        columns = {
            name: column[first]
            for name, column in self.columns.items()
            if (column == column[first][which]).all()
        }
        if CALIBRATED in self.columns:
            told = _means(_numbers(self.columns[CALIBRATED]), which, names.size)
            columns[CALIBRATED] = np.array(["" if np.isnan(x) else repr(float(x)) for x in told])
        return type(self)(
            self.name, names, self.labels[first], scores, self.sources[first], columns
        )


def read_predictions(path: Path) -> Predictions:
    """Read a CSV with columns path, label, score, and best also source, kind and split.

    Label is 0, real or genuine, or 1, fake or forged; an empty score means no answer. Without a
    column ``source``, each path is its own.

    Raises:
        ValueError: That names the file, and the line if one is at fault.
    """
    table = read_table(path, ("path", "label", "score"))
    scores = np.array(
        [
            number_of(row["score"], f"{path}, line {line}")
            for row, line in zip(table.rows, table.lines, strict=True)
        ],
        np.float64,
    )
    return _table(path, table, scores)


def unanswered(path: Path) -> Predictions:
    """The rows of a manifest (see :mod:`telltale.data.manifest`), without scores.

    Paths are relative to :func:`folder_of` the manifest. A table's further columns are kept.

    Raises:
        ValueError: That names the file, and the line if one is at fault.
    """
    manifest, folder = read_manifest(path), folder_of(path)
    rows = manifest.rows
    name, where = located(path)
    table = Table([], [], []) if name or where.is_dir() else read_table(path, ())
    columns = {
        name: np.array([cells[name] for cells in table.rows], np.str_)
        for name in table.columns
        if name not in _OWN
    }
    columns |= {
        "split": np.array([row.split for row in rows], np.str_),
        "kind": np.array([row.kind for row in rows], np.str_),
    }
    if any(row.video for row in rows):
        columns["video"] = np.array([row.video for row in rows], np.str_)
    if any(row.dataset for row in rows):
        columns["dataset"] = np.array([row.dataset for row in rows], np.str_)
    paths = np.array([os.path.relpath(row.path, folder) for row in rows], np.str_)
    return Predictions(
        manifest.name,
        paths,
        np.array([row.label for row in rows], np.int64),
        np.full(len(rows), math.nan),
        np.array([row.source for row in rows], np.str_),
        _own_videos(columns, paths),
    )


def folder_of(manifest: Path) -> Path:
    """What a manifest's paths are relative to."""
    path = located(manifest)[1]
    return path if path.is_dir() else path.parent


def predictions_csv(predictions: Predictions) -> Iterator[list[str]]:
    """Rows of text, the header first, as :func:`read_predictions` reads them."""
    yield [*_OWN, *predictions.columns]
    for number, path in enumerate(predictions.paths):
        score = predictions.scores[number]
        yield [
            str(path),
            str(predictions.labels[number]),
            str(predictions.sources[number]),
            "" if math.isnan(score) else repr(float(score)),
            *(str(column[number]) for column in predictions.columns.values()),
        ]


def as_numbers(column: Strings) -> NDArray[np.float64] | None:
    """A column of text as numbers (N,), empty as NaN; None if it holds words."""
    try:
        numbers = np.array([float(value) if value else math.nan for value in column])
    except ValueError:
        return None
    return None if np.isnan(numbers).all() else numbers


def number_of(text: str, where: str) -> float:
    """A score, empty as NaN; the error says ``where`` it stands."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise ValueError(f"{where}: want a number as score, got {text!r}") from None


def _numbers(column: Strings) -> NDArray[np.float64]:
    return np.array([float(text) if text else math.nan for text in column])


def _means(values: NDArray[np.float64], which: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """The mean (count,) of each group's values but for NaN; NaN where there are no others."""
    means = np.full(count, math.nan)
    known = ~np.isnan(values)
    if known.any():
        found, own = per_source(values[known], which[known])
        means[found.astype(np.intp)] = own
    return means


def _own_videos(columns: Mapping[str, Strings], paths: Strings) -> dict[str, Strings]:
    """The columns, in which an item without a video is a video of its own."""
    if "video" not in columns:
        return dict(columns)
    videos = columns["video"]
    return {**columns, "video": np.where(videos == "", paths, videos)}


def _table(path: Path, table: Table, scores: NDArray[np.float64]) -> Predictions:
    labels = np.array(
        [
            label_of(row["label"], f"{path}, line {line}")
            for row, line in zip(table.rows, table.lines, strict=True)
        ],
        np.int64,
    )
    text = {name: np.array([row[name] for row in table.rows], np.str_) for name in table.columns}
    further = {name: column for name, column in text.items() if name not in _OWN}
    further = _own_videos(further, text["path"])
    return Predictions(
        path.name, text["path"], labels, scores, text.get("source", text["path"]), further
    )

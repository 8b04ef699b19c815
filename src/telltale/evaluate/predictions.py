"""A table of predictions: a score and the truth for each item, from a CSV file or a detector."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from telltale.metrics import per_source
from telltale.records import Finding

Strings = NDArray[np.str_]
_LABELS = {"0": 0, "real": 0, "genuine": 0, "1": 1, "fake": 1, "forged": 1}
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

    def averaged(self, by: str) -> Self:
        """One row for each value of column ``by`` (e.g. "video"): the mean of its scores.

        Frames without an answer are left out; without any answered frame the mean is NaN too.
        Columns in which a group does not agree are dropped.

        Raises:
            ValueError: If the column is missing, or a group holds both labels or two sources.
        """
        groups = self.sources if by == "source" else self.columns.get(by)
        if groups is None:
            raise ValueError(f"{self.name}: there is no column {by!r} to average by")
        names, first, which = np.unique(groups, return_index=True, return_inverse=True)
        for what, values in (("labels", self.labels), ("sources", self.sources)):
            if (mixed := values != values[first][which]).any():
                raise ValueError(f"{self.name}: {by} {str(groups[mixed][0])!r} has several {what}")
        scores = np.full(names.size, math.nan)
        answered = ~np.isnan(self.scores)
        if answered.any():
            found, means = per_source(self.scores[answered], which[answered])
            scores[found.astype(np.intp)] = means
        columns = {
            name: column[first]
            for name, column in self.columns.items()
            if (column == column[first][which]).all()
        }
        return type(self)(
            self.name, names, self.labels[first], scores, self.sources[first], columns
        )


class Detects(Protocol):
    """What :func:`predict` needs of a detector."""

    def detect(self, media: Path, *, survival: bool = True) -> tuple[Finding, ...]: ...


def read_predictions(path: Path) -> Predictions:
    """Read a CSV with columns path, label, score, and best also source, kind and split.

    Label is 0, real or genuine, or 1, fake or forged; an empty score means no answer. Without a
    column ``source``, each path is its own.

    Raises:
        ValueError: That names the file, and the line if one is at fault.
    """
    rows, columns = _read(path, ("path", "label", "score"))
    scores = np.empty(len(rows))
    for number, row in enumerate(rows):
        try:
            scores[number] = float(row["score"]) if row["score"] else math.nan
        except ValueError:
            raise ValueError(
                f"{path}, line {number + 2}: want a number as score, got {row['score']!r}"
            ) from None
    return _table(path, rows, columns, scores)


def read_manifest(path: Path) -> Predictions:
    """Read a CSV with columns path, label, source, split and kind as rows without scores.

    Paths are taken relative to the file's folder.

    Raises:
        ValueError: That names the file, and the line if one is at fault.
    """
    rows, columns = _read(path, ("path", "label"))
    return _table(path, rows, columns, np.full(len(rows), math.nan))


def predict(
    detector: Detects, manifest: Predictions, folder: Path, *, survival: bool = True
) -> Iterator[dict[str, str]]:
    """Ask the detector about each row; yield columns to add: score, verdict, error, quality.

    A picture's score is that of its gravest finding. A file that cannot be read or holds no face
    has no score; the reason is in ``error``.
    """
    for name in manifest.paths:
        try:
            findings = detector.detect(folder / str(name), survival=survival)
        except ValueError as error:  # MediaError too: one bad file must not end a long run
            yield {"error": str(error)}
            continue
        weighed = [finding for finding in findings if not math.isnan(finding.score)]
        if not weighed:
            yield {"error": findings[0].notes[0] if findings and findings[0].notes else "no face"}
            continue
        gravest = max(weighed, key=lambda finding: finding.score)
        quality = {measure: f"{value:.6g}" for measure, value in gravest.quality.items()}
        yield quality | {"score": repr(gravest.score), "verdict": gravest.verdict}


def with_answers(manifest: Predictions, answers: Iterable[Mapping[str, str]]) -> Predictions:
    """The manifest with what :func:`predict` yielded for its rows."""
    rows = list(answers)
    names = dict.fromkeys(name for row in rows for name in row if name != "score")
    added = {name: np.array([row.get(name, "") for row in rows], np.str_) for name in names}
    scores = np.array([float(row.get("score", "nan")) for row in rows])
    return Predictions(
        manifest.name,
        manifest.paths,
        manifest.labels,
        scores,
        manifest.sources,
        dict(manifest.columns) | added,
    )


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


def _read(path: Path, wanted: tuple[str, ...]) -> tuple[list[dict[str, str]], list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows, columns = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read as CSV ({error})") from None
    if missing := [name for name in wanted if name not in columns]:
        raise ValueError(f"{path}: want the columns {', '.join(missing)}; there are {columns}")
    for number, row in enumerate(rows):
        if None in row or None in row.values():  # what DictReader makes of odd lengths
            raise ValueError(f"{path}, line {number + 2}: want {len(columns)} fields")
    return rows, columns


def _table(
    path: Path, rows: list[dict[str, str]], columns: list[str], scores: NDArray[np.float64]
) -> Predictions:
    labels = np.empty(len(rows), np.int64)
    for number, row in enumerate(rows):
        label = _LABELS.get(row["label"].strip().lower())
        if label is None:
            raise ValueError(
                f"{path}, line {number + 2}: want a label of {sorted(_LABELS)}, "
                f"got {row['label']!r}"
            )
        labels[number] = label
    text = {name: np.array([row[name] for row in rows], np.str_) for name in columns}
    further = {name: column for name, column in text.items() if name not in _OWN}
    return Predictions(
        path.name, text["path"], labels, scores, text.get("source", text["path"]), further
    )

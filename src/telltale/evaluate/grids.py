"""The field's comparisons: within a dataset, across manipulations, across datasets.

Each test set gives a row for its frames and one for its videos (a video's score is the mean of its
frames'), with AUC, EER, AP and accuracy at ½ as papers report them, each with an interval.

    intra                the test split of the data that were learned from
    cross-manipulation   each kind of forgery against all genuine items
    leave-one-out        likewise, each kind judged by the detector that never saw it
    cross-dataset        each dataset by itself
    joint                physical and digital attacks, each family against all live faces, and both
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import NamedTuple

import numpy as np

from telltale import metrics, taxonomy
from telltale.evaluate.measures import Measure, Metric, with_interval
from telltale.evaluate.predictions import Predictions
from telltale.evaluate.probe import leaks, probes
from telltale.evaluate.protocol import Protocol

COLUMNS = ("auc", "eer", "average_precision", "accuracy")
INSTRUMENT = re.compile(
    r"print|photo|poster|a4|paper|video|replay|display|screen|phone|pad|pc$|mask|cut|curved|warp"
)
HALF = 0.5  # P(fake) from which papers count an item as forged


class Cell(NamedTuple):
    """The figures of one test set, of its frames or of its videos."""

    test: str
    level: str  # "frame", "video" or, where no video is named, "item"
    genuine: int
    forged: int
    measures: Mapping[str, Measure]  # some of COLUMNS


class Grid(NamedTuple):
    """All test sets of a comparison, and the mean over them if there are several."""

    name: str
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    made_with: Mapping[str, str] = {}


def suite(found: Mapping[str, Predictions], protocol: Protocol) -> Grid:
    """The comparison that ``protocol.suite`` names.

    Args:
        found: Predictions by what they are called: the dataset or, for "leave-one-out", the kind.
        protocol: With a suite.

    Raises:
        ValueError: If a split, column or kind that it needs is missing.
    """
    if protocol.suite == "leave-one-out":
        return leave_one_out(found, protocol)
    if protocol.suite == "cross-dataset":
        return cross_dataset(found, protocol)
    (only,) = found.values()
    if protocol.suite == "joint":
        return joint(only, protocol)
    return (intra if protocol.suite == "intra" else cross_manipulation)(only, protocol)


def intra(predictions: Predictions, protocol: Protocol) -> Grid:
    """All forgeries of one table against its genuine items."""
    return grid("intra", {predictions.name: predictions}, protocol)


def cross_manipulation(predictions: Predictions, protocol: Protocol) -> Grid:
    """Each kind of forgery against all genuine items, by one detector.

    Raises:
        ValueError: If the table has no column ``kind``.
    """
    kinds = predictions.column("kind")
    names = np.unique(kinds[predictions.labels == 1]).tolist()
    return grid("cross-manipulation", {it: of_kind(predictions, it) for it in names}, protocol)


def leave_one_out(by_kind: Mapping[str, Predictions], protocol: Protocol) -> Grid:
    """Each kind against all genuine items, by the detector that did not learn from it.

    Args:
        by_kind: Kind to the answers of the detector from whose training it was left out.
        protocol: For frames, intervals and the split.

    Raises:
        ValueError: If a table has no such kind.
    """
    tests = {kind: of_kind(answers, kind) for kind, answers in by_kind.items()}
    return grid("leave-one-out", tests, protocol)


def cross_dataset(by_name: Mapping[str, Predictions], protocol: Protocol) -> Grid:
    """Each dataset by itself; one table with a column ``dataset`` is taken apart by it."""
    if len(by_name) == 1:
        (only,) = by_name.values()
        if "dataset" in only.columns:
            names = np.unique(only.columns["dataset"]).tolist()
            by_name = {it: only.take(only.columns["dataset"] == it) for it in names}
    return grid("cross-dataset", by_name, protocol)


def joint(predictions: Predictions, protocol: Protocol) -> Grid:
    """Each family of attacks (see :func:`family_of`) against all genuine items, and all of them.

    A family that the detector did not learn from (``data.leave_out`` of its kinds) is judged as it
    is: the table does not know what was learnt.

    Raises:
        ValueError: If the table has no column ``kind``.
    """
    kinds = predictions.column("kind")
    forged = predictions.labels == 1
    family = np.array([family_of(str(kind)) for kind in kinds])
    names = np.unique(family[forged]).tolist()
    tests = {it: predictions.take(~forged | (family == it)) for it in names}
    if len(names) > 1:
        tests["all families"] = predictions
    return grid("joint", tests, protocol)


def family_of(kind: str) -> str:
    """physical, digital or hybrid: by the catalogue, else physical if it names an instrument."""
    name = kind.strip().lower().replace(" ", "_")
    if name in taxonomy.attacks():
        return taxonomy.family(name)
    return "physical" if INSTRUMENT.search(name) else "digital"


def of_kind(predictions: Predictions, kind: str) -> Predictions:
    """A kind's forgeries and all genuine items; ValueError if there are none of the kind."""
    own = (predictions.column("kind") == kind) & (predictions.labels == 1)
    if not own.any():
        raise ValueError(f"{predictions.name}: no forgery is of kind {kind!r}")
    return predictions.take(own | (predictions.labels == 0))


def grid(name: str, tests: Mapping[str, Predictions], protocol: Protocol) -> Grid:
    """Figures of each test set's frames and videos.

    Args:
        name: Of the comparison.
        tests: Predictions by the test set's name, all of them or of several splits.
        protocol: Says which split, frames, averaging and intervals.
    """
    cells: list[Cell] = []
    notes: list[str] = []
    for test, given in tests.items():
        rows = given.of_split(protocol.split) if "split" in given.columns else given
        rows = rows.thinned(protocol.frames, protocol.choose)
        if missing := int(np.isnan(rows.scores).sum()):
            notes.append(f"{test}: {missing} of {len(rows)} items have no answer and are left out")
        notes += [f"{test}: {told}" for told in leaks(probes(rows, protocol))]
        by = protocol.average_by or ("video" if "video" in rows.columns else "")
        cells.append(_cell(test, "frame" if by else "item", rows, protocol))
        if by:
            whole = rows.averaged(by)
            if protocol.interval_by not in ("source", "folder", *whole.columns):
                # what is drawn whole lies inside a video, or is the video itself
                columns = {**whole.columns, protocol.interval_by: whole.paths}
                whole = replace(whole, columns=columns)
            cells.append(_cell(test, "video", whole, protocol))
    cells += [_mean(cells, level) for level in ("frame", "video", "item") if _several(cells, level)]
    if (
        "accuracy" in {key for cell in cells for key in cell.measures}
        and protocol.threshold is None
    ):
        notes.append("accuracy is at a score of ½, as papers report it")
    if protocol.interval_by != "source":
        notes.append(f"intervals resample whole values of {protocol.interval_by}")
    return Grid(name, tuple(cells), tuple(notes))


def _cell(test: str, level: str, rows: Predictions, protocol: Protocol) -> Cell:
    forged = int(rows.labels.sum())
    known = ~np.isnan(rows.scores)
    measures: dict[str, Measure] = {}
    if known.any():
        rows = rows.take(known)
        for key, metric in _metrics(rows, protocol).items():
            if (found := with_interval(metric, rows, protocol)) is not None:
                measures[key] = found
    return Cell(test, level, known.size - forged, forged, measures)


def _metrics(rows: Predictions, protocol: Protocol) -> dict[str, Metric]:
    found: dict[str, Metric] = {
        "auc": metrics.auc,
        "eer": metrics.eer,
        "average_precision": metrics.average_precision,
    }
    threshold = protocol.threshold
    if threshold is None and rows.scores.min() >= 0 and rows.scores.max() <= 1:
        threshold = HALF
    if threshold is not None:
        found["accuracy"] = partial(metrics.accuracy, threshold=threshold)
    return found


def _several(cells: list[Cell], level: str) -> bool:
    return sum(cell.level == level for cell in cells) > 1


def _mean(cells: list[Cell], level: str) -> Cell:
    """The plain mean over test sets of what all of them have; it has no interval."""
    mine = [cell for cell in cells if cell.level == level]
    shared = [key for key in COLUMNS if all(key in cell.measures for cell in mine)]
    means = {key: Measure(fmean(cell.measures[key].value for cell in mine)) for key in shared}
    return Cell("mean", level, sum(c.genuine for c in mine), sum(c.forged for c in mine), means)

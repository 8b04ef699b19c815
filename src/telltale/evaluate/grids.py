"""Tables of a comparison: frames and videos of each test set side by side, and their mean.

Each test set gives a row for its frames and one for its videos (a video's score is the mean of its
frames'; of video files there is that row alone), with AUC, EER, AP and accuracy at ½ as papers
report them, and the rates of the standard (:mod:`telltale.evaluate.iso`) at a threshold of
development data, each with an interval.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from statistics import fmean, stdev
from typing import NamedTuple

import numpy as np

from telltale import metrics, taxonomy
from telltale.evaluate.intervals import Measure, Metric, with_interval
from telltale.evaluate.iso import COLUMNS as ISO
from telltale.evaluate.iso import RATES, iso
from telltale.evaluate.predictions import Predictions
from telltale.evaluate.probe import leaks, probes
from telltale.evaluate.protocol import Protocol, choose_threshold

COLUMNS = ("auc", "eer", "average_precision", "accuracy")
HALF = 0.5  # P(fake) from which papers count an item as forged


class Cell(NamedTuple):
    """The figures of one test set, of its frames or of its videos."""

    test: str
    level: str  # "frame", "video" or, where no video is named, "item"
    genuine: int
    forged: int
    measures: Mapping[str, Measure]  # some of COLUMNS and of telltale.evaluate.iso's
    threshold: float | None = None  # of the error rates
    deviations: Mapping[str, float] = {}  # over the tests, n - 1, where the figures are means


class Grid(NamedTuple):
    """All test sets of a comparison, and the mean over them if there are several."""

    name: str
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    made_with: Mapping[str, str] = {}


class Test(NamedTuple):
    """Rows to judge, and those whose ``select_split`` gives the threshold."""

    rows: Predictions
    develop: Predictions
    threshold: float | None = None


def grid(name: str, tests: Mapping[str, Test], protocol: Protocol, *, mean: bool = True) -> Grid:
    """Figures of each test set's frames and videos.

    Args:
        name: Of the comparison.
        tests: Rows by the test set's name, all of them or of several splits.
        protocol: Says which split, frames, averaging, threshold and intervals.
        mean: Whether the mean over the test sets is a figure.
    """
    cells: list[Cell] = []
    notes: list[str] = []
    for test, (given, develop, fixed) in tests.items():
        rows = given.of_split(protocol.split) if "split" in given.columns else given
        rows = rows.thinned(protocol.frames, protocol.choose)
        if missing := int(np.isnan(rows.scores).sum()):
            notes.append(f"{test}: {missing} of {len(rows)} items have no answer and are left out")
        if one := rows.one_class():
            notes.append(f"{test}: {one}")
        notes += [f"{test}: {told}" for told in leaks(probes(rows, protocol))]
        by = protocol.average_by or ("video" if "video" in rows.columns else "")
        are_films = bool(rows.films().any())  # whose scores are means of frames already
        if not by or not are_films:
            own = _threshold(develop, protocol, fixed, "")
            level = "frame" if by else "video" if are_films else "item"
            cells.append(_cell(test, level, rows, protocol, own))
        if by:
            whole = rows.averaged(by)
            if protocol.interval_by not in ("source", "folder", *whole.columns):
                # what is drawn whole lies inside a video, or is the video itself
                columns = {**whole.columns, protocol.interval_by: whole.paths}
                whole = replace(whole, columns=columns)
            own = _threshold(develop, protocol, fixed, by)
            cells.append(_cell(test, "video", whole, protocol, own))
    if mean:
        levels = ("frame", "video", "item")
        cells += [_mean(cells, level) for level in levels if _several(cells, level)]
    return Grid(name, tuple(cells), (*notes, *_notes(cells, protocol)))


def _threshold(
    develop: Predictions, protocol: Protocol, fixed: float | None, by: str
) -> float | None:
    """The protocol's own, one chosen on its development rows, or the card's."""
    if protocol.threshold is not None:
        return protocol.threshold
    if not protocol.select:
        return fixed
    return choose_threshold(develop, replace(protocol, average_by=by))


def _cell(
    test: str, level: str, rows: Predictions, protocol: Protocol, threshold: float | None
) -> Cell:
    forged = int(rows.labels.sum())
    known = ~np.isnan(rows.scores)
    measures: dict[str, Measure] = {}
    if known.any():
        answered = rows.take(known)
        for key, metric in _metrics(answered, protocol).items():
            if (found := with_interval(metric, answered, protocol)) is not None:
                measures[key] = found
    if threshold is not None or _presented(rows):
        measures |= iso(rows, protocol, threshold)
    return Cell(test, level, known.size - forged, forged, measures, threshold)


def _presented(rows: Predictions) -> bool:
    """Whether an attack is physical: then the standard's figures are wanted, threshold or not."""
    kinds = rows.columns["kind"] if "kind" in rows.columns else np.array([], np.str_)
    for kind in np.unique(kinds).tolist():
        try:
            if taxonomy.family_of(kind) != "digital":
                return True
        except ValueError:  # a name of which nothing is known
            continue
    return False


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
    """Plain mean and sample deviation over test sets of what all of them have."""
    mine = [cell for cell in cells if cell.level == level]
    shared = [key for key in (*COLUMNS, *ISO) if all(key in cell.measures for cell in mine)]
    values = {key: [cell.measures[key].value for cell in mine] for key in shared}
    means = {key: Measure(fmean(found)) for key, found in values.items()}
    counts = sum(c.genuine for c in mine), sum(c.forged for c in mine)
    spread = {key: stdev(found) for key, found in values.items()}
    return Cell("mean", level, *counts, means, deviations=spread)


def _notes(cells: list[Cell], protocol: Protocol) -> list[str]:
    """What a reader must know of the figures."""
    notes = []
    keys = {key for cell in cells for key in cell.measures}
    if "accuracy" in keys and protocol.threshold is None:
        notes.append("accuracy is at a score of ½, as papers report it")
    if protocol.interval_by != "source":
        notes.append(f"intervals resample whole values of {protocol.interval_by}")
    fixed = any(cell.threshold is not None for cell in cells)
    if not fixed and {*ISO} & keys:
        notes.append(
            'no threshold of development data (select = "eer"): APCER, BPCER, ACER and HTER are '
            "left out"
        )
    elif {*RATES} & keys:
        where = f"a threshold chosen on {protocol.select_split!r} by {protocol.select}"
        if protocol.threshold is not None:
            where = "the threshold that the protocol fixed"
        elif not protocol.select:
            where = "the detector's own threshold, the one in the card"
        notes.append(
            f"error rates are at {where}; a paper that takes it from the test ROC "
            "reports the EER for HTER"
        )
    if {"apnrr", "bpnrr"} & keys:
        wrong = "count as errors in the ISO figures"
        apart = "are in APNRR and BPNRR alone, and in no error rate"
        told = wrong if protocol.unanswered == "wrong" else apart
        notes.append(f"items without an answer {told}")
    return notes

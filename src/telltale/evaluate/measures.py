"""From predictions to figures: each with an interval, by slice, the worst slice named."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from telltale import metrics
from telltale.evaluate.intervals import Measure, Metric, with_interval
from telltale.evaluate.iso import AT_LIMITS, iso
from telltale.evaluate.iso import COLUMNS as ISO
from telltale.evaluate.predictions import Predictions
from telltale.evaluate.probe import Probe, leaks, probes
from telltale.evaluate.protocol import Protocol
from telltale.evaluate.slices import slices

LOWER_IS_BETTER = frozenset(
    {
        *("eer", "min_cllr", "apcer", "bpcer", "acer", "hter", "aurc", "brier", "ece", "cllr"),
        *(*AT_LIMITS, "apnrr", "bpnrr", "unanswered", "undecided", "risk_at_80", "risk_at_50"),
        *("genuine_called_forged", "forged_called_genuine"),
    }
)


class Row(NamedTuple):
    """The figures of one slice."""

    slice: str  # "all", "kind = swap" …
    genuine: int
    forged: int
    sources: int
    measures: Mapping[str, Measure]


class Evaluation(NamedTuple):
    """All rows, the worst slice of each measure, and what a reader must know."""

    name: str
    threshold: float | None
    rows: tuple[Row, ...]  # the first is "all"
    worst: Mapping[str, tuple[str, float]]  # measure -> slice, value
    notes: tuple[str, ...]
    made_with: Mapping[str, str] = {}
    probes: tuple[Probe, ...] = ()  # what else predicts the label, the strongest first
    risks: tuple[tuple[float, Measure], ...] = ()  # coverage and the error rate of that share


COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3)  # of the table of risks


def measure(
    predictions: Predictions, protocol: Protocol, threshold: float | None = None
) -> Evaluation:
    """Every figure of these rows and their slices, at a threshold that comes from elsewhere.

    Args:
        predictions: The rows to judge, of one split.
        protocol: For slices, averaging and the bootstrap.
        threshold: Without one, there are no error rates, only figures of ranking.
    """
    if protocol.average_by:
        predictions = predictions.averaged(protocol.average_by)
    whole = _row("all", predictions, protocol, threshold)
    rows, worst = [whole], dict[str, tuple[str, float]]()
    for name, own, mask in slices(predictions, protocol):
        rows.append(_row(name, predictions.take(mask), protocol, threshold))
        if own >= protocol.smallest:
            _note_worst(worst, rows[-1])
    found = probes(predictions, protocol)
    notes = (*_notes(predictions, threshold), *leaks(found))
    risks = tuple(_risks(predictions, protocol, threshold))
    return Evaluation(predictions.name, threshold, tuple(rows), worst, notes, {}, found, risks)


def _risks(
    rows: Predictions, protocol: Protocol, threshold: float | None
) -> Iterator[tuple[float, Measure]]:
    """The error rate of the surest share of the answered items, for each of some shares."""
    known = ~np.isnan(rows.scores)
    if threshold is None or not known.any():
        return
    for coverage in COVERAGES:
        metric = partial(metrics.risk_at, coverage=coverage, threshold=threshold)
        if (risk := with_interval(metric, rows.take(known), protocol)) is not None:
            yield coverage, risk


def _row(name: str, rows: Predictions, protocol: Protocol, threshold: float | None) -> Row:
    answered = rows.take(~np.isnan(rows.scores)) if not np.isnan(rows.scores).all() else None
    measures: dict[str, Measure] = {}
    if answered is not None:
        told = answered.calibrated()
        for key, metric in _metrics(answered, threshold).items():
            judged = told if key in OF_CHANCES else answered
            if (figure := with_interval(metric, judged, protocol)) is not None:
                measures[key] = figure
    missing = with_interval(_mean_score, _scored(rows, np.isnan(rows.scores)), protocol)
    if missing is not None and missing.value:
        measures["unanswered"] = missing
    measures |= {k: it for k, it in iso(rows, protocol, threshold).items() if k in ISO}
    for key, wrong in _verdicts(rows).items():
        if (figure := with_interval(_mean_score, wrong, protocol)) is not None:
            measures[key] = figure
    forged = int(rows.labels.sum())
    return Row(name, len(rows) - forged, forged, np.unique(rows.sources).size, measures)


OF_CHANCES = ("brier", "ece", "cllr")  # which judge what a user is told, not the order of items
FPRS = {"fpr_01": 0.001, "fpr_1": 0.01, "fpr_10": 0.1}


def _metrics(rows: Predictions, threshold: float | None) -> dict[str, Metric]:
    """The measures that the scores allow, by name."""
    found: dict[str, Metric] = {
        "auc": metrics.auc,
        "eer": metrics.eer,
        "average_precision": metrics.average_precision,
        **{f"tpr_at_{name}": partial(metrics.tpr_at_fpr, limit=it) for name, it in FPRS.items()},
        "min_cllr": metrics.min_cllr,
    }
    if threshold is not None:
        found |= {
            "accuracy": partial(metrics.accuracy, threshold=threshold),
            "aurc": partial(metrics.aurc, threshold=threshold),
            "risk_at_80": partial(metrics.risk_at, coverage=0.8, threshold=threshold),
            "risk_at_50": partial(metrics.risk_at, coverage=0.5, threshold=threshold),
        }
    if (rows.labels == 0).sum() < 1 / FPRS["fpr_01"]:
        del found["tpr_at_fpr_01"]  # not one genuine item in a thousand: it would be that at 0
    if rows.scores.min() >= 0 and rows.scores.max() <= 1:
        found |= {"brier": metrics.brier, "ece": metrics.ece, "cllr": _cllr}
    return found


def _cllr(scores: ArrayLike, labels: ArrayLike) -> float:
    return metrics.cllr(metrics.log_odds(scores), labels)


def _mean_score(scores: ArrayLike, labels: ArrayLike) -> float:
    return float(np.mean(np.asarray(scores, np.float64)))


def _scored(rows: Predictions, happened: ArrayLike) -> Predictions:
    """The rows with 1 as score where something happened and 0 elsewhere."""
    scores = np.asarray(happened, np.float64)
    return replace(rows, scores=scores)


def _verdicts(rows: Predictions) -> dict[str, Predictions]:
    """Events whose rates a user of verdicts feels, over the rows that they could befall."""
    verdicts = rows.columns.get("verdict")
    if verdicts is None:
        return {}
    undecided = _scored(rows, (verdicts != "yes") & (verdicts != "no"))
    found = {"undecided": undecided}
    for name, label, wrong in (
        ("genuine_called_forged", 0, "yes"),
        ("forged_called_genuine", 1, "no"),
    ):
        if (rows.labels == label).any():
            found[name] = _scored(rows, verdicts == wrong).take(rows.labels == label)
    return found


def _note_worst(worst: dict[str, tuple[str, float]], row: Row) -> None:
    for name, figure in row.measures.items():
        sign = 1 if name in LOWER_IS_BETTER else -1
        if name not in worst or sign * figure.value > sign * worst[name][1]:
            worst[name] = (row.slice, figure.value)


def _notes(rows: Predictions, threshold: float | None) -> Iterator[str]:
    if (rows.sources == rows.paths).all():
        yield "no sources are given: intervals treat each item as independent, which is too narrow"
    missing = np.isnan(rows.scores)
    answered = None if missing.all() else rows.take(~missing)
    if missing.any():
        first = int(np.argmax(missing))
        why = str(rows.columns["error"][first]) if "error" in rows.columns else "no score"
        count = f"{missing.sum()} of {len(rows)}"
        yield f"{count} items have no answer, e.g. {rows.paths[first]}: {why}"
    if answered is None:
        yield "no item was answered"
    elif answered.scores.min() < 0 or answered.scores.max() > 1:
        yield "scores are no probabilities: Brier, ECE and Cllr are left out"
    if one := rows.one_class():
        yield one
    if threshold is None:
        yield "no threshold was given or chosen on validation data: error rates are left out"
    elif answered is not None and len(np.unique(answered.labels)) == 2:
        fpr, tpr, _ = metrics.roc(answered.scores, answered.labels)
        share = answered.labels.mean()
        best = float(np.max(share * tpr + (1 - share) * (1 - fpr)))
        now = metrics.accuracy(answered.scores, answered.labels, threshold)
        yield (
            f"accuracy {now:.3f}; a threshold chosen on these very items would have claimed "
            f"{best:.3f}"
        )
    kinds = rows.columns.get("kind")
    if kinds is not None and np.unique(kinds[rows.labels == 1]).size > 1:
        yield "APCER, ACER and BPCER at APCER are those of the worst kind"

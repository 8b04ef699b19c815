"""What ISO/IEC 30107-3 asks of a comparison of presentation attack detectors.

    apcer             of the instrument (kind) missed most often; "apcer: print" is that of prints
    bpcer             bona fide presentations called attacks
    acer, hter        means of BPCER and APCER, of the worst kind and of all attacks together
    bpcer_at_apcer_x  BPCER where the worst kind's APCER is x % or less
    apnrr, bpnrr      share of presentations that got no answer, attacks (worst kind) and bona fide

What got no answer is counted as ``Protocol.unanswered`` says: "apart", in APNRR and BPNRR only, the
error rates being those of what was answered, or "wrong", as an error of its class as well.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from telltale import metrics
from telltale.evaluate.intervals import Measure, Metric, with_interval
from telltale.evaluate.predictions import Predictions
from telltale.evaluate.protocol import Protocol

LIMITS = (10, 5, 1)  # %, of APCER
RATES = ("apcer", "bpcer", "acer", "hter")
AT_LIMITS = tuple(f"bpcer_at_apcer_{limit}" for limit in LIMITS)
COLUMNS = (*RATES, *AT_LIMITS, "apnrr", "bpnrr")
OF = "apcer: "  # before a kind
BEYOND = 1e300  # a score on the wrong side of every threshold


def iso(rows: Predictions, protocol: Protocol, threshold: float | None) -> dict[str, Measure]:
    """The figures that the rows allow, by name; error rates only at a threshold.

    Args:
        rows: As they were scored, unanswered ones among them.
        protocol: For the bootstrap and for what is unanswered.
        threshold: From development data.
    """
    kinds = rows.columns.get("kind", np.full(len(rows), "attack"))
    missing = np.isnan(rows.scores)
    found: dict[str, Measure] = {}
    for key, label, metric in (("apnrr", 1, metrics.apcer), ("bpnrr", 0, metrics.bpcer)):
        own = rows.labels == label
        if (missing & own).any():
            # A missing answer as a score of its class's error, at a threshold between.
            wrong = replace(rows, scores=np.where(missing, 1.0 - label, float(label)))
            columns = (kinds,) if label else ()
            figure = with_interval(_at(metric, 0.5), wrong, protocol, columns)
            if figure is not None:
                found[key] = figure
    if protocol.unanswered == "wrong":
        lost = np.where(rows.labels == 1, -BEYOND, BEYOND)
        rows = replace(rows, scores=np.where(missing, lost, rows.scores))
    elif missing.all():
        return found
    else:
        rows, kinds = rows.take(~missing), kinds[~missing]
    for key, metric in _metrics(threshold).items():
        columns = (kinds,) if key in ("apcer", "acer", *AT_LIMITS) else ()
        if (figure := with_interval(metric, rows, protocol, columns)) is not None:
            found[key] = figure
    names = np.unique(kinds[rows.labels == 1]).tolist()
    for name in names if threshold is not None and len(names) > 1 else ():
        own = rows.take((kinds == name) & (rows.labels == 1))
        figure = with_interval(_at(metrics.apcer, threshold), own, protocol)
        if figure is not None:
            found[OF + name] = figure
    return found


def _metrics(threshold: float | None) -> dict[str, Metric]:
    limits: dict[str, Metric] = {
        name: partial(_bpcer_at, limit=limit / 100)
        for name, limit in zip(AT_LIMITS, LIMITS, strict=True)
    }
    if threshold is None:
        return limits
    found: dict[str, Metric] = {name: getattr(metrics, name) for name in RATES}
    return {name: _at(metric, threshold) for name, metric in found.items()} | limits


def _at(metric: Metric, threshold: float | None) -> Metric:
    """The metric at a threshold, kinds as an optional third argument."""

    def at(scores: ArrayLike, labels: ArrayLike, *kinds: ArrayLike) -> float:
        return metric(scores, labels, threshold, *kinds)

    return at


def _bpcer_at(
    scores: ArrayLike, labels: ArrayLike, kinds: ArrayLike | None = None, *, limit: float
) -> float:
    return metrics.bpcer_at_apcer(scores, labels, limit, kinds)

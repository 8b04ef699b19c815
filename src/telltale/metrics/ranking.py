"""How well scores rank forged above genuine: ROC, AUC, EER, average precision.

Label 1 means that the claim holds (forged), a higher score speaks for it, and an item counts as
forged when ``score >= threshold``. Everything here depends on the order of the scores alone.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


class OneClassError(ValueError):
    """A measure needs both classes and the data hold one."""


class Roc(NamedTuple):
    """Operating points from "nothing is forged" to "everything is", a row a distinct score."""

    fpr: Floats  # (K + 1,) share of genuine items called forged, ascending
    tpr: Floats  # (K + 1,) share of forged items called forged, ascending
    thresholds: Floats  # (K + 1,) descending; the first is infinite


def scores_and_labels(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Labels]:
    """Check one score and one label (0 or 1) an item; return them as float64 and bool.

    Raises:
        ValueError: For other shapes, no items, a NaN, or another label.
    """
    numbers, marks = np.asarray(scores, np.float64), np.asarray(labels)
    if numbers.ndim != 1 or numbers.shape != marks.shape:
        raise ValueError(
            f"want as many scores as labels, (N,) each, got {numbers.shape} and {marks.shape}"
        )
    if numbers.size == 0:
        raise ValueError("want at least one item, got none")
    if missing := int(np.isnan(numbers).sum()):
        raise ValueError(f"{missing} of {numbers.size} scores are NaN; leave those items out")
    positive = np.asarray(marks == 1)
    if not np.all(positive | (marks == 0)):
        odd = marks[~(positive | (marks == 0))][0]
        raise ValueError(f"want labels 0 (genuine) and 1 (forged), got {odd}")
    return numbers, positive


def both_classes(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Labels]:
    """Like :func:`scores_and_labels`, and both classes are there.

    Raises:
        OneClassError: A ValueError, when all labels are the same.
    """
    numbers, positive = scores_and_labels(scores, labels)
    if positive.all() or not positive.any():
        word = "1 (forged)" if positive[0] else "0 (genuine)"
        raise OneClassError(f"want both classes, got {numbers.size} items all labelled {word}")
    return numbers, positive


def auc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC: the chance that a forged item outscores a genuine one, ties half.

    Raises:
        ValueError: For NaN, other labels than 0 and 1, or one class only.
    """
    numbers, positive = both_classes(scores, labels)
    genuine = np.sort(numbers[~positive])
    forged = np.sort(numbers[positive])  # sorted needles make searchsorted several times faster
    below = np.searchsorted(genuine, forged, "left").sum()
    not_above = np.searchsorted(genuine, forged, "right").sum()
    return float(below + not_above) / (2.0 * genuine.size * forged.size)


def roc(scores: ArrayLike, labels: ArrayLike) -> Roc:
    """Every operating point that a threshold can reach; no point is left out."""
    numbers, positive = both_classes(scores, labels)
    false_alarms, hits, thresholds = _counts(numbers, positive)
    return Roc(false_alarms / false_alarms[-1], hits / hits[-1], thresholds)


def eer(scores: ArrayLike, labels: ArrayLike) -> float:
    """Equal error rate: FPR = FNR on the ROC, with straight lines between its points."""
    fpr, tpr, _ = roc(scores, labels)
    gap = 1 - tpr - fpr  # falls from 1 to -1
    last = int(np.argmax(gap <= 0))  # >= 1, as the first gap is 1
    share = gap[last - 1] / (gap[last - 1] - gap[last])
    return float(fpr[last - 1] + share * (fpr[last] - fpr[last - 1]))


def eer_at_point(scores: ArrayLike, labels: ArrayLike) -> float:
    """Equal error rate as DeepfakeBench takes it: the FPR of the point with least |FNR - FPR|.

    Its points are the corners of the ROC only (scikit-learn's ``drop_intermediate``), so it can
    differ from :func:`eer` by one step of the ROC. For comparison with published tables.
    """
    fpr, tpr = _corners(scores, labels)
    return float(fpr[np.argmin(np.abs(1 - tpr - fpr))])


def threshold_at_eer(scores: ArrayLike, labels: ArrayLike) -> float:
    """The score where |FNR - FPR| is least: a threshold to fix on *validation* data."""
    fpr, tpr, thresholds = roc(scores, labels)
    return float(thresholds[1:][np.argmin(np.abs(1 - tpr - fpr)[1:])])


def threshold_at_fpr(scores: ArrayLike, labels: ArrayLike, limit: float) -> float:
    """The lowest score threshold with FPR <= ``limit``: to fix on *validation* data.

    Lies half-way to the next lower score, so that validation items do not sit on it. If even the
    highest score is a false alarm too many, the threshold lies just above it.
    """
    _want_share(limit)
    fpr, _, thresholds = roc(scores, labels)
    last = int(np.flatnonzero(fpr <= limit)[-1])
    if last == 0:
        return float(np.nextafter(thresholds[1], np.inf))
    if last + 1 == thresholds.size:
        return float(thresholds[last])
    # The middle of two neighbouring floats can round down to the lower, which is one too low.
    middle = thresholds[last + 1] + (thresholds[last] - thresholds[last + 1]) / 2
    return float(middle if middle > thresholds[last + 1] else thresholds[last])


def tpr_at_fpr(scores: ArrayLike, labels: ArrayLike, limit: float) -> float:
    """The largest TPR that some threshold reaches with FPR <= ``limit``; not interpolated."""
    _want_share(limit)
    fpr, tpr, _ = roc(scores, labels)
    return float(tpr[fpr <= limit][-1])


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Precision averaged over the recall that each distinct score adds; forged is positive."""
    numbers, positive = both_classes(scores, labels)
    false_alarms, hits, _ = _counts(numbers, positive)
    precision = hits[1:] / (hits[1:] + false_alarms[1:])
    return float(np.sum(np.diff(hits) * precision) / hits[-1])


def convex_roc(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Counts (false alarms, hits) at the corners of the ROC's upper convex hull, ascending."""
    numbers, positive = both_classes(scores, labels)
    x, y, _ = _counts(numbers, positive)
    while True:
        # A point on or below the chord of its neighbours is no corner, whichever of the
        # neighbours go in the same sweep: the chord's ends were points of the curve all the same.
        turn = np.diff(x)[:-1] * np.diff(y)[1:] - np.diff(y)[:-1] * np.diff(x)[1:]
        keep = np.concatenate(([True], turn < 0, [True]))
        if keep.all():
            return x, y
        x, y = x[keep], y[keep]


def _counts(numbers: Floats, positive: Labels) -> tuple[Floats, Floats, Floats]:
    """False alarms, hits and threshold at each distinct score, after a first point of (0, 0)."""
    # A stable sort takes linear time on sorted data, which is what bootstrap() hands in.
    order = np.argsort(numbers, kind="stable")[::-1]
    ranked = numbers[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), ranked.size - 1)
    hits = np.cumsum(positive[order])[ends].astype(np.float64)
    false_alarms = ends + 1.0 - hits
    return (
        np.concatenate(([0.0], false_alarms)),
        np.concatenate(([0.0], hits)),
        np.concatenate(([np.inf], ranked[ends])),
    )


def _corners(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """FPR and TPR where the ROC turns, and (0, 0)."""
    numbers, positive = both_classes(scores, labels)
    false_alarms, hits, _ = _counts(numbers, positive)
    x, y = false_alarms[1:], hits[1:]
    keep = np.ones(x.size, bool)
    keep[1:-1] = (np.diff(x, 2) != 0) | (np.diff(y, 2) != 0)
    return np.append(0.0, x[keep]) / x[-1], np.append(0.0, y[keep]) / y[-1]


def _want_share(limit: float) -> None:
    if not 0 <= limit <= 1:
        raise ValueError(f"want a rate in [0, 1], got {limit}")

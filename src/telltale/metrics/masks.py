"""How well a change is localised, in the field's several ways, each under its own name.

A picture's map (H, W) holds scores in [0, 1], its mask 1 where it was changed. Pristine pictures
have an empty mask: F1 says nothing of them, so all means are over the changed ones and
:func:`false_alarm_area` is for the others. Maps are at their masks' own size: resize the map, never
the mask.

Source: the conventions of IMDLBenCo and of the methods' papers.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telltale.metrics.decisions import Confusion, confusion, f1, iou
from telltale.metrics.ranking import auc

GRID = np.linspace(0, 1, 256)  # thresholds of the best F1
Pair = tuple[ArrayLike, ArrayLike]  # a map and its mask
Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]


def pixel_f1(pairs: Iterable[Pair], threshold: float = 0.5) -> float:
    """F1 at a fixed threshold, a picture at a time, averaged over changed pictures."""
    return _mean(pairs, lambda s, y: f1(s, y, threshold))


def best_pixel_f1(pairs: Iterable[Pair]) -> float:
    """F1 at the best of 256 thresholds *of each picture*: what an oracle would have reached."""
    return _mean(pairs, lambda s, y: max(map(_f1, _at_all(s, y))))


def pooled_pixel_f1(pairs: Iterable[Pair], threshold: float = 0.5) -> float:
    """F1 of the counts of all pixels of all changed pictures together: large ones decide."""
    total = np.sum([confusion(s, y, threshold) for s, y in _changed(pairs)], axis=0)
    return _f1(Confusion(*total))


def permuted_pixel_f1(pairs: Iterable[Pair], threshold: float = 0.5) -> float:
    """The better F1 of each map and of its complement, averaged: some papers' tables have this.

    It flatters a map that points to all but the change; never set it beside another F1.
    """

    def better(scores: Scores, labels: Mask) -> float:
        right, alarms, passed, missed = confusion(scores, labels, threshold)
        turned = Confusion(missed, passed, alarms, right)
        return max(_f1(Confusion(right, alarms, passed, missed)), _f1(turned))

    return _mean(pairs, better)


def pixel_iou(pairs: Iterable[Pair], threshold: float = 0.5) -> float:
    """Intersection over union at a threshold, averaged over changed pictures."""
    return _mean(pairs, lambda s, y: iou(s, y, threshold))


def pixel_mcc(pairs: Iterable[Pair], threshold: float = 0.5) -> float:
    """Matthews' correlation at a threshold, averaged; 0 where map or mask has a single value."""

    def mcc(scores: Scores, labels: Mask) -> float:
        right, alarms, passed, missed = map(float, confusion(scores, labels, threshold))
        product = (
            (right + alarms) * (right + missed) * (passed + alarms) * (passed + missed)
        ) ** 0.5
        return (right * passed - alarms * missed) / product if product else 0.0

    return _mean(pairs, mcc)


def pixel_auc(pairs: Iterable[Pair]) -> float:
    """AUC of each changed picture's pixels, averaged; wholly changed pictures are passed over."""
    return _mean([(s, y) for s, y in _changed(pairs) if not y.all()], auc)


def false_alarm_area(pairs: Iterable[Pair], threshold: float = 0.5) -> float:
    """Mean share of the pixels of pristine pictures that are called changed.

    Raises:
        ValueError: If every picture was changed.
    """
    shares = [
        float(np.mean(np.asarray(scores) >= threshold))
        for scores, labels in pairs
        if not np.asarray(labels).any()
    ]
    if not shares:
        raise ValueError("want pristine pictures, got changed ones only")
    return float(np.mean(shares))


def _mean(pairs: Iterable[Pair], measure: Callable[[Scores, Mask], float]) -> float:
    found = [measure(scores, labels) for scores, labels in _changed(pairs)]
    if not found:
        raise ValueError("want changed pictures, got pristine ones only")
    return float(np.mean(found))


def _changed(pairs: Iterable[Pair]) -> Sequence[tuple[Scores, Mask]]:
    found = []
    for scores, labels in pairs:
        numbers, mask = np.asarray(scores, np.float64), np.asarray(labels).astype(bool)
        if numbers.shape != mask.shape:
            raise ValueError(f"want a map of the mask's size {mask.shape}, got {numbers.shape}")
        if mask.any():
            found.append((numbers.ravel(), mask.ravel()))
    return found


def _f1(counts: Confusion) -> float:
    right, alarms, _, missed = counts
    return 2 * right / max(2 * right + alarms + missed, 1)


def _at_all(scores: Scores, labels: Mask) -> Iterable[Confusion]:
    """Counts at each threshold of the grid, from one histogram of each class."""
    place = np.searchsorted(GRID, scores, side="right")  # thresholds that the score reaches
    called = [
        np.bincount(place[labels == forged], minlength=GRID.size + 1)[::-1].cumsum()[::-1][1:]
        for forged in (False, True)
    ]
    forged, pristine = int(labels.sum()), int((~labels).sum())
    for alarms, right in zip(*called, strict=True):
        yield Confusion(int(right), int(alarms), pristine - int(alarms), forged - int(right))

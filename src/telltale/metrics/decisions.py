"""How often decisions at a fixed threshold are wrong, in the field's words.

An item counts as forged (an attack) when ``score >= threshold``. APCER, BPCER and ACER follow
ISO/IEC 30107-3. The threshold comes from other data than those judged here.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telltale.metrics.ranking import Floats, Labels, OneClassError, both_classes, scores_and_labels


class Confusion(NamedTuple):
    """Counts of decisions; "positive" is called forged, "true" is called rightly."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


def confusion(scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> Confusion:
    """Count right and wrong decisions of each class."""
    numbers, forged = scores_and_labels(scores, labels)
    called = _called(numbers, threshold)
    return Confusion(
        int(np.sum(called & forged)),
        int(np.sum(called & ~forged)),
        int(np.sum(~called & ~forged)),
        int(np.sum(~called & forged)),
    )


def accuracy(scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> float:
    """Share of items decided rightly; leans to the larger class, unlike 1 - HTER."""
    numbers, forged = scores_and_labels(scores, labels)
    return float(np.mean(_called(numbers, threshold) == forged))


def f1(scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> float:
    """Harmonic mean of precision and recall of "forged"; 0 if nothing is and nothing is called."""
    right, alarms, _, missed = confusion(scores, labels, threshold)
    return 2 * right / max(2 * right + alarms + missed, 1)


def iou(scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> float:
    """Intersection over union of what is called and what is forged; 0 if both are empty."""
    right, alarms, _, missed = confusion(scores, labels, threshold)
    return right / max(right + alarms + missed, 1)


def iinc(scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> float:
    """Inverse intersection non-containment of one picture's mask: 0 is perfect, 1 the worst.

    (2 - I/P - I/G) / (3 - U) with the shares of pixels called (P), true (G), in both (I) and in
    either (U); 0 if neither mask has any, 1 / (3 - U) if one of them has none. Unlike the IoU it
    says something of pictures without a forgery.

    Source: Dang et al., "On the Detection of Digital Face Manipulation", CVPR 2020,
    arXiv:1910.01717.
    """
    right, alarms, passed, missed = confusion(scores, labels, threshold)
    called, forged, union = right + alarms, right + missed, right + alarms + missed
    if not union:
        return 0.0
    outside = 2 - right / called - right / forged if called and forged else 1.0
    return outside / (3 - union / (union + passed))


def bpcer(scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> float:
    """Share of bona fide (genuine) items called forged: the false positive rate."""
    numbers, forged = scores_and_labels(scores, labels)
    if forged.all():
        raise OneClassError(f"BPCER wants genuine items, got {numbers.size} forged ones only")
    return float(np.mean(_called(numbers[~forged], threshold)))


def apcer(
    scores: ArrayLike,
    labels: ArrayLike,
    threshold: float = 0.5,
    kinds: ArrayLike | None = None,
) -> float:
    """Share of attacks called bona fide, of the *worst* attack kind if ``kinds`` are given.

    Args:
        scores: (N,) higher speaks for forged.
        labels: (N,) 0 genuine, 1 forged.
        threshold: From validation data.
        kinds: (N,) the attack instrument of each item; those of genuine items are not looked at.
    """
    numbers, forged = scores_and_labels(scores, labels)
    if not forged.any():
        raise OneClassError(f"APCER wants forged items, got {numbers.size} genuine ones only")
    missed = ~_called(numbers[forged], threshold)
    which, count = _instruments(forged, kinds)
    rates = np.bincount(which, missed, count) / np.bincount(which, minlength=count)
    return float(rates.max())


def acer(
    scores: ArrayLike,
    labels: ArrayLike,
    threshold: float = 0.5,
    kinds: ArrayLike | None = None,
) -> float:
    """Mean of :func:`apcer` and :func:`bpcer`."""
    return (apcer(scores, labels, threshold, kinds) + bpcer(scores, labels, threshold)) / 2


def hter(scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> float:
    """Half total error rate: mean of false positive and false negative rate, kinds pooled."""
    return acer(scores, labels, threshold)


def bpcer_at_apcer(
    scores: ArrayLike, labels: ArrayLike, limit: float, kinds: ArrayLike | None = None
) -> float:
    """The lowest BPCER with which the worst kind's APCER is ``limit`` (e.g. 0.05) or less."""
    if not 0 <= limit <= 1:
        raise ValueError(f"want a rate in [0, 1], got {limit}")
    numbers, forged = both_classes(scores, labels)
    attacks = numbers[forged]
    which, count = _instruments(forged, kinds)
    threshold = np.inf
    for instrument in range(count):
        own = np.sort(attacks[which == instrument])
        # 1e-9: 0.1 * 30 is 3.0000000000000004 and 0.29 * 100 is 28.999999999999996.
        may_miss = int(np.floor(limit * own.size + 1e-9))
        threshold = min(threshold, own[may_miss] if may_miss < own.size else np.inf)
    # limit = 1 allows every attack through; then nothing need be called forged.
    return 0.0 if threshold == np.inf else float(np.mean(numbers[~forged] >= threshold))


def risk_coverage(confidence: ArrayLike, wrong: ArrayLike) -> tuple[Floats, Floats]:
    """Error rate of the most confident share of items, for each share.

    Items of equal confidence have no order; they count with their mean error.

    Args:
        confidence: (N,) how sure each decision is.
        wrong: (N,) 1 where the decision was wrong, else 0.

    Returns:
        Coverage (N,), from 1/N to 1, and risk (N,), both in [0, 1].
    """
    numbers, errors = scores_and_labels(confidence, wrong)
    _, which, sizes = np.unique(-numbers, return_inverse=True, return_counts=True)
    mean_error = np.bincount(which, errors) / sizes
    items = np.arange(1.0, numbers.size + 1)
    return items / numbers.size, np.cumsum(np.repeat(mean_error, sizes)) / items


def risk_at(scores: ArrayLike, labels: ArrayLike, coverage: float, threshold: float = 0.5) -> float:
    """Error rate of the surest ``coverage`` of all items; see :func:`aurc` for what is sure.

    Raises:
        ValueError: If coverage is not in (0, 1].
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"want a coverage in (0, 1], got {coverage}")
    risk = _risk(scores, labels, threshold)
    return float(risk[max(1, round(coverage * risk.size)) - 1])


def aurc(scores: ArrayLike, labels: ArrayLike, threshold: float = 0.5) -> float:
    """Area under the risk-coverage curve; confidence is the distance to the threshold.

    That is the order in which a growing ``doubt`` turns decisions into "can't tell". 0 is best.
    """
    return float(_risk(scores, labels, threshold).mean())


def _risk(scores: ArrayLike, labels: ArrayLike, threshold: float) -> Floats:
    """Error rate (N,) of the surest 1, 2, … N items."""
    numbers, forged = scores_and_labels(scores, labels)
    return risk_coverage(np.abs(numbers - threshold), _called(numbers, threshold) != forged)[1]


def _called(numbers: Floats, threshold: float) -> Labels:
    if np.isnan(threshold):
        raise ValueError("want a number as threshold, got NaN")
    return np.asarray(numbers >= threshold)


def _instruments(forged: Labels, kinds: ArrayLike | None) -> tuple[NDArray[np.intp], int]:
    """The number of each attack's instrument, and how many instruments there are."""
    if kinds is None:
        return np.zeros(int(forged.sum()), np.intp), 1
    names = np.asarray(kinds)
    if names.shape != forged.shape:
        raise ValueError(f"want a kind an item, {forged.shape}, got {names.shape}")
    unique, which = np.unique(names[forged], return_inverse=True)
    return which, unique.size

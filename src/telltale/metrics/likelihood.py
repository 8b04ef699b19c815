"""How far probabilities and likelihood ratios can be believed: Brier, ECE, Cllr."""

import numpy as np
from numpy.typing import ArrayLike

from telltale.metrics.ranking import Floats, Labels, both_classes, convex_roc, scores_and_labels


def brier(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean squared distance of the probability of "forged" from the truth; 0 is best."""
    chances, forged = _probabilities(probabilities, labels)
    return float(np.mean((chances - forged) ** 2))


def ece(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the probability of "forged", over bins of equal width.

    The mean over items of |mean probability - share forged| in the item's bin. Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017, with the probability of class 1 in place
    of that of the chosen class. Biased upwards on few items.
    """
    if bins < 1:
        raise ValueError(f"want one bin or more, got {bins}")
    chances, forged = _probabilities(probabilities, labels)
    which = np.minimum((chances * bins).astype(np.intp), bins - 1)
    return float(np.abs(np.bincount(which, chances - forged)).sum() / chances.size)


def cllr(log_ratios: ArrayLike, labels: ArrayLike) -> float:
    """Cost of log likelihood ratios (natural logarithm), in bits; 1 = says nothing, 0 is best.

    Brümmer & du Preez, "Application-independent evaluation of speaker detection", Computer
    Speech & Language 2006. Classes weigh the same. Infinite if an infinite ratio is wrong.
    """
    ratios, forged = both_classes(log_ratios, labels)
    missed = np.logaddexp(0, -ratios[forged]).mean()
    alarmed = np.logaddexp(0, ratios[~forged]).mean()
    return float((missed + alarmed) / 2 / np.log(2))


def min_cllr(scores: ArrayLike, labels: ArrayLike) -> float:
    """Least Cllr that any ascending map of the scores reaches: the share due to ranking alone.

    ``cllr - min_cllr`` is what better calibration could gain. The best map (pool adjacent
    violators) gives each stretch of the ROC's convex hull its slope as likelihood ratio.
    """
    false_alarms, hits = convex_roc(scores, labels)
    genuine, forged = np.diff(false_alarms) / false_alarms[-1], np.diff(hits) / hits[-1]
    both = genuine + forged
    return float(_bits(forged, both).sum() + _bits(genuine, both).sum()) / 2


def log_odds(probabilities: ArrayLike) -> Floats:
    """Natural log-odds of probabilities in [0, 1]; infinite at the ends."""
    chances = np.asarray(probabilities, np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(chances) - np.log1p(-chances))


def _bits(part: Floats, whole: Floats) -> Floats:
    """``part * log2(whole / part)``, 0 where part is 0."""
    safe = np.where(part > 0, part, 1.0)
    return np.where(part > 0, part * np.log2(np.where(part > 0, whole, 1.0) / safe), 0.0)


def _probabilities(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, Labels]:
    chances, forged = scores_and_labels(probabilities, labels)
    if chances.min() < 0 or chances.max() > 1:
        raise ValueError(
            f"want probabilities in [0, 1], got {chances.min():.3g} to {chances.max():.3g}"
        )
    return chances, forged

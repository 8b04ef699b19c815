"""Logits to log likelihood ratios: a straight line, how sure of it we are, how far it reaches.

A detector's logit ranks; it does not say how much an answer is worth. A straight line through
validation data turns it into log-odds at even prior odds, which *are* the log likelihood ratio.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_NORMAL_95 = 1.959963984540054  # 97.5 % point of the normal distribution
_RIDGE = 1e-9  # per item, on a slope per standard deviation: only keeps the Newton step solvable


@dataclass(frozen=True, slots=True)
class Calibration:
    """A straight line from logits to log-odds, with its uncertainty.

    Args:
        slope: Log-odds a unit of logit.
        intercept: Log-odds at logit 0, classes weighing the same.
        covariance: Variance of the slope, covariance, variance of the intercept.
        limit: The largest |log10 LR| that the validation data support; see :func:`fit`.
    """

    slope: float
    intercept: float
    covariance: tuple[float, float, float]
    limit: float

    def __post_init__(self) -> None:
        numbers = (self.slope, self.intercept, *self.covariance, self.limit)
        if len(self.covariance) != 3 or not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"want a calibration of six finite numbers, got {numbers}")
        if self.covariance[0] < 0 or self.covariance[2] < 0 or self.limit <= 0:
            raise ValueError(f"want variances >= 0 and a limit > 0, got {numbers}")

    def log_odds(self, logits: ArrayLike) -> Floats:
        """Natural log-odds at even prior odds, not held to the limit: for ranking."""
        return np.asarray(self.slope * np.asarray(logits, np.float64) + self.intercept)

    def ranking(self, logits: ArrayLike) -> Floats:
        """Probability of the claim at even prior odds, not held to the limit.

        For figures of ranking and means over frames, in which items beyond the limit would tie.
        What a user is told is :meth:`score`.
        """
        return _sigmoid(self.log_odds(logits))

    def log10_lr(self, logits: ArrayLike) -> Floats:
        """Log10 likelihood ratio of the claim against its opposite, within ± ``limit``."""
        ratios = self.log_odds(logits) / math.log(10)
        return np.asarray(np.clip(ratios, -self.limit, self.limit))

    def score(self, logits: ArrayLike) -> Floats:
        """Probability of the claim at even prior odds; says the same as :meth:`log10_lr`."""
        return _sigmoid(self.log10_lr(logits) * math.log(10))

    def interval(self, logits: ArrayLike) -> tuple[Floats, Floats]:
        """95 % interval of the score from the line's own uncertainty (delta method).

        It is normal in log-odds, and held to the limit like the score. It says nothing about
        media unlike the validation data; that is what ``operating_range`` is for.
        """
        of_slope, of_both, of_intercept = self.covariance
        x = np.asarray(logits, np.float64)
        variance = of_slope * x**2 + 2 * of_both * x + of_intercept
        half = _NORMAL_95 * np.sqrt(np.maximum(variance, 0))  # rounding can dip below zero
        middle, furthest = self.log_odds(x), self.limit * math.log(10)
        low, high = (np.clip(end, -furthest, furthest) for end in (middle - half, middle + half))
        return _sigmoid(low), _sigmoid(high)

    def to_table(self) -> dict[str, Any]:
        """What a card's ``calibration`` holds; ready for TOML and JSON."""
        return {
            "slope": self.slope,
            "intercept": self.intercept,
            "covariance": list(self.covariance),
            "limit": self.limit,
        }

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_table` wrote; raises ValueError for a key too few or too many."""
        names = {"slope", "intercept", "covariance", "limit"}
        if set(table) != names:
            raise ValueError(f"want a calibration of {sorted(names)}, got {sorted(table)}")
        variances = tuple(float(number) for number in table["covariance"])
        if len(variances) != 3:
            raise ValueError(f"want a covariance of three numbers, got {len(variances)}")
        slope, intercept, limit = (float(table[k]) for k in ("slope", "intercept", "limit"))
        return cls(slope, intercept, (variances[0], variances[1], variances[2]), limit)


def fit(logits: ArrayLike, labels: ArrayLike, groups: ArrayLike | None = None) -> Calibration:
    """Calibrate on validation data by logistic regression in which both classes weigh the same.

    Targets are Platt's (n + 1) / (n + 2) instead of 1 and 0 (Platt, "Probabilistic outputs for
    support vector machines", 1999), so that classes that do not overlap still give a finite
    slope, for which no setting has to be guessed. The covariance is the sandwich over groups:
    items of one group may resemble each other as they like (Liang & Zeger, Biometrika 1986). To
    it comes the variance that a label with such a target has, about one item's a class. It hardly
    shows unless the classes do not overlap; then no residuals are left, from which the sandwich
    alone would conclude that the line is certain.

    The limit is log10(n + 1), n the number of independent items (groups, if given) of the smaller
    class. If none of n genuine items reached a score, the rule of succession puts the share that
    will at about 1 / (n + 1), so that even forged items that all reach it support a likelihood
    ratio of n + 1 at most; anything beyond is the straight line's extrapolation.

    Args:
        logits: (N,) of items that training never saw.
        labels: (N,) 0 genuine, 1 forged.
        groups: (N,) what makes items depend on each other, the finest that is independent: the
            person or the photograph, not the data set. Default: each item by itself.

    Raises:
        ValueError: For NaN or infinite logits, one class, all logits equal, or fewer than two
            groups.
    """
    x, forged = np.asarray(logits, np.float64), np.asarray(labels) == 1
    _check(x, np.asarray(labels))
    names = np.arange(x.size) if groups is None else np.asarray(groups)
    if names.shape != x.shape:
        raise ValueError(f"want a group an item, {x.shape}, got {names.shape}")
    unique, group = np.unique(names, return_inverse=True)
    if unique.size < 2:
        raise ValueError("want two groups or more: one tells nothing about the next")

    middle, scale = float(x.mean()), float(x.std())
    design = np.stack([(x - middle) / scale, np.ones(x.size)], axis=1)  # (N, 2)
    count = np.where(forged, forged.sum(), (~forged).sum())
    targets = np.where(forged, count + 1, 1) / (count + 2)
    weights = x.size / (2 * count)
    line = _newton(design, targets, weights)

    chances = _sigmoid(design @ line)
    bread = np.linalg.inv(_curvature(design, weights * chances * (1 - chances)))
    pulls = design * (weights * (targets - chances))[:, None]  # (N, 2) of each item on the line
    for mine in (forged, ~forged):
        # Each class weighs one half however many it has, so only its spread is uncertain.
        pulls[mine] -= pulls[mine].mean(axis=0)
    of_groups = np.zeros((unique.size, 2))
    np.add.at(of_groups, group, pulls)
    # A robust variance from few groups is too small; the usual correction.
    spread = of_groups.T @ of_groups * unique.size / (unique.size - 1)
    spread += (design * (weights**2 * targets * (1 - targets))[:, None]).T @ design
    spread = bread @ spread @ bread

    back = np.array([[1 / scale, 0], [-middle / scale, 1]])  # from standardised x to x
    (slope, intercept), covariance = back @ line, back @ spread @ back.T
    smaller = min(np.unique(group[forged]).size, np.unique(group[~forged]).size)
    return Calibration(
        float(slope),
        float(intercept),
        (float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1])),
        math.log10(smaller + 1),
    )


def _check(x: Floats, labels: NDArray[Any]) -> None:
    if x.ndim != 1 or x.shape != labels.shape:
        raise ValueError(
            f"want as many logits as labels, (N,) each, got {x.shape} and {labels.shape}"
        )
    if not np.isfinite(x).all():
        raise ValueError(f"{int((~np.isfinite(x)).sum())} of {x.size} logits are not finite")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("want labels 0 (genuine) and 1 (forged)")
    if x.size == 0 or (labels == labels[0]).all():
        raise ValueError(f"want both classes to calibrate on, got one in {x.size} items")
    if np.ptp(x) == 0:
        raise ValueError(f"all {x.size} logits are {x[0]:g}: nothing to calibrate")


def _newton(design: Floats, targets: Floats, weights: Floats) -> Floats:
    """Slope and intercept (2,) of the weighted logistic regression; the problem is convex."""
    ridge = _RIDGE * len(design) * np.array([1.0, 0.0])

    def loss(line: Floats) -> float:
        eta = design @ line
        terms = weights * (np.logaddexp(0, eta) - targets * eta)
        return float(terms.sum() + (ridge * line**2).sum() / 2)

    line = np.zeros(2)
    for _ in range(200):  # a dozen do; halving the step makes each one descend
        chances = _sigmoid(design @ line)
        gradient = design.T @ (weights * (chances - targets)) + ridge * line
        curvature = _curvature(design, weights * chances * (1 - chances))
        step = np.linalg.solve(curvature, gradient)
        size, now = 1.0, loss(line)
        while loss(line - size * step) > now and size > 1e-10:
            size /= 2
        line = line - size * step
        if np.abs(size * step).max() < 1e-10 * (1 + np.abs(line).max()):
            break
    return line


def _curvature(design: Floats, weights: Floats) -> Floats:
    ridge = np.diag([_RIDGE * len(design), 0.0])
    return np.asarray(design.T @ (design * weights[:, None]) + ridge)


def _sigmoid(eta: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(eta / 2)))  # does not overflow

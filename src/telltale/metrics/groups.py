"""Scores that come in groups (a person, a source, a video): means, the worst one, intervals."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telltale.metrics.ranking import Floats, OneClassError, scores_and_labels

Metric = Callable[..., float]  # of scores (N,), labels (N,) and further columns (N,)


def per_source(values: ArrayLike, groups: ArrayLike) -> tuple[NDArray[np.generic], Floats]:
    """Mean of the values of each group, e.g. of a video's frames.

    Average the labels the same way; a group of both labels then fails in the metric.

    Returns:
        The groups' names in ascending order (G,) and their means (G,).
    """
    numbers = np.asarray(values, np.float64)
    names, which = _grouped(groups, numbers.shape)
    return names, np.bincount(which, numbers) / np.bincount(which)


def by_source(
    metric: Metric, scores: ArrayLike, labels: ArrayLike, groups: ArrayLike
) -> dict[str, float]:
    """The metric of each group by itself.

    A group of one class (a forgery method, a camera) is set against all items of the other class,
    because it could not be ranked alone.
    """
    numbers, forged = scores_and_labels(scores, labels)
    names, which = _grouped(groups, numbers.shape)
    values = {}
    for number, name in enumerate(names):
        mine = which == number
        if forged[mine].all():
            mine = mine | ~forged
        elif not forged[mine].any():
            mine = mine | forged
        values[str(name)] = metric(numbers[mine], forged[mine])
    return values


def worst_source(
    metric: Metric,
    scores: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    lower_is_better: bool = False,
) -> tuple[str, float]:
    """The name and the metric of the group that does worst; see :func:`by_source`."""
    values = by_source(metric, scores, labels, groups)
    choose = max if lower_is_better else min
    return choose(values.items(), key=lambda item: item[1])


def bootstrap(
    metric: Metric,
    scores: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    seed: int,
    resamples: int = 1000,
    columns: Sequence[ArrayLike] = (),
) -> tuple[float, float, float]:
    """A metric and its 95 % interval, drawing whole groups with replacement.

    Items of one person or source resemble each other, so drawing single items would promise too
    much. The interval is the percentile one. A draw without one of the classes tells nothing about
    a metric that needs both, and is drawn again.

    Args:
        metric: Of scores, labels and the further columns; must not mind the order of the items.
        scores: (N,)
        labels: (N,) 0 or 1.
        groups: (N,) the source of each item, any type that sorts.
        seed: The same seed gives the same interval.
        resamples: Number of draws.
        columns: Further arrays (N,) that the metric takes, such as attack kinds.

    Returns:
        The metric of all items, and the ends of its 95 % interval.

    Raises:
        ValueError: What the metric raises for all items; fewer than two groups; or three in four
            draws of groups hold one class.
    """
    numbers, forged = scores_and_labels(scores, labels)
    # Ascending scores make the metrics' own sort linear: repeated items stay ascending.
    order = np.argsort(numbers, kind="stable")
    names, which = _grouped(groups, numbers.shape)
    if names.size < 2:
        raise ValueError(f"want two sources or more for an interval, got only {names[0]}")
    table = [numbers[order], forged[order], *(np.asarray(column)[order] for column in columns)]
    which, value = which[order], metric(*table)
    generator, failures = np.random.default_rng(seed), 0
    draws: list[float] = []
    while len(draws) < resamples:
        drawn = generator.integers(names.size, size=names.size)
        rows = np.repeat(np.arange(order.size), np.bincount(drawn, minlength=names.size)[which])
        try:
            draws.append(metric(*(column[rows] for column in table)))
        except OneClassError:
            failures += 1
            if failures > 3 * resamples:
                raise OneClassError(
                    f"too few sources for an interval: 3 in 4 draws of {names.size} hold one class"
                ) from None
    draws.sort()  # by rank and outwards: np.quantile would make NaN of infinite neighbours
    last = resamples - 1
    return float(value), draws[math.floor(0.025 * last)], draws[math.ceil(0.975 * last)]


def mean(
    values: ArrayLike, groups: ArrayLike, *, seed: int = 0, resamples: int = 1000
) -> tuple[float, float | None, float | None]:
    """The mean of values (N,) and its 95 % interval by whole groups; None for a single group."""
    numbers = np.asarray(values, np.float64)
    names, which = _grouped(groups, numbers.shape)
    if names.size < 2:
        return float(numbers.mean()), None, None
    sums, counts = (np.bincount(which, weights) for weights in (numbers, None))
    generator = np.random.default_rng(seed)
    drawn = generator.integers(names.size, size=(resamples, names.size))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(numbers.mean()), float(low), float(high)


def _grouped(
    groups: ArrayLike, shape: tuple[int, ...]
) -> tuple[NDArray[np.generic], NDArray[np.intp]]:
    """The distinct groups, ascending, and the number of each item's group."""
    names = np.asarray(groups)
    if names.shape != shape or len(shape) != 1 or not names.size:
        raise ValueError(f"want a group an item, got {names.shape} groups for {shape} items")
    unique, which = np.unique(names, return_inverse=True)
    return unique, which

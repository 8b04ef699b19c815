"""From scores under each degradation to AUCs, what is lost, and intervals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telltale import metrics

Strings = NDArray[np.str_]


class Figure(NamedTuple):
    """A figure with its 95 % interval; None where the sources are too few for one."""

    value: float
    low: float | None = None
    high: float | None = None


class Point(NamedTuple):
    """One detector under one degradation at one level."""

    detector: str
    kind: str
    level: int
    auc: Figure
    drop: Figure  # AUC as given minus AUC here, on the same items


class Stress(NamedTuple):
    """What ``telltale stress`` found."""

    data: str
    titles: Mapping[str, str]  # kind -> in words
    clean: Mapping[str, Figure]  # detector -> AUC of the pictures as given
    points: tuple[Point, ...]
    genuine: int
    forged: int
    sources: int
    notes: tuple[str, ...]
    made_with: Mapping[str, str]

    def of(self, detector: str, kind: str) -> tuple[Point, ...]:
        """A curve: the points of one detector under one degradation, by level."""
        return tuple(p for p in self.points if (p.detector, p.kind) == (detector, kind))

    def mean(self, detector: str, kind: str = "") -> float:
        """The mean AUC of a detector over the levels of a degradation, or of all of them."""
        chosen = [p for p in self.points if p.detector == detector and kind in ("", p.kind)]
        return float(np.mean([point.auc.value for point in chosen]))


class Items(NamedTuple):
    """What was scored: pictures, or videos that their frames were averaged to."""

    labels: NDArray[np.int64]  # (N,)
    sources: Strings  # (N,)
    scores: NDArray[np.float64]  # (N, detectors, kinds, levels + 1), level 0 as given


def averaged(items: Items, clips: Sequence[str]) -> Items:
    """One item for each clip (N,): the mean of its frames' scores."""
    _, first, which = np.unique(np.array(clips), return_index=True, return_inverse=True)
    sums = np.zeros((first.size, *items.scores.shape[1:]))
    np.add.at(sums, which, items.scores)
    counts = np.bincount(which).reshape(-1, *[1] * (sums.ndim - 1))
    return Items(items.labels[first], items.sources[first], sums / counts)


def figure(
    items: Items, scores: NDArray[np.float64], seed: int, resamples: int
) -> tuple[Figure, Figure]:
    """The AUC of ``scores`` (2, N), its first row as given and its second degraded; and the drop.

    Intervals draw whole sources; the drop's draws the same ones for both.
    """
    before, after = scores

    def lost(now: ArrayLike, labels: ArrayLike, then: ArrayLike) -> float:
        return metrics.auc(then, labels) - metrics.auc(now, labels)

    value = metrics.auc(after, items.labels)
    drop = lost(after, items.labels, before)
    settings = (after, items.labels, items.sources)
    try:
        first = metrics.bootstrap(metrics.auc, *settings, seed=seed, resamples=resamples)
        second = metrics.bootstrap(
            lost, *settings, seed=seed, resamples=resamples, columns=(before,)
        )
    except ValueError:  # fewer than two sources, or most draws of one class
        return Figure(value), Figure(drop)
    return Figure(*first), Figure(*second)

"""A small detector of changed pictures, and what is gained by refusing what it flags.

A changed picture's feature is less at rest: what hardly alters a photograph (JPEG, a blur, fewer
bits) moves it away from where the change had pulled it. How far each defence moves a feature is
what the detector looks at, by logistic regression. It learns from the other pictures, clean and
changed, and is asked about the one that it has not seen; the threshold is the highest score of
those clean ones. So its figures are of pictures, attacked as these were, that it never learnt from.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telltale.audit.figures import Moved
from telltale.metrics import auc
from telltale.metrics.answers import wilson

Floats = NDArray[np.float64]
LEAST = 4  # pictures below which nothing can be learnt
RIDGE, ROUNDS = 1.0, 30  # of the regression


class Judged(NamedTuple):
    """What the detector does for so many pictures."""

    pictures: int
    auc: float  # of scores over each one's threshold
    flagged: int  # of the changed pictures
    false: int  # of the same pictures unchanged
    taken_before: int  # unchanged ones that are taken for the instruction and not flagged
    taken: int  # changed ones
    interval: tuple[float, float]  # 95 %, of the share taken


def judged(found: Sequence[Moved]) -> Judged | None:
    """Each picture judged by a detector of the others; None if there are too few of them."""
    count = len(found)
    if count < LEAST:
        return None
    scores = held_out([one.signs_before for one in found], [one.signs for one in found])
    plain = [one.defences["none"] for one in found]
    let = scores <= 0
    taken = sum(row.won and free for row, free in zip(plain, let[1], strict=True))
    return Judged(
        count,
        float(auc(scores.ravel(), np.repeat([0, 1], count))),
        int((~let[1]).sum()),
        int((~let[0]).sum()),
        sum(row.won_before and free for row, free in zip(plain, let[0], strict=True)),
        taken,
        wilson(taken, count),
    )


def held_out(clean: ArrayLike, changed: ArrayLike) -> Floats:
    """Scores (2, N) of clean and changed pictures by their signs (N, D), over the threshold.

    Each comes from a detector that learnt from the other pictures; above 0 is flagged.
    """
    before, after = (np.log(np.asarray(rows, np.float64) + 1e-6) for rows in (clean, changed))
    count = len(before)
    scores = np.zeros((2, count))
    for place in range(count):
        others = np.arange(count) != place
        rows = np.concatenate([before[others], after[others]])
        middle, spread = rows.mean(0), rows.std(0) + 1e-9
        weights = fitted((rows - middle) / spread, np.repeat([0.0, 1.0], count - 1))
        asked = np.concatenate([before[others], before[[place]], after[[place]]])
        answers = _with_one((asked - middle) / spread) @ weights
        scores[:, place] = answers[-2:] - answers[:-2].max()
    return scores


def detected(found: Sequence[Moved]) -> float:
    """How well unrest tells changed pictures from the same ones unchanged: area under the ROC."""
    scores = [one.unrest_before for one in found] + [one.unrest for one in found]
    return float(auc(np.array(scores), np.repeat([0, 1], len(found))))


def fitted(rows: Floats, labels: Floats) -> Floats:
    """Weights (D + 1,) of a ridge logistic regression of labels (N,) on rows (N, D), by Newton."""
    x = _with_one(rows)
    weights, penalty = np.zeros(x.shape[1]), RIDGE * np.eye(x.shape[1])
    penalty[-1, -1] = 1e-6  # of the constant
    for _ in range(ROUNDS):
        chance = 0.5 + 0.5 * np.tanh(x @ weights / 2)
        slope = x.T @ (chance - labels) + penalty @ weights
        bend = (x * (chance * (1 - chance))[:, None]).T @ x + penalty
        weights = weights - np.linalg.solve(bend, slope)
    return weights


def _with_one(rows: Floats) -> Floats:
    return np.concatenate([rows, np.ones((len(rows), 1))], 1)

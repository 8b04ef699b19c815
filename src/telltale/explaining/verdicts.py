"""What the violation test found of a model's explanations: figures, and whether to trust them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telltale.detector.maps import LOT

Flags = Mapping[str, NDArray[np.bool_]]  # by removal, of each picture
Floats = NDArray[np.float32]

Z = 1.959964  # 97.5 % point of the normal distribution
TRUSTED = 0.25  # ours, not the paper's: half of what a coin gives


@dataclass(frozen=True, slots=True)
class Measured:
    """One explanation under the test.

    Args:
        method: Its name.
        violation: Share of samples and removals in which its strongest feature's sign was wrong.
        low: Of the 95 % interval, Wilson's over pictures.
        high: The same interval's other end.
        still: Share of changes below 1e-6: of these the test says nothing.
        comprehensiveness: Mean fall of the called class's probability without the top features;
            NaN if it was not measured.
        sufficiency: The same without the lowest.
        by_removal: Violation by each way of removing.
        trust: "yes", "no" or "not settled"; see :func:`faithfulness`.
        better: Whether it violates clearly less than weights drawn by lot: the 95 % interval of the
            mean difference on the same pictures and removals, by a normal approximation over the
            pictures, lies above 0.
    """

    method: str
    violation: float
    low: float
    high: float
    still: float
    comprehensiveness: float
    sufficiency: float
    by_removal: Mapping[str, float]
    trust: str
    better: bool


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """The test of all explanations of one model, the fewest violations first."""

    model: str
    claim: str  # what class 1 asserts, of a detector
    data: str
    pictures: int
    grid: int  # features a side of a map
    rows: tuple[Measured, ...]
    notes: tuple[str, ...]

    def best(self) -> Measured:
        """The explanation with the fewest violations; random weights do not compete."""
        return next(row for row in self.rows if row.method != LOT)

    def of(self, method: str) -> Measured:
        """An explanation's row."""
        return next(row for row in self.rows if row.method == method)


@dataclass(frozen=True, slots=True)
class Explained:
    """One picture's maps.

    Args:
        path: The picture.
        crop: What the model was shown, (3, S, S) in [0, 1].
        score: Probability of the class that the model calls.
        called: That class.
        maps: By method, signed weights (g, g) for the called class.
    """

    path: Path
    crop: Floats
    score: float
    called: int
    maps: Mapping[str, Floats]


def measured(
    method: str, flags: Flags, lot: Flags, still: float, comprehensive: float, sufficient: float
) -> Measured:
    """A row, of whether each removal violated on each picture (N,)."""
    violated = np.mean([*flags.values()], 0)
    gain = np.mean([lot[how] for how in flags], 0) - violated
    violation, count = float(violated.mean()), len(violated)
    low, high = wilson(violation, count)
    error = float(gain.std(ddof=1)) / math.sqrt(count) if count > 1 else math.inf
    better = float(gain.mean()) > Z * error
    trust = "not settled" if high >= TRUSTED or still > 0.5 else "yes"
    return Measured(
        method,
        violation,
        low,
        high,
        still,
        comprehensive,
        sufficient,
        {how: float(it.mean()) for how, it in flags.items()},
        trust if better and low <= TRUSTED else "no",
        better,
    )


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of ``count`` independent ones."""
    span = Z * Z / count
    middle = (share + span / 2) / (1 + span)
    half = Z / (1 + span) * math.sqrt(share * (1 - share) / count + (Z / count) ** 2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)

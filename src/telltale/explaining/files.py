"""Shipped and exported detectors under the violation test, by their answers alone: without torch.

Features are blocks of what the network is shown, at the calibrated log-odds; what a map marks most
is removed in four ways (:data:`telltale.detector.maps.REMOVALS`). Occlusion is not tested by the
removal that it is made by. Weights drawn by lot are uniform in [0, 1] for the class that is called,
as in the paper.

Source: Liu et al., ICML 2022, arXiv:2201.12114, as in `telltale.explain.faithfulness`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.detector.maps import LOT, OCCLUSION, OWN, REMOVALS, occlusion, without
from telltale.detector.tiles import Tiles
from telltale.explaining.opening import blocks, looked_at

if TYPE_CHECKING:
    from telltale.detector import Detector

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

STILL = 1e-6  # as in telltale.explain.faithfulness: a change below this has no sign
TOP, LOW = (0.05, 0.1, 0.2, 0.5), (0.5, 0.8, 0.9, 0.95)
NOTE = (
    "an exported file has no gradients: explanations are its own map and occlusion, and features "
    "are blocks of pixels"
)


@dataclass(frozen=True, slots=True)
class Tested:
    """One map of N pictures under the test.

    Args:
        removals: R names.
        violated: (N, R) for each removal.
        still: (N, R), whether nothing changed.
        comprehensive: (N,), mean fall of the called class's probability without the top blocks.
        sufficient: (N,), the same without the lowest.
    """

    removals: tuple[str, ...]
    violated: NDArray[np.bool_]
    still: NDArray[np.bool_]
    comprehensive: Floats
    sufficient: Floats


@dataclass(frozen=True, slots=True)
class Shown:
    """A detector whose answers alone are asked.

    Args:
        name: What it was called by.
        detector: On its weights.
        grid: Blocks a side.
    """

    name: str
    detector: "Detector"
    grid: int
    validation = None
    notes: tuple[str, ...] = (NOTE,)

    @classmethod
    def of(cls, what: "str | Path | None", grid: int | None) -> "Shown":
        """A slug's shipped weights or an exported ``.onnx``; the first shipped by default.

        Raises:
            ValueError: As :func:`telltale.load`.
        """
        from telltale.loading import load

        detector = load(what, threads=0)
        kept = detector.weights.maps.get(OCCLUSION, {}).get("grid")
        name = detector.card.slug if what is None else str(what)
        return cls(name, detector, int(grid or kept or blocks(detector.size)))

    @property
    def claim(self) -> str:
        """What class 1 asserts."""
        return self.detector.card.claim

    def crop(self, path: Path, on: str) -> Pixels:
        """What the network is shown of a picture, (S, S, 3)."""
        return looked_at(path, on, self.detector.size, self.detector.looker)

    def odds(self, crop: Pixels) -> float:
        """Calibrated log-odds of the claim."""
        return float(self.detector.calibration.log_odds(self.detector.weigh([crop]).logits)[0])

    def methods(self) -> tuple[str, ...]:
        """The maps there are; occlusion of tiles would take minutes a picture."""
        located = "heatmap" in {it.name for it in self.detector.network.get_outputs()}
        tiled = isinstance(self.detector.looker, Tiles)
        return ((OWN,) if located else ()) + (() if tiled else (OCCLUSION,)) + (LOT,)

    def maps(self, crop: Pixels, rng: np.random.Generator) -> dict[str, Floats]:
        """Signed weights (g, g), above 0 for the claim."""
        evidence = self.detector.weigh([crop])
        line, g = self.detector.calibration.log_odds, self.grid
        side = 1 if line(evidence.logits)[0] >= 0 else -1
        made: dict[str, Floats] = {}
        for method in self.methods():
            if method == OCCLUSION:
                made[method] = occlusion(self.odds, crop, g)
            elif method == LOT:
                made[method] = side * rng.random((g, g))
            elif evidence.heatmaps is not None:
                made[method] = _pooled(line(evidence.heatmaps[0]), g)
        return made

    def tested(
        self, crops: Iterable[Pixels], *, shares: bool = True, seed: int = 0
    ) -> dict[str, Tested]:
        """The test of each map.

        Args:
            crops: As :meth:`crop` gives them.
            shares: Whether to measure comprehensiveness and sufficiency, by the mean colour.
            seed: Of the weights that are drawn by lot.
        """
        found: dict[str, list[tuple[Any, ...]]] = {method: [] for method in self.methods()}
        for number, crop in enumerate(crops):
            before = self.odds(crop)
            for method, weights in self.maps(crop, np.random.default_rng([seed, number])).items():
                found[method].append(self._row(crop, before, weights, _removals(method), shares))
        made = {}
        for method, rows in found.items():
            columns = [np.array(column) for column in zip(*rows, strict=True)]
            made[method] = Tested(_removals(method), *columns)
        return made

    def _row(
        self, crop: Pixels, before: float, weights: Floats, removals: Sequence[str], shares: bool
    ) -> tuple[Any, ...]:
        side = 1 if before >= 0 else -1
        called = side * weights  # for the class that is called

        def fall(dropped: NDArray[np.bool_], how: str) -> float:
            after = self.odds(without(crop, dropped, how))
            return _probability(side * before) - _probability(side * after)

        strongest = np.zeros(weights.size, bool)
        strongest[np.abs(weights).argmax()] = True
        top = strongest.reshape(weights.shape)
        falls = np.array([fall(top, how) for how in removals])
        order = np.argsort(-called, axis=None, kind="stable")
        mean = [math.nan, math.nan]
        for place, (levels, rows) in enumerate(((TOP, order), (LOW, order[::-1]))):
            if shares:
                mean[place] = float(np.mean([fall(_first(rows, s, top), "mean") for s in levels]))
        return (float(called[top][0]) * falls < 0, np.abs(falls) < STILL, *mean)

    def explain(self, crop: Pixels) -> tuple[dict[str, NDArray[np.float32]], float, int]:
        """Maps for the class that is called, that class's probability, and the class."""
        before = self.odds(crop)
        side = 1 if before >= 0 else -1
        maps = self.maps(crop, np.random.default_rng(0))
        shown = {name: np.asarray(side * it, np.float32) for name, it in maps.items()}
        return shown, _probability(side * before), int(side > 0)


def _removals(method: str) -> tuple[str, ...]:
    return tuple(how for how in REMOVALS if method != OCCLUSION or how != "blurred")


def _first(order: NDArray[np.intp], share: float, like: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The first blocks of an order, at least one and not all."""
    dropped = np.zeros(like.size, bool)
    dropped[order[: min(max(round(share * like.size), 1), like.size - 1)]] = True
    return dropped.reshape(like.shape)


def _probability(odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(odds, -700.0), 700.0)))


def _pooled(found: Floats, grid: int) -> Floats:
    """A map's mean over blocks; also where their borders cut cells."""
    small = Image.fromarray(found.astype(np.float32)).resize((grid, grid), Image.Resampling.BOX)
    return np.asarray(small, np.float64)

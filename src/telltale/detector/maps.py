"""Where an answer comes from, asked of the answers alone: the network's own map, and occlusion.

    w_i = z(x) - z(x with block i blurred away)            z: calibrated log-odds of the claim

An exported network has no gradients, so a map is made of answers or comes with them. Either may
point the wrong way; what the violation test found of each stands in the card
(``[weights.maps]``; benchmarks/heat_maps.py measures it), and the map that did best is shown first.

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
Departures: blocks are blurred, not greyed: a grey square has edges, which forensic networks see.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from telltale.detector.tiles import Tiled
from telltale.records import Explanation, Finding

if TYPE_CHECKING:
    from telltale.detector import Detector
    from telltale.detector.subjects import Pixels, Subject

OWN, OCCLUSION, LOT = "own map", "occlusion", "random"
REMOVALS = ("black", "mean", "flat", "blurred")  # "mean" of the crop, "flat": the block's own
BLUR = 0.25  # of a block's side, the standard deviation
LEAST = 0.25  # nats, a quarter more or less likely: where no block weighs as much, a map is pale

Floats = NDArray[np.float64]


def without(crop: "Pixels", dropped: NDArray[np.bool_], how: str) -> "Pixels":
    """A crop (S, S, 3) with some blocks of a grid removed.

    Args:
        crop: What the network is shown.
        dropped: (g, g), which blocks; their borders are the nearest pixels if g does not divide S.
        how: Of :data:`REMOVALS`.

    Raises:
        ValueError: If there is no such removal.
    """
    if how not in REMOVALS:
        raise ValueError(f"want a removal of {', '.join(REMOVALS)}, got {how!r}")
    grid, side = len(dropped), len(crop)
    edges = np.rint(np.linspace(0, side, grid + 1)).astype(int)
    made = crop.copy()
    filling: Any = 0
    if how == "mean":
        filling = np.rint(crop.mean((0, 1)))
    elif how == "blurred":
        blurred = Image.fromarray(crop).filter(ImageFilter.GaussianBlur(BLUR * side / grid))
        filling = np.asarray(blurred)
    for row, column in np.argwhere(dropped):
        place = np.s_[edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
        if how == "flat":
            made[place] = np.rint(crop[place].mean((0, 1)))
        else:
            made[place] = filling[place] if how == "blurred" else filling
    return made


def occlusion(
    odds: "Callable[[Pixels], float]", crop: "Pixels", grid: int, how: str = "blurred"
) -> Floats:
    """What the log-odds lose without each block, (g, g): above 0 it speaks for the claim.

    Args:
        odds: The log-odds of a crop; asked g² + 1 times.
        crop: (S, S, 3).
        grid: g, blocks a side.
        how: Of :data:`REMOVALS`.
    """
    before = odds(crop)
    lost = np.zeros((grid, grid))
    for place in np.ndindex(grid, grid):
        dropped = np.zeros((grid, grid), bool)
        dropped[place] = True
        lost[place] = before - odds(without(crop, dropped, how))
    return lost


def as_heat(weights: Floats) -> NDArray[np.float32]:
    """Log-odds for the claim as a heat map in [0, 1]; what speaks against it is 0."""
    return np.clip(weights / max(LEAST, float(np.abs(weights).max())), 0, 1).astype(np.float32)


def explained(detector: "Detector", subject: "Subject", finding: Finding) -> Finding:
    """A picture's finding with the maps that its card tested side by side, the best one first.

    Costs g² network calls, so a finding that says "no", which points at nothing, gets no second
    map, and keeps its own only if that can be trusted. One without a map is left as it is if the
    only one that could be made is not to be trusted.
    """
    tests = detector.weights.maps
    told = tests.get(OCCLUSION, {})
    grid, one = int(told.get("grid", 0)), len(subject.crops) == 1
    wanted = finding.heatmap is not None or told.get("trusted", False)
    tiled = isinstance(subject.crops, Tiled)
    if not grid or not one or tiled or not wanted:
        return finding
    if finding.verdict == "no":
        return finding if tests.get(OWN, {}).get("trusted", True) else _unmapped(detector, finding)

    def odds(crop: "Pixels") -> float:
        return float(detector.calibration.log_odds(detector.weigh([crop], subject.hints).logits)[0])

    maps = {OCCLUSION: as_heat(occlusion(odds, subject.crops[0], grid))}
    if finding.heatmap is not None:
        maps[OWN] = finding.heatmap
    order = sorted(maps, key=lambda method: worth(tests.get(method, {})))
    own, best = detector.weights.told(OWN), detector.weights.told(order[0])
    return replace(
        finding,
        heatmap=maps[order[0]],
        explanations=tuple(explanation(name, maps[name], tests) for name in order),
        notes=(*(note for note in finding.notes if note not in own), *best),
    )


def _unmapped(detector: "Detector", finding: Finding) -> Finding:
    """The finding without its map and without what is said beside it."""
    told = detector.weights.told(OWN)
    return replace(
        finding, heatmap=None, notes=tuple(note for note in finding.notes if note not in told)
    )


def explanation(
    method: str, heatmap: NDArray[np.float32], tests: Mapping[str, Mapping[str, Any]]
) -> Explanation:
    """A map with what the card says of its kind."""
    if method not in tests:
        return Explanation(method, heatmap)
    told = tests[method]
    share, low, high = told["violation"]
    return Explanation(
        method, heatmap, share, (low, high), told["by_lot"], told["pictures"], told["trusted"]
    )


def worth(told: Mapping[str, Any]) -> tuple[bool, float]:
    """To sort maps by: those that can be trusted first, then by their violations."""
    return not told.get("trusted", False), told["violation"][0] if told else math.inf

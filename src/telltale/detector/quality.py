"""How much a subject's pixels have suffered, from pristine (1) down: an estimate of a **proxy**.

A small network estimates FSIM against the picture as it was before it was blurred, compressed or
made noisy. No person was asked. A card whose operating range bounds :data:`MEASURE` gets it for
each subject, and below the bound the verdict is "can't tell".
"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from telltale.detector.subjects import Subject
from telltale.engine import read_weights, session, verified
from telltale.records import Region

if TYPE_CHECKING:
    import onnxruntime

MEASURE = "visual_quality"
MOST = 3  # crops along a side


class Rater:
    """A network that rates pixels.

    Args:
        threads: Inside a network call; 0 = all cores.
        card: The TOML file with its one table of weights; beside this file by default.
        folder: Where the weights lie; the installed package by default.

    Raises:
        ValueError: If the weights are missing or corrupt.
    """

    def __init__(
        self, threads: int = 0, *, card: Path | None = None, folder: Path | None = None
    ) -> None:
        card = card or Path(__file__).with_suffix(".toml")
        if not card.is_file():
            raise ValueError(f"{card}: there are no weights that rate visual quality")
        (weights,) = read_weights(card)
        self.side = int(weights.input["size"])
        self.path, self.threads = verified(weights, folder), threads

    @cached_property
    def network(self) -> "onnxruntime.InferenceSession":
        """Made for the first subject: pictures without one need not wait for it."""
        return session(self.path, self.threads)

    def rate(self, pixels: NDArray[np.uint8], region: Region | None = None) -> float:
        """Estimated FSIM in [0, 1] of a picture (H, W, 3), or of a region's upright box in it.

        The mean over crops at the picture's own resolution, the black fields of a chessboard of at
        most 3 × 3 that are spread evenly: shrinking would hide what is measured. What is smaller
        than a crop is mirrored at its edges.
        """
        part = pixels if region is None else _box(pixels, region)
        missing = [(0, max(0, self.side - n)) for n in part.shape[:2]]
        if any(after for _, after in missing):
            part = np.pad(part, [*missing, (0, 0)], "symmetric")
        rows, columns = (_places(n, self.side) for n in part.shape[:2])
        narrow = min(len(rows), len(columns)) == 1  # a single row or column is taken whole
        crops = [
            part[y : y + self.side, x : x + self.side]
            for i, y in enumerate(rows)
            for j, x in enumerate(columns)
            if narrow or (i + j) % 2 == 0
        ]
        batch = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255
        (impaired,) = self.network.run(None, {"images": batch})
        return float(np.clip(1 - np.mean(impaired, dtype=np.float64) / 100, 0, 1))


def measured(rater: Rater | None, pixels: NDArray[np.uint8], subject: Subject) -> dict[str, float]:
    """What the operating range looks at of a subject; visual quality only with a rater."""
    if rater is None:
        return subject.quality
    return {**subject.quality, MEASURE: rater.rate(pixels, subject.region)}


def _box(pixels: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """The region's pixels, at least one, whatever lies outside the picture left out."""
    height, width = pixels.shape[:2]
    left, top = (int(np.clip(v, 0, n - 1)) for v, n in ((region.x, width), (region.y, height)))
    right = int(np.clip(region.x + region.width, left + 1, width))
    bottom = int(np.clip(region.y + region.height, top + 1, height))
    return pixels[top:bottom, left:right]


def _places(length: int, side: int) -> list[int]:
    count = min(MOST, length // side)
    return (
        [int(v) for v in np.linspace(0, length - side, count).round()]
        if count > 1
        else [(length - side) // 2]
    )

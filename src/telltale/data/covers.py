"""Natural pictures for faces to hide in, drawn afresh for every item of every batch.

A cover that comes back with the same face, or with one class more often, gives the label away; so
each draw takes any picture and any part of it, whatever the label.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.data.layout import VIDEOS
from telltale.data.synth.textures import textures
from telltale.media import find_media, read_picture

if TYPE_CHECKING:
    from telltale.data.sources import Batch, Source

Floats = NDArray[np.float32]

SMALLEST = 0.5  # of a picture's shorter side, for the part that is taken


class Covered:
    """A source whose batches have ``covers`` as well.

    Args:
        source: Where the rest comes from.
        folder: Of natural pictures; "" for drawn textures, which suit toy faces.
        size: Side of the images in pixels.
        seed: Of the draws.
    """

    def __init__(self, source: "Source", folder: str, size: int, seed: int) -> None:
        self.source, self.size, self.seed = source, size, seed
        found = find_media([folder]) if folder else ()
        self.files = sorted(path for path in found if path.suffix.lower() not in VIDEOS)
        if folder and not self.files:
            raise ValueError(f"data.covers: no pictures in {folder}")
        about = f"{len(self.files)} pictures" if folder else "drawn textures"
        self.about: dict[str, Any] = source.about | {"covers": about}
        self.learnt: list[str] = getattr(source, "learnt", [])

    def __getitem__(self, number: int) -> "Batch":
        return self._with(self.source[number], np.random.default_rng([self.seed, number, 1]))

    def validation(self) -> "Iterator[Batch]":
        """The source's batches with covers that are the same whatever the run's seed."""
        for number, batch in enumerate(self.source.validation()):
            yield self._with(batch, np.random.default_rng([number, 2]))

    def _with(self, batch: "Batch", rng: np.random.Generator) -> "Batch":
        count = len(batch["images"])
        if not self.files:
            return batch | {"covers": textures(count, self.size, rng)}
        return batch | {"covers": np.stack([self._cover(rng) for _ in range(count)])}

    def _cover(self, rng: np.random.Generator) -> Floats:
        """A random square of a random picture (3, S, S)."""
        return part(self.files[rng.integers(len(self.files))], self.size, rng)


def part(path: Path, size: int, rng: np.random.Generator) -> Floats:
    """A random square of a picture, at least half its shorter side, as (3, size, size)."""
    pixels = read_picture(path).pixels
    height, width = pixels.shape[:2]
    side = int(rng.integers(max(1, round(SMALLEST * min(height, width))), min(height, width) + 1))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    square = Image.fromarray(np.ascontiguousarray(pixels[top : top + side, left : left + side]))
    small = square.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(small, np.float32).transpose(2, 0, 1) / np.float32(255)

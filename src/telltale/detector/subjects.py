"""What a detector asks its question about: the faces of a picture, the page in it, or all of it.

A :class:`Looker` finds subjects and cuts what the network is shown of each; the detector weighs,
calibrates and decides, whatever the subject.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from telltale.media.facefinder import Face
from telltale.records import Region

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]  # left, top, right, bottom in sides of the picture


class Subject(NamedTuple):
    """One thing in one picture that a question is about."""

    region: Region
    crops: Sequence[Pixels] | Pixels  # n of (S, S, 3): what the network is shown
    quality: dict[str, float]  # what the operating range looks at
    grid: tuple[int, int] | None = None  # rows and columns in which the crops cover the region
    face: Face | None = None
    hints: tuple[Box, ...] = ()  # where a network that takes hints is told to look


class Sighting(NamedTuple):
    """A subject in one frame of a video."""

    seconds: float
    logit: float
    region: Region
    quality: dict[str, float]


class Joiner(Protocol):
    """Numbers the subjects of a video's frames, each the same number in all of them."""

    def __call__(self, seconds: float, pixels: Pixels, found: Sequence[Subject]) -> list[int]: ...


class Looker(Protocol):
    """Finds the subjects of one kind."""

    noun: str  # "face", "page", "picture"
    context: float  # sides of the region that a degradation acts on: codecs look round a subject

    def look(self, pixels: Pixels, details: Mapping[str, str]) -> list[Subject]:
        """The subjects of a picture (H, W, 3), the largest first.

        Args:
            pixels: sRGB.
            details: ``Subject.details`` of the file; its JPEG quality enters the quality.
        """
        ...

    def cut(self, pixels: Pixels, region: Region) -> Sequence[Pixels] | Pixels:
        """The crops, n of (S, S, 3), of a subject in any picture, such as a degraded copy."""
        ...

    def joiner(self) -> Joiner:
        """What keeps the subjects of one video apart."""
        ...


def same(seconds: float, pixels: Pixels, found: Sequence[Subject]) -> list[int]:
    """A :class:`Joiner` for what a frame has one of: it is the same in all of them."""
    return [0] * len(found)


def surroundings(pixels: Pixels, region: Region, sides: float) -> tuple[Pixels, Region]:
    """A region's surroundings, so many of its sides wide, and where in them the region is.

    They begin on the file's own JPEG grid (16 with chroma subsampling), so that re-encoding is
    tested by itself; a shifted grid is the crop's question.
    """
    x, y = region.x + region.width / 2, region.y + region.height / 2
    across, down = sides * region.width / 2, sides * region.height / 2
    height, width = pixels.shape[:2]
    left, top = max(0, math.floor(x - across) // 16 * 16), max(0, math.floor(y - down) // 16 * 16)
    right, bottom = min(width, math.ceil(x + across)), min(height, math.ceil(y + down))
    return pixels[top:bottom, left:right], replace(region, x=region.x - left, y=region.y - top)


def coding(details: Mapping[str, str]) -> dict[str, float]:
    """How the file was compressed, as far as it says so."""
    return {"jpeg_quality": float(details["jpeg_quality"])} if "jpeg_quality" in details else {}


def sharpness(crop: Pixels) -> float:
    """Mean absolute Laplacian of a crop's grey levels, 0–255: small and blurred ones lack it."""
    grey = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.abs(4 * grey[1:-1, 1:-1] - around).mean())

"""A whole picture at its own resolution: tiles that overlap, and their maps as one."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.detector.subjects import Joiner, Pixels, Subject, coding, same, sharpness
from telltale.records import Region

Maps = NDArray[np.float32]

GRID = 8  # pixels: tiles begin on JPEG's blocks
LARGEST = 256  # cells a side of the map that a finding keeps
TOP = 0.01  # share of the cells whose mean is the picture's answer: one hot pixel is no evidence


class Tiled(Sequence[Pixels]):
    """Squares (S, S, 3) that cover a picture (H, W, 3), cut when they are asked for.

    Args:
        pixels: The picture; what a tile lacks at the right and below is mirrored.
        size: S, a multiple of 8.
        overlap: Pixels that neighbours share, below S.
    """

    def __init__(self, pixels: Pixels, size: int, overlap: int) -> None:
        self.pixels, self.size = pixels, size
        self.places = [
            (y, x)
            for y in _starts(pixels.shape[0], size, size - overlap)
            for x in _starts(pixels.shape[1], size, size - overlap)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Pixels:  # type: ignore[override]  # no slices
        y, x = self.places[index]
        tile = self.pixels[y : y + self.size, x : x + self.size]
        missing = [(0, self.size - n) for n in tile.shape[:2]]
        if missing != [(0, 0), (0, 0)]:
            tile = np.pad(tile, (*missing, (0, 0)), "symmetric")
        return tile

    def __iter__(self) -> Iterator[Pixels]:
        return (self[index] for index in range(len(self)))

    def stitched(self, maps: Maps) -> Maps:
        """The tiles' maps (n, h, h) as one of the whole picture.

        Where tiles overlap each counts the less, the nearer its own border is.
        """
        cells = maps.shape[-1]
        step = self.size // cells  # pixels a cell
        height, width = (-(-n // step) for n in self.pixels.shape[:2])
        ramp = np.minimum(np.arange(cells) + 1, cells - np.arange(cells)).astype(np.float32)
        weight = ramp[:, None] * ramp
        total = np.zeros((height + cells, width + cells), np.float32)
        weights = np.zeros_like(total)
        for (y, x), found in zip(self.places, maps, strict=True):
            place = slice(y // step, y // step + cells), slice(x // step, x // step + cells)
            total[place] += weight * found
            weights[place] += weight
        return np.asarray(total[:height, :width] / weights[:height, :width], np.float32)


class Tiles:
    """The whole picture as the subject.

    Args:
        size: S, side of a tile in pixels of the picture.
        overlap: Pixels that neighbouring tiles share.
    """

    noun = "picture"
    context = 1.0

    def __init__(self, size: int, overlap: int) -> None:
        self.size, self.overlap = size, overlap

    def look(self, pixels: Pixels, details: Mapping[str, str]) -> list[Subject]:
        """See :class:`~telltale.detector.subjects.Looker`."""
        height, width = pixels.shape[:2]
        tiles = Tiled(pixels, self.size, self.overlap)
        some = range(0, len(tiles), max(1, len(tiles) // 9))
        quality = {
            "picture_pixels": float(min(height, width)),
            "sharpness": float(np.mean([sharpness(tiles[index]) for index in some])),
        }
        return [Subject(Region(0, 0, width, height), tiles, quality | coding(details))]

    def cut(self, pixels: Pixels, region: Region) -> Tiled:
        """The tiles of a picture."""
        return Tiled(pixels, self.size, self.overlap)

    def joiner(self) -> Joiner:
        """A frame is one subject."""
        return same


class Whole:
    """The whole picture as the subject, made a square of S pixels: as a run learnt to see it."""

    noun = "picture"
    context = 1.0

    def __init__(self, size: int) -> None:
        self.size = size

    def look(self, pixels: Pixels, details: Mapping[str, str]) -> list[Subject]:
        """See :class:`~telltale.detector.subjects.Looker`."""
        height, width = pixels.shape[:2]
        region = Region(0, 0, width, height)
        crops = self.cut(pixels, region)
        quality = {"picture_pixels": float(min(height, width)), "sharpness": sharpness(crops[0])}
        return [Subject(region, crops, quality | coding(details))]

    def cut(self, pixels: Pixels, region: Region) -> Pixels:
        """The picture as one square (1, S, S, 3)."""
        size = (self.size, self.size)
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))[None]

    def joiner(self) -> Joiner:
        """A frame is one subject."""
        return same


def strongest(found: Maps) -> float:
    """The mean of the largest 1 % of a map's log-odds, of 16 cells at least."""
    count = min(found.size, max(16, round(TOP * found.size)))
    return float(np.partition(found, found.size - count, None)[-count:].mean())


def relative(found: Maps, share: float) -> Maps:
    """A map's log-odds less a share of its strongest evidence, where that speaks for the claim.

    Where a trace is loud, its surroundings speak up as well; where all is quiet, little is taken.
    """
    return found - np.float32(share * max(0.0, strongest(found)))


def shrunk(found: Maps) -> Maps:
    """A map of 256 cells a side at most, each the mean of those in its place."""
    height, width = found.shape
    share = min(1.0, LARGEST / max(height, width))
    if share == 1:
        return found
    size = max(1, round(share * width)), max(1, round(share * height))
    return np.asarray(Image.fromarray(found).resize(size, Image.Resampling.BOX), np.float32)


def _starts(length: int, size: int, stride: int) -> list[int]:
    last = max(0, -(-(length - size) // GRID) * GRID)
    return [*range(0, last, stride), last]

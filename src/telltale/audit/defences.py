"""What might undo a small change to a picture, before the picture reaches an encoder.

Defences take and give squares (S, S, 3) uint8; at identity strength they change nothing.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.degrade.pixels import blur, jpeg, resize

Pixels = NDArray[np.uint8]
Defence = Callable[[Pixels], Pixels]


def bits(pixels: Pixels, count: int = 4) -> Pixels:
    """So many bits a colour."""
    most = 2**count - 1
    levels: Pixels = np.rint(np.rint(pixels / 255 * most) * (255 / most)).astype(np.uint8)
    return levels


def smaller(pixels: Pixels, factor: float = 0.5) -> Pixels:
    """Scaled down and back."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(resize(pixels, factor))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def padded(pixels: Pixels, factor: float = 0.9) -> Pixels:
    """Scaled down, in the middle of a black frame of the old size."""
    small, frame = resize(pixels, factor), np.zeros_like(pixels)
    top, left = ((a - b) // 2 for a, b in zip(pixels.shape, small.shape[:2], strict=False))
    frame[top : top + small.shape[0], left : left + small.shape[1]] = small
    return frame


def five(pixels: Pixels, keep: float = 0.8) -> list[Pixels]:
    """The corners and the middle, each a part of both sides, at the old size again."""
    height, width = pixels.shape[:2]
    tall, wide = round(height * keep), round(width * keep)
    down, right = height - tall, width - wide
    places = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    parts = [Image.fromarray(pixels[y : y + tall, x : x + wide]) for y, x in places]
    return [np.asarray(part.resize((width, height), Image.Resampling.BICUBIC)) for part in parts]


DEFENCES: Mapping[str, Defence] = {
    "none": lambda pixels: pixels,
    "JPEG 75": lambda pixels: jpeg(pixels, 75),
    "JPEG 50": lambda pixels: jpeg(pixels, 50),
    "JPEG 30": lambda pixels: jpeg(pixels, 30),
    "half size and back": smaller,
    "smaller in a frame": padded,
    "blur, 1 pixel": lambda pixels: blur(pixels, 1.0),
    "4 bits a colour": bits,
}


def square(pixels: Pixels, size: int) -> Pixels:
    """The middle square at an encoder's size."""
    side = min(pixels.shape[:2])
    top, left = ((length - side) // 2 for length in pixels.shape[:2])
    image = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))

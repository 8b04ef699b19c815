"""Cuts square regions, turned or not, out of pictures.

Two ways: :func:`cut` keeps what a detector reads in the pixels, :func:`glance` is for networks that
only measure where things are.
"""

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.records import Region

Pixels = NDArray[np.uint8]
Value = TypeVar("Value", np.uint8, np.float32)


def cut(pixels: NDArray[Value], region: Region, size: int) -> NDArray[Value]:
    """A region of a picture as (size, size, 3), antialiased; outside, the border is repeated.

    Of a map (H, W) of floats, (size, size).
    """
    image, x, y = _around(pixels, region)
    if region.angle == 0:
        w, h = region.width / 2, region.height / 2
        box = (x - w, y - h, x + w, y + h)
        return np.asarray(
            image.resize((size, size), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
        )
    shrink = max(1.0, region.width / size)
    if shrink > 1:
        wide, high = (max(1, round(n / shrink)) for n in image.size)
        x, y = x * wide / image.width, y * high / image.height
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
    step = region.width / shrink / size  # source pixels between two target pixels
    return _turned(image, x, y, step, region.angle, size, Image.Resampling.BICUBIC)


def glance(pixels: Pixels, region: Region, size: int) -> Pixels:
    """As :func:`cut`, but averaged over whole pixels and bilinear: several times as fast."""
    image, x, y = _around(pixels, region)
    shrink = max(1, int(region.width / size))
    if shrink > 1:
        image, x, y = image.reduce(shrink), x / shrink, y / shrink
    step = region.width / shrink / size
    return _turned(image, x, y, step, region.angle, size, Image.Resampling.BILINEAR)


def _turned(
    image: Image.Image,
    x: float,
    y: float,
    step: float,
    degrees: float,
    size: int,
    filter: Image.Resampling,
) -> NDArray[Any]:
    """A turned square round (x, y), a target pixel every ``step`` pixels of the image."""
    cos, sin = (f(math.radians(degrees)) * step for f in (math.cos, math.sin))
    half = size / 2
    matrix = (cos, -sin, x - (cos - sin) * half, sin, cos, y - (sin + cos) * half)
    return np.asarray(image.transform((size, size), Image.Transform.AFFINE, matrix, filter))


def _around(pixels: NDArray[Any], region: Region) -> tuple[Image.Image, float, float]:
    """The part of the picture that a region needs, border repeated; the region's middle in it."""
    reach = max(region.width, region.height) * (0.5 if region.angle == 0 else 0.7072) + 2
    x, y = region.x + region.width / 2, region.y + region.height / 2
    left, top = math.floor(x - reach), math.floor(y - reach)
    right, bottom = math.ceil(x + reach), math.ceil(y + reach)
    height, width = pixels.shape[:2]
    inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if inside.size == 0:
        raise ValueError(f"the region round ({x:.0f}, {y:.0f}) lies outside the picture")
    gaps = (
        (max(-top, 0), max(bottom - height, 0)),
        (max(-left, 0), max(right - width, 0)),
        (0, 0),
    )
    if any(map(any, gaps)):
        inside = np.pad(inside, gaps[: inside.ndim], "edge")
    return Image.fromarray(inside), x - left, y - top

"""Where a camera's pixels fall on a screen or a sheet: turned, tilted, or bent over a cylinder.

The surface's position is measured in camera pixels at the middle of the picture, so a pattern of
pitch p is at x / p. What lies outside of the picture that the surface carries is mirrored.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float32]

DISTANCE = 2.5  # of the camera, in widths of the picture: what perspective follows from


class View(NamedTuple):
    """How a camera stands before a flat thing.

    Args:
        tilt: Degrees about the horizontal axis.
        turn: Degrees about the vertical axis.
        rotation: Degrees about the line of sight.
        bend: Radius of the vertical cylinder that the thing is bent over, in widths; inf is flat.
    """

    tilt: float = 0.0
    turn: float = 0.0
    rotation: float = 0.0
    bend: float = math.inf


def draw_view(rng: np.random.Generator, *, most: float = 15.0) -> View:
    """A view at random, tilted and turned by at most so many degrees, rotated by up to 8."""
    tilt, turn = rng.uniform(-most, most, 2) * 0.7
    return View(float(tilt), float(turn), float(rng.uniform(-8, 8)))


def positions(size: tuple[int, int], view: View) -> tuple[Light, Light]:
    """The surface's x and y (H, W) under each pixel, from the picture's upper left corner."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x -= np.float32((width - 1) / 2)
    y -= np.float32((height - 1) / 2)
    angle = math.radians(view.rotation)
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    x, y = cos * x + sin * y, cos * y - sin * x
    far = DISTANCE * width
    tilt, turn = math.radians(view.tilt), math.radians(view.turn)
    if tilt or turn:
        depth = x * np.float32(math.tan(turn) / far) + y * np.float32(math.tan(tilt) / far)
        depth = 1 / (1 - depth)
        # distances along the surface, kept at 1 across the middle: the face stays as large
        x, y = x * depth, y * depth
    if math.isfinite(view.bend):
        radius = np.float32(view.bend * width)
        x = radius * np.arcsin(np.clip(x / radius, -0.999, 0.999))
    return x + np.float32((width - 1) / 2), y + np.float32((height - 1) / 2)


def taken(light: Light, x: Light, y: Light) -> Light:
    """What a picture (H, W, …) shows at positions; between pixels linear, mirrored outside."""
    found = cv2.remap(light, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(found, np.float32)

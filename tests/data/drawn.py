"""A face drawn with ellipses, near enough to one for the shipped mesh to measure it."""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray


class Drawn(NamedTuple):
    pixels: NDArray[np.uint8]
    points: NDArray[np.float32]


def draw(skin: tuple[int, int, int], lips: tuple[int, int, int], wide: int) -> NDArray[np.uint8]:
    """A face in the middle of 192 × 192 pixels, with a grain as of a camera."""
    picture = np.full((192, 192, 3), (120, 150, 170), np.uint8)
    cv2.ellipse(picture, (96, 96), (wide, 68), 0, 0, 360, skin, -1, cv2.LINE_AA)
    for x in (74, 118):
        cv2.ellipse(picture, (x, 82), (11, 6), 0, 0, 360, (240, 240, 240), -1, cv2.LINE_AA)
        cv2.circle(picture, (x, 82), 5, (50, 30, 20), -1, cv2.LINE_AA)
        cv2.ellipse(picture, (x, 68), (14, 4), 0, 180, 360, (70, 45, 30), 3, cv2.LINE_AA)
    cv2.line(picture, (96, 84), (94, 108), (150, 105, 85), 3, cv2.LINE_AA)
    cv2.ellipse(picture, (96, 110), (9, 4), 0, 0, 180, (130, 80, 65), 2, cv2.LINE_AA)
    cv2.ellipse(picture, (96, 132), (20, 6), 0, 0, 360, lips, -1, cv2.LINE_AA)
    grain = np.random.default_rng(wide).normal(0, 4, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)

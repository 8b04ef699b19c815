"""Finds the page in a photograph, and the crops of it that are worth looking at.

The page is the largest outline with four corners that stands out by its edge or by its brightness.
Crops are taken at the camera's own resolution and without straightening: halftone and moiré do not
survive a resampling.
"""

from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Corners = NDArray[np.float64]

SIDE = 640  # pixels of the longer side that outlines are looked for in
LEAST = 0.12  # share of the picture that a page fills at least
EDGE = 0.01  # of the longer side: an outline whose corners are all so near is the picture's own


class Crop(NamedTuple):
    """A square of a page, (x, y) its upper left corner in the picture."""

    x: int
    y: int
    side: int


def find_page(pixels: Pixels) -> Corners | None:
    """The corners (4, 2) of the page in a picture (H, W, 3), x and y; None if there is none.

    They go clockwise from the upper left one.

    Raises:
        ValueError: If OpenCV is not installed; the text says what to install.
    """
    cv2 = _opencv()
    height, width = pixels.shape[:2]
    scale = max(1.0, max(height, width) / SIDE)
    size = (max(8, round(width / scale)), max(8, round(height / scale)))
    grey = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    soft = cv2.bilateralFilter(grey, 7, 40, 7)
    middle = float(np.median(soft))
    edges = cv2.Canny(soft, 0.4 * middle, 0.9 * middle + 20)
    edges = cv2.dilate(edges, np.ones((3, 3), np.uint8), iterations=1)
    _, bright = cv2.threshold(soft, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    bright = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    frame = np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]], float)
    best, largest = None, LEAST * size[0] * size[1]
    for mask in (edges, bright, 255 - bright):
        outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        for outline in outlines:
            if cv2.contourArea(outline) < 0.8 * largest:
                continue
            hull = cv2.convexHull(outline)
            four = cv2.approxPolyDP(hull, 0.03 * cv2.arcLength(hull, True), True)
            area = cv2.contourArea(four)
            if len(four) != 4 or area <= largest or cv2.contourArea(hull) > 1.1 * area:
                continue
            corners = clockwise(four.reshape(4, 2) + 0.5)
            if np.abs(corners - frame).max() > 1.5 + EDGE * max(size):
                best, largest = corners, area
    return None if best is None else best * scale


def clockwise(corners: Corners) -> Corners:
    """Four corners in order: upper left, upper right, lower right, lower left."""
    middle = corners.mean(0)
    angles = np.arctan2(*(corners - middle).T[::-1])
    ordered = corners[np.argsort(angles)]  # clockwise on a screen, from the left
    first = int(ordered.sum(1).argmin())
    return np.roll(ordered, -first, axis=0)


def straighten(pixels: Pixels, corners: Corners) -> Pixels:
    """The page alone, seen from the front, at about the picture's own resolution.

    Raises:
        ValueError: If OpenCV is not installed; the text says what to install.
    """
    cv2 = _opencv()
    top, right, bottom, left = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    width, height = max(1, round(max(top, bottom))), max(1, round(max(left, right)))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turn = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    return np.asarray(cv2.warpPerspective(pixels, turn, (width, height)), np.uint8)


def crops_of(corners: Corners, side: int, *, most: int = 16) -> list[Crop]:
    """Squares spread evenly over a page, inside of its corners where it is large enough.

    Args:
        corners: (4, 2), clockwise.
        side: Of a square, in pixels.
        most: Squares, at most.

    Returns:
        Row by row, the same for the same page; at least the one in its middle.
    """
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    columns, rows = (max(1, int(length // side)) for length in (right - left, bottom - top))
    while columns * rows > most:
        if columns >= rows:
            columns -= 1
        else:
            rows -= 1
    found = []
    for y in _spread(top, bottom, side, rows):
        for x in _spread(left, right, side, columns):
            ends = np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], float)
            inward = middle_pull(ends, 0.2)
            if all(contains(corners, point) for point in inward):
                found.append(Crop(round(x), round(y), side))
    middle = corners.mean(0) - side / 2
    return found or [Crop(round(middle[0]), round(middle[1]), side)]


def contains(corners: Corners, point: NDArray[np.float64]) -> bool:
    """Whether a point lies within four clockwise corners."""
    edges = np.roll(corners, -1, axis=0) - corners
    to = point - corners
    return bool(np.all(edges[:, 0] * to[:, 1] - edges[:, 1] * to[:, 0] >= 0))


def middle_pull(points: Corners, share: float) -> Corners:
    """Points moved towards their middle by a share of the way."""
    middle: Corners = points.mean(0)
    return points + share * (middle - points)


def _spread(start: float, end: float, side: int, count: int) -> NDArray[np.float64]:
    """Where ``count`` squares begin that fill the way from start to end evenly."""
    room = max(0.0, end - start - side)
    if count == 1:
        return np.array([start + room / 2])
    return start + np.linspace(0, room, count)


def _opencv() -> ModuleType:
    """The module: core media work without it."""
    try:
        import cv2
    except ModuleNotFoundError:
        raise ValueError(
            "finding a page needs OpenCV: pip install 'telltale-vision[train]'"
        ) from None
    return cv2

"""The page in a photograph, as crops at its own resolution whose answers are averaged."""

from collections.abc import Mapping
from functools import cache

import numpy as np

from telltale.detector.subjects import Joiner, Pixels, Subject, coding, same, sharpness
from telltale.media.pages import Corners, crops_of, find_page
from telltale.records import Region

MOST = 16  # crops of a page


class Pages:
    """Finds the page of a picture; where none stands out, or without OpenCV, it is the picture.

    Args:
        size: S, side of a crop in pixels of the picture.
    """

    noun = "page"
    context = 1.0

    def __init__(self, size: int) -> None:
        self.size = size

    def look(self, pixels: Pixels, details: Mapping[str, str]) -> list[Subject]:
        """See :class:`~telltale.detector.subjects.Looker`."""
        found = find_page(pixels) if _has_opencv() else None
        corners = _whole(pixels) if found is None else found
        (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
        region = Region(left, top, right - left, bottom - top)
        crops = self._crops(pixels, corners)
        shortest = min(region.width, region.height)
        quality = {"page_pixels": shortest, "sharpness": float(np.mean([*map(sharpness, crops)]))}
        return [Subject(region, crops, quality | coding(details))]

    def cut(self, pixels: Pixels, region: Region) -> Pixels:
        """Crops of a region of a picture; a region that was made smaller gives fewer."""
        left, top = region.x, region.y
        right, bottom = left + region.width, top + region.height
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        return self._crops(pixels, corners)

    def joiner(self) -> Joiner:
        """A video shows one page."""
        return same

    def _crops(self, pixels: Pixels, corners: Corners) -> Pixels:
        """Squares at the picture's own resolution; a picture that is too small is mirrored."""
        height, width = pixels.shape[:2]
        missing = [(0, max(0, self.size - length)) for length in (height, width)]
        if any(map(any, missing)):
            pixels = np.pad(pixels, (*missing, (0, 0)), "symmetric")
            height, width = pixels.shape[:2]
        made = []
        for crop in crops_of(corners, self.size, most=MOST):
            x = min(max(0, crop.x), width - self.size)
            y = min(max(0, crop.y), height - self.size)
            made.append(pixels[y : y + self.size, x : x + self.size])
        return np.stack(made)


def _whole(pixels: Pixels) -> Corners:
    height, width = pixels.shape[:2]
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], float)


@cache
def _has_opencv() -> bool:
    try:
        import cv2  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True

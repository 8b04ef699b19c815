"""Where to look, said by a user or by another detector's finding.

A hint is a box or a point in the upright picture. Methods that check proposals, such as Propose and
Rectify, take some in place of proposals of their own. A point stands for a box round it, a quarter
of the picture's sides large.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.degrade import Moved
from telltale.detector.subjects import Box, Pixels
from telltale.records import Finding, Region

SIDE = 0.25  # of a point's box, in sides of the picture
HOT = 0.5  # of a heat map: cells that a finding's hints are made of


def parse(text: str) -> tuple[float, ...]:
    """``"x,y,w,h"`` or ``"x,y"`` in pixels as numbers.

    Raises:
        ValueError: If it is neither.
    """
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    sides = numbers[2:] or (1.0,)
    if len(numbers) not in (2, 4) or not np.isfinite(numbers).all() or min(sides) <= 0:
        raise ValueError(f"want a hint x,y,w,h or x,y in pixels, got {text!r}")
    return numbers


def placed(numbers: Sequence[float], width: int, height: int) -> Region:
    """A parsed hint in a picture of this size.

    Raises:
        ValueError: If it does not lie in the picture.
    """
    x, y = numbers[:2]
    if len(numbers) == 4:
        region = Region(*numbers)
    else:
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"the hint {x:g},{y:g} is outside of the picture, {width} x {height}")
        half = SIDE * width / 2, SIDE * height / 2
        left, top = max(0.0, x - half[0]), max(0.0, y - half[1])
        right, bottom = min(float(width), x + half[0]), min(float(height), y + half[1])
        region = Region(left, top, right - left, bottom - top)
    _inside(region, width, height)
    return region


def of_finding(finding: Finding, most: int) -> list[Region]:
    """Where a finding sees its claim: the hot parts of its map, the largest first; or its region.

    Args:
        finding: Any detector's.
        most: As many hints at most.
    """
    region = finding.region
    if finding.heatmap is None or region is None:
        return [] if region is None else [_upright(region)]
    rows, columns = finding.heatmap.shape
    step = region.width / columns, region.height / rows
    return [
        Region(
            region.x + left * step[0],
            region.y + top * step[1],
            (right - left) * step[0],
            (bottom - top) * step[1],
        )
        for left, top, right, bottom in _parts(finding.heatmap >= HOT)[:most]
    ]


def check(places: Sequence[Region], slots: int, slug: str) -> None:
    """Raises ValueError if a method with so many slots cannot take these hints."""
    if places and not slots:
        raise ValueError(
            f"{slug} takes no hints; a run of propose_rectify does: --method runs/…, exported"
        )
    if len(places) > slots:
        raise ValueError(f"{slug} takes {slots} hints at most, got {len(places)}")


def slots(network: Any) -> int:  # noqa: ANN401  # an ONNX Runtime session
    """How many hints a network takes; 0 for most."""
    shapes = [it.shape for it in network.get_inputs() if it.name == "hints"]
    return int(shapes[0][1]) if shapes else 0


def relative(places: Sequence[Region], pixels: Pixels) -> tuple[Box, ...]:
    """Hints in sides of the picture (H, W, 3).

    Raises:
        ValueError: If one does not lie in it.
    """
    height, width = pixels.shape[:2]
    for place in places:
        _inside(place, width, height)
    return tuple(_box(place, width, height) for place in places)


def after(moved: Moved, places: Sequence[Region]) -> tuple[Box, ...]:
    """Hints in sides of a degraded picture, cut at its border; what is out of it is none."""
    height, width = moved.pixels.shape[:2]
    boxes = (_box(moved.place(place), width, height) for place in places)
    cut = (tuple(min(max(end, 0.0), 1.0) for end in box) for box in boxes)
    return tuple((a, b, c, d) for a, b, c, d in cut if c > a and d > b)


def given(boxes: Sequence[Box], count: int, size: int) -> dict[str, NDArray[np.float32]]:
    """What a network of so many slots is given beside a crop of S pixels a side."""
    if not count:
        return {}
    filled = np.zeros((1, count, 4), np.float32)
    for number, box in enumerate(boxes):
        filled[0, number] = np.multiply(box, size)
    return {"hints": filled}


def _box(region: Region, width: int, height: int) -> Box:
    right, bottom = region.x + region.width, region.y + region.height
    return region.x / width, region.y / height, right / width, bottom / height


def _inside(region: Region, width: int, height: int) -> None:
    right, bottom = region.x + region.width, region.y + region.height
    if region.x < 0 or region.y < 0 or right > width + 1e-6 or bottom > height + 1e-6:
        said = f"{region.x:g},{region.y:g},{region.width:g},{region.height:g}"
        raise ValueError(f"the hint {said} reaches out of the picture, {width} x {height} pixels")


def _upright(region: Region) -> Region:
    """The upright box round a region that is turned."""
    angle = np.deg2rad(region.angle)
    cos, sin = abs(np.cos(angle)), abs(np.sin(angle))
    wide = float(region.width * cos + region.height * sin)
    high = float(region.width * sin + region.height * cos)
    x, y = region.x + region.width / 2, region.y + region.height / 2
    return Region(x - wide / 2, y - high / 2, wide, high)


def _parts(hot: NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Boxes (left, top, right, bottom) of connected cells, by how many they are, largest first."""
    left, found = {(int(y), int(x)) for y, x in np.argwhere(hot)}, []
    while left:
        waiting, part = [left.pop()], []
        while waiting:
            y, x = waiting.pop()
            part.append((y, x))
            for near in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if near in left:
                    left.remove(near)
                    waiting.append(near)
        rows, columns = zip(*part, strict=True)
        box = min(columns), min(rows), max(columns) + 1, max(rows) + 1
        found.append((len(part), box))
    return [box for _, box in sorted(found, reverse=True)]

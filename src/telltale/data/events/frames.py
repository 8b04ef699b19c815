"""Frames of counts from events, as the field's libraries cut them, and none lost."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from telltale.data.events.files import Events


def frames(
    events: Events,
    count: int,
    shape: tuple[int, int],
    *,
    split: Literal["time", "number"] = "time",
    tail: Literal["include", "drop"] = "include",
) -> NDArray[np.uint16]:
    """Counts (T, 2, H, W) of a recording; channel 1 = brighter. An empty part is a frame of zeros.

    Args:
        events: Sorted by time.
        count: T.
        shape: H and W.
        split: Parts of equal time, or of equal numbers of events.
        tail: What remains after T parts of whole size goes into the last one, or is left out.

    Raises:
        ValueError: If an event lies outside, times fall, or the count is below 1.
    """
    height, width = shape
    if count < 1:
        raise ValueError(f"want 1 frame or more, got {count}")
    found = np.zeros((count, 2, height, width), np.uint16)
    if not len(events):
        return found
    t = events["t"]
    if events["x"].max() >= width or events["y"].max() >= height or events["p"].max() > 1:
        raise ValueError(f"want events within {width} × {height} pixels and polarities of 0 and 1")
    if (np.diff(t) < 0).any():
        raise ValueError("want events sorted by time")
    if split == "time":
        part = (int(t[-1]) - int(t[0])) // count
        numbers = (t - t[0]) // part if part else np.zeros(len(t), np.int64)
    else:
        part = len(events) // count
        numbers = np.arange(len(events)) // part if part else np.full(len(events), count - 1)
    if tail == "drop":
        keep = numbers < count
        events, numbers = events[keep], numbers[keep]
    numbers = np.minimum(numbers, count - 1).astype(np.int64)
    place = ((numbers * 2 + events["p"]) * height + events["y"]) * width + events["x"]
    counts = np.bincount(place, minlength=found.size)
    if counts.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError("a pixel fired more than 65,535 times within a frame; take more frames")
    return counts.astype(np.uint16).reshape(found.shape)


def shrunk(counts: NDArray[np.uint16], side: int) -> NDArray[np.uint16]:
    """Frames (T, 2, H, W) summed into squares of ``side``; no event is lost.

    Source pixel (y, x) falls into (⌊y · side / H⌋, ⌊x · side / W⌋); larger sides are refused.
    """
    height, width = counts.shape[-2:]
    if side > min(height, width):
        raise ValueError(f"want a side of {min(height, width)} or less, got {side}")
    rows = np.arange(height) * side // height
    columns = np.arange(width) * side // width
    # No square is empty, so each starts where the one before it ends.
    first_rows, first_columns = (np.searchsorted(x, np.arange(side)) for x in (rows, columns))
    summed = np.add.reduceat(counts.astype(np.uint32), first_rows, axis=2)
    found = np.add.reduceat(summed, first_columns, axis=3)
    return np.minimum(found, np.iinfo(np.uint16).max).astype(np.uint16)

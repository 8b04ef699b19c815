"""Joins the faces of a video's sampled frames to tracks, one for each face while it is in view.

A face found at (x, y) with side s continues the track at (x', y') with side s' that it is nearest
to, nearest by place, size and looks together:

    cost = |(x, y) - (x', y')| / (4·√(s·s')) + |ln(s / s')| + 3·(1 - r)

r is the correlation of small colour pictures of both, the earlier one being how the track looked
last or, if that is nearer, on average: who passes behind something looks odd for a moment. The
cheapest pairs are joined first, a cost of 1.2 is the most: a face that looks the same (r = 0.9) may
have moved by three of its sides since the last frame; one that does not (r = 0.6) must stand still,
or it is another after a cut.

Assumed: the cost and its limits. For photographs of different people in LFW, r is below 0.55 in
three of four pairs; for the same face a moment later it is mostly above 0.9. A face that turns away
quickly can get a second track, which costs nothing but a second finding.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from telltale.media.facefinder import Face, crop_region
from telltale.media.regions import glance

Pixels = NDArray[np.uint8]

MOST = 1.2  # cost of a join
PATIENCE = 3.0  # seconds that a face may be out of view
LOOK = 12  # sides in pixels of the small pictures


@dataclass(frozen=True, slots=True)
class _Seen:
    """A face when it was last in view."""

    seconds: float
    middle: tuple[float, float]
    side: float
    look: NDArray[np.float32]  # (LOOK²·3,), mean 0 and length 1
    looks: NDArray[np.float32]  # sum of those so far


class Tracks:
    """Gives each face of a video a number that it keeps from frame to frame.

    >>> tracks = Tracks()
    >>> numbers = [tracks.join(f.seconds, f.pixels, finder.find(f.pixels)) for f in frames]

    Args:
        patience: Seconds that a face may be out of view and still be the same one.
    """

    def __init__(self, *, patience: float = PATIENCE) -> None:
        if not patience > 0:
            raise ValueError(f"want a patience above 0 seconds, got {patience}")
        self.patience = patience
        self.count = 0  # of tracks so far
        self._open: dict[int, _Seen] = {}

    def join(self, seconds: float, pixels: Pixels, faces: Sequence[Face]) -> list[int]:
        """The track number of each face of the next frame, from 0; new faces open new tracks."""
        found = [_seen(seconds, pixels, face) for face in faces]
        self._open = {
            number: last
            for number, last in self._open.items()
            if seconds - last.seconds <= self.patience
        }
        pairs = sorted(
            (_cost(last, now), number, k)
            for number, last in self._open.items()
            for k, now in enumerate(found)
        )
        joined: dict[int, int] = {}
        for cost, number, k in pairs:
            if cost <= MOST and k not in joined and number not in joined.values():
                joined[k] = number
        for k in range(len(found)):
            if k not in joined:
                joined[k] = self.count
                self.count += 1
        for k, now in enumerate(found):
            last = self._open.get(joined[k])
            looks = now.looks if last is None else now.looks + last.looks
            self._open[joined[k]] = replace(now, looks=looks)
        return [joined[k] for k in range(len(found))]


def _seen(seconds: float, pixels: Pixels, face: Face) -> _Seen:
    region = crop_region(face, 1.0)
    small = glance(pixels, region, 4 * LOOK).astype(np.float32)
    look = small.reshape(LOOK, 4, LOOK, 4, 3).mean((1, 3)).ravel()
    look -= look.mean()
    middle = (region.x + region.width / 2, region.y + region.height / 2)
    return _Seen(seconds, middle, region.width, _unit(look), _unit(look))


def _cost(last: _Seen, now: _Seen) -> float:
    moved = math.dist(last.middle, now.middle) / math.sqrt(last.side * now.side)
    grown = abs(math.log(now.side / last.side))
    alike = max(float(last.look @ now.look), float(_unit(last.looks) @ now.look))
    return moved / 4 + grown + 3 * (1 - alike)


def _unit(look: NDArray[np.float32]) -> NDArray[np.float32]:
    return look / max(float(np.linalg.norm(look)), 1e-6)

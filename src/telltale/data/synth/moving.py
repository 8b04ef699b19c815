"""Drawn clips of a moving target with its boxes, for trials of trackers on a CPU.

    clips, tracks = moving_clips(100, frames=6, seed=0)

A target with a block texture of its own moves over another texture, changes its size a little, and
has a distractor of the same kind beside it. Contrast may flip from frame to frame, and there is
noise: plain correlation of pixels does not find the target, so a tracker has something to learn.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCKS = 4  # of a target's texture along a side
NOISE, AMPLITUDE = 0.08, 0.3


def moving_clips(
    count: int, *, frames: int = 6, size: int = 72, seed: int = 0, target: int = 12
) -> tuple[Floats, Floats]:
    """Clips (N, T, 3, S, S) in [0, 1], and the target's boxes (N, T, 4) of x, y, w, h in pixels.

    Args:
        count: N; a clip depends on its number and the seed alone.
        frames: T.
        size: S in pixels.
        seed: Of all draws.
        target: Its usual side in pixels.

    Raises:
        ValueError: If the target does not fit, or there is nothing to draw.
    """
    if min(count, frames) < 1 or not 4 <= target <= size // 4:
        raise ValueError(
            f"want clips and frames of 1 or more and a target of 4 pixels to a quarter of the "
            f"side, got {count}, {frames}, {target} and {size}"
        )
    drawn = [_clip(np.random.default_rng([seed, k]), frames, size, target) for k in range(count)]
    clips, tracks = zip(*drawn, strict=True)
    return np.stack(clips), np.stack(tracks)


def _clip(rng: np.random.Generator, frames: int, size: int, target: int) -> tuple[Floats, Floats]:
    ground = 0.5 + 0.1 * np.kron(rng.normal(size=(size // 6, size // 6)), np.ones((6, 6)))
    pattern, other = rng.choice([-1.0, 1.0], (2, BLOCKS, BLOCKS))
    place = rng.uniform(target, size - 2 * target, (2, 2))
    speed = rng.uniform(-2.5, 2.5, (2, 2))
    clip = np.empty((frames, 3, size, size), np.float32)
    track = np.empty((frames, 4), np.float32)
    for number in range(frames):
        side = round(target * rng.uniform(0.9, 1.1))
        picture = ground.copy()
        for texture, (x, y) in ((other, place[1]), (pattern, place[0])):
            sign = rng.choice([-1.0, 1.0])
            cell = np.arange(side) * BLOCKS // side
            shown = 0.5 + AMPLITUDE / 2 * sign * texture[cell][:, cell]
            top, left = round(y), round(x)
            picture[top : top + side, left : left + side] = shown
        track[number] = (round(place[0, 0]), round(place[0, 1]), side, side)
        clip[number] = picture[None] + NOISE * rng.normal(size=(3, size, size))
        place += speed
        low, high = target / 2, size - 1.75 * target
        speed = np.where((place < low) | (place > high), -speed, speed)
        place = place.clip(low, high)
    return clip.clip(0, 1), track

"""Gesture-like events: a blob that turns or waves; some classes differ in nothing but their order.

Turning clockwise and counter-clockwise, and waving to the right and to the left, light the same
pixels the same number of times: whoever averages over time cannot tell them apart.
"""

import numpy as np
from numpy.typing import NDArray

NAMES = ("clockwise", "counter-clockwise", "to the right", "to the left", "apart and together")


def gesture_clips(
    count: int, *, seed: int, steps: int = 6, side: int = 16
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Clips (N, T, 2, S, S) of counts and their classes (N,), numbers into :data:`NAMES`.

    The leading edge of what moves fires brighter, the trailing edge darker.

    Args:
        count: N, classes in turn.
        seed: Of phase, speed, place, size and noise.
        steps: T.
        side: S, 12 pixels or more.
    """
    rng = np.random.default_rng(seed)
    found = np.zeros((count, steps, 2, side, side), np.uint16)
    labels = rng.permutation(np.arange(count) % len(NAMES))
    for number, label in enumerate(labels):
        for look in _intensity(rng, int(label), steps, side):
            found[number] += look
    return found, labels.astype(np.int64)


def _intensity(
    rng: np.random.Generator, label: int, steps: int, side: int
) -> list[NDArray[np.uint16]]:
    fine = 8  # looks a frame
    time = np.linspace(0, 1, steps * fine + 1)
    start, middle = rng.uniform(0, 1), side / 2 - 0.5 + rng.uniform(-1, 1, 2)
    reach = side * rng.uniform(0.24, 0.3)
    turn = 2 * np.pi * (start + time)
    # One way over the sensor and back out of sight: both directions pass every place alike.
    way = reach * (2 * ((start + time) % 1) - 1)
    zero = np.zeros_like(time)
    paths = {
        0: [(reach * np.cos(turn), reach * np.sin(turn))],
        1: [(reach * np.cos(turn), -reach * np.sin(turn))],
        2: [(way, zero)],
        3: [(-way, zero)],
        4: [(reach * np.cos(turn), zero), (-reach * np.cos(turn), zero)],
    }[label]
    y, x = np.mgrid[:side, :side]
    width = side * rng.uniform(0.07, 0.1)
    seen = np.zeros((len(time), side, side))
    for across, down in paths:
        apart = (x - middle[0] - across[:, None, None]) ** 2
        apart = apart + (y - middle[1] - down[:, None, None]) ** 2
        seen += np.exp(-apart / (2 * width**2))
    level = np.floor(np.log(seen + 0.1) / 0.35 + rng.uniform(0, 1, (side, side)))
    change = np.diff(level, axis=0).reshape(steps, fine, side, side)
    counts = np.stack([np.maximum(-change, 0).sum(1), np.maximum(change, 0).sum(1)], 1)
    noise = rng.poisson(0.01, counts.shape)
    return [counts.astype(np.uint16), noise.astype(np.uint16)]

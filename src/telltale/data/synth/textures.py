"""Drawn pictures without meaning, to stand in for natural ones where there are none.

Smoothed noise gives the low frequencies that natural pictures are strong in, rectangles the edges.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RECTANGLES = 4


def textures(count: int, size: int, rng: np.random.Generator, *, smoothness: float = 1.0) -> Floats:
    """Random textures (N, 3, S, S) in [0, 1].

    Args:
        count: N.
        size: S in pixels, 8 or more.
        rng: Of all draws.
        smoothness: k of noise whose amplitudes fall as 1/fᵏ, 0 or more; 1 as in photographs.

    Raises:
        ValueError: If the size is too small or the smoothness negative.
    """
    if size < 8 or smoothness < 0:
        raise ValueError(
            f"want a size of 8 pixels or more, got {size}, and smoothness ≥ 0, got {smoothness}"
        )
    return np.stack([_texture(size, rng, smoothness) for _ in range(count)])


def _texture(size: int, rng: np.random.Generator, smoothness: float) -> Floats:
    """Noise of the spectrum 1/fᵏ round a colour, with rectangles of other colours on it."""
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf  # the mean is the colour's
    spectrum = np.fft.rfft2(rng.normal(size=(3, size, size))) / frequency**smoothness
    noise = np.fft.irfft2(spectrum, s=(size, size))
    noise /= noise.std((1, 2), keepdims=True)
    picture = rng.uniform(0.3, 0.7, (3, 1, 1)) + rng.uniform(0.05, 0.15) * noise
    for _ in range(RECTANGLES):
        high, wide = rng.integers(size // 8, size // 2, 2)
        top, left = int(rng.integers(size - high)), int(rng.integers(size - wide))
        picture[:, top : top + high, left : left + wide] += rng.uniform(-0.25, 0.25, (3, 1, 1))
    return np.clip(picture, 0, 1).astype(np.float32)

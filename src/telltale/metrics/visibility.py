"""How visible a change to pictures is: PSNR and SSIM, for pictures (N, C, H, W) in [0, 1]."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SIGMA, REACH = 1.5, 5  # SSIM's Gaussian window in pixels: 11 × 11
STABLE = (0.01**2, 0.03**2)  # SSIM's C1 and C2 for a range of 1


def psnr(pictures: ArrayLike, references: ArrayLike) -> Floats:
    """Peak signal-to-noise ratio of each picture in dB, (N,); infinite for equal ones.

    Raises:
        ValueError: If the shapes differ or are not (N, C, H, W).
    """
    a, b = _alike(pictures, references)
    with np.errstate(divide="ignore"):
        decibels: Floats = -10 * np.log10(((a - b) ** 2).mean((1, 2, 3)))
    return decibels


def ssim(pictures: ArrayLike, references: ArrayLike) -> Floats:
    """Structural similarity of each picture, (N,): the mean over channels and whole windows.

    Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
    TIP 2004; their Gaussian window and constants.

    Raises:
        ValueError: If the shapes differ, are not (N, C, H, W), or a side is below 11 pixels.
    """
    a, b = _alike(pictures, references)
    if min(a.shape[2:]) < 2 * REACH + 1:
        raise ValueError(f"want sides of {2 * REACH + 1} pixels or more, got {a.shape}")
    mean_a, mean_b = _window(a), _window(b)
    variance_a, variance_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    c1, c2 = STABLE
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    similarity: Floats = (light * structure).mean((1, 2, 3))
    return similarity


def _alike(pictures: ArrayLike, references: ArrayLike) -> tuple[Floats, Floats]:
    a, b = np.asarray(pictures, np.float64), np.asarray(references, np.float64)
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"want two arrays (N, C, H, W), got {a.shape} and {b.shape}")
    return a, b


def _window(x: Floats) -> Floats:
    """Gaussian mean round each pixel whose window lies inside, (N, C, H - 10, W - 10)."""
    taps = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / SIGMA) ** 2)
    taps /= taps.sum()
    for axis in (2, 3):
        x = np.lib.stride_tricks.sliding_window_view(x, taps.size, axis) @ taps
    return x

"""Small changes of a picture's colour, sharpness and coding, as self-blended images draw them.

:func:`source_target_transform` sets the two copies of a face apart, :func:`photometric` then
changes forgery and real picture alike. Values are cut, not rounded, to 8 bits, as in the published
code: a shift by −0.3 steps takes one whole step off, one by +0.3 changes nothing.

Source: Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022,
arXiv:2204.08376; the numbers are those of its published code.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

HSV_8BIT = (0.3, 0.3, 0.3)  # as published: 8-bit steps, hence next to nothing
HSV_SHARE = (54.0, 76.5, 76.5)  # ±30 % of each range (hue 0–179), which may have been meant


def source_target_transform(
    pixels: Pixels, rng: np.random.Generator, *, hsv: tuple[float, float, float] = HSV_8BIT
) -> Pixels:
    """Step 4, T: a small change of colour, then either a lower resolution or sharpening.

    Args:
        pixels: (H, W, 3) uint8.
        rng: Of all draws.
        hsv: Largest shift of hue (0–179), saturation and value (0–255): :data:`HSV_8BIT` or
            :data:`HSV_SHARE`.
    """
    if rng.random() < 0.3:
        pixels = shift_rgb(pixels, rng.uniform(-20, 20, 3))
    pixels = shift_hsv(pixels, rng.uniform(-1, 1, 3) * hsv)
    pixels = brightness_contrast(pixels, *rng.uniform(-0.1, 0.1, 2))
    if rng.random() < 0.5:
        return lower_resolution(pixels, int(rng.choice((2, 4))))
    return sharpen(pixels, rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.0))


def photometric(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Step 8: colour and JPEG changes of training; call with equal generators for a pair."""
    if rng.random() < 0.3:
        pixels = shift_rgb(pixels, rng.uniform(-20, 20, 3))
    if rng.random() < 0.3:
        pixels = shift_hsv(pixels, rng.uniform(-0.3, 0.3, 3))
    if rng.random() < 0.3:
        pixels = brightness_contrast(pixels, *rng.uniform(-0.3, 0.3, 2))
    if rng.random() < 0.5:
        quality = int(rng.integers(40, 101))
        coded = cv2.imencode(".jpg", pixels[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))[1]
        decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        pixels = np.ascontiguousarray(decoded[..., ::-1])
    return pixels


def shift_rgb(pixels: Pixels, shift: NDArray[np.float64]) -> Pixels:
    """Each channel plus its shift (3,), in 8-bit steps, clipped."""
    tables = np.clip(np.arange(256)[:, None] + shift, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, tables[:, None]), np.uint8)


def shift_hsv(pixels: Pixels, shift: NDArray[np.float64]) -> Pixels:
    """Hue (0–179, wrapping), saturation and value (0–255, clipped) plus shifts, cut to 8 bits."""
    steps = np.arange(256)
    tables = np.clip(steps[:, None] + shift, 0, 255)
    tables[:, 0] = np.mod(steps + shift[0], 180)
    changed = cv2.LUT(cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV), tables.astype(np.uint8)[:, None])
    return np.asarray(cv2.cvtColor(changed, cv2.COLOR_HSV2RGB), np.uint8)


def brightness_contrast(pixels: Pixels, brightness: float, contrast: float) -> Pixels:
    """(1 + contrast)·x + 255·brightness, clipped."""
    table = np.clip(np.arange(256) * (1 + contrast) + 255 * brightness, 0, 255)
    return np.asarray(cv2.LUT(pixels, table.astype(np.uint8)), np.uint8)


def lower_resolution(pixels: Pixels, factor: int) -> Pixels:
    """Down by ``factor`` to the nearest pixel, up again bilinearly."""
    height, width = pixels.shape[:2]
    small = (max(1, width // factor), max(1, height // factor))
    down = cv2.resize(pixels, small, interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.resize(down, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def sharpen(pixels: Pixels, alpha: float, lightness: float) -> Pixels:
    """(1 − alpha)·x + alpha·(Laplacian of x + lightness·x)."""
    kernel = np.full((3, 3), -alpha, np.float32)
    kernel[1, 1] = 1 - alpha + alpha * (8 + lightness)
    return np.asarray(cv2.filter2D(pixels, -1, kernel), np.uint8)

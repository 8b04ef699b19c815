"""The field's perturbations at levels 1–5: ``SUITE[code](pixels, level, rng)``.

Source: Jiang et al., "DeeperForensics-1.0", CVPR 2020, arXiv:2001.03024. Its "JPEG" is pixelation,
so "TRUE_JPEG" stands beside it. "VC" was video compression: :data:`SUITE` has what comes near it
on a single frame (see :data:`APPROXIMATE`), :func:`telltale.degrade.h264` the thing itself.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from PIL import Image

from telltale.degrade.pixels import Floats, Pixels, checked, gaussian, jpeg

BILINEAR = Image.Resampling.BILINEAR
CRF = (30, 32, 35, 38, 40)  # H.264's constant rate factor, a level each
VIDEO_QUALITY = (68, 55, 33, 20, 15)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def step(level: int, values: tuple[float, ...]) -> float:
    """The value of a level of 1–5; ValueError for another level."""
    if level not in range(1, 6):
        raise ValueError(f"want a level of 1, 2, 3, 4 or 5, got {level!r}")
    return values[level - 1]


def _saturation(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """CS: chroma times 0.4 … 0.0; at level 5 the picture is grey, up to a level.

    The original goes through YCbCr in studio range, which cancels out, and wraps what leaves
    0–255; here it is clipped.
    """
    luma, blue, red = _ycbcr(pixels)
    share = np.float32(step(level, (0.4, 0.3, 0.2, 0.1, 0.0)))
    return _truncated(_rgb(luma, share * blue, share * red))


def _contrast(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """CC: values times 0.85 … 0.35: it darkens, and thereby lowers contrast."""
    share = step(level, (0.85, 0.725, 0.6, 0.475, 0.35))
    # in double precision: 0.85 · 20 is 17 there, but 16.99… in single, which truncation shows
    table: Pixels = np.trunc(np.arange(256) * share).astype(np.uint8)
    return np.take(table, checked(pixels))


def _blocks(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """BW: 16 … 80 grey blocks of 8 x 8 at random places, times the short side // 256.

    Below 256 pixels the original draws none; here such a picture counts as 256.
    """
    height, width = checked(pixels).shape[:2]
    count = int(step(level, (16, 32, 48, 64, 80))) * max(1, min(height, width) // 256)
    rows = rng.integers(0, max(1, height - 7), count)[:, None] + np.arange(min(8, height))
    columns = rng.integers(0, max(1, width - 7), count)[:, None] + np.arange(min(8, width))
    out = pixels.copy()
    out[rows[:, :, None], columns[:, None, :]] = 128
    return out


def _colour_noise(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """GNC: white noise of variance 0.001 … 0.05 on studio-range YCbCr in 0–1.

    Studio range squeezes luma to 219/255 and chroma to 224/255; undone, the noise's deviation is
    255²/219 · √variance grey levels in luma and 255²/224 · √variance in chroma.
    """
    deviation = math.sqrt(step(level, (0.001, 0.002, 0.005, 0.01, 0.05)))
    planes = _ycbcr(pixels)
    drawn = rng.standard_normal((3, *pixels.shape[:2]), np.float32)
    scales = np.float32(255**2 * deviation) / np.array([219, 224, 224], np.float32)
    return _truncated(_rgb(*(p + s * d for p, s, d in zip(planes, scales, drawn, strict=True))))


def _blur_kernel(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """GB: Gaussian kernel of 7 … 21 pixels with sigma a sixth of that."""
    size = int(step(level, (7, 9, 13, 17, 21)))
    return gaussian(checked(pixels), size // 2, size / 6)


def _pixelation(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """JPEG as the field's suite calls it: scaled down 2 … 6 times and back, bilinear.

    Down-scaling looks at four neighbours, as the original's does; it does alias.
    """
    divisor = int(step(level, (2, 3, 4, 5, 6)))
    image = Image.fromarray(checked(pixels))
    width, height = (max(1, side // divisor) for side in image.size)
    spread = (image.width / width, 0.0, 0.0, 0.0, image.height / height, 0.0)
    small = image.transform((width, height), Image.Transform.AFFINE, spread, BILINEAR)
    return np.array(small.resize(image.size, BILINEAR))


def _true_jpeg(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """TRUE_JPEG: JPEG at quality 90 … 10 (assumed)."""
    return jpeg(pixels, int(step(level, (90, 70, 50, 30, 10))))


def _video_frame(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """VC: stands in for H.264 at a constant rate factor of 30, 32, 35, 38, 40 by JPEG.

    The qualities give the same mean PSNR as x264's medium preset did on 24 frames panned over each
    of eight photographs: 33.9, 32.7, 31.0, 29.3 and 28.3 dB. The artefacts are JPEG's own.
    """
    return jpeg(pixels, int(step(level, VIDEO_QUALITY)))


SUITE: Mapping[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = MappingProxyType(
    {
        "CS": _saturation,
        "CC": _contrast,
        "BW": _blocks,
        "GNC": _colour_noise,
        "GB": _blur_kernel,
        "JPEG": _pixelation,
        "TRUE_JPEG": _true_jpeg,
        "VC": _video_frame,
    }
)
APPROXIMATE = frozenset({"VC"})  # codes whose original cannot be done to a single frame


def _ycbcr(pixels: Pixels) -> tuple[Floats, Floats, Floats]:
    """Luma in 0–255 and the blue and red colour differences round 0, each (H, W)."""
    values = checked(pixels).astype(np.float32)
    luma = values @ LUMA
    blue, red = 0.564 * (values[..., 2] - luma), 0.713 * (values[..., 0] - luma)
    return luma, blue.astype(np.float32), red.astype(np.float32)


def _rgb(luma: Floats, blue: Floats, red: Floats) -> Floats:
    green = luma - 0.344 * blue - 0.714 * red
    return np.stack([luma + 1.403 * red, green, luma + 1.773 * blue], axis=-1)


def _truncated(values: Floats) -> Pixels:
    """As the field's suite turns values into bytes; the margin is for what rounding errors do."""
    truncated: Pixels = np.clip(values + 1e-3, 0, 255).astype(np.uint8)
    return truncated

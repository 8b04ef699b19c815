"""What happens to pictures on their way: recompression, scaling, screenshots, crops, noise, blur.

All work on sRGB pixels (H, W, 3) uint8 and return the same kind; what is random takes a
``numpy.random.Generator``. Two sets are ready-made:

- :data:`SURVIVAL`, after each of which a verdict should still stand. Its functions return a
  :class:`Moved`, because some of them move what is in the picture.
- :data:`SUITE`, the field's perturbations at levels 1–5, ``SUITE[code](pixels, level, rng)``.

Source of the suite: Jiang et al., "DeeperForensics-1.0", CVPR 2020, arXiv:2001.03024. Its "JPEG"
is pixelation, so "TRUE_JPEG" stands beside it. "VC" was video compression; on single frames we
can only come near it (see :data:`APPROXIMATE`).
"""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

BILINEAR = Image.Resampling.BILINEAR
VIDEO_QUALITY = (68, 55, 33, 20, 15)
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True, slots=True)
class Moved:
    """A degraded picture, and where its content went.

    A point (x, y) of the picture before is at (x · scale + shift_x, y · scale + shift_y) in
    ``pixels``. Coordinates run along pixel edges: pixel (0, 0) covers [0, 1) × [0, 1).
    """

    pixels: Pixels
    scale: float = 1.0
    shift_x: float = 0.0
    shift_y: float = 0.0


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Pixels after JPEG at a quality of 1–100, colour at half resolution (4:2:0)."""
    return _through("JPEG", pixels, quality, least=1)


def webp(pixels: Pixels, quality: int) -> Pixels:
    """Pixels after lossy WebP at a quality of 0–100."""
    return _through("WEBP", pixels, quality, least=0)


def resize(pixels: Pixels, factor: float) -> Pixels:
    """Pixels scaled by ``factor``, bicubic and without aliasing; sides are rounded, at least 1."""
    image = Image.fromarray(_checked(pixels))
    if not (factor > 0 and math.isfinite(factor)):
        raise ValueError(f"want a factor above 0, got {factor}")
    width, height = (max(1, round(side * factor)) for side in image.size)
    return np.array(image.resize((width, height), Image.Resampling.BICUBIC))


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur with a standard deviation of ``sigma`` pixels, cut off at 3 sigma."""
    _checked(pixels)
    if not (sigma >= 0 and math.isfinite(sigma)):
        raise ValueError(f"want a sigma of at least 0, got {sigma}")
    return _gaussian(pixels, math.ceil(3 * sigma), sigma) if sigma else pixels.copy()


def noise(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """White Gaussian noise of ``sigma`` grey levels, independent in each pixel and channel."""
    _checked(pixels)
    if not (sigma >= 0 and math.isfinite(sigma)):
        raise ValueError(f"want a sigma of at least 0, got {sigma}")
    drawn = rng.standard_normal(pixels.shape, np.float32)
    return _rounded(pixels + np.float32(sigma) * drawn)


def screenshot(pixels: Pixels) -> Pixels:
    """A picture as it comes back from a screen: three quarters the size, then JPEG 85.

    In order: bilinear resampling to the display, the display's gamma off by 1.05, a slight
    sharpening, and the upload's JPEG. (The PNG that a screenshot is before loses nothing.)
    All four numbers are assumed. Sides are first cut to multiples of 4, so the scale is exact.
    """
    trimmed = _trimmed(_checked(pixels), 4)
    height, width = trimmed.shape[:2]
    size = max(1, width * 3 // 4), max(1, height * 3 // 4)
    image = Image.fromarray(trimmed).resize(size, Image.Resampling.BILINEAR)
    levels = np.arange(256) / 255
    image = image.point(np.rint(255 * levels ** (1 / 1.05)).astype(int).tolist() * 3)
    image = image.filter(ImageFilter.UnsharpMask(radius=1, percent=40, threshold=0))
    return jpeg(np.asarray(image), 85)


def crop(pixels: Pixels, left: int = 5, top: int = 3, quality: int = 90) -> Pixels:
    """A few pixels cut off the left and the top and saved again as JPEG.

    Unless both counts are multiples of 16, the new 8 x 8 blocks lie across the old ones, which
    blurs traces of an earlier compression. At least one pixel of each side is left.
    """
    height, width = _checked(pixels).shape[:2]
    if left < 0 or top < 0:
        raise ValueError(f"want counts of at least 0, got left {left} and top {top}")
    return jpeg(pixels[min(top, height - 1) :, min(left, width - 1) :], quality)


def _survive_half(pixels: Pixels) -> Moved:
    return Moved(resize(_trimmed(_checked(pixels), 2), 0.5), scale=0.5)


def _survive_screenshot(pixels: Pixels) -> Moved:
    return Moved(screenshot(pixels), scale=0.75)


def _survive_crop(pixels: Pixels) -> Moved:
    cropped = crop(pixels)
    lost_y, lost_x = (a - b for a, b in zip(pixels.shape[:2], cropped.shape[:2], strict=True))
    return Moved(cropped, shift_x=-float(lost_x), shift_y=-float(lost_y))


SURVIVAL: Mapping[str, Callable[[Pixels], Moved]] = MappingProxyType(
    {
        "JPEG 95": lambda pixels: Moved(jpeg(pixels, 95)),
        "JPEG 75": lambda pixels: Moved(jpeg(pixels, 75)),
        "JPEG 50": lambda pixels: Moved(jpeg(pixels, 50)),
        "half size": _survive_half,
        "screenshot": _survive_screenshot,
        "crop": _survive_crop,
    }
)


def _saturation(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """CS: chroma times 0.4 … 0.0; at level 5 the picture is grey, up to a level.

    The original goes through YCbCr in studio range, which cancels out, and wraps what leaves
    0–255; here it is clipped.
    """
    luma, blue, red = _ycbcr(pixels)
    share = np.float32(_step(level, (0.4, 0.3, 0.2, 0.1, 0.0)))
    return _truncated(_rgb(luma, share * blue, share * red))


def _contrast(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """CC: values times 0.85 … 0.35: it darkens, and thereby lowers contrast."""
    share = _step(level, (0.85, 0.725, 0.6, 0.475, 0.35))
    # in double precision: 0.85 · 20 is 17 there, but 16.99… in single, which truncation shows
    table: Pixels = np.trunc(np.arange(256) * share).astype(np.uint8)
    return np.take(table, _checked(pixels))


def _blocks(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """BW: 16 … 80 grey blocks of 8 x 8 at random places, times the short side // 256.

    Below 256 pixels the original draws none; here such a picture counts as 256.
    """
    height, width = _checked(pixels).shape[:2]
    count = int(_step(level, (16, 32, 48, 64, 80))) * max(1, min(height, width) // 256)
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
    deviation = math.sqrt(_step(level, (0.001, 0.002, 0.005, 0.01, 0.05)))
    planes = _ycbcr(pixels)
    drawn = rng.standard_normal((3, *pixels.shape[:2]), np.float32)
    scales = np.float32(255**2 * deviation) / np.array([219, 224, 224], np.float32)
    return _truncated(_rgb(*(p + s * d for p, s, d in zip(planes, scales, drawn, strict=True))))


def _blur_kernel(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """GB: Gaussian kernel of 7 … 21 pixels with sigma a sixth of that."""
    size = int(_step(level, (7, 9, 13, 17, 21)))
    return _gaussian(_checked(pixels), size // 2, size / 6)


def _pixelation(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """JPEG as the field's suite calls it: scaled down 2 … 6 times and back, bilinear.

    Down-scaling looks at four neighbours, as the original's does; it does alias.
    """
    divisor = int(_step(level, (2, 3, 4, 5, 6)))
    image = Image.fromarray(_checked(pixels))
    width, height = (max(1, side // divisor) for side in image.size)
    step = (image.width / width, 0.0, 0.0, 0.0, image.height / height, 0.0)
    small = image.transform((width, height), Image.Transform.AFFINE, step, BILINEAR)
    return np.array(small.resize(image.size, BILINEAR))


def _true_jpeg(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """TRUE_JPEG: JPEG at quality 90 … 10 (assumed)."""
    return jpeg(pixels, int(_step(level, (90, 70, 50, 30, 10))))


def _video_frame(pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """VC: stands in for H.264 at a constant rate factor of 30, 32, 35, 38, 40 by JPEG.

    The qualities give the same mean PSNR as x264's medium preset did on 24 frames panned over each
    of eight photographs: 33.9, 32.7, 31.0, 29.3 and 28.3 dB. The artefacts are JPEG's own.
    """
    return jpeg(pixels, int(_step(level, VIDEO_QUALITY)))


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


def _checked(pixels: Pixels) -> Pixels:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"want uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    return pixels


def _step(level: int, values: tuple[float, ...]) -> float:
    if level not in range(1, 6):
        raise ValueError(f"want a level of 1, 2, 3, 4 or 5, got {level!r}")
    return values[level - 1]


def _through(codec: str, pixels: Pixels, quality: int, *, least: int) -> Pixels:
    if not least <= quality <= 100:
        raise ValueError(f"want a {codec} quality of {least} to 100, got {quality}")
    buffer = io.BytesIO()
    Image.fromarray(_checked(pixels)).save(buffer, codec, quality=int(quality))
    with Image.open(buffer, formats=[codec]) as image:
        return np.array(image.convert("RGB"))


def _trimmed(pixels: Pixels, multiple: int) -> Pixels:
    """Without the last rows and columns that make a side no multiple; shorter sides stay."""
    height, width = (side - side % multiple or side for side in pixels.shape[:2])
    return pixels[:height, :width]


def _gaussian(pixels: Pixels, radius: int, sigma: float) -> Pixels:
    """Separable Gaussian of 2·radius + 1 taps; the border mirrors without repeating its pixel."""
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(np.float32)
    blurred = pixels.astype(np.float32)
    for axis in (0, 1):
        side = blurred.shape[axis]
        edges = [(radius, radius) if k == axis else (0, 0) for k in range(3)]
        padded = np.pad(blurred, edges, mode="reflect")
        blurred = np.zeros_like(blurred)
        for k, tap in enumerate(taps):
            blurred += tap * (padded[k : k + side] if axis == 0 else padded[:, k : k + side])
    return _rounded(blurred)


def _ycbcr(pixels: Pixels) -> tuple[Floats, Floats, Floats]:
    """Luma in 0–255 and the blue and red colour differences round 0, each (H, W)."""
    values = _checked(pixels).astype(np.float32)
    luma = values @ LUMA
    blue, red = 0.564 * (values[..., 2] - luma), 0.713 * (values[..., 0] - luma)
    return luma, blue.astype(np.float32), red.astype(np.float32)


def _rgb(luma: Floats, blue: Floats, red: Floats) -> Floats:
    green = luma - 0.344 * blue - 0.714 * red
    return np.stack([luma + 1.403 * red, green, luma + 1.773 * blue], axis=-1)


def _rounded(values: Floats) -> Pixels:
    rounded: Pixels = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return rounded


def _truncated(values: Floats) -> Pixels:
    """As the field's suite turns values into bytes; the margin is for what rounding errors do."""
    truncated: Pixels = np.clip(values + 1e-3, 0, 255).astype(np.uint8)
    return truncated

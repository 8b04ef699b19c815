"""Single degradations of sRGB pixels (H, W, 3) uint8, and those that a verdict should survive."""

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from telltale.records import Region

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


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

    def place(self, region: Region) -> Region:
        """Where a region of the picture before is in ``pixels``."""
        x, y = region.x * self.scale + self.shift_x, region.y * self.scale + self.shift_y
        return Region(x, y, region.width * self.scale, region.height * self.scale, region.angle)


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Pixels after JPEG at a quality of 1–100, colour at half resolution (4:2:0)."""
    return _through("JPEG", pixels, quality, least=1)


def webp(pixels: Pixels, quality: int) -> Pixels:
    """Pixels after lossy WebP at a quality of 0–100."""
    return _through("WEBP", pixels, quality, least=0)


def resize(pixels: Pixels, factor: float) -> Pixels:
    """Pixels scaled by ``factor``, bicubic and without aliasing; sides are rounded, at least 1."""
    image = Image.fromarray(checked(pixels))
    if not (factor > 0 and math.isfinite(factor)):
        raise ValueError(f"want a factor above 0, got {factor}")
    width, height = (max(1, round(side * factor)) for side in image.size)
    return np.array(image.resize((width, height), Image.Resampling.BICUBIC))


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Gaussian blur with a standard deviation of ``sigma`` pixels, cut off at 3 sigma."""
    checked(pixels)
    if not (sigma >= 0 and math.isfinite(sigma)):
        raise ValueError(f"want a sigma of at least 0, got {sigma}")
    return gaussian(pixels, math.ceil(3 * sigma), sigma) if sigma else pixels.copy()


def noise(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """White Gaussian noise of ``sigma`` grey levels, independent in each pixel and channel."""
    checked(pixels)
    if not (sigma >= 0 and math.isfinite(sigma)):
        raise ValueError(f"want a sigma of at least 0, got {sigma}")
    drawn = rng.standard_normal(pixels.shape, np.float32)
    return rounded(pixels + np.float32(sigma) * drawn)


def screenshot(pixels: Pixels) -> Pixels:
    """A picture as it comes back from a screen: three quarters the size, then JPEG 85.

    In order: bilinear resampling to the display, the display's gamma off by 1.05, a slight
    sharpening, and the upload's JPEG. (The PNG that a screenshot is before loses nothing.)
    All four numbers are assumed. Sides are first cut to multiples of 4, so the scale is exact.
    """
    whole = trimmed(checked(pixels), 4)
    height, width = whole.shape[:2]
    size = max(1, width * 3 // 4), max(1, height * 3 // 4)
    image = Image.fromarray(whole).resize(size, Image.Resampling.BILINEAR)
    levels = np.arange(256) / 255
    image = image.point(np.rint(255 * levels ** (1 / 1.05)).astype(int).tolist() * 3)
    image = image.filter(ImageFilter.UnsharpMask(radius=1, percent=40, threshold=0))
    return jpeg(np.asarray(image), 85)


def crop(pixels: Pixels, left: int = 5, top: int = 3, quality: int = 90) -> Pixels:
    """A few pixels cut off the left and the top and saved again as JPEG.

    Unless both counts are multiples of 16, the new 8 x 8 blocks lie across the old ones, which
    blurs traces of an earlier compression. At least one pixel of each side is left.
    """
    height, width = checked(pixels).shape[:2]
    if left < 0 or top < 0:
        raise ValueError(f"want counts of at least 0, got left {left} and top {top}")
    return jpeg(pixels[min(top, height - 1) :, min(left, width - 1) :], quality)


def _survive_half(pixels: Pixels) -> Moved:
    return Moved(resize(trimmed(checked(pixels), 2), 0.5), scale=0.5)


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


def checked(pixels: Pixels) -> Pixels:
    """The pixels as they are; raises ValueError if they are not uint8 (H, W, 3)."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"want uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    return pixels


def trimmed(pixels: Pixels, multiple: int) -> Pixels:
    """Without the last rows and columns that make a side no multiple; shorter sides stay."""
    height, width = (side - side % multiple or side for side in pixels.shape[:2])
    return pixels[:height, :width]


def gaussian(pixels: Pixels, radius: int, sigma: float) -> Pixels:
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
    return rounded(blurred)


def rounded(values: Floats) -> Pixels:
    """Values as bytes: clipped to 0–255 and rounded to even."""
    levels: Pixels = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return levels


def _through(codec: str, pixels: Pixels, quality: int, *, least: int) -> Pixels:
    if not least <= quality <= 100:
        raise ValueError(f"want a {codec} quality of {least} to 100, got {quality}")
    buffer = io.BytesIO()
    Image.fromarray(checked(pixels)).save(buffer, codec, quality=int(quality))
    with Image.open(buffer, formats=[codec]) as image:
        return np.array(image.convert("RGB"))

"""A camera, from the light on its sensor to a JPEG: the same for genuine scenes and attacks.

    light → lens blur → vignetting → Bayer mosaic (RGGB) → shot and read noise → 12 bits
          → demosaicing → white balance → sRGB → sharpening → JPEG

What tells an attack apart must come from the attack. So whatever a simulator makes ends here, and
so does the bona fide side.

Source: ranges as in the field's descriptions of phone cameras; the order of the steps is that of a
raw pipeline. Assumed: shot noise is drawn as Gaussian noise of the Poisson's variance, which 5,000
electrons cannot tell from it; chromatic aberration and rolling distortion are left out.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Light = NDArray[np.float32]

WHITE = 4095  # of 12 bits


class Camera(NamedTuple):
    """One camera, with the settings of one picture.

    Args:
        blur: Lens blur, σ in pixels.
        vignetting: Share of the light that the corners lose.
        exposure: Factor on the light.
        full_well: Electrons of a white pixel.
        read_noise: σ in electrons.
        balance: What the sensor sees of red and of blue, over green; white balance divides by it.
        sharpening: Share of the unsharp mask that is added.
        quality: Of the JPEG, 1 to 100; 0 leaves JPEG out.
    """

    blur: float = 0.5
    vignetting: float = 0.1
    exposure: float = 1.0
    full_well: float = 10_000.0
    read_noise: float = 3.0
    balance: tuple[float, float] = (0.6, 0.7)
    sharpening: float = 0.2
    quality: int = 90


def draw_camera(rng: np.random.Generator) -> Camera:
    """A camera at random."""
    return Camera(
        blur=float(rng.uniform(0.3, 1.2)),
        vignetting=float(rng.uniform(0, 0.25)),
        exposure=float(rng.uniform(0.8, 1.15)),
        full_well=float(rng.uniform(5_000, 20_000)),
        read_noise=float(rng.uniform(2, 6)),
        balance=(float(rng.uniform(0.45, 0.8)), float(rng.uniform(0.5, 0.9))),
        sharpening=float(rng.uniform(0, 0.5)),
        quality=int(rng.integers(70, 99)),
    )


def photograph(light: Light, camera: Camera, rng: np.random.Generator) -> Pixels:
    """The picture (H, W, 3), uint8 sRGB, that a camera takes.

    Args:
        light: (H, W, 3) float32, linear, in [0, 1], one value a pixel of the camera.
        camera: Its lens blurs what is already on the raster: a simulator whose pattern is finer
            than a pixel blurs that itself and passes ``camera._replace(blur=0)``.
        rng: Of the noise.

    Raises:
        ValueError: If the light is not float32 (H, W, 3).
    """
    if light.dtype != np.float32 or light.ndim != 3 or light.shape[2] != 3:
        raise ValueError(f"want float32 light (H, W, 3), got {light.dtype} {light.shape}")
    if camera.blur > 0:
        light = blurred(light, camera.blur)
    height, width = light.shape[:2]
    gain = camera.exposure * _vignette(height, width, camera.vignetting)
    mosaic = np.empty((height, width), np.float32)
    colours = (camera.balance[0], 1.0, camera.balance[1])
    for row, column, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        part = light[row::2, column::2, channel] * gain[row::2, column::2]
        mosaic[row::2, column::2] = part * np.float32(colours[channel])
    np.clip(mosaic, 0, 1, out=mosaic)
    spread = np.sqrt(mosaic / camera.full_well + (camera.read_noise / camera.full_well) ** 2)
    mosaic += spread.astype(np.float32) * rng.standard_normal(mosaic.shape, np.float32)
    raw = (np.clip(mosaic, 0, 1) * WHITE + 0.5).astype(np.uint16)
    # OpenCV names a pattern by its second row, read from the second column: this one is RGGB.
    coloured = np.asarray(cv2.cvtColor(raw, cv2.COLOR_BayerBG2RGB), np.uint16)
    picture = np.empty(coloured.shape, np.uint8)
    for channel, share in enumerate(colours):
        picture[..., channel] = _tone(share).take(coloured[..., channel])
    if camera.sharpening > 0:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.0)
        sharp = cv2.addWeighted(picture, 1 + camera.sharpening, soft, -camera.sharpening, 0)
        picture = np.asarray(sharp, np.uint8)
    return jpeg(picture, camera.quality) if camera.quality else picture


def jpeg(picture: Pixels, quality: int) -> Pixels:
    """A picture after JPEG with 4:2:0 chroma."""
    _, code = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def blurred(light: Light, sigma: float) -> Light:
    """Light (H, W, …) after a Gaussian of σ pixels; the border is repeated."""
    soft = cv2.GaussianBlur(light, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft, np.float32)


def to_linear(picture: Pixels) -> Light:
    """Linear light in [0, 1] of uint8 sRGB."""
    if picture.dtype != np.uint8:
        raise ValueError(f"want a uint8 picture, got {picture.dtype}")
    light: Light = _linear().take(picture)
    return light


def from_linear(light: Light) -> Pixels:
    """The uint8 sRGB of linear light; what is outside [0, 1] is clipped."""
    return _tone(1.0).take((np.clip(light, 0, 1) * WHITE + 0.5).astype(np.uint16))


@lru_cache
def _linear() -> Light:
    value = np.arange(256) / 255
    curve = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return curve.astype(np.float32)


def _tone(share: float) -> Pixels:
    """12-bit values of a colour of which the sensor sees a share, to sRGB."""
    value = np.minimum(np.arange(WHITE + 1) / WHITE / share, 1)
    curve = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return (255 * curve + 0.5).astype(np.uint8)


def _vignette(height: int, width: int, loss: float) -> Light:
    """Factor (H, W): 1 in the middle, 1 - loss in the corners."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    return np.float32(1) - np.float32(loss / 2) * (y * y + x * x)

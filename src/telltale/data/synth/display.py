"""A picture shown on a screen, as the lens forms it on another camera's sensor: moiré and banding.

    emission  E_c = M · (image / 255)^2.2,  black level and tint added
    grid      E_c · A_c(x) · B(y),  apertures of the sub-pixels, pitch p camera pixels
    photosite ∫ over the pixel, after the lens's Gaussian:   each harmonic k of A shrinks by
              sinc(f_x) · sinc(f_y) · exp(-2π²σ²|f|²),  f = k / p in the direction of the grid

Moiré comes out of sampling that sum of harmonics at whole pixels: harmonics whose frequency passes
half the sensor's fold back to |f - round(f)|. No sine is added.

Source: the physics of displays; ranges as the field's simulators use them. Assumed: rows and
columns of the grid shrink each by themselves, which is exact for an upright grid; the pitch is the
same all over the picture where perspective changes its size.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.data.synth.camera import Light, Pixels, blurred
from telltale.data.synth.planes import View, draw_view, positions, taken

STRIP = 32  # rows that are worked on together: what is wanted of them stays in the cache
STEPS = 1024  # of the tables over one period; a power of two
HARMONICS = 48
SRGB_TO_P3 = ((0.8225, 0.1774, 0.0), (0.0332, 0.9669, 0.0), (0.0171, 0.0724, 0.9108))


class Display(NamedTuple):
    """A screen in front of a camera.

    Args:
        pitch: Camera pixels from one display pixel to the next, 0.6 to 3.
        layout: "stripe", three sub-pixels side by side; or "pentile", red and blue in every
            second pixel by turns.
        matrix: Share of a pixel's width and height that is black between sub-pixels, 0.1 to 0.25.
        gamma: Exponent of the emission.
        black: Light of black, over white.
        tint: White of red and blue over green.
        gamut: How far towards P3 primaries, 0 (sRGB) to 1.
        banding: Amplitude a of 1 + a·sin(2π·frequency·row_time·row + phase).
        frequency: Of the backlight, Hz.
        row_time: Of the camera's rolling shutter, µs a row.
        phase: Of the backlight at the first row, radians.
        glare: Reflected light at the middle of a soft ellipse, over white.
        view: How the camera stands.
    """

    pitch: float = 1.5
    layout: str = "stripe"
    matrix: float = 0.15
    gamma: float = 2.2
    black: float = 0.005
    tint: tuple[float, float] = (1.0, 1.0)
    gamut: float = 0.0
    banding: float = 0.0
    frequency: float = 120.0
    row_time: float = 20.0
    phase: float = 0.0
    glare: float = 0.0
    view: View = View()


def draw_display(rng: np.random.Generator) -> Display:
    """A screen at random."""
    return Display(
        pitch=float(np.exp(rng.uniform(math.log(0.6), math.log(3)))),
        layout="pentile" if rng.random() < 0.3 else "stripe",
        matrix=float(rng.uniform(0.1, 0.25)),
        gamma=float(rng.uniform(2.1, 2.3)),
        black=float(np.exp(rng.uniform(math.log(0.002), math.log(0.02)))),
        tint=(float(rng.uniform(0.85, 1.1)), float(rng.uniform(0.9, 1.2))),
        gamut=float(rng.uniform(0, 1)),
        banding=float(rng.uniform(0, 0.1)) * (rng.random() < 0.5),
        frequency=float(rng.uniform(50, 240)),
        row_time=float(rng.uniform(10, 30)),
        phase=float(rng.uniform(0, 2 * math.pi)),
        glare=float(rng.uniform(0.02, 0.15)) * (rng.random() < 0.4),
        view=draw_view(rng, most=25.0),
    )


def replayed(
    image: Pixels,
    display: Display,
    rng: np.random.Generator,
    size: tuple[int, int] | None = None,
    *,
    blur: float = 0.5,
) -> Light:
    """Linear light (H, W, 3) that a camera's photosites gather from a screen that shows an image.

    Args:
        image: uint8 sRGB (h, w, 3).
        display: The screen.
        rng: Of the grid's place under the pixels and of the glare's.
        size: (H, W); the image's own by default.
        blur: The lens's σ in pixels; the camera's own is then to be 0, for it comes too late to
            soften what the sampling has folded back.

    Raises:
        ValueError: If the image is not uint8 (h, w, 3), or a setting is out of range.
    """
    image = shown(image, size)
    if display.layout not in ("stripe", "pentile") or not display.pitch > 0:
        raise ValueError(
            f"want a pitch above 0 and a layout of stripe or pentile, got {display.pitch} and "
            f"{display.layout!r}"
        )
    curve = ((np.arange(256) / 255) ** display.gamma).astype(np.float32)
    light: Light = np.asarray(cv2.LUT(image, curve), np.float32)
    if display.gamut:
        matrix = np.eye(3) + display.gamut * (np.array(SRGB_TO_P3) - np.eye(3))
        light = np.asarray(cv2.transform(light, np.linalg.inv(matrix)), np.float32)
        np.clip(light, 0, 1, out=light)
    height, width = light.shape[:2]
    x, y = positions((height, width), display.view)
    light = taken(light, x, y)
    if blur > 0:
        light = blurred(light, blur)
    light += np.float32(display.black)
    shift_x, shift_y = rng.uniform(0, 1, 2)
    time = display.row_time * 1e-6 * np.arange(height)
    wave = 1 + display.banding * np.sin(2 * np.pi * display.frequency * time + display.phase)
    white = (display.tint[0], 1.0, display.tint[1])
    across_table, down_table = column_tables(display, blur), row_table(display, blur)
    tables = [table * np.float32(it) for table, it in zip(across_table, white, strict=True)]
    for start in range(0, height, STRIP):
        rows = slice(start, start + STRIP)
        across = x[rows] / np.float32(display.pitch) + np.float32(shift_x)
        down = y[rows] / np.float32(display.pitch) + np.float32(shift_y)
        seen = _at(down_table, down) * wave[rows, None].astype(np.float32)
        shifted = across
        if display.layout == "pentile":
            row = np.floor(down).astype(np.int32) & 1
            shifted = np.float32(0.5) * (across + row.astype(np.float32))
        for channel, table in enumerate(tables):
            light[rows, :, channel] *= _at(table, across if channel == 1 else shifted) * seen
    if display.glare:
        light += np.float32(display.glare) * soft_ellipse((height, width), rng)[..., None]
    return light


def column_tables(display: Display, blur: float) -> tuple[Light, Light, Light]:
    """What the photosites see of red, green and blue sub-pixels over a period, 1 on average."""
    fill = 1 - display.matrix
    if display.layout == "stripe":
        red, green, blue = ((k + 0.5) / 3 for k in range(3))
        made = [_table(display, blur, fill / 3, middle, 1.0) for middle in (red, green, blue)]
    else:
        wide, narrow = fill / 4, fill / 2  # of two pixels, of one
        made = [
            _table(display, blur, wide, 0.25, 2.0),
            _table(display, blur, narrow, 0.5, 1.0),
            _table(display, blur, wide, 0.75, 2.0),
        ]
    return made[0], made[1], made[2]


def row_table(display: Display, blur: float) -> Light:
    """The same for the rows of pixels."""
    return _table(display, blur, 1 - display.matrix, 0.5, 1.0, is_row=True)


def soft_ellipse(size: tuple[int, int], rng: np.random.Generator) -> Light:
    """A bell (H, W) of height 1 somewhere in the picture: a lamp mirrored in a smooth surface."""
    height, width = size
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None] - np.float32(rng.uniform(0, 1))
    x = np.linspace(0, 1, width, dtype=np.float32)[None] - np.float32(rng.uniform(0, 1))
    tall, wide = (np.float32(s) for s in rng.uniform(0.1, 0.4, 2))
    bell: Light = np.exp(-0.5 * (y / tall) ** 2) * np.exp(-0.5 * (x / wide) ** 2)
    return bell


def shown(image: Pixels, size: tuple[int, int] | None) -> Pixels:
    """The image at the camera's raster; what size it had before is the caller's matter."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"want a uint8 image (h, w, 3), got {image.dtype} {image.shape}")
    if size is None or image.shape[:2] == tuple(size):
        return image
    way = cv2.INTER_AREA if size[0] < image.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=way), np.uint8)


def _table(
    display: Display,
    blur: float,
    width: float,
    middle: float,
    periods: float,
    *,
    is_row: bool = False,
) -> Light:
    """1 + 2 Σ sinc(k·width) · transfer(k) · cos(2πk(x - middle)); a period is so many pixels."""
    angle = math.radians(display.view.rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    k = np.arange(1, HARMONICS + 1)
    frequency = k / (periods * display.pitch)  # cycles a camera pixel
    along = (sin, cos) if is_row else (cos, sin)
    passed = np.sinc(k * width) * np.sinc(frequency * along[0]) * np.sinc(frequency * along[1])
    passed *= np.exp(-2 * (np.pi * blur * frequency) ** 2)
    place = np.arange(STEPS)[:, None] / STEPS - middle
    return np.asarray(1 + 2 * (np.cos(2 * np.pi * place * k) @ passed), np.float32)


def _at(table: Light, place: Light) -> NDArray[np.float32]:
    """A table's value at places counted in periods."""
    found: Light = table.take((place * np.float32(STEPS)).astype(np.int32) & (STEPS - 1))
    return found

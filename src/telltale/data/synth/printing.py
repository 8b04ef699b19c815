"""A picture on paper, as the lens forms it on another camera's sensor: halftone, ink, paper.

    coverage   a_C = (1 - R^{1/n}) / (1 - T^{1/n}),  a_K = u·min(a_C, a_M, a_Y),  + 4g·a(1 - a)
    screen     ink where the spot function (2 + cos 2πs + cos 2πt)/4 is above its (1 - a) quantile
    paper      R = white · Π_inks (1 - s·(1 - T^{1/n}))^n,  s the ink that a photosite sees

s is the screen gathered over the photosite behind the lens: a table over coverage and place in the
cell, each harmonic (k, l) shrunk by sinc(f_x)·sinc(f_y)·exp(-2π²σ²|f|²). Screens whose frequency
passes half the sensor's fold back as moiré by the sampling alone.

Source: Yule & Nielsen's n for light that spreads in paper; Demichel's independent inks; clustered
dots at the screen angles of offset print. Assumed: ideal dyes with ``leak`` between colours in
place of a measured gamut; inkjet's error diffusion as noise of the variance that its dots leave.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from telltale.data.synth.camera import Light, Pixels, blurred, to_linear
from telltale.data.synth.display import STRIP, shown, soft_ellipse
from telltale.data.synth.planes import View, draw_view, positions, taken

LEVELS, CELL = 64, 32  # of coverage, and places in a halftone cell to each side
ANGLES = (15.0, 75.0, 0.0, 45.0)  # degrees, of cyan, magenta, yellow, black
FIBRE = 512  # pixels to each side of the paper's noise, which is tiled


class Printer(NamedTuple):
    """A print in front of a camera.

    Args:
        cell: Camera pixels from one halftone dot to the next, 1 to 8: at 150 lines an inch, 170 µm
            on the paper.
        screen: "clustered" dots, or "diffused" ones too fine for a camera to tell apart.
        gain: Dot gain g, coverage added at 50 %, 0.1 to 0.25.
        n: Yule and Nielsen's, 1.5 to 2.
        removal: Share u of the grey component that black takes over.
        ink: Reflectance T of full coverage in an ink's own colour.
        leak: Share of an ink's absorption in the two other colours.
        white: Reflectance of the paper, for each colour.
        fibre: σ of the paper's 1/f noise, over white.
        dots: Dots of a diffused screen in a camera pixel.
        gloss: Light mirrored at the middle of a soft ellipse, over white.
        view: How the camera stands, and the sheet's bend.
    """

    cell: float = 2.0
    screen: str = "clustered"
    gain: float = 0.18
    n: float = 1.8
    removal: float = 0.6
    ink: float = 0.04
    leak: float = 0.08
    white: tuple[float, float, float] = (0.9, 0.9, 0.88)
    fibre: float = 0.02
    dots: float = 12.0
    gloss: float = 0.0
    view: View = View()


def draw_printer(rng: np.random.Generator) -> Printer:
    """A printer and a sheet at random."""
    white = rng.uniform(0.8, 0.95)
    return Printer(
        cell=float(np.exp(rng.uniform(math.log(1.2), math.log(5)))),
        screen="diffused" if rng.random() < 0.35 else "clustered",
        gain=float(rng.uniform(0.1, 0.25)),
        n=float(rng.uniform(1.5, 2)),
        removal=float(rng.uniform(0.3, 0.9)),
        ink=float(rng.uniform(0.02, 0.08)),
        leak=float(rng.uniform(0.03, 0.15)),
        white=(float(white), float(white), float(white * rng.uniform(0.93, 1.0))),
        fibre=float(rng.uniform(0.01, 0.03)),
        dots=float(rng.uniform(4, 40)),
        gloss=float(rng.uniform(0.02, 0.15)) * (rng.random() < 0.4),
        view=draw_view(rng, most=20.0),
    )


def printed(
    image: Pixels,
    printer: Printer,
    rng: np.random.Generator,
    size: tuple[int, int] | None = None,
    *,
    blur: float = 0.5,
) -> Light:
    """Linear light (H, W, 3) that a camera's photosites gather from a print of an image.

    Args:
        image: uint8 sRGB (h, w, 3).
        printer: Printer and sheet.
        rng: Of the screens' places, the fibres, the dots and the gloss.
        size: (H, W); the image's own by default.
        blur: The lens's σ in pixels; the camera's own is then to be 0.

    Raises:
        ValueError: If the image is not uint8 (h, w, 3), or a setting is out of range.
    """
    image = shown(image, size)
    if printer.screen not in ("clustered", "diffused") or not printer.cell > 0:
        raise ValueError(
            f"want a cell above 0 and a screen of clustered or diffused dots, got {printer.cell} "
            f"and {printer.screen!r}"
        )
    height, width = image.shape[:2]
    x, y = positions((height, width), printer.view)
    root = printer.ink ** (1 / printer.n)
    needed = (1 - to_linear(np.arange(256, dtype=np.uint8)) ** (1 / printer.n)) / (1 - root)
    wanted = np.asarray(cv2.LUT(image, np.clip(needed, 0, 1).astype(np.float32)), np.float32)
    coverage = taken(wanted, x, y)
    if blur > 0:
        coverage = blurred(coverage, blur)
    screens = [_drawn(printer, angle, rng, blur, (height, width)) for angle in ANGLES]
    left, top = rng.integers(FIBRE, size=2)
    fibres = np.roll(_fibres(), (top, left), (0, 1))
    tiles = (-(-height // FIBRE), -(-width // FIBRE))
    paper = 1 + np.float32(printer.fibre) * np.tile(fibres, tiles)[:height, :width]
    gloss = np.float32(printer.gloss) * soft_ellipse((height, width), rng)
    light = np.empty((height, width, 3), np.float32)
    for start in range(0, height, STRIP):
        rows = slice(start, start + STRIP)
        planes = _inked(coverage[rows], x[rows], y[rows], printer, screens, start)
        for channel, (plane, white) in enumerate(zip(planes, printer.white, strict=True)):
            reflected = np.asarray(cv2.pow(np.maximum(plane, 0, out=plane), printer.n), np.float32)
            reflected *= paper[rows]
            reflected *= np.float32(white)
            reflected += gloss[rows]
            light[rows, :, channel] = reflected
    return light


class Screen(NamedTuple):
    """One ink's screen, drawn: where its dots lie and what they let a photosite see."""

    shift: Light  # (2,) of the cells; empty for a diffused screen
    turn: tuple[float, float]  # cosine and sine of its angle, over the cell
    seen: Light  # table (LEVELS, CELL, CELL), or the noise (H, W) of a diffused screen


def _drawn(
    printer: Printer, angle: float, rng: np.random.Generator, blur: float, size: tuple[int, int]
) -> Screen:
    if printer.screen == "diffused":
        # Four such fields are most of a print's cost, and OpenCV draws them four times as fast.
        cv2.setRNGSeed(int(rng.integers(2**31)))
        mean, deviation = np.zeros(1), np.ones(1)
        noise = np.asarray(cv2.randn(np.empty(size, np.float32), mean, deviation), np.float32)
        return Screen(np.empty(0, np.float32), (0.0, 0.0), blurred(noise, blur) if blur else noise)
    turn = math.radians(angle)
    table = halftone(printer.cell, angle - printer.view.rotation, blur)
    shift = rng.uniform(0, 1, 2).astype(np.float32)
    return Screen(shift, (math.cos(turn) / printer.cell, math.sin(turn) / printer.cell), table)


def _inked(
    coverage: Light, x: Light, y: Light, printer: Printer, screens: list[Screen], start: int
) -> list[Light]:
    """What passes cyan, magenta, yellow and black ink (h, W), in each colour, of some rows."""
    root = printer.ink ** (1 / printer.n)
    # Plane by plane: arithmetic on every third number takes twice as long.
    inks = [np.ascontiguousarray(coverage[..., ink]) for ink in range(3)]
    black = np.minimum(np.minimum(inks[0], inks[1]), inks[2])
    black *= np.float32(printer.removal)
    rest = 1 / np.maximum(1 - black, np.float32(0.05))
    for ink in inks:
        ink -= black
        ink *= rest
    inks.append(black)
    planes = [np.ones(x.shape, np.float32) for _ in range(3)]
    for number, (amount, screen) in enumerate(zip(inks, screens, strict=True)):
        amount += np.float32(4 * printer.gain) * amount * (1 - amount)
        np.clip(amount, 0, 1, out=amount)
        if printer.screen == "diffused":
            seen = _diffused(amount, screen.seen[start : start + len(x)], printer.dots)
        else:
            seen = _clustered(amount, x, y, screen)
        for channel, plane in enumerate(planes):
            strength = 1.0 if number in (3, channel) else printer.leak
            plane *= 1 - seen * np.float32(strength * (1 - root))
    return planes


def _diffused(amount: Light, noise: Light, dots: float) -> Light:
    """The ink that photosites see of a screen too fine for them, where so much is wanted."""
    spread = 1 - amount
    spread *= amount
    spread /= np.float32(dots)
    np.sqrt(spread, out=spread)
    spread *= noise
    spread += amount
    seen: Light = np.clip(spread, 0, 1, out=spread)
    return seen


def _clustered(amount: Light, x: Light, y: Light, screen: Screen) -> Light:
    """The same of clustered dots."""
    cos, sin = (np.float32(CELL * it) for it in screen.turn)
    shift = np.float32(CELL) * screen.shift
    s = (x * cos + y * sin + shift[0]).astype(np.int32)
    t = (y * cos - x * sin + shift[1]).astype(np.int32)
    amount *= LEVELS - 1
    amount += np.float32(0.5)
    place = amount.astype(np.int32)
    for inner in (t, s):
        inner &= CELL - 1
        place *= CELL
        place += inner
    found: Light = screen.seen.take(place)
    return found


@lru_cache(64)
def halftone(cell: float, angle: float, blur: float) -> Light:
    """Ink that a photosite sees (LEVELS, CELL, CELL), over coverage and place in the cell."""
    place = (np.arange(CELL) + 0.5) / CELL
    spot = np.cos(2 * np.pi * place)[:, None] + np.cos(2 * np.pi * place)[None]
    order = spot.ravel().argsort(kind="stable")[::-1].argsort()  # 0 where the dot begins
    wanted = np.linspace(0, 1, LEVELS)[:, None] * CELL**2
    ink = np.clip(wanted - order[None], 0, 1).reshape(LEVELS, CELL, CELL)
    across, down = np.fft.fftfreq(CELL)[None] * CELL / cell, np.fft.fftfreq(CELL)[:, None]
    down = down * CELL / cell
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    f_x, f_y = across * cos - down * sin, across * sin + down * cos
    passed = np.sinc(f_x) * np.sinc(f_y)
    passed = passed * np.exp(-2 * (np.pi * blur) ** 2 * (f_x**2 + f_y**2))
    seen = np.fft.ifft2(np.fft.fft2(ink) * passed).real
    return np.asarray(np.clip(seen, 0, 1), np.float32)


@lru_cache(1)
def _fibres() -> Light:
    """Noise (FIBRE, FIBRE) of the spectrum 1/f, which tiles; mean 0 and deviation 1."""
    rng = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(FIBRE)[:, None], np.fft.rfftfreq(FIBRE)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((FIBRE, FIBRE))) / frequency
    noise = np.fft.irfft2(spectrum, s=(FIBRE, FIBRE))
    return np.asarray(noise / noise.std(), np.float32)

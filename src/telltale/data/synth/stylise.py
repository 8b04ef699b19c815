"""Eight drawn styles of a photograph, by filters: the objects stay, the photograph goes.

    stylise("cartoon", pixels, rng)

For the same picture in two forms, photographic and stylised, on which a model should say the
same. Strokes scale with the picture. Filters, not a painter: whether objects can still be
recognised must be looked at.

Source: Winnemöller, Olsen, Gooch, "Real-time Video Abstraction", SIGGRAPH 2006 (cartoon); Kuwahara
et al., 1976 (painting). The others are darkroom and print techniques rebuilt on arrays.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Way = Callable[[Floats, float, np.random.Generator], Floats]  # pixels in [0, 1], stroke in pixels

SMALLEST = 16  # pixels of the shorter side


def stylise(style: str, pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """The picture in another style, of the same size.

    Args:
        style: One of :data:`STYLES`.
        pixels: (H, W, 3), sRGB, H and W of 16 or more.
        rng: Draws grain, angles and paper.

    Raises:
        ValueError: If the style is not known, or the pixels are not such.
    """
    if style not in STYLES:
        raise ValueError(f"want a style of {', '.join(STYLES)}, got {style!r}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"want uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    if min(pixels.shape[:2]) < SMALLEST:
        raise ValueError(f"want a picture of {SMALLEST} pixels or more, got {pixels.shape}")
    stroke = max(1.0, min(pixels.shape[:2]) / 224)
    made = STYLES[style](_floats(pixels / 255), stroke, rng)
    return np.rint(np.clip(made, 0, 1) * 255).astype(np.uint8)


def cartoon(x: Floats, stroke: float, rng: np.random.Generator) -> Floats:
    """Flat tones with soft steps between them, under dark outlines."""
    flat = _smoothed(x, stroke, 3)
    lab = _to_lab(flat)
    step = 12.0  # of lightness, in [0, 100]
    nearest = np.round(lab[..., 0] / step) * step
    lab[..., 0] = nearest + step / 2 * np.tanh((lab[..., 0] - nearest) * 0.6)
    lab[..., 1:] *= 1.3
    return _to_rgb(lab) * _outline(flat, stroke)[..., None]


def sketch(x: Floats, stroke: float, rng: np.random.Generator) -> Floats:
    """Pencil: grey divided by its own blur, on grained paper."""
    grey = _grey(x)
    lines = grey / np.maximum(_blurred(grey, 4 * stroke), 0.02)
    grain = _blurred(rng.standard_normal(grey.shape).astype(np.float32), 0.6 * stroke)
    dark = np.clip(1 - lines, 0, 1) * (1 + 0.5 * grain)
    return _grey_picture(_floats(0.97 - 1.6 * dark))


def painting(x: Floats, stroke: float, rng: np.random.Generator) -> Floats:
    """Oil: each pixel takes the mean of the calmest of four squares at whose corner it lies."""
    radius = max(2, round(3 * stroke))
    made = _kuwahara(_kuwahara(x, radius), radius)
    bristles = rng.standard_normal(x.shape[:2]).astype(np.float32)
    relief = _floats(cv2.blur(bristles, (max(3, 4 * radius), max(1, radius // 2))))
    relief /= max(float(relief.std()), 1e-6)
    lab = _to_lab(made)
    lab[..., 0] += 1.5 * relief
    lab[..., 1:] *= 1.2
    return _to_rgb(lab)


def watercolour(x: Floats, stroke: float, rng: np.random.Generator) -> Floats:
    """Pale washes that darken at their rims, on uneven paper."""
    size = x.shape[1::-1]
    move = [_cloud(size, 10 * stroke, rng) * 2 * stroke for _ in range(2)]
    rows, columns = np.mgrid[: size[1], : size[0]].astype(np.float32)
    flat = cv2.remap(
        _smoothed(x, stroke, 4), columns + move[0], rows + move[1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT,
    )  # fmt: skip
    wash = 1 - (1 - flat) * (0.8 + 0.12 * _cloud(size, 20 * stroke, rng)[..., None])
    rim = np.abs(_grey(wash) - _blurred(_grey(wash), 2 * stroke))
    paper = 1 + 0.02 * _cloud(size, 1.2 * stroke, rng)
    return _floats(wash * (1 - 1.2 * rim[..., None]) * paper[..., None])


def pixel_art(x: Floats, stroke: float, rng: np.random.Generator) -> Floats:
    """Large square pixels of a small palette, ordered dither, as games once were."""
    block = max(2, round(4 * stroke))
    height, width = x.shape[:2]
    size = max(4, width // block), max(4, height // block)
    small = cv2.resize(x, size, interpolation=cv2.INTER_AREA)
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32)
    tiles = np.tile(bayer / 16 - 0.47, (size[1] // 4 + 1, size[0] // 4 + 1))[: size[1], : size[0]]
    few = np.round(np.clip(small + 0.18 * tiles[..., None], 0, 1) * 5) / 5
    return _floats(cv2.resize(few, (width, height), interpolation=cv2.INTER_NEAREST))


def halftone(x: Floats, stroke: float, rng: np.random.Generator) -> Floats:
    """Dots of three inks, each screen at an angle of its own, as in print."""
    pitch = 3.2 * stroke
    turn = float(rng.uniform(0, np.pi / 2))
    rows, columns = np.mgrid[: x.shape[0], : x.shape[1]].astype(np.float32)
    planes = []
    for ink, angle in enumerate((15, 75, 45)):
        a = np.radians(angle) + turn
        u = (columns * np.cos(a) + rows * np.sin(a)) * (2 * np.pi / pitch)
        v = (rows * np.cos(a) - columns * np.sin(a)) * (2 * np.pi / pitch)
        screen = (np.cos(u) + np.cos(v)) / 4 + 0.5
        tone = _blurred(x[..., ink], 0.7 * stroke)
        planes.append(1 / (1 + np.exp(-12 * (tone - screen))))
    return _floats(np.stack(planes, -1))


def engraving(x: Floats, stroke: float, rng: np.random.Generator) -> Floats:
    """Black lines that swell with the shadow, crossed where it is deep."""
    grey = cv2.createCLAHE(2.0, (8, 8)).apply(np.rint(_grey(x) * 255).astype(np.uint8)) / 255.0
    grey = _blurred(grey.astype(np.float32), 0.8 * stroke)
    rows, columns = np.mgrid[: x.shape[0], : x.shape[1]].astype(np.float32)
    bend = _cloud(x.shape[1::-1], 30 * stroke, rng) * 1.5 * stroke
    angle = float(rng.uniform(0.2, 0.7))
    page = np.ones_like(grey)
    for turn, deepest in ((angle, 1.0), (angle + np.pi / 2, 0.45)):
        along = columns * np.sin(turn) + rows * np.cos(turn) + bend
        wave = 0.5 + 0.5 * np.cos(along * (2 * np.pi / (3.5 * stroke)))
        ink = wave - np.clip(grey / deepest, 0, 1)
        page *= 1 - 1 / (1 + np.exp(-10 * ink))
    return _grey_picture(page * _outline(x, stroke))


def poster(x: Floats, stroke: float, rng: np.random.Generator) -> Floats:
    """Six inks, chosen from the picture itself, in flat fields."""
    flat = _smoothed(x, stroke, 2)
    lab = _to_lab(flat)
    points = lab.reshape(-1, 3)
    inks = points[rng.choice(len(points), min(len(points), 2000), replace=False)]
    order = np.argsort(inks[:, 0])
    centres = inks[order[np.linspace(0.08 * len(order), 0.92 * len(order), 6).astype(int)]]
    for _ in range(8):  # Lloyd's steps
        nearest = ((inks[:, None] - centres[None]) ** 2).sum(-1).argmin(1)
        centres = np.stack(
            [inks[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(6)]
        )
    distance = np.stack([((lab - centre) ** 2).sum(-1) for centre in centres])
    vivid = centres * np.array([1.0, 1.4, 1.4])
    return _to_rgb(_floats(vivid[distance.argmin(0)]))


STYLES: dict[str, Way] = {
    "cartoon": cartoon,
    "sketch": sketch,
    "painting": painting,
    "watercolour": watercolour,
    "pixel_art": pixel_art,
    "halftone": halftone,
    "engraving": engraving,
    "poster": poster,
}


def _kuwahara(x: Floats, radius: int) -> Floats:
    """Mean of the square, of four around each pixel, whose grey varies least."""
    side, edge = radius + 1, radius
    grey = _grey(x)
    wide = cv2.copyMakeBorder(x, edge, edge, edge, edge, cv2.BORDER_REFLECT)
    plain = cv2.copyMakeBorder(grey, edge, edge, edge, edge, cv2.BORDER_REFLECT)
    anchor = (0, 0)
    mean = cv2.blur(wide, (side, side), anchor=anchor)
    spread = cv2.blur(plain**2, (side, side), anchor=anchor)
    spread = spread - cv2.blur(plain, (side, side), anchor=anchor) ** 2
    height, width = grey.shape
    corners = [(0, 0), (0, radius), (radius, 0), (radius, radius)]
    means = np.stack([mean[i : i + height, j : j + width] for i, j in corners])
    spreads = np.stack([spread[i : i + height, j : j + width] for i, j in corners])
    calm = spreads.argmin(0)[None, ..., None]
    return _floats(np.take_along_axis(means, calm, 0)[0])


def _outline(x: Floats, stroke: float) -> Floats:
    """Difference of Gaussians as ink: 0 on lines, 1 elsewhere."""
    grey = _grey(x)
    change = _blurred(grey, stroke) - 0.98 * _blurred(grey, 1.6 * stroke)
    return _floats(np.where(change > 0, 1, 1 + np.tanh(60 * change)))


def _smoothed(x: Floats, stroke: float, times: int) -> Floats:
    for _ in range(times):
        x = _floats(cv2.bilateralFilter(x, -1, 0.12, 3 * stroke))
    return x


def _cloud(size: tuple[int, int], scale: float, rng: np.random.Generator) -> Floats:
    """Smooth noise of unit deviation, (height, width) of ``size`` (width, height)."""
    noise = rng.standard_normal((size[1], size[0])).astype(np.float32)
    soft = _blurred(noise, scale)
    return _floats(soft / max(float(soft.std()), 1e-6))


def _blurred(x: Floats, sigma: float) -> Floats:
    return _floats(cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT))


def _grey(x: Floats) -> Floats:
    return _floats(x @ np.array([0.299, 0.587, 0.114], np.float32))


def _grey_picture(grey: Floats) -> Floats:
    return _floats(np.repeat(np.clip(grey, 0, 1)[..., None], 3, 2))


def _to_lab(x: Floats) -> Floats:
    return _floats(cv2.cvtColor(np.ascontiguousarray(x, np.float32), cv2.COLOR_RGB2LAB))


def _to_rgb(lab: Floats) -> Floats:
    return _floats(cv2.cvtColor(np.ascontiguousarray(lab, np.float32), cv2.COLOR_LAB2RGB))


def _floats(x: object) -> Floats:
    return np.asarray(x, np.float32)

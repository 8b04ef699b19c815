"""Twenty-four ways in which pictures lose quality, at five levels each, as KADID-10k has them.

    distort("jpeg", pixels, 3, rng)

Rebuilt from the database's list of kinds (its denoising is left out); strengths are our own.
What a full-reference measure says of the result is a **proxy** label: no person was asked.

Source: Lin, Hosu, Saupe, "KADID-10k: A Large-scale Artificially Distorted IQA Database", QoMEX
2019.
"""

import io
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Way = Callable[[Floats, int, np.random.Generator], Floats]  # pixels in [0, 1], level 0 to 4

LEVELS = 5


def distort(kind: str, pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
    """A distorted picture of the same size.

    Args:
        kind: One of :data:`KINDS`.
        pixels: (H, W, 3), sRGB.
        level: 1 (slight) to 5.
        rng: Draws noise, places and directions.

    Raises:
        ValueError: If the kind is not known, or the level or the pixels are not such.
    """
    if kind not in KINDS or not 1 <= level <= LEVELS:
        raise ValueError(f"want a kind of {[*KINDS]} and a level of 1 to 5, got {kind!r}, {level}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"want uint8 (H, W, 3), got {pixels.dtype} {pixels.shape}")
    made = KINDS[kind](pixels / 255.0, level - 1, rng)
    return np.rint(np.clip(made, 0, 1) * 255).astype(np.uint8)


# ── blur ─────────────────────────────────────────────────────────────────────────────────────────


def gaussian_blur(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Gaussian blur, five strengths."""
    return _blurred(x, (0.6, 1.2, 2.0, 3.2, 5.0)[n])


def lens_blur(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Lens blur, five strengths."""
    radius = (1, 2, 3, 5, 8)[n]
    at = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (np.hypot(*at) <= radius).astype(np.float64)
    return _filtered(x, disk / disk.sum())


def motion_blur(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Motion blur, five strengths."""
    length = (3, 5, 9, 15, 23)[n]
    line = np.zeros((length, length))
    line[length // 2] = 1
    centre = (length - 1) / 2, (length - 1) / 2
    turn = cv2.getRotationMatrix2D(centre, float(rng.uniform(0, 180)), 1)
    line = np.asarray(cv2.warpAffine(line, turn, (length, length)), np.float64)
    return _filtered(x, line / line.sum())


# ── colour ───────────────────────────────────────────────────────────────────────────────────────


def colour_diffusion(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Colour diffusion, five strengths."""
    y = _to_ycc(x)
    y[..., 1:] = _blurred(y[..., 1:], (2, 4, 7, 11, 16)[n])
    return _to_rgb(y)


def colour_shift(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Chroma moved against the luma."""
    y, (dx, dy) = _to_ycc(x), _direction(rng) * (1.5, 3, 5, 8, 12)[n]
    move = np.array([[1, 0, dx], [0, 1, dy]])
    size = x.shape[1], x.shape[0]
    chroma = np.ascontiguousarray(y[..., 1:])
    y[..., 1:] = cv2.warpAffine(chroma, move, size, borderMode=cv2.BORDER_REFLECT)
    return _to_rgb(y)


def colour_quantisation(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Colour quantisation, five strengths."""
    colours = (64, 32, 16, 8, 4)[n]
    few = _image(x).quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return np.asarray(few.convert("RGB")) / 255.0


def desaturation(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Desaturation, five strengths."""
    return _chroma(x, (0.75, 0.5, 0.25, 0.1, 0.0)[n])


def oversaturation(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Oversaturation, five strengths."""
    return _chroma(x, (1.4, 1.9, 2.6, 3.6, 5.0)[n])


# ── compression ──────────────────────────────────────────────────────────────────────────────────


def jpeg(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Jpeg, five strengths."""
    return _stored(x, "JPEG", quality=(50, 30, 18, 10, 5)[n])


def jpeg2000(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Jpeg2000, five strengths."""
    rate = (16, 32, 60, 100, 170)[n]
    return _stored(x, "JPEG2000", quality_mode="rates", quality_layers=[rate], irreversible=True)


# ── noise ────────────────────────────────────────────────────────────────────────────────────────


def white_noise(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """White noise, five strengths."""
    return x + rng.normal(0, (0.02, 0.04, 0.08, 0.13, 0.2)[n], x.shape)


def chroma_noise(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Chroma noise, five strengths."""
    y = _to_ycc(x)
    y[..., 1:] += rng.normal(0, (0.02, 0.04, 0.08, 0.13, 0.2)[n], y[..., 1:].shape)
    return _to_rgb(y)


def impulse_noise(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Impulse noise, five strengths."""
    hit = rng.random(x.shape) < (0.004, 0.012, 0.03, 0.07, 0.15)[n]
    return np.where(hit, rng.integers(0, 2, x.shape), x)


def multiplicative_noise(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Multiplicative noise, five strengths."""
    return x * (1 + rng.normal(0, (0.06, 0.12, 0.2, 0.32, 0.5)[n], x.shape))


# ── brightness ───────────────────────────────────────────────────────────────────────────────────


def brighten(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Brighten, five strengths."""
    return np.clip(x, 0, 1) ** (0.8, 0.65, 0.5, 0.37, 0.25)[n]


def darken(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Darken, five strengths."""
    return np.clip(x, 0, 1) ** (1.3, 1.7, 2.3, 3.2, 4.5)[n]


def mean_shift(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Mean shift, five strengths."""
    return x + (0.06, 0.12, 0.19, 0.27, 0.36)[n] * (1 if rng.random() < 0.5 else -1)


# ── places ───────────────────────────────────────────────────────────────────────────────────────


def jitter(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Jitter, five strengths."""
    reach = (0.6, 1.0, 1.6, 2.5, 4.0)[n]
    at = np.mgrid[: x.shape[0], : x.shape[1]] + rng.uniform(-reach, reach, (2, *x.shape[:2]))
    rows, columns = at.astype(np.float32)
    made = cv2.remap(x, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(made, np.float64)


def moved_patches(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Small patches copied to places near by."""
    made, side = x.copy(), max(2, min(16, *(s // 4 for s in x.shape[:2])))
    area = x.shape[0] * x.shape[1] / (128 * 128)
    for _ in range(max(1, round((3, 6, 12, 24, 48)[n] * area))):
        y, z = (int(rng.integers(s - side + 1)) for s in x.shape[:2])
        dy, dz = (int(v) for v in rng.integers(-side, side + 1, 2))
        v, w = (
            int(np.clip(a, 0, s - side)) for a, s in zip((y + dy, z + dz), x.shape[:2], strict=True)
        )
        made[v : v + side, w : w + side] = x[y : y + side, z : z + side]
    return made


def pixelate(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Pixelate, five strengths."""
    side = (2, 3, 4, 6, 9)[n]
    size = x.shape[1], x.shape[0]
    small = cv2.resize(x, [max(1, s // side) for s in size], interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_NEAREST), np.float64)


def quantisation(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Quantisation, five strengths."""
    steps = (20, 12, 8, 5, 3)[n] - 1
    return np.rint(np.clip(x, 0, 1) * steps) / steps


def colour_blocks(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Colour blocks, five strengths."""
    made, side = x.copy(), max(2, min(16, *(s // 4 for s in x.shape[:2])))
    area = x.shape[0] * x.shape[1] / (128 * 128)
    for _ in range(max(1, round((1, 2, 4, 7, 12)[n] * area))):
        y, z = (int(rng.integers(s - side + 1)) for s in x.shape[:2])
        made[y : y + side, z : z + side] = rng.random(3)
    return made


def sharpen(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Sharpen, five strengths."""
    return x + (1, 2, 4, 7, 12)[n] * (x - _blurred(x, 1.0))


def contrast(x: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Contrast, five strengths."""
    factor = (0.8, 0.62, 0.46, 0.32, 0.2)[n] if rng.random() < 0.5 else (1.25, 1.6, 2.1, 3, 4.5)[n]
    return (x - 0.5) * factor + 0.5


KINDS: dict[str, Way] = {
    way.__name__: way
    for way in (
        *(gaussian_blur, lens_blur, motion_blur),
        *(colour_diffusion, colour_shift, colour_quantisation, desaturation, oversaturation),
        *(jpeg, jpeg2000),
        *(white_noise, chroma_noise, impulse_noise, multiplicative_noise),
        *(brighten, darken, mean_shift),
        *(jitter, moved_patches, pixelate, quantisation, colour_blocks, sharpen, contrast),
    )
}

YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def _to_ycc(x: Floats) -> Floats:
    return np.asarray(x @ YCC.T, np.float64)


def _to_rgb(y: Floats) -> Floats:
    return np.asarray(y @ np.linalg.inv(YCC).T, np.float64)


def _chroma(x: Floats, factor: float) -> Floats:
    y = _to_ycc(x)
    y[..., 1:] *= factor
    return _to_rgb(y)


def _direction(rng: np.random.Generator) -> Floats:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _blurred(x: Floats, sigma: float) -> Floats:
    x = np.ascontiguousarray(x)
    return np.asarray(cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REFLECT), np.float64)


def _filtered(x: Floats, kernel: Floats) -> Floats:
    return np.asarray(cv2.filter2D(x, -1, kernel, borderType=cv2.BORDER_REFLECT), np.float64)


def _image(x: Floats) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8))


def _stored(x: Floats, form: str, **settings: object) -> Floats:
    file = io.BytesIO()
    _image(x).save(file, form, **settings)
    return np.asarray(Image.open(file).convert("RGB")) / 255.0

"""Drawn faces of 40 × 40 pixels with four kinds of forgery of the same frame, for CPU experiments.

    frames = toy_faces(500, seed=0)
    frames.images["real"], frames.images["DF"], frames.masks["DF"], frames.identities

An identity is a skin, its texture, eyes and a mouth; a scene is a place, a background and a light.
Each frame is one identity in one scene through one camera, and comes with a forgery of every kind:

    DF   another identity, half resolution, no camera noise; wide soft border (as Deepfakes)
    FS   another identity through the camera, turned, other brightness; hard border (as FaceSwap)
    F2F  the same face, warped and shifted by half a pixel (as Face2Face)
    NT   the mouth smoothed, with a chessboard pattern (as NeuralTextures)

The traces are those that detectors live on (resolution, noise, colour, interpolation, pattern), at
a size at which a small network learns them in minutes. Swaps take both people from the identities
that were asked for, so splits by identity stay apart.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]  # pictures are (N, S, S, 3) in [0, 1], fields (N, S, S)

SIZE = 40  # pixels
KINDS = ("DF", "FS", "F2F", "NT")
SKIN = ((0.45, 0.30, 0.25), (0.85, 0.65, 0.55))  # RGB, lowest and highest
EYE_COLOR, MOUTH_COLOR = (0.10, 0.08, 0.08), (0.62, 0.20, 0.22)
CAMERA_BLUR, CAMERA_NOISE = 0.5, 0.03  # pixels, standard deviation
EDGE = 0.08  # softness of the face's outline, in ellipse radii
SHOWN = 0.1  # a pixel counts as forged where the blended share is larger


class ToyFaces(NamedTuple):
    """N frames, each real and forged in every way.

    Args:
        images: "real" and each of :data:`KINDS` to (N, 40, 40, 3) uint8 sRGB.
        masks: The same names to (N, 40, 40) bool, the forged pixels; none of a real face.
        identities: (N,) number of the person whose frame it is: the source of all its versions.
    """

    images: dict[str, NDArray[np.uint8]]
    masks: dict[str, NDArray[np.bool_]]
    identities: NDArray[np.int64]


def toy_faces(
    count: int, *, seed: int, identities: Sequence[int] = range(100), start: int = 0
) -> ToyFaces:
    """Draw frames ``start`` to ``start + count``; a frame depends on its number and the seed alone.

    Args:
        count: N, at least 1.
        seed: Of identities, scenes and forgeries.
        identities: Numbers of the people to draw from, at least two.
        start: Number of the first frame.

    Raises:
        ValueError: If there are no frames to draw or fewer than two people.
    """
    people = sorted(set(identities))
    if count < 1 or start < 0 or len(people) < 2 or people[0] < 0:
        raise ValueError(
            "want count ≥ 1, start ≥ 0 and two identities or more, from 0 up; "
            f"got count {count}, start {start}, {len(people)} identities"
        )
    draws = _stack([_draw(seed, number, people) for number in range(start, start + count)])
    mine = _render([_person(seed, int(n)) for n in draws.owner], draws)
    other = _render([_person(seed, int(n)) for n in draws.other], draws)
    real = _blur(mine, CAMERA_BLUR) + draws.noise
    inner = (_ellipse(draws, 0.8, down=1.0) <= 1).astype(np.float64)  # (N, S, S)
    mouth = (_oval(draws, (0, 7), 7.5, 5) <= 1).astype(np.float64)
    sources_and_shares = {
        "DF": (_deepfake(other, real, inner, draws), _blur(inner, 2.5)),
        "FS": (_faceswap(other, real, inner, draws), _blur(inner, 0.7)),
        "F2F": (_reenact(real, draws), _blur(inner, 2.0)),
        "NT": (_retexture(real), _blur(mouth, 1.2)),
    }
    images, masks = {"real": _quantise(real)}, {"real": np.zeros(inner.shape, np.bool_)}
    for kind, (source, share) in sources_and_shares.items():
        images[kind] = _quantise(real + share[..., None] * (source - real))
        masks[kind] = share > SHOWN
    return ToyFaces(images, masks, draws.owner)


# ── what is drawn by chance ──────────────────────────────────────────────────────────────────────


class _Person(NamedTuple):
    skin: Floats  # (3,)
    eye_radius: float  # pixels
    mouth_width: float  # half, pixels
    texture: Floats  # (S, S, 3), moves with the face


class _Draws(NamedTuple):
    """All that chance decides of one frame, or of N frames stacked."""

    owner: NDArray[np.int64]
    other: NDArray[np.int64]
    center: Floats  # (2,) x, y in pixels
    axes: Floats  # (2,) half axes in pixels
    background: Floats  # (S, S, 3)
    light: Floats  # (2,) per pixel to the right and down
    expression: Floats  # 0 closed to 1 open
    noise: Floats  # (S, S, 3) of the camera, as are the next two
    noise_df: Floats
    noise_fs: Floats
    angle: Floats  # radians
    brightness: Floats
    warp: Floats  # (S, S, 2) pixels
    shift: Floats  # (2,) pixels


def _draw(seed: int, number: int, people: Sequence[int]) -> _Draws:
    rng = np.random.default_rng([seed, 1, number])
    owner, other = rng.choice(len(people), 2, replace=False)
    background = rng.uniform(0.2, 0.8, 3) + _noise_field(rng, 8, 0.10)
    grain = rng.standard_normal((3, SIZE, SIZE, 3)) * [
        [[[CAMERA_NOISE]]],
        [[[0.006]]],
        [[[CAMERA_NOISE]]],
    ]
    warp = _noise_field(rng, 4, 1.0)[..., :2]
    warp *= 1.2 / np.sqrt((warp**2).sum(-1)).max()  # nowhere more than 1.2 pixels
    return _Draws(
        owner=np.asarray(people[owner], np.int64),
        other=np.asarray(people[other], np.int64),
        center=SIZE / 2 + rng.uniform(-1.5, 1.5, 2),
        axes=rng.uniform((11, 14), (13.5, 17)),
        background=background,
        light=rng.uniform(-0.004, 0.004, 2),
        expression=np.asarray(rng.uniform()),
        noise=grain[0],
        noise_df=grain[1],
        noise_fs=grain[2],
        angle=np.radians(rng.uniform(-4, 4)),
        brightness=rng.choice((-1, 1)) * rng.uniform(0.03, 0.06),
        warp=warp,
        shift=0.5 * rng.choice((-1, 1), 2),
    )


def _stack(draws: Sequence[_Draws]) -> _Draws:
    return _Draws(*(np.stack(column) for column in zip(*draws, strict=True)))


@lru_cache(maxsize=4096)
def _person(seed: int, number: int) -> _Person:
    rng = np.random.default_rng([seed, 0, number])
    return _Person(
        rng.uniform(*SKIN),
        rng.uniform(1.5, 2.4),
        rng.uniform(3, 5.5),
        _noise_field(rng, 4, 0.04) + _noise_field(rng, 1.2, 0.015),
    )


def _noise_field(rng: np.random.Generator, sigma: float, deviation: float) -> Floats:
    """Low-pass noise (S, S, 3) whose channels each have mean 0 and this standard deviation."""
    noise = _blur(rng.standard_normal((1, SIZE, SIZE, 3)), sigma)[0]
    noise -= noise.mean((0, 1))
    field: Floats = noise * (deviation / noise.std((0, 1)))
    return field


def _render(people: Sequence[_Person], draws: _Draws) -> Floats:
    """Each person in each frame's scene, before the camera, (N, S, S, 3)."""
    x, y = _from_center(draws)
    light = (x * draws.light[:, :1, None] + y * draws.light[:, 1:, None])[..., None]
    texture = np.stack([person.texture for person in people])
    skin = np.stack([person.skin for person in people])[:, None, None]
    right, down = np.rint(x).astype(int) + SIZE // 2, np.rint(y).astype(int) + SIZE // 2
    face = skin + _at(texture, down, right) + light  # moved by whole pixels: it stays as sharp
    radius = np.array([person.eye_radius for person in people])
    width = np.array([person.mouth_width for person in people])
    for side in (-5, 5):
        face = _painted(face, _oval(draws, (side, -4), radius, radius), EYE_COLOR)
    face = _painted(face, _oval(draws, (0, 7), width, 1 + 1.5 * draws.expression), MOUTH_COLOR)
    inside = 1 / (1 + np.exp((_ellipse(draws, 1.0) - 1) / EDGE))[..., None]
    return inside * face + (1 - inside) * draws.background


def _painted(face: Floats, radius: Floats, color: tuple[float, float, float]) -> Floats:
    """A part laid over the face; its border is about a pixel soft. ``radius`` is 1 on it."""
    share = np.clip(2.5 * (1 - radius) + 0.5, 0, 1)[..., None]
    return share * color + (1 - share) * face


def _from_center(draws: _Draws) -> tuple[Floats, Floats]:
    """Each pixel's x and y from its frame's centre, (N, S, S)."""
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float64)
    return x - draws.center[:, :1, None], y - draws.center[:, 1:, None]


def _oval(
    draws: _Draws, offset: tuple[float, float], width: Floats | float, height: Floats | float
) -> Floats:
    """Distance from an oval's middle in its half axes, (N, S, S): 1 on the oval."""
    x, y = _from_center(draws)
    across = (x - offset[0]) / np.reshape(width, (-1, 1, 1))
    along = (y - offset[1]) / np.reshape(height, (-1, 1, 1))
    distance: Floats = np.hypot(across, along)
    return distance


def _ellipse(draws: _Draws, scale: float, *, down: float = 0.0) -> Floats:
    """The face's outline, scaled and moved down by so many pixels."""
    return _oval(draws, (0, down), scale * draws.axes[:, 0], scale * draws.axes[:, 1])


def _deepfake(other: Floats, real: Floats, inner: Floats, draws: _Draws) -> Floats:
    small = other.reshape(len(other), SIZE // 2, 2, SIZE // 2, 2, 3).mean((2, 4))
    up = _cubic_up()
    large = np.einsum("ij,njkc,lk->nilc", up, small, up, optimize=True)
    return _matched(large + draws.noise_df, real, inner)


def _faceswap(other: Floats, real: Floats, inner: Floats, draws: _Draws) -> Floats:
    seen = _blur(other, CAMERA_BLUR) + draws.noise_fs
    x, y = _from_center(draws)
    cos, sin = (f(draws.angle)[:, None, None] for f in (np.cos, np.sin))
    columns = x * cos - y * sin + draws.center[:, :1, None]
    rows = x * sin + y * cos + draws.center[:, 1:, None]
    turned = _at(seen, np.rint(rows).astype(int), np.rint(columns).astype(int))
    return _matched(turned, real, inner) + draws.brightness[:, None, None, None]


def _reenact(real: Floats, draws: _Draws) -> Floats:
    y, x = np.mgrid[:SIZE, :SIZE]
    columns = x + draws.warp[..., 0] + draws.shift[:, :1, None]
    rows = y + draws.warp[..., 1] + draws.shift[:, 1:, None]
    left, top = np.floor(columns).astype(int), np.floor(rows).astype(int)
    right, low = (columns - left)[..., None], (rows - top)[..., None]
    upper = (1 - right) * _at(real, top, left) + right * _at(real, top, left + 1)
    lower = (1 - right) * _at(real, top + 1, left) + right * _at(real, top + 1, left + 1)
    between: Floats = (1 - low) * upper + low * lower
    return between


def _retexture(real: Floats) -> Floats:
    board = np.where(np.add.outer(np.arange(SIZE), np.arange(SIZE)) % 2, 0.03, -0.03)
    return _blur(real, 0.8) + board[..., None]


def _matched(source: Floats, target: Floats, inner: Floats) -> Floats:
    """``source`` with the target's mean colour inside the hull."""
    weight = inner[..., None] / inner.sum((1, 2))[:, None, None, None]
    shift: Floats = ((target - source) * weight).sum((1, 2))
    return source + shift[:, None, None]


def _at(images: Floats, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Floats:
    """Pixels of (N, S, S, 3) at places (N, S, S); past the border the border's."""
    frames = np.arange(len(images))[:, None, None]
    found: Floats = images[frames, rows.clip(0, SIZE - 1), columns.clip(0, SIZE - 1)]
    return found


def _blur(images: Floats, sigma: float) -> Floats:
    """Gaussian blur along axes 1 and 2 of (N, S, S) or (N, S, S, 3), mirrored at the border."""
    kernel = _gaussian(sigma)
    rows = np.moveaxis(np.tensordot(kernel, images, (1, 1)), 0, 1)
    blurred: Floats = np.moveaxis(np.tensordot(kernel, rows, (1, 2)), 0, 2)
    return blurred


@lru_cache(maxsize=16)
def _gaussian(sigma: float) -> Floats:
    """The blur as a matrix (S, S); it ends at 4σ, so that far pixels stay exactly as they are."""
    reach = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    matrix = np.zeros((SIZE, SIZE))
    for pixel in range(SIZE):
        places = np.arange(pixel - reach, pixel + reach + 1) % (2 * SIZE)
        np.add.at(matrix[pixel], np.minimum(places, 2 * SIZE - 1 - places), taps / taps.sum())
    return matrix


@lru_cache(maxsize=1)
def _cubic_up() -> Floats:
    """Catmull-Rom interpolation to twice the size as a matrix (S, S/2)."""
    half = SIZE // 2
    matrix = np.zeros((SIZE, half))
    for pixel in range(SIZE):
        place = (pixel + 0.5) / 2 - 0.5
        first = int(np.floor(place)) - 1
        t = np.abs(place - (first + np.arange(4)))
        near, far = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
        taps = np.clip(first + np.arange(4), 0, half - 1)
        np.add.at(matrix[pixel], taps, np.where(t <= 1, near, far))
    return matrix


def _quantise(images: Floats) -> NDArray[np.uint8]:
    return np.asarray(np.rint(255 * images.clip(0, 1)), np.uint8)

"""Self-blended images: a face blended with a changed copy of itself, and its real counterpart.

    fake = m·source + (1 − m)·target        real = target

Source and target are the same picture, one of the two changed in colour and sharpness, the source
also moved a little; m is a deformed, softened hull of the face times a ratio r. So fake and real
share everything but the blend, which is what most face forgeries have in common.

Source: Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022,
arXiv:2204.08376; the numbers are those of its published code.
Assumed: pixels that the affine draws in from outside repeat the border; hull points are rounded.
Departures: the landmarks come from MediaPipe's mesh (see landmarks.py). The elastic field is drawn
on a grid of every third pixel and interpolated: its deviation is within 2 %, its correlation at 3
to 21 pixels the same to 0.001, for 0.4 of the time. Blends are rounded, not cut, to 8 bits; the
blend's erosion takes values within 1e-6 of 1 as 1, where the published code lets rounding errors
pierce the mask.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.data.synth.landmarks import check_face, fill_hull, flip, landmarks
from telltale.data.synth.retouch import photometric, source_target_transform

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]
Points = NDArray[np.float32]
Transform = Callable[[Pixels, np.random.Generator], Pixels]

RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
HULLS = ("dfl_full", "extended", "components", "facehull")
DFL_FULL = ((*range(17), *range(48, 68)), (27, 28, 29, 30, 33), (*range(17, 27), 0, 27, 16, 33))
COMPONENTS = (
    (*range(9), 17), (*range(8, 17), 26), (17, 18, 19, 8), (24, 25, 26, 8),
    (19, 20, 21, 22, 23, 24, 8), (*range(17, 22), 27, *range(31, 36), 8),
    (*range(22, 27), 27, *range(31, 36), 8), (27, 28, 29, 30, *range(31, 36)),
)  # fmt: skip


class Blend(NamedTuple):
    """A forgery and what it was made from.

    Args:
        fake: (H, W, 3) uint8.
        real: (H, W, 3) uint8, equal to ``fake`` wherever ``mask`` is 0.
        mask: (H, W) float32 in [0, 1]: the source's share in each pixel.
    """

    fake: Pixels
    real: Pixels
    mask: Mask


def self_blend(
    pixels: Pixels,
    points: Points,
    rng: np.random.Generator,
    *,
    hull: int | None = None,
    ratio: float | None = None,
    shift: tuple[float, float] = (0.03, 0.015),
    scale: float = 0.95,
    transform: Transform | None = None,
) -> Blend:
    """Forge a face from itself (steps 3 to 7 of the recipe), in place: nothing is cut or flipped.

    Args:
        pixels: (H, W, 3) uint8, the face with a margin as :func:`wide_crop` leaves.
        points: (468, 2) mesh in the picture's pixels.
        rng: Of all draws.
        hull: Index into :data:`HULLS`; drawn if not given.
        ratio: r in [0, 1]; drawn from :data:`RATIOS` if not given.
        shift: Largest move of the source, in shares of width and height.
        scale: Smallest scale of the source, in (0, 1]; the largest is its inverse.
        transform: T; :func:`source_target_transform` if not given.

    Raises:
        ValueError: If the picture, the mesh or a setting is out of range.
    """
    check_face(pixels, points)
    if ratio is not None and not 0 <= ratio <= 1:
        raise ValueError(f"want a ratio in [0, 1], got {ratio}")
    if not 0 < scale <= 1:
        raise ValueError(f"want a scale in (0, 1], got {scale}")
    return _blend(pixels, landmarks(points), rng, hull, ratio, (*shift, scale), transform)


def training_pair(pixels: Pixels, points: Points, rng: np.random.Generator) -> Blend:
    """The whole recipe up to its step 8: flip, wide crop, self-blend, same photometric draw.

    Args:
        pixels: (H, W, 3) uint8 frame.
        points: (468, 2) mesh of its face.
        rng: Of all draws.

    Returns:
        A blend of the size of the wide crop; step 9, the detector's own cut, is the caller's.
    """
    check_face(pixels, points)
    marks = landmarks(points)
    if rng.random() < 0.5:
        pixels, marks = flip(pixels, marks)
    pixels, marks = wide_crop(pixels, marks)
    fake, real, mask = _blend(pixels, marks, rng, None, None, (0.03, 0.015, 0.95), None)
    seed = int(rng.integers(2**63))
    fake, real = (photometric(picture, np.random.default_rng(seed)) for picture in (fake, real))
    return Blend(fake, real, mask)


def wide_crop(pixels: Pixels, marks: Points) -> tuple[Pixels, Points]:
    """Step 2: the box of the 68 landmarks and half of it left, right and above, 2/5 below."""
    (left, top), (right, bottom) = marks[:68].min(0), marks[:68].max(0)
    width, height = right - left, bottom - top
    x, y = max(int(left - width / 2), 0), max(int(top - height / 2), 0)
    cropped = pixels[y : math.ceil(bottom + height * 2 / 5), x : math.ceil(right + width / 2)]
    return cropped, marks - np.array([x, y], np.float32)


def hull_mask(shape: tuple[int, int], marks: Points, kind: int) -> Mask:
    """Step 3: the face (H, W) in {0, 1} as a hull of :data:`HULLS` over landmarks (68 or 81, 2).

    Raises:
        ValueError: If ``kind`` is not in 0–3.
    """
    if not 0 <= kind < len(HULLS):
        raise ValueError(f"want a hull type in 0..3 ({', '.join(HULLS)}), got {kind}")
    mask = np.zeros(shape, np.float32)
    if kind == 3:
        fill_hull(mask, marks)
        return mask
    if kind == 1:
        marks = raise_brows(marks)
    for part in DFL_FULL if kind == 0 else COMPONENTS:
        fill_hull(mask, marks[list(part)])
    return mask


def raise_brows(marks: Points) -> Points:
    """Landmarks whose brows stand higher by half their distance to the line over the eyes."""
    marks = np.round(marks)
    outer = [(marks[eye] + marks[jaw]) // 2 for eye, jaw in ((36, 0), (45, 16))]
    quarter = [(marks[eye] + mid) // 2 for eye, mid in zip((36, 45), outer, strict=True)]
    left = np.stack([quarter[0], *marks[36:40]])
    right = np.stack([*marks[42:46], quarter[1]])
    raised = marks.copy()
    raised[17:22] += (marks[17:22] - left) // 2
    raised[22:27] += (marks[22:27] - right) // 2
    return raised


def move(pixels: Pixels, mask: Mask, x: float, y: float, scale: float) -> tuple[Pixels, Mask]:
    """Step 5: both scaled about the middle and moved by (x, y) shares of width and height."""
    height, width = mask.shape
    cx, cy = (width - 1) / 2, (height - 1) / 2
    matrix = np.array(
        [[scale, 0, cx - scale * cx + x * width], [0, scale, cy - scale * cy + y * height]]
    )
    size = (width, height)
    moved = cv2.warpAffine(pixels, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8), np.asarray(cv2.warpAffine(mask, matrix, size), np.float32)


def elastic(
    mask: Mask, rng: np.random.Generator, *, alpha: float = 50.0, sigma: float = 7.0
) -> Mask:
    """Step 5: a mask pulled about by white noise ±``alpha`` pixels blurred by ``sigma`` pixels."""
    height, width = mask.shape
    step = max(1, int(sigma / 2))  # a blurred field has no detail below σ: see Departures
    grid = (2, -(-height // step) + 2, -(-width // step) + 2)
    noise = rng.random(grid, np.float32) * 2 - 1
    fields = []
    for axis in noise:
        blurred = cv2.GaussianBlur(axis, (0, 0), sigma / step, borderType=cv2.BORDER_REFLECT)
        full = cv2.resize(blurred, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        fields.append(full[:height, :width] * (alpha / step))  # fewer numbers average out less
    xs = fields[0] + np.arange(width, dtype=np.float32)
    ys = fields[1] + np.arange(height, dtype=np.float32)[:, None]
    pulled = cv2.remap(mask, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(pulled, np.float32)


def soften(mask: Mask, rng: np.random.Generator) -> Mask:
    """Step 6: a hull (H, W) eroded and blurred at a random size; in [0, 1].

    Raises:
        ValueError: If the hull is empty.
    """
    size = [int(n) for n in rng.integers(192, 257, 2)]
    first, second = (int(n) for n in rng.integers(2, 13, 2) * 2 + 1)  # odd, 5–25
    sigma = int(rng.integers(5, 46))
    small = cv2.resize(mask, size)
    small = cv2.GaussianBlur(small, (first, first), 0)
    if not small.max() > 0:
        raise ValueError("the face's hull lies outside the picture: nothing to blend")
    core = (small / small.max() > 1 - 1e-6).astype(np.float32)
    small = cv2.GaussianBlur(core, (second, second), sigma)
    height, width = mask.shape
    return np.asarray(cv2.resize(small / small.max(), (width, height)), np.float32)


def mix(source: Pixels, target: Pixels, mask: Mask) -> Pixels:
    """Step 7: m·source + (1 − m)·target, exactly the target where m is 0."""
    share = mask[..., None]
    mixed = target + share * (source.astype(np.float32) - target)
    return np.rint(mixed).astype(np.uint8)


def _blend(
    pixels: Pixels,
    marks: Points,
    rng: np.random.Generator,
    hull: int | None,
    ratio: float | None,
    motion: tuple[float, float, float],
    transform: Transform | None,
) -> Blend:
    if rng.random() < 0.25:
        marks = marks[:68]
    mask = hull_mask(pixels.shape[:2], marks, int(rng.integers(4)) if hull is None else hull)
    change = transform or source_target_transform
    source = target = pixels
    if rng.random() < 0.5:
        source = change(pixels, rng)
    else:
        target = change(pixels, rng)
    x, y = (float(rng.uniform(-n, n)) for n in motion[:2])
    source, mask = move(source, mask, x, y, float(rng.uniform(motion[2], 1 / motion[2])))
    mask = soften(elastic(mask, rng), rng)
    mask *= float(rng.choice(RATIOS)) if ratio is None else ratio
    return Blend(mix(source, target, mask), target, mask)

"""Local changes of a picture, each with the exact mask of what was changed.

    splice       an object of another picture: scaled 0.5–1.5, turned ±30°, mirrored, its edge
                 blended over 1–3 pixels, its colours drawn towards those of the place
    copy_move    a part of the same picture, moved, sometimes scaled, turned or mirrored
    removal      what stood there is filled in: "telea", "ns" (both OpenCV's), or "patch", the place
                 of the same picture whose rim fits best, brought to the rim's level
    retouch      a median, a blur, noise, or a change of contrast in one part
    recompress   one part out of a copy that was stored as JPEG
    pida         pixel-inconsistency data augmentation: one part out of a copy with JPEG, noise or
                 blur, or all but that part; what is shown does not change

Outside of the mask every pixel is the host's own. What happens to a picture as a whole before
(:func:`history`) and after (:func:`sent`) is drawn alike for pristine ones.

Source: Kong et al., "Pixel-Inconsistency Modeling for Image Manipulation Localization", TPAMI 2025,
arXiv:2310.00234 (pida; its strengths are assumed: JPEG 50–90, noise σ 3–15, blur kernels 3–9);
Telea, "An Image Inpainting Technique Based on the Fast Marching Method", 2004; Bertalmio et al.,
"Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting", CVPR 2001.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.data.synth.camera import draw_camera, jpeg, photograph, to_linear
from telltale.data.synth.shapes import blob

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

KINDS = ("splice", "copy_move", "removal", "retouch", "recompress", "pida")
FILLS = ("telea", "ns", "patch")


class Changed(NamedTuple):
    """A picture and where it was changed."""

    pixels: Pixels  # (H, W, 3)
    mask: Mask  # (H, W)


def change(
    kind: str, host: Pixels, other: Pixels, rng: np.random.Generator, *, shape: Mask | None = None
) -> Changed:
    """A change of a kind, of :data:`KINDS`, drawn at random.

    Args:
        kind: Which.
        host: (H, W, 3) uint8, 32 pixels or more a side.
        other: The picture that a splice takes an object of.
        rng: Of all draws.
        shape: For a splice (h, w) the object in ``other``; else (H, W) the part of ``host``. None
            draws one.

    Raises:
        ValueError: If there is no such kind, or a picture or a shape does not fit.
    """
    source = other if kind == "splice" else host
    if shape is None:
        shape = blob(source.shape[:2], rng)
    _check(host, source, shape)
    match kind:
        case "splice":
            return splice(host, other, shape, rng)
        case "copy_move":
            return copy_move(host, shape, rng)
        case "removal":
            return removal(host, shape, rng)
        case "retouch":
            return retouch(host, shape, rng)
        case "recompress":
            copy = jpeg(host, int(rng.integers(40, 90)))
            return _laid(host, copy, shape)
        case "pida":
            return pida(host, shape, rng)
    raise ValueError(f"no kind {kind!r}; want one of {', '.join(KINDS)}")


def splice(host: Pixels, other: Pixels, shape: Mask, rng: np.random.Generator) -> Changed:
    """The object ``shape`` (h, w) of another picture somewhere in the host."""
    (top, bottom), (left, right) = (_ends(shape.any(axis)) for axis in (1, 0))
    part, alpha = other[top:bottom, left:right], shape[top:bottom, left:right]
    if rng.random() < 0.5:
        part, alpha = part[:, ::-1], alpha[:, ::-1]
    height, width = host.shape[:2]
    # No object fills the place: what surrounds it must be seen.
    most = 0.7 * min(height / len(part), width / part.shape[1])
    scale = min(float(rng.uniform(0.5, 1.5)), most)
    return _placed(host, part, alpha, scale, float(rng.uniform(-30, 30)), rng, towards=0.5)


def copy_move(host: Pixels, shape: Mask, rng: np.random.Generator) -> Changed:
    """The part ``shape`` (H, W) of a picture, once more at another place."""
    (top, bottom), (left, right) = (_ends(shape.any(axis)) for axis in (1, 0))
    part, alpha = host[top:bottom, left:right], shape[top:bottom, left:right]
    height, width = host.shape[:2]
    most = 0.7 * min(height / len(part), width / part.shape[1])
    scale, angle = min(1.0, most), 0.0
    if rng.random() < 0.5:
        scale, angle = min(float(rng.uniform(0.7, 1.3)), most), float(rng.uniform(-30, 30))
        if rng.random() < 0.5:
            part, alpha = part[:, ::-1], alpha[:, ::-1]
    return _placed(host, part, alpha, scale, angle, rng, towards=0.0)


def removal(
    host: Pixels, shape: Mask, rng: np.random.Generator, *, fill: str | None = None
) -> Changed:
    """The part ``shape`` (H, W) filled in; ``fill`` is one of :data:`FILLS`, or drawn."""
    fill = str(rng.choice(FILLS)) if fill is None else fill
    if fill not in FILLS:
        raise ValueError(f"no fill {fill!r}; want one of {', '.join(FILLS)}")
    if fill == "patch":
        return _laid(host, _patched(host, shape, rng), shape)
    how = cv2.INPAINT_TELEA if fill == "telea" else cv2.INPAINT_NS
    filled = cv2.inpaint(host, shape.astype(np.uint8) * 255, 3, how)
    return _laid(host, np.asarray(filled, np.uint8), shape)


def retouch(host: Pixels, shape: Mask, rng: np.random.Generator) -> Changed:
    """The part ``shape`` (H, W) under a median, a blur, noise or a change of contrast."""
    way = int(rng.integers(4))
    copy: NDArray[np.generic]
    if way == 0:
        copy = cv2.medianBlur(host, int(rng.choice((3, 5))))
    elif way == 1:
        copy = cv2.GaussianBlur(host, (0, 0), float(rng.uniform(0.7, 2.0)))
    elif way == 2:
        copy = _noisy(host, float(rng.uniform(3, 12)), rng)
    else:
        centre = host[shape].mean(0)
        copy = _bytes(centre + (host - centre) * rng.uniform(1.2, 1.6))
    return _laid(host, np.asarray(copy, np.uint8), shape)


def pida(host: Pixels, shape: Mask, rng: np.random.Generator) -> Changed:
    """Perturbed inside ``shape`` (H, W) and pristine outside, or the other way round."""
    way = int(rng.integers(3))
    if way == 0:
        copy = jpeg(host, int(rng.integers(50, 91)))
    elif way == 1:
        copy = _noisy(host, float(rng.uniform(3, 15)), rng)
    else:
        side = int(rng.choice((3, 5, 7, 9)))
        copy = np.asarray(cv2.GaussianBlur(host, (side, side), 0), np.uint8)
    inside, outside = (copy, host) if rng.random() < 0.5 else (host, copy)
    return _laid(outside, inside, shape)


def history(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """What a picture went through before: a camera or another size, noise, JPEG."""
    scale = float(rng.uniform(0.6, 1.2))
    height, width = (max(32, round(scale * n)) for n in picture.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC)))
    picture = np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)
    if rng.random() < 0.4:
        camera = draw_camera(rng)._replace(exposure=1.0, quality=0)
        picture = photograph(to_linear(picture), camera, rng)
    elif rng.random() < 0.4:
        picture = _noisy(picture, float(rng.uniform(0.5, 4)), rng)
    return jpeg(picture, int(rng.integers(60, 99))) if rng.random() < 0.8 else picture


def sent(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """What happens to a picture as a whole at the end: nothing (four in ten), or JPEG 65 to 98."""
    return picture if rng.random() < 0.4 else jpeg(picture, int(rng.integers(65, 99)))


def _placed(
    host: Pixels,
    part: Pixels,
    alpha: Mask,
    scale: float,
    angle: float,
    rng: np.random.Generator,
    *,
    towards: float,
) -> Changed:
    """A part laid into the host, its colour drawn ``towards`` that of the place."""
    height, width = host.shape[:2]
    rows, columns = alpha.shape
    turn = cv2.getRotationMatrix2D((columns / 2, rows / 2), angle, scale)
    reach = abs(turn[:, :2]) @ (columns / 2, rows / 2)  # half of the turned part
    x = rng.uniform(*sorted((reach[0], width - reach[0])))
    y = rng.uniform(*sorted((reach[1], height - reach[1])))
    turn[:, 2] += (x - columns / 2, y - rows / 2)
    # The edge is blended inside of the object, so that nothing of its surroundings comes along.
    size = 2 * int(rng.integers(1, 4)) + 1
    solid = np.pad(alpha.astype(np.uint8), 1)
    inner = cv2.erode(solid, np.ones((3, 3), np.uint8))[1:-1, 1:-1].astype(np.float32)
    soft = cv2.GaussianBlur(inner, (size, size), 0) * alpha
    soft = cv2.warpAffine(np.asarray(soft, np.float32), turn, (width, height))
    moved = cv2.warpAffine(
        part, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    ).astype(np.float32)
    mask: Mask = soft > 0.02
    if not mask.any():
        middle = int(y), int(x)
        mask[middle], soft[middle] = True, 1.0
    moved += towards * (host[mask].mean(0) - moved[mask].mean(0))
    mixed = soft[..., None] * moved + (1 - soft[..., None]) * host
    return _laid(host, _bytes(mixed), mask)


def _patched(host: Pixels, shape: Mask, rng: np.random.Generator) -> Pixels:
    """The host with the part covered by the place, of 64, whose rim fits best."""
    rim = cv2.dilate(shape.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool) & ~shape
    (top, bottom), (left, right) = (_ends((rim | shape).any(axis)) for axis in (1, 0))
    height, width = bottom - top, right - left
    own, ring = host[top:bottom, left:right].astype(np.float32), rim[top:bottom, left:right]
    best, found = np.inf, host[top:bottom, left:right]
    for _ in range(64):
        y = int(rng.integers(host.shape[0] - height + 1))
        x = int(rng.integers(host.shape[1] - width + 1))
        if abs(y - top) < height // 2 and abs(x - left) < width // 2:
            continue
        there = host[y : y + height, x : x + width]
        apart = float(np.abs(there[ring] - own[ring]).mean())
        if apart < best:
            best, found = apart, there
    level = own[ring].mean(0) - found[ring].mean(0)
    copy = host.copy()
    copy[top:bottom, left:right] = _bytes(found + level)
    return copy


def _laid(outside: Pixels, inside: Pixels, mask: Mask) -> Changed:
    return Changed(np.where(mask[..., None], inside, outside), mask)


def _noisy(picture: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    return _bytes(picture + sigma * rng.standard_normal(picture.shape, np.float32))


def _bytes(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _ends(line: object) -> tuple[int, int]:
    places = np.flatnonzero(np.asarray(line))
    return int(places[0]), int(places[-1]) + 1


def _check(host: Pixels, source: Pixels, shape: Mask) -> None:
    for picture in (host, source):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ValueError(f"want uint8 (H, W, 3), got {picture.dtype} {picture.shape}")
        if min(picture.shape[:2]) < 32:
            raise ValueError(f"want 32 pixels or more a side, got {picture.shape[:2]}")
    if shape.shape != source.shape[:2] or shape.dtype != bool or not shape.any():
        raise ValueError(
            f"want a bool shape {source.shape[:2]} with something in it, "
            f"got {shape.dtype} {shape.shape}"
        )

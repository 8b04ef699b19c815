"""Face swaps: one person's face laid on another's by their meshes.

The target's mesh points are triangulated; every triangle of the source is mapped on the target's:

    source pixel = A_t · (x, y, 1)      for target pixel (x, y) in triangle t

then the colours are brought near the target's (mean and deviation in Lab, inside the hull), and
the warped face is laid over it by a feathered mask ("alpha") or by its gradients ("poisson").

Source: Reinhard et al., "Color Transfer between Images", IEEE CG&A 21(5), 2001; Pérez et al.,
"Poisson Image Editing", SIGGRAPH 2003 (OpenCV's seamlessClone).
Departures: Reinhard's transfer works in CIELAB instead of lαβ.
"""

import math
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.data.synth.landmarks import check_face

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]
Points = NDArray[np.float32]
Box = tuple[slice, slice]  # rows, columns

EDGES = (0.02, 0.12)  # shares of the face's width that are drawn from without an ``edge``


class Swap(NamedTuple):
    """A forged picture and where the other face is.

    Args:
        fake: (H, W, 3) uint8, equal to the target wherever ``mask`` is 0.
        mask: (H, W) float32 in [0, 1]: the other face's share; 0 or 1 if Poisson-blended.
    """

    fake: Pixels
    mask: Mask


def swap(
    source: Pixels,
    source_points: Points,
    target: Pixels,
    target_points: Points,
    *,
    blending: Literal["alpha", "poisson"] | str = "alpha",
    edge: float | None = None,
    colour: float | None = None,
    rng: np.random.Generator | None = None,
) -> Swap:
    """Put the source's face on the target's.

    Args:
        source: (H, W, 3) uint8.
        source_points: (468, 2) mesh of its face.
        target: (H', W', 3) uint8.
        target_points: (468, 2) mesh of its face.
        blending: "alpha" or "poisson".
        edge: Share of the face's width, in [0, 0.3], by which the face oval is eroded and (alpha)
            feathered. Not given: drawn, or 0.07 without ``rng``.
        colour: Strength of the colour transfer in [0, 1]. Not given: drawn from 0.5–1, or 1.
        rng: Of the draws for settings that are not given.

    Raises:
        ValueError: If a picture, a mesh or a setting is out of range.
    """
    check_face(source, source_points)
    check_face(target, target_points)
    if edge is None:
        edge = 0.07 if rng is None else float(rng.uniform(*EDGES))
    if colour is None:
        colour = 1.0 if rng is None else float(rng.uniform(0.5, 1))
    if blending not in ("alpha", "poisson"):
        raise ValueError(f"unknown blending {blending!r}; want 'alpha' or 'poisson'")
    if not (0 <= edge <= 0.3 and 0 <= colour <= 1):
        raise ValueError(f"want edge in 0..0.3 and colour in 0..1, got {edge} and {colour}")
    box = bounds(target.shape[:2], target_points)
    corner = np.array([box[1].start, box[0].start], np.float32)
    points, under = target_points - corner, target[box]
    face, oval = warp(source, source_points, points, under.shape)
    face = transfer_colour(face, under, oval > 0, colour)
    core = erode(oval, round(edge * float(np.ptp(points[:, 0]))))
    if not core.any():
        raise ValueError("the face lies almost wholly outside the picture: nothing to swap")
    fake, mask = target.copy(), np.zeros(target.shape[:2], np.float32)
    if blending == "alpha":
        mask[box] = feather(core, round(edge * float(np.ptp(points[:, 0]))), oval)
        share = mask[box][..., None]
        fake[box] = np.rint(under + share * (face.astype(np.float32) - under)).astype(np.uint8)
    else:
        mask[box] = core
        fake[box] = clone(face, under, core)
    return Swap(fake, mask)


def bounds(shape: tuple[int, ...], points: Points, margin: int = 2) -> Box:
    """Rows and columns of a picture (H, W) that ``points`` (N, 2) span, with a margin in pixels."""
    height, width = shape[:2]
    left, top = (max(0, math.floor(n) - margin) for n in points.min(0))
    right, bottom = (math.ceil(n) + margin + 1 for n in points.max(0))
    return slice(top, min(height, bottom)), slice(left, min(width, right))


def triangulate(points: Points) -> NDArray[np.int64]:
    """Delaunay triangles (T, 3) of ``points`` (N, 2), as indices; points may coincide."""
    low, high = np.floor(points.min(0)) - 1, np.ceil(points.max(0)) + 1
    plane = cv2.Subdiv2D((int(low[0]), int(low[1]), *(high - low + 1).astype(int).tolist()))
    owner: dict[int, int] = {}
    for index, (x, y) in enumerate(points.tolist()):
        owner.setdefault(plane.insert((x, y)), index)
    corners = np.asarray(plane.getTriangleList(), np.float32).reshape(-1, 3, 2)
    # Subdiv2D starts from a huge triangle round the plane; what hangs on it is not the face's.
    inside = ((corners >= low) & (corners <= high + 1)).all((1, 2))
    index_of = {plane.getVertex(vertex)[0]: index for vertex, index in owner.items()}
    found = [[index_of[x, y] for x, y in triangle] for triangle in corners[inside].tolist()]
    return np.array(found, np.int64).reshape(-1, 3)


def warp(
    pixels: Pixels, points: Points, onto: Points, shape: tuple[int, ...]
) -> tuple[Pixels, Mask]:
    """The face of ``pixels`` with mesh ``points`` in the pose of mesh ``onto``.

    Args:
        pixels: (H', W', 3) uint8.
        points: (468, 2) its mesh.
        onto: (468, 2) in the pixels of the result.
        shape: (H, W) of the result.

    Returns:
        The face (H, W, 3) uint8, and where there is one (H, W) in {0, 1}.
    """
    triangles = triangulate(onto)
    maps = affine(onto[triangles], points[triangles])  # (T, 2, 3)
    owner = np.zeros(shape[:2], np.float32)  # of 1 to T; OpenCV fills no integers of that size
    fine = np.round(onto[triangles] * 16).astype(np.int32)  # sixteenths of a pixel
    for number, triangle in enumerate(fine, 1):
        cv2.fillConvexPoly(owner, triangle, (float(number),), cv2.LINE_8, 4)
    table = maps.reshape(-1, 6)[np.maximum(owner.astype(np.int32) - 1, 0)]  # (H, W, 6)
    rows, columns = np.indices(shape[:2], np.float32, sparse=True)
    xs = table[..., 0] * columns + table[..., 1] * rows + table[..., 2]
    ys = table[..., 3] * columns + table[..., 4] * rows + table[..., 5]
    face = cv2.remap(pixels, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(face, np.uint8), (owner > 0).astype(np.float32)


def affine(triangles: Points, onto: Points) -> Points:
    """Maps (T, 2, 3) that take each triangle (T, 3, 2) on the other; slivers map to a point."""
    first, second = (triangles[:, k] - triangles[:, 0] for k in (1, 2))
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    sliver = np.abs(area) < 1e-3  # pixels²: their inverse would shoot out of the picture
    area = np.where(sliver, 1, area)
    inverse = (
        np.stack([second[:, 1], -second[:, 0], -first[:, 1], first[:, 0]], 1).reshape(-1, 2, 2)
        / area[:, None, None]
    )
    sides = np.stack([onto[:, 1] - onto[:, 0], onto[:, 2] - onto[:, 0]], 2)  # as columns
    linear = np.where(sliver[:, None, None], 0, sides @ inverse)
    offset = onto[:, 0] - (linear @ triangles[:, 0, :, None])[..., 0]
    return np.concatenate([linear, offset[..., None]], 2).astype(np.float32)


def transfer_colour(
    pixels: Pixels, like: Pixels, inside: NDArray[np.bool_], strength: float
) -> Pixels:
    """``pixels`` with the mean and deviation in Lab that ``like`` has ``inside`` (H, W).

    Args:
        pixels: (H, W, 3) uint8.
        like: (H, W, 3) uint8.
        inside: (H, W), where the colours are compared.
        strength: 0 changes nothing, 1 moves both statistics all the way.
    """
    if strength == 0 or not inside.any():
        return pixels
    lab, aim = (
        cv2.cvtColor(part.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) for part in (pixels, like)
    )
    area = inside.astype(np.uint8)
    mean, deviation = (n[:, 0] for n in cv2.meanStdDev(lab, mask=area))
    aim_mean, aim_deviation = (n[:, 0] for n in cv2.meanStdDev(aim, mask=area))
    # A nearly flat face would have its noise blown up: two times is what light explains.
    gain = np.clip(aim_deviation / np.maximum(deviation, 1e-3), 0.5, 2)
    gain, mean_aim = 1 + strength * (gain - 1), mean + strength * (aim_mean - mean)
    moved = (lab - mean) * gain + mean_aim
    rgb = cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_Lab2RGB)
    return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def erode(mask: Mask, pixels: int) -> Mask:
    """A {0, 1} mask (H, W) less what lies within ``pixels`` of its edge or of the picture's."""
    size = 2 * pixels + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    shrunk = cv2.erode(mask, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(shrunk, np.float32)


def feather(mask: Mask, pixels: int, limit: Mask) -> Mask:
    """``mask`` with an edge about 2·``pixels`` wide that never leaves ``limit``; in [0, 1]."""
    size = 2 * pixels + 1
    return np.clip(cv2.GaussianBlur(mask, (size, size), 0), 0, 1) * limit


def clone(face: Pixels, under: Pixels, mask: Mask) -> Pixels:
    """``face`` laid on ``under`` by its gradients inside ``mask``; exactly ``under`` outside."""
    area = (mask > 0).astype(np.uint8) * 255
    # The equation wants a known border all round: pad, since a face may fill its box.
    wide, below, above = (
        cv2.copyMakeBorder(part, 3, 3, 3, 3, kind)
        for part, kind in (
            (area, cv2.BORDER_CONSTANT), (under, cv2.BORDER_REPLICATE), (face, cv2.BORDER_REPLICATE)
        )
    )  # fmt: skip
    x, y, w, h = cv2.boundingRect(wide)
    middle = (x + w // 2, y + h // 2)
    # A copy of the mask: OpenCV 4.14 changed the one that it was given.
    done = cv2.seamlessClone(above, below, wide.copy(), middle, cv2.NORMAL_CLONE)
    return np.where(mask[..., None] > 0, done[3:-3, 3:-3], under)

"""Face attacks that are cut or worn: a print with eye holes, and a mask's skin.

    cut print     the print's light, but the live eyes' through two holes with a paper's edge
    mask          albedo low-passed (σ 2 to 4 pixels: pores are lost), the same shading, a specular
                  lobe, hard shadows round the holes for eyes and mouth

Source: presentation attack instruments of the field's data (cut prints of CASIA-FASD, rigid and
soft masks of WMCA). Assumed: where no landmarks are given, eyes and mouth lie where an upright crop
of a face has them; a mask covers an ellipse round them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.data.synth.camera import Light, blurred
from telltale.data.synth.display import soft_ellipse

Point = tuple[float, float]

EYES: tuple[Point, Point] = ((0.35, 0.42), (0.65, 0.42))  # of the crop's width and height
MOUTH: Point = (0.5, 0.72)
CORNERS = ((33, 133), (362, 263), (61, 291))  # of eyes and mouth, in MediaPipe's mesh


class Landmarks(NamedTuple):
    """Where a face has its eyes and its mouth, in pixels."""

    eyes: tuple[Point, Point]
    mouth: Point


class Mask(NamedTuple):
    """A mask's material.

    Args:
        smooth: σ in pixels of the albedo's low pass.
        gloss: Specular light over white.
        shade: Share of light lost at the edges of the holes.
        flat: Share of the skin's colour differences that the paint keeps, 0 to 1.
    """

    smooth: float = 3.0
    gloss: float = 0.08
    shade: float = 0.4
    flat: float = 0.6


def draw_mask(rng: np.random.Generator) -> Mask:
    """A mask at random."""
    return Mask(
        smooth=float(rng.uniform(2, 4)),
        gloss=float(rng.uniform(0.02, 0.15)),
        shade=float(rng.uniform(0.2, 0.6)),
        flat=float(rng.uniform(0.4, 0.9)),
    )


def holes(
    size: tuple[int, int],
    places: Sequence[Point],
    rng: np.random.Generator,
    *,
    wide: float = 0.11,
    tall: float = 0.055,
) -> Light:
    """Holes (H, W), 1 inside, at places in pixels, cut unevenly by hand; sizes over the width."""
    height, width = size
    drawn = np.zeros((height, width), np.uint8)
    turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for x, y in places:
        uneven = 1 + 0.12 * np.interp(
            turns, np.linspace(0, 2 * np.pi, 7), np.resize(rng.standard_normal(6), 7)
        )
        outline = np.stack(
            [
                x + width * wide * uneven * np.cos(turns),
                y + width * tall * uneven * np.sin(turns),
            ],
            axis=1,
        )
        cv2.fillPoly(drawn, [np.round(outline * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    return drawn.astype(np.float32) / np.float32(255)


def cut_out(live: Light, print_light: Light, opened: Light, rng: np.random.Generator) -> Light:
    """A print's light (H, W, 3) with the live face in its holes, and the shadow of the edge."""
    opened = opened[..., None]
    offset = int(rng.integers(1, 4))
    shadow = opened - np.roll(opened, (offset, offset), (0, 1))
    lit = live * (1 - np.float32(0.5) * np.clip(shadow, 0, 1))
    return np.asarray(opened * lit + (1 - opened) * print_light, np.float32)


def masked(live: Light, mask: Mask, points: Landmarks, rng: np.random.Generator) -> Light:
    """The light (H, W, 3) of a worn mask that was painted after a face."""
    size = live.shape[:2]
    grey = np.asarray(cv2.transform(live, np.full((1, 3), 1 / 3)), np.float32)
    shading = np.maximum(_far(grey, size[1] / 16), np.float32(1e-3))
    gloss = np.float32(mask.gloss) * soft_ellipse(size, rng)
    opened = holes(size, points.eyes, rng, wide=0.09, tall=0.045)
    if rng.random() < 0.5:
        opened = np.maximum(opened, holes(size, [points.mouth], rng, wide=0.12, tall=0.04))
    worn = face(size, points) * (1 - opened)
    lit = 1 - np.float32(mask.shade) * (np.clip(2 * _far(1 - worn, size[1] / 60), 0, 1) * worn)
    # Colour by colour: arithmetic on every third number takes twice as long.
    planes = []
    for channel in range(3):
        bare = np.ascontiguousarray(live[..., channel])
        albedo = np.asarray(bare / shading, np.float32)
        skin = blurred(albedo, mask.smooth)
        tone = skin.mean(dtype=np.float64)
        skin *= np.float32(mask.flat)
        skin += np.float32((1 - mask.flat) * tone)
        skin *= shading
        skin += gloss
        skin *= lit
        skin -= bare
        skin *= worn
        skin += bare
        planes.append(skin)
    return np.asarray(cv2.merge(planes), np.float32)


def face(size: tuple[int, int], points: Landmarks) -> Light:
    """The ellipse (H, W), 1 inside, that eyes and mouth put a face into."""
    eyes, mouth = points
    (x, y), wide = np.mean(eyes, axis=0), float(np.hypot(*np.subtract(eyes[1], eyes[0])))
    tall = float(np.hypot(mouth[0] - x, mouth[1] - y))
    middle = (x + 0.4 * (mouth[0] - x), y + 0.4 * (mouth[1] - y))
    angle = float(np.degrees(np.arctan2(eyes[1][1] - eyes[0][1], eyes[1][0] - eyes[0][0])))
    drawn = np.zeros(size, np.uint8)
    axes = (max(1, round(8 * 1.15 * wide)), max(1, round(8 * 1.6 * tall)))
    at = (round(8 * middle[0]), round(8 * middle[1]))
    cv2.ellipse(drawn, at, axes, angle, 0, 360, (255.0,), -1, cv2.LINE_AA, 3)
    return drawn.astype(np.float32) / np.float32(255)


def _far(light: Light, sigma: float) -> Light:
    """A wide Gaussian (H, W), by way of a picture small enough for σ = 2."""
    shrink = max(1.0, sigma / 2)
    height, width = light.shape[:2]
    small = (max(1, round(width / shrink)), max(1, round(height / shrink)))
    soft = blurred(np.asarray(cv2.resize(light, small, interpolation=cv2.INTER_AREA)), 2.0)
    return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def mesh_landmarks(points: NDArray[np.float32]) -> Landmarks:
    """Eyes and mouth of MediaPipe's mesh (468, 2), in its pixels."""
    left, right, mouth = (points[list(pair)].mean(0).tolist() for pair in CORNERS)
    return Landmarks(((left[0], left[1]), (right[0], right[1])), (mouth[0], mouth[1]))


def usual_landmarks(size: tuple[int, int]) -> Landmarks:
    """Where an upright face crop of (H, W) has eyes and mouth."""
    height, width = size
    left, right, (x, y) = (np.multiply(point, (width, height)).tolist() for point in (*EYES, MOUTH))
    return Landmarks(((left[0], left[1]), (right[0], right[1])), (x, y))

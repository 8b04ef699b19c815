"""Parts of a face made anew from fewer pixels: a plain stand-in for what networks paint.

Autoencoders and generators write a face from a low-resolution code by repeated up-sampling; what
that leaves (missing fine detail, kernels' traces, checkerboards, noise unlike the camera's) is
imitated here without a network: the part is reduced 2 to 4 times, enlarged by another kernel,
sharpened, optionally given a checkerboard and noise, and blended in by its mesh hull. No new
content arises, so this is no reenactment: it teaches traces, not expressions.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from telltale.data.synth.landmarks import check_face, fill_hull

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]
Points = NDArray[np.float32]

# Mesh vertices whose convex hulls, widened, are the part; both eyes with their brows.
PARTS = {
    "eyes": (
        (33, 133, 159, 145, 70, 63, 105, 66, 107, 46, 52, 111, 118, 188),
        (263, 362, 386, 374, 300, 293, 334, 296, 336, 276, 282, 340, 347, 412),
    ),
    "mouth": ((2, 97, 326, 200, 216, 436, 212, 432, 204, 424, 61, 291),),
    "face": (tuple(range(468)),),
}
DOWN = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
UP = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


class Regenerated(NamedTuple):
    """A picture with a part made anew.

    Args:
        fake: (H, W, 3) uint8, equal to the picture wherever ``mask`` is 0.
        mask: (H, W) float32 in [0, 1]: the new part's share.
    """

    fake: Pixels
    mask: Mask


def regenerate(
    pixels: Pixels,
    points: Points,
    rng: np.random.Generator,
    *,
    part: str | None = None,
    factor: float | None = None,
) -> Regenerated:
    """Make a part of a face anew from fewer pixels.

    Args:
        pixels: (H, W, 3) uint8.
        points: (468, 2) mesh in the picture's pixels.
        rng: Of all draws.
        part: "eyes", "mouth" or "face"; drawn if not given, "face" half the time.
        factor: Reduction in (1, 8]; drawn from 2–4 if not given.

    Raises:
        ValueError: If the picture, the mesh or a setting is out of range.
    """
    check_face(pixels, points)
    part = part or str(rng.choice(["eyes", "mouth", "face", "face"]))
    if part not in PARTS:
        raise ValueError(f"unknown part {part!r}; want one of {', '.join(PARTS)}")
    factor = float(rng.uniform(2, 4)) if factor is None else factor
    if not 1 < factor <= 8:
        raise ValueError(f"want a factor over 1 and up to 8, got {factor}")
    mask = part_mask(pixels.shape[:2], points, part, float(rng.uniform(0.01, 0.04)))
    x, y, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    if width < 2 or height < 2:
        raise ValueError(f"the face's {part} lie outside the picture: nothing to make anew")
    box = (slice(y, y + height), slice(x, x + width))
    under, share = pixels[box], mask[box][..., None]
    fake = pixels.copy()
    fake[box] = np.rint(under + share * (remake(under, factor, rng) - under)).astype(np.uint8)
    return Regenerated(fake, mask)


def part_mask(shape: tuple[int, int], points: Points, part: str, edge: float) -> Mask:
    """The part (H, W) in [0, 1], with an edge of ``edge`` shares of the face's width."""
    width = float(np.ptp(points[:, 0]))
    mask = np.zeros(shape, np.float32)
    for hull in PARTS[part]:
        fill_hull(mask, points[list(hull)])
    size = 2 * max(1, round(edge * width)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    if part == "face":  # its hull ends where the face does
        mask = np.asarray(cv2.erode(mask, disc), np.float32)
    return np.clip(cv2.GaussianBlur(mask, (size, size), 0), 0, 1)


def remake(pixels: Pixels, factor: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A picture (h, w, 3) from ``factor`` times fewer pixels a side; float32 in [0, 255]."""
    height, width = pixels.shape[:2]
    low = (max(2, round(width / factor)), max(2, round(height / factor)))
    small = cv2.resize(pixels.astype(np.float32), low, interpolation=int(rng.choice(DOWN)))
    up = int(rng.choice(UP))
    new = np.asarray(cv2.resize(small, (width, height), interpolation=up), np.float32)
    amount = float(rng.uniform(0.3, 1.2))
    new += amount * (new - cv2.GaussianBlur(new, (0, 0), factor / 2))
    if rng.random() < 0.5:
        new += checkerboard(height, width, int(rng.integers(1, 3)), float(rng.uniform(1, 4)))
    if rng.random() < 0.5:
        new += rng.standard_normal(new.shape, np.float32) * float(rng.uniform(0.5, 3))
    return np.clip(new, 0, 255)


def checkerboard(height: int, width: int, cell: int, size: float) -> NDArray[np.float32]:
    """±``size`` (H, W, 1) in squares of ``cell`` pixels, as transposed convolutions leave."""
    odd = (np.arange(height)[:, None] // cell + np.arange(width) // cell) % 2
    return ((odd * 2 - 1) * size).astype(np.float32)[..., None]

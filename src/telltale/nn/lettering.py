"""Words as pixels: drawn once, then scaled and turned with a gradient.

Pillow's own font is used, so the same words give the same pixels everywhere.
"""

import math
import textwrap

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

FINER = 4  # drawn so many times larger and shrunk, so that edges are smooth


def rendered(text: str, size: int, span: float = 0.8) -> Tensor:
    """Black words on white, (1, 3, S, S) in [0, 1], the ink's centroid in the middle.

    Lines are broken where the letters can be largest.

    Args:
        text: The words.
        size: S in pixels.
        span: Of S, that the longer side of the words takes.

    Raises:
        ValueError: If there are no words.
    """
    words = text.split()
    if not words:
        raise ValueError(f"want words to draw, got {text!r}")
    pen, probe = ImageDraw.Draw(Image.new("L", (1, 1))), ImageFont.load_default(100)

    def longer_side(lines: str) -> float:
        left, top, right, bottom = pen.multiline_textbbox((0, 0), lines, probe, align="center")
        return max(right - left, bottom - top)

    widths = range(max(map(len, words)), len(" ".join(words)) + 1)
    ways = ["\n".join(textwrap.wrap(" ".join(words), width)) for width in widths]
    lines = min(ways, key=longer_side)
    large = FINER * size
    font = ImageFont.load_default(100 * span * large / longer_side(lines))
    x = y = large / 2
    for _ in range(2):  # the second time with the centroid of the first in the middle
        picture = Image.new("L", (large, large), 255)
        ImageDraw.Draw(picture).multiline_text((x, y), lines, 0, font, "mm", align="center")
        ink = 255 - np.asarray(picture, np.float64)
        places = np.arange(large) + 0.5
        x += large / 2 - (ink.sum(0) @ places) / ink.sum()
        y += large / 2 - (ink.sum(1) @ places) / ink.sum()
    small = np.asarray(picture.resize((size, size), Image.Resampling.BOX), np.float32) / 255
    return torch.from_numpy(small)[None, None].repeat(1, 3, 1, 1)


def contrasting(images: Tensor) -> Tensor:
    """Ink for images (B, 3, H, W): black on bright ones, white on dark ones, (B, 1, 1, 1)."""
    return (images.mean((1, 2, 3), keepdim=True) < 0.5).to(images.dtype)


def placed(mask: Tensor, pose: Tensor) -> Tensor:
    """A mask (1, 1, S, S) scaled by e^a and turned by φ round its middle: (B, 1, S, S).

    Args:
        mask: Ink, in [0, 1].
        pose: (B, 2) of a and of φ in radians.
    """
    shrink, turn = (-pose[:, 0]).exp(), pose[:, 1]
    zero = torch.zeros_like(turn)
    rows = [
        torch.stack([shrink * turn.cos(), -shrink * turn.sin(), zero], 1),
        torch.stack([shrink * turn.sin(), shrink * turn.cos(), zero], 1),
    ]
    size = [len(pose), *mask.shape[1:]]
    grid = F.affine_grid(torch.stack(rows, 1), size, align_corners=False)
    return F.grid_sample(mask.expand(size), grid, align_corners=False)


def kept_inside(
    mask: Tensor, pose: Tensor, scales: tuple[float, float], turn: float = math.pi / 6
) -> Tensor:
    """A pose (B, 2) changed as little as keeps the words of a mask (1, 1, S, S) in the frame.

    Args:
        mask: Ink, in [0, 1].
        pose: As for :func:`placed`.
        scales: Bounds of a.
        turn: Largest |φ|.
    """
    side = mask.shape[-1]
    reach = []
    for axis in (2, 3):  # columns that have ink, then rows
        inked = mask[0, 0].amax(axis - 2).nonzero()[:, 0].double()
        far = torch.maximum((side / 2 - inked).amax(), (inked + 1 - side / 2).amax())
        reach.append(float(2 * far / side))
    angle = pose[:, 1].clamp(-turn, turn)
    cos, sin = angle.cos().abs(), angle.sin().abs()
    across = torch.maximum(reach[0] * cos + reach[1] * sin, reach[0] * sin + reach[1] * cos)
    most = (-across.log()).clamp(*scales)
    return torch.stack([pose[:, 0].clamp(min=scales[0]).minimum(most), angle], 1)

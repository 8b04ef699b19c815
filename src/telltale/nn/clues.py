"""Attacks made of live pictures while training: what a print, a screen or a blend leaves behind.

    moiré    out = 0.8·I + 0.2·I[src],   src at the same radius ρ, angle θ + δρ about a centre
    jitter   brightness, contrast, saturation and hue, each by up to 0.4
    blend    out = m·s + (1 - m)·t,   s and t the picture and a changed copy of it, m a soft ellipse

Draws come from torch's global generator.

Source: the winning solution of the 2024 unified attack challenge (He et al., CVPR workshops 2024,
simulated physical and digital spoofing clues), re-made from its description; self-blending after
Shiohara & Yamasaki, CVPR 2022.
Assumed: the mask is an ellipse round the middle of the crop, with an uneven edge, in place of a
face parser's.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

HUE, SATURATION, BRIGHTNESS = 5 / 180, 5 / 255, 10 / 255  # of the changed copy, at most
RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
LUMA = (0.299, 0.587, 0.114)


def moire(images: Tensor, center: Tensor, delta: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) with a twisted copy of themselves laid over, a fifth strong.

    Args:
        images: In [0, 1].
        center: (B, 2), x and y in pixels.
        delta: δ (B,), radians a pixel; 0 changes nothing.
    """
    height, width = images.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=images.dtype, device=images.device),
        torch.arange(width, dtype=images.dtype, device=images.device),
        indexing="ij",
    )
    away_x, away_y = (axis - center[:, k, None, None] for k, axis in enumerate((x, y)))
    radius = (away_x.square() + away_y.square()).sqrt()
    angle = delta[:, None, None] * radius
    cos, sin = angle.cos(), angle.sin()
    from_x = center[:, 0, None, None] + cos * away_x - sin * away_y
    from_y = center[:, 1, None, None] + sin * away_x + cos * away_y
    column = from_x.round().clamp(0, width - 1).long()
    row = from_y.round().clamp(0, height - 1).long()
    places = (row * width + column).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    twisted = images.flatten(2).gather(2, places).view_as(images)
    return 0.8 * images + 0.2 * twisted


def draw_moire(images: Tensor) -> Tensor:
    """Moiré about a random place, δ uniform in 0.0005 to 0.01."""
    count, side = len(images), images.shape[-1]
    center = side * torch.rand(count, 2, device=images.device, dtype=images.dtype)
    delta = 0.0005 + 0.0095 * torch.rand(count, device=images.device, dtype=images.dtype)
    return moire(images, center, delta)


def jitter(images: Tensor, most: float = 0.4) -> Tensor:
    """Colours of pictures (B, 3, H, W) changed at random, each picture in its own way."""
    draws = 1 + most * (2 * torch.rand(4, len(images), 1, 1, 1, device=images.device) - 1)
    brightness, contrast, saturation, hue = draws.to(images.dtype)
    x = (images * brightness).clamp(0, 1)
    x = (grey(x).mean((2, 3), keepdim=True) * (1 - contrast) + contrast * x).clamp(0, 1)
    x = (grey(x) * (1 - saturation) + saturation * x).clamp(0, 1)
    return turn_hue(x, math.pi * (hue - 1)).clamp(0, 1)


def blend(images: Tensor) -> Tensor:
    """Each picture blended with a changed copy of itself, (B, 3, H, W)."""
    count = len(images)
    changed = _changed(images)
    first = torch.rand(count, 1, 1, 1, device=images.device) < 0.5
    source, target = torch.where(first, changed, images), torch.where(first, images, changed)
    mask = ellipse(count, images)
    theta = torch.zeros(count, 2, 3, device=images.device, dtype=images.dtype)
    scale = 1 + 0.02 * (2 * torch.rand(count, device=images.device) - 1)
    moves = torch.rand(count, 1, device=images.device) < 0.5
    shift = 0.04 * (2 * torch.rand(count, 2, device=images.device) - 1) * moves
    theta[:, 0, 0] = theta[:, 1, 1] = (1 / scale).to(images.dtype)
    theta[:, :, 2] = shift.to(images.dtype)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(source, grid, padding_mode="border", align_corners=False)
    soft = F.grid_sample(mask, grid, align_corners=False)
    ratio = torch.tensor(RATIOS, device=images.device, dtype=images.dtype)
    picked = ratio[torch.randint(len(RATIOS), (count, 1, 1, 1), device=images.device)]
    return blended(moved, target, soft * picked)


def blended(source: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """m·source + (1 - m)·target, exactly the target where m is 0."""
    return target + mask * (source - target)


def ellipse(count: int, like: Tensor) -> Tensor:
    """Soft masks (count, 1, H, W) of ellipses round the middle, their edges uneven."""
    height, width = like.shape[-2:]
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)[:, None]
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)[None]
    wide, tall = (0.45 + 0.2 * torch.rand(2, count, 1, 1, device=like.device)).to(like.dtype)
    uneven = torch.randn(count, 1, 6, 6, device=like.device, dtype=like.dtype)
    uneven = F.interpolate(uneven, (height, width), mode="bicubic", align_corners=True)[:, 0]
    inside = 1 - (x / wide).square() - (y / tall).square() + 0.15 * uneven
    mask: Tensor = (inside > 0).to(like.dtype)[:, None]
    for size in (3, 5):
        mask = F.avg_pool2d(mask, size, 1, size // 2, count_include_pad=False)
    return mask


def grey(images: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of pictures (B, 3, H, W), ITU-R 601."""
    luma = images.new_tensor(LUMA).view(3, 1, 1)
    return (images * luma).sum(1, keepdim=True)


def turn_hue(images: Tensor, angle: Tensor) -> Tensor:
    """Colours turned about the grey axis by angles (B, 1, 1, 1) in radians."""
    cos, sin = angle.cos(), angle.sin()
    mean = images.mean(1, keepdim=True)
    across = (images.roll(1, 1) - images.roll(-1, 1)) / math.sqrt(3)
    return mean + cos * (images - mean) + sin * across


def _changed(images: Tensor) -> Tensor:
    """A copy with other colours, and at random reduced and enlarged again, or sharpened."""
    count, shape = len(images), (len(images), 1, 1, 1)

    def draw(most: float) -> Tensor:
        return most * (2 * torch.rand(shape, device=images.device, dtype=images.dtype) - 1)

    def maybe(changed: Tensor, kept: Tensor, chance: float = 0.5) -> Tensor:
        return torch.where(torch.rand(shape, device=images.device) < chance, changed, kept)

    x = turn_hue(images, math.pi * draw(HUE)) + draw(BRIGHTNESS)
    x = grey(x) + (1 + draw(SATURATION)) * (x - grey(x))
    x = maybe(x, images)
    toned = (x - 0.5) * (1 + draw(0.1)) + 0.5 + draw(0.1)
    x = maybe(toned, x)
    factor = float(torch.empty(()).uniform_(0.35, 0.65))
    small = F.interpolate(x, scale_factor=factor, mode="bilinear", antialias=True)
    coarse = F.interpolate(small, images.shape[-2:], mode="bilinear")
    x = maybe(coarse, x, 0.4)
    soft = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    alpha = 0.2 + draw(0.1)
    return maybe(x + alpha * (x - soft), x).clamp(0, 1).view(count, *images.shape[1:])

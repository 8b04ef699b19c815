"""The Haar wavelet: a picture as one half-size picture of means and three of differences.

Of each cell of 2 × 2 pixels, a top left, b bottom left, c top right, d bottom right:

    LL = (a + b + c + d)/2         HL = (-a - b + c + d)/2
    LH = (-a + b - c + d)/2        HH = (a - b - c + d)/2

It is orthonormal: energy is kept and the inverse is exact. Libraries differ in the names, signs and
order of the bands; these are HiNet's (Jing et al., "HiNet: Deep Image Hiding by Invertible
Network", ICCV 2021).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def haar(x: Tensor) -> Tensor:
    """Maps (B, C, H, W) as bands (B, 4C, H/2, W/2): LL of all channels, then HL, LH and HH.

    Raises:
        ValueError: If H or W is odd.
    """
    if x.ndim != 4 or x.shape[-2] % 2 or x.shape[-1] % 2:
        raise ValueError(f"want (B, C, H, W) with even H and W, got {tuple(x.shape)}")
    a, b = x[..., ::2, ::2], x[..., 1::2, ::2]
    c, d = x[..., ::2, 1::2], x[..., 1::2, 1::2]
    bands = (a + b + c + d, -a - b + c + d, -a + b - c + d, a - b - c + d)
    return torch.cat(bands, 1) / 2


def unhaar(bands: Tensor) -> Tensor:
    """Undo :func:`haar`: (B, 4C, h, w) to (B, C, 2h, 2w)."""
    ll, hl, lh, hh = bands.chunk(4, 1)
    rows = (ll - hl - lh + hh, ll + hl - lh - hh, ll - hl + lh - hh, ll + hl + lh + hh)
    return F.pixel_shuffle(torch.stack(rows, 2).flatten(1, 2) / 2, 2)  # a, c, b, d: row by row


def pyramid(x: Tensor, levels: int) -> tuple[Tensor, list[Tensor]]:
    """Transform the low band again and again.

    Returns:
        The last low band (B, C, H/2ᴶ, W/2ᴶ), and each level's three others together,
        (B, 3C, H/2ʲ, W/2ʲ), fine to coarse.
    """
    high = []
    for _ in range(levels):
        channels = x.shape[1]
        bands = haar(x)
        x = bands[:, :channels]
        high.append(bands[:, channels:])
    return x, high

"""Patch tokens as a map and back, so that a convolution can act between a transformer's layers.

Tokens are (B, 1 + N, C), the class token first, N = n² patches row by row; maps are (B, C, n, n).
"""

from collections.abc import Callable

import torch
from torch import Tensor


def to_map(patches: Tensor) -> Tensor:
    """Patches (B, N, C), without a class token, as a map (B, C, n, n).

    Raises:
        ValueError: If N is no square.
    """
    batch, count, width = patches.shape
    side = round(count**0.5)
    if side * side != count:
        raise ValueError(f"want patches (B, n², C), got {tuple(patches.shape)}")
    return patches.mT.reshape(batch, width, side, side)


def to_patches(field: Tensor) -> Tensor:
    """A map (B, C, n, m) as patches (B, n·m, C), row by row."""
    return field.flatten(2).mT


def convolve(operation: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """Apply a shape-keeping convolution to tokens (B, 1 + N, C).

    The patches go through it as a map. The class token has no place among them: it goes through
    the same weights as a map of one pixel, so that it sees zero padding and never a patch.
    """
    first = operation(to_map(tokens[:, :1]))
    rest = operation(to_map(tokens[:, 1:]))
    return torch.cat([to_patches(first), to_patches(rest)], dim=1)

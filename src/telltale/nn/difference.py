"""Convolutions of pixel differences: what is smooth cancels out, what was tampered with stays.

    central(θ)   y = Σ w_i x_i - θ·x_c·Σ w_i               (θ = 0 is the plain convolution)
    cd           y = Σ_{i≠c} w_i (x_i - x_c) + w_c x_c     neighbours against the centre
    ad           y = Σ_{i≠c} w_i (x_i - x_next(i)) + w_c x_c     next(i): the neighbour clockwise
    rd           y = Σ_{i≠0} w_i (outer_i - inner_i) + w_0 x_c   a 5 × 5 ring against the 3 × 3 ring
    scd          y = Σ_{i≠0} w_i (outer_i - 2 inner_i + x_c) + w_0 x_c     second differences

A 3 × 3 kernel's taps are numbered 0 to 8 row by row; ``rd`` and ``scd`` spread tap 1 to 8 over two
rings and keep tap 0 for the centre. All are linear in x, so each is an ordinary convolution with
another kernel, which :func:`kernel` gives.

Source: Yu et al., "Searching Central Difference Convolutional Networks for Face Anti-Spoofing",
CVPR 2020, arXiv:2003.04092 (central); Su et al., "Pixel Difference Networks for Efficient Edge
Detection", ICCV 2021, arXiv:2108.07009 (ad, rd); the second-order form as in Kong et al.,
"MoE-FFD", arXiv:2404.08452.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

OPERATORS = ("cv", "cd", "ad", "rd", "scd")
_CLOCKWISE = (3, 0, 1, 6, 4, 2, 7, 8, 5)  # whose weight each tap loses under "ad"
_OUTER = (0, 2, 4, 10, 14, 20, 22, 24)  # of 5 × 5 taps, the ring that taps 1 to 8 go to
_INNER = (6, 7, 8, 11, 13, 16, 17, 18)  # and the ring beside the centre, in the same directions
_CENTER = 12


def central(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, theta: float = 0.7) -> Tensor:
    """Central difference convolution of maps (B, C, H, W), stride 1, output of the same size.

    Args:
        x: Maps.
        weight: (C', C, k, k), k odd.
        bias: (C',).
        theta: θ in [0, 1], the share of the centre's difference.
    """
    size = weight.shape[-1]
    middle = F.pad(weight.sum((2, 3), keepdim=True), [size // 2] * 4)
    return F.conv2d(x, weight - theta * middle, bias, padding=size // 2)


def kernel(weight: Tensor, operator: str) -> Tensor:
    """The ordinary kernel that acts as ``operator`` with weights (C', C, 3, 3).

    Returns:
        (C', C, 3, 3), or (C', C, 5, 5) for ``rd`` and ``scd``; pad by half of its side.

    Raises:
        ValueError: If the operator is not one of :data:`OPERATORS`.
    """
    if operator == "cv":
        return weight
    taps = weight.flatten(2)
    if operator == "cd":
        center = taps[..., 4] - (taps.sum(-1) - taps[..., 4])
        return torch.cat([taps[..., :4], center[..., None], taps[..., 5:]], -1).view_as(weight)
    if operator == "ad":
        next_to = taps[..., list(_CLOCKWISE)].clone()
        next_to[..., 4] = 0
        return (taps - next_to).view_as(weight)
    if operator in _RINGS:
        inner, middle = _RINGS[operator]
        wide = taps.new_zeros(*taps.shape[:2], 25)
        wide[..., list(_OUTER)] = taps[..., 1:]
        wide[..., list(_INNER)] = inner * taps[..., 1:]
        wide[..., _CENTER] = taps[..., 0] + middle * taps[..., 1:].sum(-1)
        return wide.view(*weight.shape[:2], 5, 5)
    raise ValueError(f"no operator {operator!r}; want one of {', '.join(OPERATORS)}")


_RINGS: Mapping[str, tuple[float, float]] = {"rd": (-1.0, 0.0), "scd": (-2.0, 1.0)}


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, operator: str) -> Tensor:
    """Maps (B, C, H, W) under one of the five operators; the size stays."""
    full = kernel(weight, operator)
    return F.conv2d(x, full, bias, padding=full.shape[-1] // 2)

"""Four forensic filters, seen at four scales and fused by weights that each place chooses.

    z_k   light convolutions of filter k's residual, at strides 4, 8, 16, 32
    f_s = Σ_k softmax_k(w_k(z_k)) ⊙ z_k

SRM's three predictors; a constrained convolution, whose kernels keep -1 in the middle and 1 around
it; the picture less its blur; and what is left of 8 × 8 blocks without their lowest frequencies.

Source: Fridrich and Kodovsky 2012 (SRM, see :mod:`telltale.nn.residuals`); Bayar and Stamm, "A Deep
Learning Approach to Universal Image Manipulation Detection Using a New Convolutional Layer",
IH&MMSec 2016 (constrained convolution).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.residuals import high_pass, srm

SCALES = (4, 8, 16, 32)
LOW = 3  # frequencies u + v below this are taken out of a block


class Constrained(nn.Module):
    """Bayar's convolution (B, 3, H, W) → (B, 3, H, W): a predictor's error, with learnt weights."""

    def __init__(self, size: int = 5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, 3, size, size).uniform_(0.02, 0.1))
        self.project()

    def forward(self, images: Tensor) -> Tensor:
        # The constraint holds in each pass by construction; `project` writes it into the weights.
        side = self.weight.shape[-1] // 2
        padded = F.pad(images, [side] * 4, mode="reflect")
        return F.conv2d(padded, constrained(self.weight))

    @torch.no_grad()
    def project(self) -> None:
        """Set the middle of each kernel to -1 and scale the others to a sum of 1."""
        self.weight.copy_(constrained(self.weight))


def constrained(weight: Tensor) -> Tensor:
    """Kernels (O, I, s, s) with -1 in the middle and others that sum to 1."""
    middle = weight.shape[-1] // 2
    centre = torch.zeros_like(weight)
    centre[..., middle, middle] = 1
    around = weight * (1 - centre)
    total = around.sum((2, 3), keepdim=True)
    safe = torch.where(total.abs() < 1e-6, torch.full_like(total, 1e-6), total)
    return around / safe - centre


class Filters(nn.Module):
    """Images (B, 3, S, S) in [0, 1] to fused maps (B, C, S/4, S/4) … (B, C, S/32, S/32)."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.bayar = Constrained()
        self.encoders = nn.ModuleList(Encoder(count, channels) for count in (9, 3, 3, 3))
        self.weights = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(channels, 1, 1) for _ in self.encoders) for _ in SCALES
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        maps, shares = self.parts(images)
        return [(z * share).sum(1) for z, share in zip(maps, shares, strict=True)]

    def parts(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """At each scale the filters' maps (B, K, C, h, h), and their shares (B, K, 1, h, h)."""
        residuals = (srm(images), self.bayar(images) * 10, high_pass(images, 10.0), blocks(images))
        seen = [encode(it) for encode, it in zip(self.encoders, residuals, strict=True)]
        maps = [torch.stack([each[scale] for each in seen], 1) for scale in range(len(SCALES))]
        shares = []
        for scale, heads in enumerate(self.weights):
            pairs = zip(heads, maps[scale].unbind(1), strict=True)  # type: ignore[call-overload]
            shares.append(torch.stack([head(z) for head, z in pairs], 1).softmax(1))
        return maps, shares

    def project(self) -> None:
        """Keep the constrained convolution's weights as they act."""
        self.bayar.project()


class Encoder(nn.Module):
    """Light convolutions at strides 4, 8, 16 and 32."""

    def __init__(self, count: int, channels: int) -> None:
        super().__init__()
        half = max(channels // 2, 1)
        self.stem = nn.Sequential(
            nn.Conv2d(count, half, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(half, channels, 3, 2, 1),
            nn.ReLU(),
        )
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, 2, 1), nn.ReLU()) for _ in SCALES[1:]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [self.stem(x)]
        for down in self.down:
            maps.append(down(maps[-1]))
        return maps


def blocks(images: Tensor) -> Tensor:
    """Images (B, C, H, W) without each 8 × 8 block's lowest frequencies, times 10."""
    kernel = _cosines(images)  # (8, 8), frequencies by places
    count, height, width = images.shape[1], *images.shape[-2:]
    padded = F.pad(images, (0, -width % 8, 0, -height % 8), mode="reflect")
    high, wide = padded.shape[-2] // 8, padded.shape[-1] // 8
    cut = padded.reshape(-1, count, high, 8, wide, 8).transpose(3, 4)
    order = torch.arange(8, device=images.device)
    keep = (order[:, None] + order[None] >= LOW).to(images.dtype)
    left = kernel.T @ ((kernel @ cut @ kernel.T) * keep) @ kernel
    whole = left.transpose(3, 4).reshape(padded.shape)
    return 10 * whole[..., :height, :width]


def _cosines(like: Tensor) -> Tensor:
    """The orthonormal DCT-II of eight samples, (8, 8)."""
    k = torch.arange(8, dtype=like.dtype, device=like.device)
    matrix = (math.pi / 8 * torch.outer(k, k + 0.5)).cos() / 2
    return torch.cat([matrix[:1] / math.sqrt(2), matrix[1:]])

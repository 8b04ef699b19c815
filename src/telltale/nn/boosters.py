"""What makes a frozen encoder's features of noisy images more like those of clean ones.

Source: Xia, Ding, Kong, Yang, Jiang, "Feature-Space Adversarial Robustness Certification for
Multimodal Large Language Models", arXiv:2601.16200. Their insides are assumed.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Purifier(nn.Module):
    """A light U-Net that takes noise out of images (B, 3, S, S); the identity at first."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.top = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.SiLU())
        self.down = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.SiLU())
        self.deep = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.SiLU(),
        )
        self.out = nn.Conv2d(2 * width, 3, 3, padding=1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, images: Tensor) -> Tensor:
        top = self.top(images)
        deep = F.interpolate(self.deep(self.down(top)), images.shape[-2:])
        found: Tensor = images + self.out(torch.cat([top, deep], 1))
        return found


class Mapper(nn.Module):
    """A residual for features (B, N, C) that knows how noisy they are; 0 without noise."""

    def __init__(self, width: int) -> None:
        super().__init__()
        heads = max(1, width // 64)
        self.level = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 2 * width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.near = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.inner = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.out = nn.Linear(width, width)
        self.gate = nn.Parameter(torch.ones(()))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: Tensor, sigma: float) -> Tensor:
        log = math.log(max(sigma, 1e-3))
        level = self.level(tokens.new_tensor([math.sin(log), math.cos(log)]))
        scale, offset = level.chunk(2)
        x = self.norm(tokens) * (1 + scale) + offset
        h = self.attention(x, x, x, need_weights=False)[0] + self.beside(x)
        h = h + self.mlp(self.inner(h))
        found: Tensor = torch.tanh(self.gate * sigma) * self.out(h)
        return found

    def beside(self, tokens: Tensor) -> Tensor:
        """Each token's neighbours in the picture; 0 for a class token, and without a grid."""
        count = tokens.shape[1]
        side, lone = math.isqrt(count), 0
        if side**2 != count:
            side, lone = math.isqrt(count - 1), 1
        if side * side + lone != count or count < 4:
            return tokens * 0
        grid = tokens[:, lone:].transpose(1, 2).unflatten(2, (side, side))
        seen = self.near(grid).flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, :lone] * 0, seen], 1)

"""A plain vision transformer from pictures to tokens, named as in timm so that weights load.

    tokens = [CLS; patches] + position        x ← x + attention(LN x)        x ← x + MLP(LN x)

Pixels come in [0, 1]; the mean and deviation that the weights were trained with are part of the
network, so no caller can forget or double them.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929; layer
scale: Touvron et al., arXiv:2103.17239, as DINOv2 (arXiv:2304.07193) uses it.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.contract import want_images

HALF = (0.5, 0.5, 0.5)  # mean and deviation of timm's augreg and ImageNet-21k ViTs
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Shape(NamedTuple):
    """What fixes a ViT's parameters, and the pixels that it was trained on.

    ``size`` and ``patch`` are in pixels; ``layer_scale`` is the gains' first value, None for none;
    ``antialias`` says how the positions are resampled for another size.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16
    size: int = 224
    layer_scale: float | None = None
    mean: tuple[float, float, float] = HALF
    std: tuple[float, float, float] = HALF
    antialias: bool = True  # as timm does


class ViT(nn.Module):
    """Images (B, 3, S, S), float sRGB in [0, 1], to tokens (B, 1 + N, C), the class token first.

    Args:
        shape: Sizes; ``shape.size`` is S, N = (S / patch)².
        final_norm: Whether a layer norm ends the trunk; without it the tokens are the residual
            stream after the last block.

    Raises:
        ValueError: If the sizes do not divide, or images are not what the network was built for.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: Shape, *, final_norm: bool = True) -> None:
        super().__init__()
        if shape.size % shape.patch or shape.size < shape.patch:
            raise ValueError(f"want a size in multiples of {shape.patch} pixels, got {shape.size}")
        if shape.depth < 1 or shape.width % shape.heads:
            raise ValueError(f"want depth ≥ 1 and heads that divide the width, got {shape}")
        self.shape = shape
        self.width = shape.width
        self.grid = shape.size // shape.patch  # patches a side
        # Not saved: a property of the architecture, and timm's files have no such keys.
        self.register_buffer("mean", torch.tensor(shape.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(shape.std).view(3, 1, 1), persistent=False)
        self.patch_embed = PatchEmbedding(shape.width, shape.patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, shape.width))
        self.blocks = nn.Sequential(*(Block(shape) for _ in range(shape.depth)))
        self.norm = nn.LayerNorm(shape.width, eps=1e-6) if final_norm else nn.Identity()
        self.apply(_initialise)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.norm(self.blocks(self.start(images)))
        return tokens

    def start(self, images: Tensor) -> Tensor:
        """Tokens before the first block, for methods that step in between the blocks."""
        images = want_images(images, self.shape.patch)
        if images.shape[-1] != self.shape.size:
            raise ValueError(f"want images of {self.shape.size} pixels, got {images.shape[-1]}")
        x = self.patch_embed((images - self.mean) / self.std)
        return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed


class PatchEmbedding(nn.Module):
    """Images (B, 3, S, S) to one token for each patch, (B, N, C), row by row."""

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        patches: Tensor = self.proj(images)
        return patches.flatten(2).mT


class Block(nn.Module):
    """Attention, then an MLP of four times the width; each normed before and added after."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=1e-6)
        self.attn = Attention(shape.width, shape.heads)
        self.ls1 = _scale(shape)
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-6)
        self.mlp = MLP(shape.width)
        self.ls2 = _scale(shape)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        y: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return y


class Attention(nn.Module):
    """Multi-head self-attention over tokens (B, N, C); rows of ``qkv`` are q, then k, then v."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(self.qkv(x))

    def attend(self, qkv: Tensor) -> Tensor:
        """Mix projections (B, N, 3C) into tokens (B, N, C). Adapters change ``qkv``, not this."""
        split = qkv.view(*qkv.shape[:2], 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)  # each (B, h, N, C/h)
        mixed = F.scaled_dot_product_attention(q, k, v)
        tokens: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return tokens


class MLP(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))  # the exact GELU: timm's weights expect no tanh
        return y


class LayerScale(nn.Module):
    """A learnt gain for each channel."""

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


def resample_positions(positions: Tensor, grid: int, *, antialias: bool = True) -> Tensor:
    """Position embeddings (1, 1 + n², C) for ``grid``² patches: bicubic; class token kept."""
    old = round((positions.shape[1] - 1) ** 0.5)
    if 1 + old * old != positions.shape[1]:
        raise ValueError(f"want positions (1, 1 + n², C), got {tuple(positions.shape)}")
    if old == grid:
        return positions
    first, rest = positions[:, :1], positions[:, 1:]
    field = rest.mT.reshape(1, -1, old, old)  # (1, C, n, n)
    field = F.interpolate(field, (grid, grid), mode="bicubic", antialias=antialias)
    return torch.cat([first, field.flatten(2).mT], dim=1)


def _scale(shape: Shape) -> nn.Module:
    if shape.layer_scale is None:
        return nn.Identity()
    return LayerScale(shape.width, shape.layer_scale)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)

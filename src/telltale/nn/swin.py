"""Swin: a transformer whose attention stays in windows, plain or in raster order only.

Attention (:mod:`telltale.nn.windows`) costs and keeps M² scores a token, whatever the size of the
picture.

Source: Liu et al., "Swin Transformer", ICCV 2021, arXiv:2103.14030; the causal mask is that of Kong
et al., "Pixel-Inconsistency Modeling for Image Manipulation Localization", TPAMI 2025,
arXiv:2310.00234. Weights' names are timm's.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.residuals import srm
from telltale.nn.states import read_state
from telltale.nn.windows import WindowAttention, parts

STEMS = ("random", "dct", "residual")
DEVIATION = 0.225  # of ImageNet's colours: turns normalised images back to [0, 1], but for a shift


class Shape(NamedTuple):
    """A Swin's measures; ``width`` is that of the first level, each later one is twice as wide."""

    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    patch: int = 4
    drop_path: float = 0.3


SHAPES: Mapping[str, Shape] = {
    "swin_tiny": Shape(),
    "swin_slim": Shape(32, (2, 2, 2), (2, 4, 8), 8, drop_path=0.0),
    "swin_coarse": Shape(32, (2, 2), (2, 4), 8, patch=8, drop_path=0.0),
    "swin_toy": Shape(24, (1, 1), (2, 4), 7, drop_path=0.0),
}


def swin(
    name: str,
    weights: Path | None = None,
    *,
    causal: bool = False,
    include_self: bool = False,
    leak: bool = True,
    stem: str = "random",
) -> "Swin":
    """A Swin by its name, one of :data:`SHAPES`, from maps (B, 3, H, W) to a map a level.

    Args:
        name: Which one.
        weights: A safetensors file with timm's names, such as ImageNet's Swin-T.
        causal: Each token of a window looks at those before it only.
        include_self: A causal token looks at itself as well.
        leak: A causal token all of whose predecessors belong to another part of the picture looks
            at those, as in PIM's code; else at nobody.
        stem: "dct": the patch embedding starts as a DCT whose high frequencies are amplified, since
            a random one drowns a trace of some grey levels in the patch's mean colour. "residual":
            it sees the errors of SRM's three predictors, not the colours.

    Raises:
        ValueError: For an unknown name or stem, or a file that does not fit.
    """
    if name not in SHAPES or stem not in STEMS:
        raise ValueError(f"want one of {[*SHAPES]} and a stem of {STEMS}, got {name!r}, {stem!r}")
    network = Swin(
        SHAPES[name],
        causal=causal,
        include_self=include_self,
        leak=leak,
        residual=stem == "residual",
    )
    if stem == "dct":
        start_as_dct(network.patch_embed.proj)
    if weights is not None:
        load(network, read_state(Path(weights)), origin=str(weights))
    return network


class Swin(nn.Module):
    """Maps (B, 3, H, W) to one map a level, (B, Cₗ, H/4·2⁻ˡ, W/4·2⁻ˡ), each normalised.

    Args:
        shape: Measures; ``widths`` are the levels' C.
        causal: See :func:`swin`.
        include_self: See :func:`swin`.
        leak: See :func:`swin`.
        residual: The stem of that name.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        causal: bool = False,
        include_self: bool = False,
        leak: bool = True,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.widths = tuple(shape.width << level for level in range(len(shape.depths)))
        self.patch_embed = PatchEmbed(shape.patch, shape.width, residual=residual)
        rates = torch.linspace(0, shape.drop_path, sum(shape.depths)).tolist()
        self.layers = nn.ModuleList()
        for level, (depth, heads) in enumerate(zip(shape.depths, shape.heads, strict=True)):
            own, rates = rates[:depth], rates[depth:]
            blocks = [
                Block(
                    WindowAttention(
                        *(self.widths[level], heads, shape.window),
                        causal=causal,
                        include_self=include_self,
                        leak=leak,
                    ),
                    shift=shape.window // 2 * (number % 2),
                    drop_path=own[number],
                )
                for number in range(depth)
            ]
            self.layers.append(Level(self.widths[level], blocks, merges=level > 0))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in self.widths)

    def forward(self, maps: Tensor) -> list[Tensor]:
        """A map a level, the finest first; sides are multiples of the patch and of two a level."""
        x, found = self.patch_embed(maps), []
        for level, norm in zip(self.layers, self.norms, strict=True):
            x = level(x)
            found.append(norm(x).permute(0, 3, 1, 2))
        return found


class PatchEmbed(nn.Module):
    """Patches of (B, 3, H, W) as normalised tokens (B, H/p, W/p, C)."""

    def __init__(self, patch: int, width: int, *, residual: bool = False) -> None:
        super().__init__()
        step = 2 if residual and patch > 4 else 1  # large patches need no residual of every pixel
        self.stem = Residual(width, step) if residual else nn.Identity()
        self.proj = nn.Conv2d(width if residual else 3, width, patch // step, stride=patch // step)
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.stem(maps)
        tokens: Tensor = self.norm(self.proj(maps).permute(0, 2, 3, 1))
        return tokens


class Residual(nn.Module):
    """How strong the errors of SRM's predictors are, (B, C, H/s, W/s) for a stride of s.

    A layer norm takes out how long a token is; a rectified response makes of it where it points.
    """

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(9, width, 3, stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(srm(DEVIATION * maps))))


class Level(nn.Module):
    """Blocks on tokens (B, H, W, C); but for the first level, 2 × 2 tokens become one before."""

    def __init__(self, width: int, blocks: "list[Block]", *, merges: bool) -> None:
        super().__init__()
        self.downsample = Merge(width) if merges else nn.Identity()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        for block in self.blocks:
            x = block(x)
        return x


class Merge(nn.Module):
    """Tokens (B, H, W, C/2) to (B, H/2, W/2, C)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(2 * width)
        self.reduction = nn.Linear(2 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        if height % 2 or width % 2:
            raise ValueError(f"want an even number of tokens a side, got {height} x {width}")
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)
        merged: Tensor = self.reduction(self.norm(x))
        return merged


class Block(nn.Module):
    """Attention in windows that may be shifted, then an MLP, each beside the identity."""

    def __init__(self, attn: "WindowAttention", *, shift: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.attn, self.shift = nn.LayerNorm(attn.width), attn, shift
        self.norm2 = nn.LayerNorm(attn.width)
        self.mlp = Mlp(attn.width)
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropped(self.attended(self.norm1(x)))
        return x + self.dropped(self.mlp(self.norm2(x)))

    def attended(self, x: Tensor) -> Tensor:
        """Windows cut, attended and put back; what pads a map to whole windows is zeros."""
        side, (_, height, width, channels) = self.attn.window, x.shape
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        high, wide = x.shape[1:3]
        # A map of one window has nothing to shift to.
        shift = self.shift if max(high, wide) > side else 0
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        rows, columns = high // side, wide // side
        x = x.reshape(-1, rows, side, columns, side, channels)
        windows = x.transpose(2, 3).reshape(-1, rows * columns, side * side, channels)
        apart = parts(high, wide, side, shift, x.device) if shift else None
        x = self.attn(windows, apart).reshape(-1, rows, columns, side, side, channels)
        x = x.transpose(2, 3).reshape(-1, high, wide, channels)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :height, :width]

    def dropped(self, x: Tensor) -> Tensor:
        """Stochastic depth: in training, items at random lose this branch."""
        if not self.training or not self.drop_path:
            return x
        kept = torch.rand(x.shape[0], 1, 1, 1, device=x.device) >= self.drop_path
        return x * kept / (1 - self.drop_path)


class Mlp(nn.Module):
    """Two layers, four times as wide between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


def start_as_dct(conv: nn.Conv2d) -> None:
    """Patch features start as the patch's DCT, high frequencies amplified up to 24 times."""
    side = conv.kernel_size[0]
    u = torch.arange(side)
    rows = torch.cos(torch.pi * u[:, None] * (2 * u[None] + 1) / (2 * side))
    basis = torch.einsum("ux,vy->uvxy", rows, rows).reshape(-1, side, side) * 2 / side
    gain = (4.0 * (u[:, None] + u[None])).clamp(min=1).reshape(-1)
    order = gain.argsort(descending=True, stable=True)
    with torch.no_grad():
        for number in range(conv.out_channels):  # colours in turn, the finest detail first
            place, colour = divmod(number, 3)
            if place < side * side:
                conv.weight[number] = 0
                conv.weight[number, colour] = gain[order[place]] * basis[order[place]]


def load(network: Swin, state: Mapping[str, Tensor], *, origin: str = "state") -> None:
    """Copy timm's weights; its classifier and last norm are left, the levels' norms stay ours.

    Raises:
        ValueError: If a weight is missing, unknown or of another shape.
    """
    left = re.compile(r"head\.|norm\.|.*(attn_mask|relative_position_index)$")
    taken = {key: value for key, value in state.items() if not left.match(key)}
    taken |= {key: value for key, value in network.state_dict().items() if "norms." in key}
    want = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    got = {key: tuple(value.shape) for key, value in taken.items()}
    if wrong := sorted(key for key in {*want, *got} if want.get(key) != got.get(key)):
        some = "; ".join(f"{k}: want {want.get(k)}, got {got.get(k)}" for k in wrong[:5])
        raise ValueError(f"{origin}: not the weights of this Swin: {some}")
    network.load_state_dict(taken)


def levels_fit(side: int, shape: Shape) -> bool:
    """Whether an image of this side gives whole patches, and even maps to every merge."""
    sides = [side // shape.patch >> level for level in range(len(shape.depths))]
    return not side % shape.patch and all(2 * b == a for a, b in pairwise(sides))

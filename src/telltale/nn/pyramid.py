"""UPerNet's head: the maps of several levels to one map at the finest level's size.

Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018,
arXiv:1807.10221.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PyramidHead(nn.Module):
    """UPerNet's head: levels' maps to one map (B, out, H, W) of the finest level's size."""

    def __init__(self, widths: tuple[int, ...], channels: int, out: int) -> None:
        super().__init__()
        deepest = widths[-1]
        self.pooled = nn.ModuleList(unit(deepest, channels, 1) for _ in SCALES)
        self.bottleneck = unit(deepest + len(SCALES) * channels, channels, 3)
        self.lateral = nn.ModuleList(unit(width, channels, 1) for width in widths[:-1])
        self.smooth = nn.ModuleList(unit(channels, channels, 3) for _ in widths[:-1])
        self.join = unit(len(widths) * channels, channels, 3)
        self.dropout = nn.Dropout2d(0.1)
        self.out = nn.Conv2d(channels, out, 1)

    def forward(self, maps: list[Tensor]) -> Tensor:
        last = maps[-1]
        views = [
            resized(conv(pooled(last, side)), last)
            for conv, side in zip(self.pooled, SCALES, strict=True)
        ]
        above = self.bottleneck(torch.cat([last, *views], 1))
        found = [above]
        rows = [*zip(maps[:-1], self.lateral, self.smooth, strict=True)]
        for x, lateral, smooth in reversed(rows):
            side = lateral(x)
            above = side + resized(above, side)
            found.append(smooth(above))
        joined = self.join(torch.cat([resized(x, maps[0]) for x in reversed(found)], 1))
        out: Tensor = self.out(self.dropout(joined))
        return out


SCALES = (1, 2, 3, 6)  # cells a side that the coarsest map is pooled to


def unit(width: int, out: int, side: int) -> nn.Module:
    """Convolution, norm, ReLU."""
    conv = nn.Conv2d(width, out, side, padding=side // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())


def pooled(x: Tensor, side: int) -> Tensor:
    """Adaptive average pooling of (B, C, H, W) to side × side, as two matrix products.

    ONNX has none where the side does not divide the map's.
    """
    rows, columns = (shares(length, side).to(x) for length in x.shape[-2:])
    return rows @ x @ columns.T


def shares(length: int, cells: int) -> Tensor:
    """Weight of each of ``length`` places in each cell, (cells, length); rows sum to 1."""
    table = torch.zeros(cells, length)
    for cell in range(cells):
        start, end = cell * length // cells, -(-(cell + 1) * length // cells)
        table[cell, start:end] = 1 / (end - start)
    return table


def resized(x: Tensor, like: Tensor) -> Tensor:
    """A map at another one's size, bilinear."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)

"""What JPEG left in each 8 × 8 block of a picture, read from its pixels.

    c_k       coefficients of the block's DCT, k in zigzag order
    φ_k(t)    cos(2π c_k / t) · min(|c_k| / t, 1)
    out       convolutions of φ over k = 1…16 and t = 1…32, and of log(1 + |c_k|) over all k

A file's coefficients are multiples of its quantisation steps. So the mean of cos(2π c_k / t) over
some blocks, the characteristic function of their histogram, is high where t or a multiple of it was
a step, of the last compression or of one before it: a part with another history differs from the
rest. A coefficient of 0 fits every step and says nothing, hence the second factor.

Pictures are seen on the grid that begins at their first pixel. A part whose grid is another, or
that never had one, shows as blocks that fit no step.

Source: the histograms of double compression are those of Lukas and Fridrich, "Estimation of Primary
Quantization Matrix in Double Compressed JPEG Images", DFRWS 2003, and of Bianchi and Piva, "Image
Forgery Localization via Block-Grained Analysis of JPEG Artifacts", TIFS 2012; to give a network the
coefficients of its input's own grid is the idea of Kwon et al., "CAT-Net", WACV 2021 (which reads
them from the file and counts values; this one wants pixels only).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.residuals import LUMA

BLOCK = 8
FREQUENCIES = 16  # of the zigzag order, after the mean: the rest is 0 in most blocks
STEPS = (*range(1, 15), 16, 18, 20, 24, 28, 32)  # t, in grey levels of an orthonormal DCT


class JpegBlocks(nn.Module):
    """RGB in [0, 1], (B, 3, H, W) with sides of whole blocks, to (B, width, H/8, W/8).

    Args:
        width: Channels of the map.
    """

    basis: Tensor
    steps: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("basis", dct(), persistent=False)
        self.register_buffer("steps", torch.tensor(STEPS, dtype=torch.float32), persistent=False)
        seen = FREQUENCIES * len(STEPS) + BLOCK * BLOCK
        self.read = nn.Sequential(*_unit(seen, width, 1), *_unit(width, width, 3))
        self.here, self.whole = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        around = (_unit(width, width, 3, dilation) for dilation in (1, 2, 4))
        self.around = nn.Sequential(*(layer for unit in around for layer in unit))

    def forward(self, images: Tensor) -> Tensor:
        """The map; each block also knows the mean of all, since what differs is what counts."""
        x = self.read(self.fits(images))
        x = F.relu(self.here(x) + self.whole(x.mean((2, 3), keepdim=True)))
        out: Tensor = self.around(x)
        return out

    def fits(self, images: Tensor) -> Tensor:
        """φ, frequency by frequency, then the sizes; (B, 16 · 20 + 64, H/8, W/8)."""
        found = self.coefficients(images)
        some = found[:, 1 : FREQUENCIES + 1, None] / self.steps.view(1, 1, -1, 1, 1)
        fit = torch.cos(2 * math.pi * some) * some.abs().clamp(max=1)
        return torch.cat([fit.flatten(1, 2), found.abs().log1p()], 1)

    def coefficients(self, images: Tensor) -> Tensor:
        """The DCT of each block's luma, (B, 64, H/8, W/8) in zigzag order, in grey levels.

        Raises:
            ValueError: If the sides are not whole blocks.
        """
        if images.shape[-1] % BLOCK or images.shape[-2] % BLOCK:
            raise ValueError(f"want sides that are multiples of 8, got {tuple(images.shape[-2:])}")
        luma = (255 * images * images.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
        return F.conv2d(luma - 128, self.basis, stride=BLOCK)


def dct() -> Tensor:
    """The orthonormal DCT's kernels, (64, 1, 8, 8), in zigzag order."""
    place = torch.arange(BLOCK, dtype=torch.float64)
    rows = torch.cos(math.pi * place[:, None] * (2 * place[None] + 1) / (2 * BLOCK)) / 2
    rows[0] /= math.sqrt(2)
    return torch.stack([torch.outer(rows[u], rows[v]) for u, v in zigzag()])[:, None].float()


def zigzag() -> list[tuple[int, int]]:
    """Rows and columns of the coefficients in the order of the standard."""
    places = [(u, v) for u in range(BLOCK) for v in range(BLOCK)]
    return sorted(places, key=lambda p: (sum(p), p[0] if sum(p) % 2 else p[1]))


def _unit(width: int, out: int, side: int, dilation: int = 1) -> list[nn.Module]:
    pad = side // 2 * dilation
    conv = nn.Conv2d(width, out, side, padding=pad, dilation=dilation, bias=False)
    return [conv, nn.BatchNorm2d(out), nn.ReLU()]

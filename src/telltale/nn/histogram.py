"""Soft histograms round each place of a map: how a texture's answers are spread, not where.

    gaussian            h_c = mean over the window of exp(-γ_c² (z_c - μ_c)²)
    linear_normalised   b = max(0, 1 + γ_c·|z_c - μ_c|),  h_c = mean of b / (b + 1e-5)

One bin a channel, its centre μ and width γ learnt.

Source: Peeples et al., "Histogram Layers for Texture Analysis", IEEE TAI 2021, arXiv:2001.00215;
Cai et al., "S-Adapter", arXiv:2309.04038. The second is what the code of the latter computes: with
one bin a channel the normalisation divides a bin by itself, so h is near 1 wherever b is positive.
Assumed: μ starts uniform in [-1, 1] and γ at 1 (the second: -1, which makes a hat).
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

BINS = ("gaussian", "linear_normalised")
SMALL = 32  # side of maps up to which products of matrices are the faster way


class LocalHistogram(nn.Module):
    """Maps (B, C, H, W) to soft histograms (B, C, H, W), each over the window round a place.

    Args:
        channels: C.
        bins: One of :data:`BINS`.
        window: Odd side of the window; at the border it is cut, not filled.

    Raises:
        ValueError: If the bins are not known or the window is even.
    """

    def __init__(self, channels: int, *, bins: str = "gaussian", window: int = 3) -> None:
        super().__init__()
        if bins not in BINS or window < 1 or window % 2 == 0:
            raise ValueError(
                f"want bins of {', '.join(BINS)} and an odd window, got {bins!r} and {window}"
            )
        self.bins = bins
        self.window = window
        self.centers = nn.Parameter(torch.empty(channels).uniform_(-1, 1))  # μ
        start = 1.0 if bins == "gaussian" else -1.0
        self.widths = nn.Parameter(torch.full((channels,), start))  # γ

    def forward(self, maps: Tensor) -> Tensor:
        apart = maps.float() - self.centers.view(-1, 1, 1)  # half precision underflows in the exp
        widths = self.widths.view(-1, 1, 1)
        if self.bins == "gaussian":
            answers = (widths * apart).square().neg_().exp_()
        else:
            hat = F.relu(1 + widths * apart.abs())
            answers = hat / (hat + 1e-5)
        return mean_of_window(answers, self.window).to(maps.dtype)


def mean_of_window(maps: Tensor, window: int) -> Tensor:
    """Mean of maps (B, C, H, W) over the window round each place, cut at the border.

    The window is a product of two lines, so on small maps it is a matrix from the left and one from
    the right: two calls, which costs a fraction of ``avg_pool2d``'s time forwards and back. On
    larger ones, sums along rows, then along columns, take less arithmetic.
    """
    height, width = maps.shape[-2:]
    if max(height, width) > SMALL:
        return _summed(maps, window)
    # A tensor made under an export is of no use to anyone else, so that keeps none.
    bands = _bands if type(maps) is Tensor else _bands.__wrapped__
    left, right = (bands(side, window, maps.dtype, maps.device) for side in (height, width))
    return left.mT @ maps @ right


def _summed(maps: Tensor, window: int) -> Tensor:
    height, width = maps.shape[-2:]
    reach = window // 2
    wide = F.pad(maps, [reach] * 4)
    rows = wide[..., :width]
    for shift in range(1, window):
        rows = rows + wide[..., shift : shift + width]
    total = rows[..., :height, :]
    for shift in range(1, window):
        total = total + rows[..., shift : shift + height, :]
    down, across = (
        torch.tensor(_places(side, reach), dtype=maps.dtype, device=maps.device)
        for side in (height, width)
    )
    return total / (down[:, None] * across)


@lru_cache(64)
def _bands(side: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix (side, side) whose columns take the mean of a line's window round each place."""
    place = np.arange(side)
    near = np.abs(place[:, None] - place) <= window // 2
    return torch.tensor(near / near.sum(0), dtype=dtype, device=device)


def _places(side: int, reach: int) -> list[int]:
    """How many places within ``reach`` of each place lie on a line of so many."""
    return [min(place + reach, side - 1) - max(place - reach, 0) + 1 for place in range(side)]

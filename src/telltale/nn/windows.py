"""Attention in windows of a map, plain or in raster order only.

    A_ij = softmax_j(q_i·k_j/√d + B_ij + S_ij + C_ij)

B: a learnt bias for each offset; S: -100 between parts that a cyclic shift brought together; C: a
score of a later token is *replaced* by -1e4, so that a token is predicted from those before it.

Source: Liu et al., "Swin Transformer", ICCV 2021, arXiv:2103.14030 (B, S); Kong et al.,
"Pixel-Inconsistency Modeling for Image Manipulation Localization", TPAMI 2025, arXiv:2310.00234.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHIFTED = -100.0  # added: a later token's -1e4 stays far below it
LATER = -1e4  # also holds in half precision, where -1e9 would be -inf and a full row NaN


class WindowAttention(nn.Module):
    """Attention among the M² tokens of each window, (B, n, M², C), in raster order if causal."""

    offsets: Tensor
    later: Tensor | None

    def __init__(
        self, width: int, heads: int, window: int, *, causal: bool, include_self: bool, leak: bool
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"want a width that {heads} heads divide, got {width}")
        self.width, self.heads, self.window, self.leak = width, heads, window, leak
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        y, x = y.flatten(), x.flatten()
        down, right = y[:, None] - y[None] + window - 1, x[:, None] - x[None] + window - 1
        self.register_buffer("offsets", down * (2 * window - 1) + right, persistent=False)
        tokens = window * window
        later = torch.ones(tokens, tokens, dtype=torch.bool).triu(1 if include_self else 0)
        self.register_buffer("later", later if causal else None, persistent=False)

    def forward(self, x: Tensor, apart: Tensor | None = None) -> Tensor:
        """Attend; ``apart`` (n, M², M²) is true between tokens of different parts."""
        batch, count, tokens, _ = x.shape
        split = self.qkv(x).reshape(batch, count, tokens, 3, self.heads, -1)
        query, key, value = split.permute(3, 0, 1, 4, 2, 5)  # (B, n, h, M², d) each
        weights = self.weights(query, key, apart)
        out: Tensor = self.proj((weights @ value).transpose(2, 3).flatten(3))
        return out

    def weights(self, query: Tensor, key: Tensor, apart: Tensor | None = None) -> Tensor:
        """Rows (B, n, h, M², M²) that sum to 1, or to 0 where a token has nobody to look at."""
        bias: Tensor = self.relative_position_bias_table[self.offsets.flatten()]
        bias = bias.reshape(*self.offsets.shape, self.heads).permute(2, 0, 1)
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + bias
        if apart is not None:
            scores = scores + SHIFTED * apart[:, None].to(scores.dtype)
        if self.later is None:
            return F.softmax(scores, -1)
        hidden = self.later
        if apart is not None and not self.leak:
            hidden = hidden | apart[:, None]
        # exp(-1e4) is 0, but a row of nothing else comes out even: the factor empties it.
        rows: Tensor = scores.masked_fill(hidden, LATER).softmax(-1) * ~hidden
        return rows


def parts(height: int, width: int, side: int, shift: int, device: torch.device) -> Tensor:
    """Whether two tokens of a window (n, M², M²) come of different parts of a shifted map."""
    lines = [
        (torch.arange(n, device=device) >= n - side).long()
        + (torch.arange(n, device=device) >= n - shift).long()
        for n in (height, width)
    ]
    number = 3 * lines[0][:, None] + lines[1][None]
    number = number.reshape(height // side, side, width // side, side).transpose(1, 2)
    number = number.reshape(-1, side * side)
    return number[:, :, None] != number[:, None]

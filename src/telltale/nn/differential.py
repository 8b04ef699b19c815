"""Differential attention: what two attentions have in common is cancelled, like common-mode noise.

    A = softmax(Q Kᵀ/√d) - λ·softmax(Q_c K_cᵀ/√d),   λ = exp(λ₁·λ₂) - exp(λ₃·λ₄) + λ_init

Source: Ye et al., "Differential Transformer", ICLR 2025, arXiv:2410.05258, where both attentions
are of the same tokens. Here the second may be of other tokens at the same places.
"""

import math

import torch
from torch import Tensor, nn

HEAD = 32  # width of an attention head, if the tokens are as wide


class DifferentialAttention(nn.Module):
    """Attention of tokens (B, N, C) less that of reference tokens (B, N, R); gives (B, N, C).

    Args:
        width: C, up to 32 or a multiple of it.
        reference_width: R.
        layer: Number of the layer, from 1; it sets λ_init.

    Raises:
        ValueError: If the width does not divide into heads.
    """

    def __init__(self, width: int, reference_width: int, layer: int) -> None:
        super().__init__()
        if width > HEAD and width % HEAD:
            raise ValueError(f"want a width of up to {HEAD} or a multiple of it, got {width}")
        self.heads = max(1, width // HEAD)
        self.norm = nn.LayerNorm(width)
        self.reference_norm = nn.LayerNorm(reference_width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.reference_qk = nn.Linear(reference_width, 2 * width, bias=False)
        self.start = first_share(layer)
        self.exponents = nn.Parameter(0.1 * torch.randn(4, width // self.heads))  # λ₁ … λ₄
        self.gain = nn.Parameter(torch.ones(width // self.heads))
        self.proj = nn.Linear(width, width, bias=False)

    @property
    def share(self) -> Tensor:
        """λ, how much of the reference's attention is taken away."""
        one, two, three, four = self.exponents
        return torch.exp(one @ two) - torch.exp(three @ four) + self.start

    def forward(self, tokens: Tensor, reference: Tensor) -> Tensor:
        q, k, v = self._split(self.qkv(self.norm(tokens)), 3)
        reference_q, reference_k = self._split(self.reference_qk(self.reference_norm(reference)), 2)
        mixed = differential(q, k, reference_q, reference_k, self.share) @ v  # (B, h, N, C/h)
        # Each head is normed by itself, since differences of attentions differ widely in size.
        mixed = mixed * torch.rsqrt(mixed.square().mean(-1, keepdim=True) + 1e-5) * self.gain
        out: Tensor = self.proj(((1 - self.start) * mixed).transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor, parts: int) -> Tensor:
        """(B, N, parts·C) as (parts, B, h, N, C/h)."""
        return x.view(*x.shape[:2], parts, self.heads, -1).permute(2, 0, 3, 1, 4)


def differential(
    q: Tensor, k: Tensor, reference_q: Tensor, reference_k: Tensor, share: Tensor
) -> Tensor:
    """A, (…, N, N), of queries and keys (…, N, d); its rows sum to 1 - λ."""
    scale = q.shape[-1] ** -0.5
    own = torch.softmax(scale * q @ k.mT, -1)
    return own - share * torch.softmax(scale * reference_q @ reference_k.mT, -1)


def first_share(layer: int) -> float:
    """λ_init of a layer, numbered from 1: 0.2 at first, 0.8 far up."""
    if layer < 1:
        raise ValueError(f"want layers numbered from 1, got {layer}")
    return 0.8 - 0.6 * math.exp(-0.3 * (layer - 1))

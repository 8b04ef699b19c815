"""Low-rank adaptation of a vision transformer's self-attention.

A pretrained layer's fused projection stays frozen and gains an update of rank r:

    qkv(x) = W x + b + U D x        D: (r, C) shared by q, k and v;  U: (3C, r), zero at first

so the adapted layer computes exactly what the pretrained one did until training moves U. Without
sharing, each of q, k and v has a D of its own. ``targets`` names which of them are adapted at all.

Source: Hu et al., "LoRA", arXiv:2106.09685, eq. 3 with α = r; the update spans the fused
projection as in Kong et al., arXiv:2303.00917.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.vit import Attention


class LowRankAttention(nn.Module):
    """A frozen :class:`Attention` with a trainable low-rank update of its projections.

    Args:
        base: Pretrained layer of width C. Frozen in place.
        rank: Rank r of the update, 1 to C. With all targets it has 4·r·C weights, or 6·r·C if
            ``shared`` is false.
        targets: Which of ``q``, ``k`` and ``v`` the update reaches, e.g. ``"qv"``.
        shared: Whether the targets share one down-projection.

    Raises:
        ValueError: If ``rank`` is out of range or ``targets`` are not some of q, k and v.
    """

    def __init__(
        self, base: Attention, rank: int = 16, *, targets: str = "qkv", shared: bool = True
    ) -> None:
        super().__init__()
        weight = base.qkv.weight  # (3C, C)
        width = weight.shape[1]
        if not 1 <= rank <= width:
            raise ValueError(f"rank must lie in 1..{width}, got {rank}")
        if not targets or sorted(set(targets)) != sorted(targets) or set(targets) - set("qkv"):
            raise ValueError(f"targets must be some of 'qkv', got {targets!r}")
        self.base = base.requires_grad_(False)
        self.targets = "".join(part for part in "qkv" if part in targets)
        self.rank = rank
        self.shared = shared
        count = len(targets)
        self.down = nn.Parameter(weight.new_empty((1 if shared else count) * rank, width))
        self.up = nn.Parameter(weight.new_zeros(count * width, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # fan-in C, shared or not
        self._kept: Tensor | None = None  # W as it was, while merged

    def forward(self, x: Tensor) -> Tensor:
        if self._kept is not None:
            if self.training and torch.is_grad_enabled():
                raise RuntimeError("a merged layer does not learn: call unmerge() or eval() first")
            return self.base.attend(self.base.qkv(x))
        return self.base.attend(self.base.qkv(x) + self.update(x))

    def update(self, x: Tensor) -> Tensor:
        """U D x of tokens (B, N, C): (B, N, 3C), zero where ``targets`` does not reach."""
        low = F.linear(x, self.down)  # (B, N, r), or (B, N, targets·r)
        if self.shared:
            parts = F.linear(low, self.up).chunk(len(self.targets), dim=-1)
        else:
            ups = self.up.chunk(len(self.targets))
            lows = low.chunk(len(self.targets), dim=-1)
            parts = tuple(F.linear(y, up) for y, up in zip(lows, ups, strict=True))
        if len(parts) == 3:
            return torch.cat(parts, dim=-1)
        found = dict(zip(self.targets, parts, strict=True))
        nothing = torch.zeros_like(parts[0])
        return torch.cat([found.get(part, nothing) for part in "qkv"], dim=-1)

    @torch.no_grad()
    def delta(self) -> Tensor:
        """The update as one matrix U D, (3C, C)."""
        width = self.down.shape[1]
        whole = self.up.new_zeros(3 * width, width)
        ups = self.up.chunk(len(self.targets))
        downs = torch.split(self.down, self.rank)
        for number, part in enumerate(self.targets):
            row = "qkv".index(part) * width
            whole[row : row + width] = ups[number] @ downs[0 if self.shared else number]
        return whole

    @torch.no_grad()
    def merge(self) -> Attention:
        """Fold the update into the base's weights and return it, a plain layer.

        W is kept, so that :meth:`unmerge` restores it bit for bit; merging twice is merging once.
        """
        if self._kept is None:
            self._kept = self.base.qkv.weight.clone()
            self.base.qkv.weight += self.delta()
        return self.base

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the update out again: W is exactly what it was before :meth:`merge`."""
        if self._kept is not None:
            self.base.qkv.weight.copy_(self._kept)
            self._kept = None


def adapt(vit: nn.Module, rank: int = 16, *, targets: str = "qkv", shared: bool = True) -> None:
    """Freeze ``vit`` and wrap each of its attention layers, in place.

    Raises:
        ValueError: If it has no attention layer of ours, or the settings are wrong.
    """
    vit.requires_grad_(False)
    wrapped = 0
    for parent in [*vit.modules()]:  # a list, since wrapping changes the tree
        for name, child in parent.named_children():
            if isinstance(child, Attention):
                setattr(parent, name, LowRankAttention(child, rank, targets=targets, shared=shared))
                wrapped += 1
    if not wrapped:
        raise ValueError(f"want a ViT with attention layers, got {type(vit).__name__} without one")


def fold(vit: nn.Module) -> None:
    """Replace each adapted layer by a plain one with the update in its weights, in place."""
    for parent in [*vit.modules()]:
        for name, child in parent.named_children():
            if isinstance(child, LowRankAttention):
                setattr(parent, name, child.merge())

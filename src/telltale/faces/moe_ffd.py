"""MoE-FFD: a frozen transformer with experts, of which each token and picture takes what suits it.

Low-rank experts learn global traces, convolutional adapters local ones:

    qkv(x) = W x + b + p_e·U_e D_e x         e: the expert that a token chose, p_e its share
    x ← x + MLP(y) + p_a·A_a(y),  y = LN x   a: the adapter that the picture's mean token chose
    A(y) = up·conv(down·y)                   conv: one of five difference operators over the patches
    L = CE + 200·mean_blocks(balance of low-rank gates) + mean_blocks(balance of adapter gates)

Source: Kong et al., "MoE-FFD: Mixture of Experts for Generalized and Parameter-Efficient Face
Forgery Detection", IEEE TDSC 2025, arXiv:2404.08452; gates from Shazeer et al., arXiv:1701.06538.
Departures: the published code leaves p out ("none"); with one expert each, its routers then learn
nothing from the task, and in evaluation all items go to expert 0. The default "gate_weighted"
multiplies by p, as Switch Transformers do. With k = 1 the code's log Σ exp is the expert's own
answer, and is not taken; with k > 1 "none" does not begin as the plain transformer, since of k
zeros it is log k. As in the code, the blocks' first layer norms train too.
Fixed: that these norms train; the gates' least noise (``LEAST_NOISE`` in telltale.nn.experts); the
common factor of both balance terms, 1, which ``balance`` can take up.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import want_labels
from telltale.nn.adapters import beside_mlp
from telltale.nn.contract import Evidence, Losses
from telltale.nn.difference import OPERATORS, convolve
from telltale.nn.experts import ROUTER_GRADS, Gate, dispatch
from telltale.nn.grid import convolve as over_grid
from telltale.nn.vit import Attention, ViT

RANKS = (8, 16, 32, 48, 64, 96, 128)


class MoEFFD(nn.Module):
    """Detects forged faces in crops (B, 3, S, S): float, sRGB in [0, 1].

    Args:
        backbone: Pretrained ViT of width C; frozen and given experts in place.
        lora_ranks: Rank of each low-rank expert.
        lora_k: Low-rank experts a token takes; 0 leaves them out.
        adapter_ops: Difference operator of each adapter, of :data:`OPERATORS`.
        adapter_dim: Width inside an adapter.
        adapter_k: Adapters a picture takes; 0 leaves them out.
        router_grad: "gate_weighted", or "none" as in the published code.
        balance: Weights of the low-rank and the adapter gates' balance.

    Raises:
        ValueError: If a setting is out of range or images are not a float batch of RGB squares.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        lora_ranks: Sequence[int] = RANKS,
        lora_k: int = 1,
        adapter_ops: Sequence[str] = OPERATORS,
        adapter_dim: int = 8,
        adapter_k: int = 1,
        router_grad: str = "gate_weighted",
        balance: tuple[float, float] = (200.0, 1.0),
    ) -> None:
        super().__init__()
        if not isinstance(backbone, ViT):
            raise ValueError(f"want a ViT as backbone, got {type(backbone).__name__}")
        if router_grad not in ROUTER_GRADS:
            raise ValueError(f"router_grad must be one of {ROUTER_GRADS}, got {router_grad!r}")
        if unknown := [name for name in adapter_ops if name not in OPERATORS]:
            raise ValueError(f"adapter_ops must be of {', '.join(OPERATORS)}, got {unknown[0]!r}")
        if min(lora_ranks, default=0) < 1 or adapter_dim < 1 or min(balance) < 0:
            raise ValueError(
                f"want ranks and adapter_dim of 1 or more and balance of 0 or more, "
                f"got {lora_ranks}, {adapter_dim} and {balance}"
            )
        backbone.requires_grad_(False)
        for block in backbone.blocks:
            block.get_submodule("norm1").requires_grad_(True)
        if lora_k:
            _give_experts(backbone, lambda a: LowRankExperts(a, lora_ranks, lora_k, router_grad))
        if adapter_k:
            beside_mlp(
                backbone,
                lambda width: AdapterExperts(
                    width, adapter_ops, adapter_dim, adapter_k, router_grad
                ),
            )
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, 2)
        self.balance = balance

    def forward(self, images: Tensor) -> Evidence:
        logits = self.score(images)
        return Evidence(logits[:, 1] - logits[:, 0])

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        """Terms to sum and minimise.

        Args:
            images: (B, 3, S, S).
            labels: (B,) int64, 0 real and 1 fake.
        """
        want_labels(labels, len(images))
        logits, balances = self._answers(images)
        losses = {"ce": F.cross_entropy(logits, labels)}
        for (name, found), weight in zip(balances.items(), self.balance, strict=True):
            if found:
                losses[f"{name}_balance"] = weight * torch.stack(found).mean()
        return losses

    def score(self, images: Tensor) -> Tensor:
        """Logits (B, 2) of real and fake."""
        return self._answers(images)[0]

    def usage(self) -> dict[str, Tensor]:
        """Share of the last batch's tokens and pictures that each expert got, (blocks, E) each."""
        found = {name: [part.counts for part in parts] for name, parts in self._routed().items()}
        stacks = {name: torch.stack(counts) for name, counts in found.items() if counts}
        return {name: s / s.sum(-1, keepdim=True).clamp(min=1) for name, s in stacks.items()}

    def _answers(self, images: Tensor) -> tuple[Tensor, dict[str, list[Tensor]]]:
        """Logits (B, 2), and the balance of each gate; taken at once, so that no graph is kept."""
        logits: Tensor = self.head(self.backbone(images)[:, 0])
        return logits, {
            name: [taken for part in parts if (taken := part.take_balance()) is not None]
            for name, parts in self._routed().items()
        }

    def _routed(self) -> "dict[str, list[Routed]]":
        parts = [part for part in self.modules() if isinstance(part, Routed)]
        return {
            "lora": [part for part in parts if isinstance(part, LowRankExperts)],
            "adapter": [part for part in parts if isinstance(part, AdapterExperts)],
        }


class Routed(nn.Module):
    """What both kinds of experts keep of the last batch: use, and balance until it is taken."""

    counts: Tensor

    def __init__(self, width: int, experts: int, k: int, router_grad: str) -> None:
        super().__init__()
        self.gate = Gate(width, experts, k)
        self.router_grad = router_grad
        self.register_buffer("counts", torch.zeros(experts), persistent=False)
        self._balance: Tensor | None = None

    def take_balance(self) -> Tensor | None:
        """The balance of the last forward pass; None once it is taken, and in an export."""
        balance, self._balance = self._balance, None
        return balance

    def route(self, x: Tensor, items: Tensor, experts: Sequence[nn.Module]) -> Tensor:
        """Answers for ``items`` (M, …) by the experts that x (M, C) chooses."""
        routing = self.gate(x)
        if not torch.compiler.is_exporting():
            self.counts = routing.counts.detach()
            self._balance = routing.balance
        return dispatch(items, routing, experts, router_grad=self.router_grad)


class LowRankExperts(Routed):
    """A frozen attention layer whose projections gain the update of the expert a token chose."""

    def __init__(self, base: Attention, ranks: Sequence[int], k: int, router_grad: str) -> None:
        width = base.qkv.in_features
        super().__init__(width, len(ranks), k, router_grad)
        self.base = base
        self.experts = nn.ModuleList(LowRank(width, rank) for rank in ranks)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(0, 1)  # (B·N, C)
        update = self.route(tokens, tokens, [*self.experts])
        return self.base.attend(self.base.qkv(x) + update.view(*x.shape[:2], -1))


class LowRank(nn.Module):
    """U D x: tokens (M, C) to updates (M, 3C), zero at first."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, width))
        self.up = nn.Parameter(torch.zeros(3 * width, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.down), self.up)


class AdapterExperts(Routed):
    """Convolutional adapters of which the mean token of a picture (B, 1 + N, C) chooses."""

    def __init__(
        self, width: int, operators: Sequence[str], dim: int, k: int, router_grad: str
    ) -> None:
        super().__init__(width, len(operators), k, router_grad)
        self.experts = nn.ModuleList(Adapter(width, dim, name) for name in operators)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.route(tokens.mean(1), tokens, [*self.experts])


class Adapter(nn.Module):
    """Tokens (B, 1 + N, C) through a bottleneck with one difference operator; zero at first.

    The 3 × 3 kernel starts with 1 in the middle of its diagonal. For "rd" and "scd" that tap is no
    centre but one direction: the published code's start, kept.
    """

    def __init__(self, width: int, dim: int, operator: str) -> None:
        super().__init__()
        self.operator = operator
        self.down = nn.Linear(width, dim)
        self.kernel = nn.Parameter(torch.zeros(dim, dim, 3, 3))
        self.bias = nn.Parameter(torch.empty(dim).uniform_(-1, 1) / math.sqrt(9 * dim))
        self.up = nn.Linear(dim, width)
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        with torch.no_grad():
            self.kernel[:, :, 1, 1] = torch.eye(dim)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        low = over_grid(self.convolve, self.down(tokens))
        out: Tensor = self.up(low)
        return out

    def convolve(self, field: Tensor) -> Tensor:
        return convolve(field, self.kernel, self.bias, operator=self.operator)


def _give_experts(vit: ViT, wrap: Callable[[Attention], nn.Module]) -> None:
    for block in vit.blocks:
        attention = block.get_submodule("attn")
        if not isinstance(attention, Attention):
            raise ValueError(f"want a plain ViT, got one with {type(attention).__name__}")
        block.attn = wrap(attention)

"""Experts of which each item sees a few: a noisy gate, dispatch to the chosen, balance.

    h = x W_g + ε · (softplus(x W_n) + 0.01),  ε ~ N(0, 1) in training      the k largest are chosen
    balance = CV²(importance) + CV²(load),    CV² = variance / mean²

Importance is the sum of an expert's gates over a batch, load the expected number of items that
choose it under fresh noise. Items are sorted to their experts, so that a step costs what the
chosen experts cost, however many there are.

Source: Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts
Layer", ICLR 2017, arXiv:1701.06538, eq. 3-11; weights that carry the router's gradient: Fedus et
al., "Switch Transformers", JMLR 2022, arXiv:2101.03961, eq. 2.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROUTER_GRADS = ("gate_weighted", "none")
LEAST_NOISE = 0.01  # standard deviation below which the noise never falls


class Routing(NamedTuple):
    """Where M items go; what is no index is float32, whatever the items are."""

    chosen: Tensor  # (M, k) int64, the best first
    shares: Tensor  # (M, k) softmax over all experts, of the chosen ones, without noise
    counts: Tensor  # (E,) items that chose each expert
    balance: Tensor  # scalar, 0 where all experts are used alike


class Gate(nn.Module):
    """Chooses k of E experts for each item (M, C).

    Args:
        width: C.
        experts: E.
        k: Experts an item.

    Raises:
        ValueError: If k is out of range.
    """

    def __init__(self, width: int, experts: int, k: int = 1) -> None:
        super().__init__()
        if not 1 <= k <= experts:
            raise ValueError(f"want 1 to {experts} of {experts} experts, got k = {k}")
        self.k = k
        self.choice = nn.Parameter(torch.zeros(width, experts))  # W_g
        self.noise = nn.Parameter(torch.zeros(width, experts))  # W_n

    def forward(self, x: Tensor) -> Routing:
        # In full precision: halved, counts above 256 are rounded, and CUDA's autocast halves the
        # products but not their softmax, so that scatter meets two types and refuses.
        with torch.autocast(x.device.type, enabled=False):
            return self._route(x.float())

    def _route(self, x: Tensor) -> Routing:
        clean = x @ self.choice.float()
        noisy, spread = clean, None
        if self.training:
            spread = F.softplus(x @ self.noise.float()) + LEAST_NOISE
            noisy = clean + spread * torch.randn_like(clean)
        if torch.compiler.is_exporting():  # ONNX has no stable sort; its top-k takes the first
            chosen = noisy.topk(self.k, dim=-1).indices
        else:  # torch's top-k breaks ties anyhow: without noise the first expert is to win
            chosen = noisy.argsort(dim=-1, descending=True, stable=True)[:, : self.k]
        shares = clean.softmax(-1).gather(-1, chosen)
        hits = torch.zeros_like(clean).scatter(-1, chosen, 1.0)
        gates = noisy.gather(-1, chosen).softmax(-1)
        importance = torch.zeros_like(clean).scatter(-1, chosen, gates).sum(0)
        counts = hits.sum(0)
        load = counts if spread is None else expected_load(clean, noisy, spread, self.k)
        return Routing(chosen, shares, counts, variation(importance) + variation(load))


def expected_load(clean: Tensor, noisy: Tensor, spread: Tensor, k: int) -> Tensor:
    """Expected number of items (E,) that choose each expert if its own noise is drawn again.

    Args:
        clean: (M, E) logits without noise.
        noisy: (M, E) as drawn; what an expert must beat comes from the others' draws.
        spread: (M, E) standard deviation of the noise.
        k: Experts an item.
    """
    if k == clean.shape[-1]:
        return clean.new_full((k,), float(len(clean)))
    best = noisy.topk(k + 1, dim=-1).values
    is_in = noisy > best[:, k:]
    bar = torch.where(is_in, best[:, k:], best[:, k - 1 : k])
    chance: Tensor = torch.special.ndtr((clean - bar) / spread)
    return chance.sum(0)


def variation(amounts: Tensor) -> Tensor:
    """Squared coefficient of variation of amounts (E,): 0 if all alike, E if one has it all."""
    if len(amounts) < 2:
        return amounts.new_zeros(())
    return amounts.var() / (amounts.mean() ** 2 + 1e-10)


def dispatch(
    x: Tensor,
    routing: Routing,
    experts: Sequence[Callable[[Tensor], Tensor]],
    *,
    router_grad: str,
) -> Tensor:
    """Each item's answer from the experts that it chose.

    Args:
        x: (M, …) items.
        routing: Of M items.
        experts: E functions from (m, …) to (m, …).
        router_grad: "gate_weighted" multiplies an answer by the chosen expert's share, so that
            the task teaches the router. "none" does not, and of several answers takes
            log Σ exp: the published code's way.

    Raises:
        ValueError: If ``router_grad`` is neither.
    """
    if router_grad not in ROUTER_GRADS:
        raise ValueError(f"router_grad must be one of {ROUTER_GRADS}, got {router_grad!r}")
    answer = _everyone if torch.compiler.is_exporting() else _chosen
    ranked = []
    for rank in range(routing.chosen.shape[1]):
        out = answer(x, routing.chosen[:, rank], experts)
        if router_grad == "gate_weighted":
            share = routing.shares[:, rank]
            out = out * share.view(-1, *[1] * (out.ndim - 1)).to(out.dtype)
        ranked.append(out)
    if len(ranked) == 1:
        return ranked[0]
    stacked = torch.stack(ranked)
    return stacked.sum(0) if router_grad == "gate_weighted" else stacked.logsumexp(0)


def _chosen(x: Tensor, chosen: Tensor, experts: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """Items sorted by expert, one call for each expert that has any, and back in order."""
    order = chosen.argsort(stable=True)
    sizes = torch.bincount(chosen, minlength=len(experts)).tolist()
    parts = x[order].split(sizes)
    outs = [expert(part) for expert, part in zip(experts, parts, strict=True) if len(part)]
    return torch.cat(outs)[order.argsort()]


def _everyone(x: Tensor, chosen: Tensor, experts: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
    """The same by asking all experts: an exported graph cannot branch on what is in its input."""
    outs = torch.stack([expert(x) for expert in experts])
    mine = F.one_hot(chosen, len(experts)).to(outs.dtype).T
    return (outs * mine.view(*mine.shape, *[1] * (outs.ndim - 2))).sum(0)

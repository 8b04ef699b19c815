"""SpikeNM: spiking networks that learn, from scratch, which N of every M weights they need.

    g = -ln(-ln U)      z = κ π + g      i_1 … i_N = places of the N largest z, in order
    p^(j) = softmax(z / τ over places other than i_1 … i_{j-1})      m̃ = Σ_j p^(j)
    m = 1[i ∈ {i_1 … i_N}]               W_eff = W ⊙ m̃, or W ⊙ (m + m̃ - sg(m̃))
    L = L_task + λ mean_blocks KL(q ‖ softmax(κ π)),  q = softmax(EMA of standardised credits)

Each block of M weights has M logits π, one a weight, where an enumeration of patterns would need Σ
C(M, k). A mask is N draws without replacement, relaxed so that it can be learnt; one mask serves
all steps and samples of a forward pass. The credit of a weight is what its synapse earns over
time, here the gradient of W_eff, which weights that are masked out have, too. Masks and weights
are learnt together; annealing makes the draws all but certain, then they are fixed and weights go
on. Other credits, by eligibility traces that never go back through time, are in ``eligibility``.

Source: Ye, Yu, Zhang, Kong, Wu, Jiang, Tao, "Sparse by Rule: Probability-Based N:M Pruning for
Spiking Neural Networks", arXiv:2511.12097. Draws without replacement: the Plackett-Luce law.
Eligibility: Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking
neurons", Nature Communications 2020.
Assumed: the relaxation, the formula of credits, λ and the schedules, which are not published;
blocks run along the input channels; the first layer and the classifier stay dense.
Departures: none known; the paper has no code.
"""

import math
from collections.abc import Collection, Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from telltale.losses import tet, want_labels
from telltale.nn.contract import Losses
from telltale.spiking.blocks import in_blocks, inner_layers, out_of_blocks
from telltale.spiking.eligibility import spatial_credits

CREDITS = ("grad", "taylor", "eprop", "local")
KEEP, CREDIT_TAU = 0.95, 1.0  # of the moving average; of the soft target
DISTIL_FROM = 0.1  # of the annealing: credits of the first steps say little
NEVER = -1e9  # logit of a place that pads a row


class SpikeNM(nn.Module):
    """A spiking network whose inner layers keep at most N of every M weights.

    Args:
        network: From events (B, T, C, H, W) to outputs (T, B, K), or (B, K).
        n: N, weights that a block keeps.
        m: M, weights of a block.
        soft: Train with the relaxed mask m̃ itself; else with the hard one, straight through.
        eid: λ, weight of the distillation of credits into logits.
        credit: "grad", |∂L/∂W_eff|; "taylor", |W ⊙ ∂L/∂W_eff|; "eprop", learning signals through
            space only times eligibility traces; "local", the traces alone. The last two take a
            second pass a step and want SpikingJelly's neurons in multi-step mode.
        anneal: κ at the start and at the end of the annealing, then τ likewise.
        skip: Names of convolutions and linear layers that stay dense; None is the first and the
            last, all others are pruned.

    Raises:
        ValueError: If a setting is out of range or there is nothing to prune.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        n: int = 2,
        m: int = 4,
        soft: bool = True,
        eid: float = 0.02,
        credit: str = "grad",
        anneal: Sequence[float] = (5.0, 50.0, 2.0, 0.2),
        skip: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= n <= m:
            raise ValueError(f"want 1 ≤ n ≤ m, got {n} and {m}")
        if eid < 0 or credit not in CREDITS:
            raise ValueError(f"want eid ≥ 0 and a credit of {CREDITS}, got {eid} and {credit!r}")
        if len(anneal) != 4 or min(anneal) <= 0:
            raise ValueError(f"want two κ and two τ above 0 to anneal, got {anneal}")
        self.layers = [*inner_layers(network, skip).values()]
        if not self.layers:
            raise ValueError("want a network with layers between its first and its last")
        self.network, self.eid, self.credit = network, eid, credit
        self.size = getattr(network, "size", 32)
        self.kappa, self.tau = (anneal[0], anneal[1]), (anneal[2], anneal[3])
        for layer in self.layers:
            made = NMMask(layer.weight, n, m, soft=soft, credit=credit)
            parametrize.register_parametrization(layer, "weight", made)
        self.masks = [mask for mask in network.modules() if isinstance(mask, NMMask)]
        self.advance(0.0)

    def forward(self, events: Tensor) -> Tensor:
        """The mean of the network's outputs over time (B, K), in nats."""
        outputs = self.run(events)
        return outputs.mean(0) if outputs.ndim == 3 else outputs

    def run(self, events: Tensor) -> Tensor:
        """The network's outputs, with one mask for all that it does in between."""
        with parametrize.cached():
            found: Tensor = self.network(events)
        return found

    def loss(self, events: Tensor, labels: Tensor) -> Losses:
        """Terms to sum and minimise; afterwards the credits are those of this batch, too.

        Args:
            events: (B, T, C, H, W) counts.
            labels: (B,) class numbers.
        """

        def task() -> Tensor:
            outputs: Tensor = self.network(events)
            by_step = outputs.ndim == 3
            want_labels(labels, outputs.shape[1] if by_step else len(outputs))
            return tet(outputs, labels) if by_step else F.cross_entropy(outputs, labels)

        with parametrize.cached():
            terms = {"task": task()}
            wanted = self.training and self.eid > 0 and self.progress < 1
            if wanted and self.credit in ("eprop", "local"):
                eprop = self.credit == "eprop"
                found = spatial_credits(self.network, self.layers, task, signals=eprop)
                for mask, earned in zip(self.masks, found, strict=True):
                    mask.earn(earned)
        if self.eid and DISTIL_FROM < self.progress < 1:
            apart = torch.cat([mask.distillation() for mask in self.masks])
            terms["eid"] = self.eid * apart.mean()
        return terms

    def advance(self, progress: float) -> None:
        """Anneal κ and τ, geometrically.

        Args:
            progress: 0 at the start; from 1 on the masks are fixed and logits no longer learn.
        """
        self.progress = max(0.0, progress)
        share = min(self.progress, 1.0)
        for mask in self.masks:
            mask.kappa = between(*self.kappa, share)
            mask.tau = between(*self.tau, share)
            mask.settled = progress >= 1

    def finalise(self) -> nn.Module:
        """A copy of the network with plain weights, zero wherever the masks are."""
        made = deepcopy(self).eval().network
        for layer in [m for m in made.modules() if parametrize.is_parametrized(m)]:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
        for weight in made.parameters():
            weight.requires_grad_(True)
        return made

    @torch.no_grad()
    def entropy(self) -> float:
        """How undecided masks are: the mean entropy of softmax(κ π) over blocks, in nats."""
        shares = [F.softmax(mask.scaled(), -1) for mask in self.masks]
        return float(torch.cat([torch.special.entr(p).sum(-1).flatten() for p in shares]).mean())

    def logits(self) -> list[str]:
        """Names of the masks' logits: they want a larger learning rate and no decay."""
        return [name for name, _ in self.named_parameters() if name.endswith(".logits")]


class NMMask(nn.Module):
    """Weights times a mask with at most N of every M along the input channels.

    A parametrisation of a layer's weight (O, C, …). While the module trains, each call draws a
    mask; else it is the N largest logits of each block.
    """

    valid: Tensor
    credits: Tensor

    def __init__(self, weight: Tensor, n: int, m: int, *, soft: bool, credit: str) -> None:
        super().__init__()
        self.n, self.m, self.soft, self.credit = n, m, soft, credit
        self.kappa, self.tau, self.settled = 5.0, 2.0, False
        blocks = in_blocks(torch.ones_like(weight), m)
        self.logits = nn.Parameter(0.01 * torch.randn(blocks.shape))
        self.register_buffer("valid", blocks > 0)
        self.register_buffer("credits", torch.zeros(blocks.shape))

    def forward(self, weight: Tensor) -> Tensor:
        """The effective weight (O, C, …)."""
        if self.settled or not self.training:
            return weight * out_of_blocks(self.chosen().to(weight.dtype), weight)
        soft, hard = sample(self.scaled() + gumbel(self.logits), self.n, self.tau)
        mask = soft if self.soft else hard + soft - soft.detach()
        found: Tensor = weight * out_of_blocks(mask * self.valid, weight)
        if found.requires_grad and self.credit in ("grad", "taylor"):
            share = weight.detach() if self.credit == "taylor" else 1.0
            found.register_hook(lambda gradient: self.earn(gradient * share))
        return found

    def chosen(self) -> Tensor:
        """The mask in use after training, (O, blocks, M) of bools: the N largest logits."""
        return top(self.logits.masked_fill(~self.valid, NEVER), self.n).bool() & self.valid

    def scaled(self) -> Tensor:
        """κ π (O, blocks, M), places that pad a row far below all others."""
        return (self.kappa * self.logits).masked_fill(~self.valid, NEVER)

    def earn(self, earned: Tensor) -> None:
        """Take a step's credits (O, C, …), whatever their sign, into their moving average.

        Gradients are those of W_eff and not of W, which are 0 wherever the mask is.
        """
        found = standardised(in_blocks(earned.detach().abs(), self.m), self.valid)
        self.credits.mul_(KEEP).add_(found, alpha=1 - KEEP)

    def distillation(self) -> Tensor:
        """KL(q ‖ softmax(κ π)) of each block, (O · blocks,); q takes no gradient."""
        target = (self.credits / CREDIT_TAU).masked_fill(~self.valid, NEVER).softmax(-1)
        logs = self.scaled().log_softmax(-1)
        return F.kl_div(logs, target, reduction="none").sum(-1).flatten()


# ── draws ────────────────────────────────────────────────────────────────────────────────────────


def sample(keys: Tensor, n: int, tau: float) -> tuple[Tensor, Tensor]:
    """The relaxed and the hard mask of N draws without replacement.

    Args:
        keys: z (…, M).
        n: N ≤ M.
        tau: Temperature.

    Returns:
        m̃ and m, (…, M), each of sum N; m̃ carries the gradient.
    """
    if n == keys.shape[-1]:
        whole = torch.ones_like(keys)
        return whole, whole
    left, hard = keys / tau, torch.zeros_like(keys)
    soft = left.softmax(-1)
    picks = keys.detach().topk(n, dim=-1).indices
    for place in picks[..., :-1].unbind(-1):
        hard = hard.scatter(-1, place[..., None], 1.0)
        # Left out of the softmax itself: an update of the keys picks the same place again.
        soft = soft + left.masked_fill(hard.bool(), -math.inf).softmax(-1)
    return soft, hard.scatter(-1, picks[..., -1:], 1.0)


def gumbel(like: Tensor) -> Tensor:
    """Standard Gumbel noise, from torch's global generator."""
    exponential = torch.empty_like(like, requires_grad=False).exponential_()
    return -exponential.clamp_min(1e-30).log()


def top(values: Tensor, n: int) -> Tensor:
    """1.0 at the N largest of the last dimension, 0.0 elsewhere."""
    return torch.zeros_like(values).scatter(-1, values.topk(n, dim=-1).indices, 1.0)


def standardised(values: Tensor, valid: Tensor) -> Tensor:
    """(values - mean) / standard deviation in each block over its valid places; 0 if all alike."""
    count = valid.sum(-1, keepdim=True).clamp_min(1)
    mean = (values * valid).sum(-1, keepdim=True) / count
    apart = (values - mean) * valid
    deviation = (apart.square().sum(-1, keepdim=True) / count).sqrt()
    return torch.where(deviation > 0, apart / deviation.clamp_min(1e-30), 0.0)


def between(start: float, end: float, share: float) -> float:
    """A geometric schedule's value."""
    return start * math.exp(share * math.log(end / start))

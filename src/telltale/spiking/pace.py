"""PACE: a few integer event clips per class that train a spiking network.

    h_t = s_t + λ r_t                                   spikes, and potentials left after the reset
    Z_t(k) = mean_b exp(i w_k · h_{t,b})                characteristic function of a class's batch
    Ẑ_f(k) = T^{-1/2} Σ_t Z_t(k) e^{-2πi f t/T}
    d² = α (|Ẑᴿ| - |Ẑˢ|)² + β 2 (|Ẑᴿ||Ẑˢ| - Re(Ẑᴿ Ẑˢ*))      L = Σ_classes mean_{f,k} d
    q = ⌊x⌋ + Bernoulli(x - ⌊x⌋), x = clip(X, 0, N_max)         gradient 1 inside, 0 outside

Only the clips X learn. Teachers, spiking networks trained on the real set, are frozen; what is
matched is the distribution of their hidden layer's densified spikes over time, in amplitude, which
is spread, and in phase, which is timing. Clips stay whole numbers at every step.

Source: Ye, Yu, Zhang, Kong, Wu, Wang, Jiang, "Learning from Dense Events: Towards Fast Spiking
Neural Networks Training via Event Dataset Distillation", arXiv:2511.12095. Characteristic functions
as the discrepancy: Wang et al., "Dataset Distillation with Neural Characteristic Function",
CVPR 2025, arXiv:2502.20653. Mean matching: Zhao and Bilen, WACV 2023, arXiv:2110.04181.
Assumed: the last hidden layer, λ = 1, α = β = 0.5, σ_w = 1 / median distance, the transform after
the characteristic function, N_max from the data. None of these is published.
Departures: none known; the paper has no code.
"""

import math

import torch
from torch import Tensor, nn

from telltale.losses import want_labels
from telltale.nn.contract import Losses
from telltale.nn.snn import potentials

MATCHINGS = ("st-sm", "joint", "steps", "means", "rates")
FREQUENCIES, SHIFT, TINY = 256, 2, 1e-12  # K_w; pixels of the augmentation; below the root


class PACE(nn.Module):
    """Learns clips (C · IPC, T, 2, H, W) that stand for a set of events.

    Args:
        teacher: A trained spiking network, or several as ``nn.ModuleList``; taken in turn. Whether
            gradients pass its neurons' reset is their own setting, ``detach_reset``.
        classes: C.
        ipc: Clips a class.
        shape: T, H and W of a clip.
        most: N_max, the largest count.
        residual: λ, share of the residual potential in what is matched.
        phase: β; α = 1 - β.
        matching: "st-sm", the paper's; "joint", one characteristic function of all steps together;
            "steps", one a step without the transform; "means", of each step; "rates", the mean
            over steps, as distribution matching has it.

    Raises:
        ValueError: If a setting is out of range or a teacher has no spiking neuron.
    """

    turn: Tensor

    def __init__(
        self,
        teacher: nn.Module,
        *,
        classes: int = 10,
        ipc: int = 1,
        shape: tuple[int, int, int] = (10, 34, 34),
        most: int = 8,
        residual: float = 1.0,
        phase: float = 0.5,
        matching: str = "st-sm",
    ) -> None:
        super().__init__()
        if min(classes, ipc, most, *shape) < 1 or len(shape) != 3:
            raise ValueError(
                f"want classes, ipc, most and shape (T, H, W) of 1 or more, got {classes}, {ipc}, "
                f"{most} and {shape}"
            )
        if not 0 <= phase <= 1 or residual < 0 or matching not in MATCHINGS:
            raise ValueError(
                f"want phase in [0, 1], residual ≥ 0 and matching one of {MATCHINGS}; got "
                f"{phase}, {residual} and {matching!r}"
            )
        self.teachers = teacher if isinstance(teacher, nn.ModuleList) else nn.ModuleList([teacher])
        self.classes, self.ipc, self.most = classes, ipc, most
        self.residual, self.phase, self.matching = residual, phase, matching
        self.size = shape[-1]
        steps, height, width = shape
        self.clips = nn.Parameter(1.5 * torch.rand(classes * ipc, steps, 2, height, width))
        self.register_buffer("turn", torch.zeros((), dtype=torch.int64))
        for one in self.teachers:
            one.requires_grad_(False)
            with potentials(one):  # says so now if there is no neuron
                pass

    def train(self, mode: bool = True) -> "PACE":
        """As for any module, but teachers stay as they are: their statistics are frozen, too."""
        super().train(mode)
        self.teachers.eval()
        return self

    def forward(self, events: Tensor) -> Tensor:
        """Densified spikes h (T, B, D) of events (B, T, 2, H, W), by the teacher in turn."""
        teacher = self.teachers[int(self.turn) % len(self.teachers)]
        with potentials(teacher) as seen:
            teacher(events)
        spikes, left = seen[-1]
        found: Tensor = spikes + self.residual * left
        return found if found.ndim == 3 else found.flatten(3).mean(3)

    def loss(self, events: Tensor, labels: Tensor) -> Losses:
        """The distance of the clips from real ones, over the classes that are among them.

        Args:
            events: (B, T, 2, H, W) counts, a score or more of each class.
            labels: (B,) below C.
        """
        want_labels(labels, len(events))
        if events.shape[1:] != self.clips.shape[1:]:
            raise ValueError(
                f"want events (B, {', '.join(map(str, self.clips.shape[1:]))}), "
                f"got {tuple(events.shape)}"
            )
        if labels.min() < 0 or labels.max() >= self.classes:
            raise ValueError(f"want labels below {self.classes}, got {int(labels.max())}")
        clips, move = self.whole(), [0, 0]
        if self.training:
            move = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
        with torch.no_grad():
            real = self(moved(events.float(), move))
        made = self(moved(clips, move))
        if self.training:
            self.turn += 1
        members = nn.functional.one_hot(labels, self.classes).T.to(real.dtype)
        there = members.sum(1) > 0
        ours = nn.functional.one_hot(self.labels(), self.classes).T.to(real.dtype)
        args = real, made, members[there], ours[there]
        if self.matching in ("means", "rates"):
            return {"match": mean_distance(*args, over_time=self.matching == "rates")}
        if self.matching == "joint":
            args = (joined(real), joined(made), *args[2:])
        scale = 1 / median_distance(args[0])
        waves = scale * torch.randn(args[0].shape[-1], FREQUENCIES, device=real.device)
        return {
            "match": st_sm(
                *args,
                waves,
                alpha=1 - self.phase,
                beta=self.phase,
                by_time=self.matching == "st-sm",
            )
        }

    def whole(self) -> Tensor:
        """The clips as whole numbers: drawn while the module trains, else rounded."""
        return peq(self.clips, self.most, stochastic=self.training)

    def labels(self) -> Tensor:
        """The clips' classes (C · IPC,)."""
        return torch.arange(self.classes, device=self.clips.device).repeat_interleave(self.ipc)

    @torch.no_grad()
    def start(self, events: Tensor, labels: Tensor, *, generator: torch.Generator) -> None:
        """Let the clips start as real ones, drawn at random from each class.

        Raises:
            ValueError: If a class has fewer than IPC.
        """
        for number in range(self.classes):
            rows = (labels == number).nonzero().flatten()
            if len(rows) < self.ipc:
                raise ValueError(f"want {self.ipc} clips of class {number}, got {len(rows)}")
            rows = rows[torch.randperm(len(rows), generator=generator)[: self.ipc]]
            start = number * self.ipc
            self.clips[start : start + self.ipc] = events[rows].float().clamp(0, self.most)

    @torch.no_grad()
    def export(self) -> tuple[Tensor, Tensor]:
        """The distilled set: uint8 clips (C · IPC, T, 2, H, W) and their classes."""
        return peq(self.clips, self.most, stochastic=False).to(torch.uint8), self.labels()


# ── the quantiser ────────────────────────────────────────────────────────────────────────────────


def peq(values: Tensor, most: int, *, stochastic: bool) -> Tensor:
    """PEQ-N: whole numbers in [0, N]; the gradient is 1 where values are within, else 0.

    Args:
        values: Of any shape.
        most: N.
        stochastic: Round up with the fraction's probability, so that the mean is the value; else
            to the nearest.
    """
    inside = values.clamp(0, most)
    with torch.no_grad():
        whole = (inside + torch.rand_like(inside)).floor() if stochastic else inside.round()
        whole = whole.clamp_max(most)
    return inside + (whole - inside).detach()


def moved(events: Tensor, by: list[int]) -> Tensor:
    """Frames rolled by (down, right) pixels, the same for all."""
    return events.roll(by, (-2, -1)) if any(by) else events


# ── distances ────────────────────────────────────────────────────────────────────────────────────


def characteristic(features: Tensor, members: Tensor, waves: Tensor) -> Tensor:
    """Z (C, T, K), complex: each class's mean of exp(i w · h).

    Args:
        features: h (T, B, D).
        members: (C, B), 1 where a sample is of the class.
        waves: w (D, K).
    """
    turns = features @ waves
    share = members / members.sum(1, keepdim=True)
    return torch.complex(
        torch.einsum("cb,tbk->ctk", share, turns.cos()),
        torch.einsum("cb,tbk->ctk", share, turns.sin()),
    )


def st_sm(
    real: Tensor,
    made: Tensor,
    real_members: Tensor,
    made_members: Tensor,
    waves: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    by_time: bool = True,
) -> Tensor:
    """Amplitude and phase distance of two batches, summed over classes.

    Args:
        real: h (T, B, D).
        made: h (T, B', D).
        real_members: (C, B).
        made_members: (C, B').
        waves: w (D, K), the same for both.
        alpha: Weight of amplitudes.
        beta: Weight of phases.
        by_time: Transform along time first; without, steps are compared one by one.
    """
    one = characteristic(real, real_members, waves)
    two = characteristic(made, made_members, waves)
    if by_time:
        one, two = (torch.fft.fft(z, dim=1, norm="ortho") for z in (one, two))
    return squared_distance(one, two, alpha, beta).clamp_min(TINY).sqrt().mean((1, 2)).sum()


def squared_distance(one: Tensor, two: Tensor, alpha: float, beta: float) -> Tensor:
    """α (|a| - |b|)² + 2 β (|a||b| - Re(a b*)) of complex numbers; |a - b|² for α = β = 1."""
    # Below the root, too: the slope of |z| at 0 is not defined.
    size_one, size_two = ((z.real.square() + z.imag.square() + TINY).sqrt() for z in (one, two))
    inner = one.real * two.real + one.imag * two.imag
    angles = (size_one * size_two - inner).clamp_min(0)
    return alpha * (size_one - size_two).square() + 2 * beta * angles


def mean_distance(
    real: Tensor, made: Tensor, real_members: Tensor, made_members: Tensor, *, over_time: bool
) -> Tensor:
    """‖mean hᴿ - mean hˢ‖², per class and step (or of the steps' mean), summed over classes."""

    def mean(features: Tensor, members: Tensor) -> Tensor:
        features = features.mean(0, keepdim=True) if over_time else features
        return torch.einsum("cb,tbd->ctd", members / members.sum(1, keepdim=True), features)

    apart = mean(real, real_members) - mean(made, made_members)
    return apart.square().sum(-1).mean(1).sum()


def median_distance(features: Tensor, most: int = 128) -> float:
    """Median Euclidean distance between samples (T, B, D) of the same step; 1 if all are alike."""
    rows = features[:, :: max(1, features.shape[1] // most)]
    apart = torch.cdist(rows, rows)
    upper = torch.ones_like(apart[0], dtype=torch.bool).triu(1)
    found = float(apart[:, upper].median()) if upper.any() else 0.0
    if found <= 0 and upper.any():  # most samples are silent: the mean still says how far
        found = float(apart[:, upper].mean())
    return found if found > 0 and math.isfinite(found) else 1.0


def joined(features: Tensor) -> Tensor:
    """(T, B, D) as (1, B, T · D): all steps of a sample as one feature."""
    return features.transpose(0, 1).flatten(1)[None]

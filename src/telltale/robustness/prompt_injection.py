"""CoTTA: how far can a bounded change move one's own image encoder toward an instruction?

    x' = clip(x + clip(overlay(a, φ) + δ, -ε, ε))      overlay = clip((ink - x) · m(a, φ), -ε, ε)
    L  = mean over encoders of  cos(f(A x'), f(A' v)) + μ cos(f(A x'), t)
                         + λ [ M(P(A x'), P(A' v)) + μ M(P(A x'), words of t) ]
    δ ← clip(δ + α sign ∇δ, -ε, ε)                     (a, φ) by Adam
    v ← v + α_v sign ∇[ cos(f(v), t) - γ cos(f(v), f(x')) ]  every K steps, within ε_v of v₀

The overlay is the instruction, faint, its mask m scaled by e^a and turned by φ; v is the
instruction rendered, t its sentence's feature where there is a text encoder. A and A' are random
crops; M compares patch tokens. It is for audits of models that one owns and runs: the instruction
is a harmless canary unless one says otherwise, and no model of others is asked for anything.

Source: Ding, Xia, Kong, Jiang, "Adversarial Prompt Injection Attack on Multimodal Large Language
Models", arXiv:2603.29418. Crops and steps as in Li et al., arXiv:2503.10635 (M-Attack); "ot" as in
Jia et al., arXiv:2505.21494 (FOA-Attack).
Assumed: one bound for overlay and noise; full opacity, in black on bright and white on dark
pictures; λ = 0.2, μ = 1; K = 10, α_v = 2/255, ε_v = 64/255, γ = 0.1; the form of M; Adam's 0.01.
Departures: crops whose shape cannot fit are not drawn, where the reference draws again. Without a
text encoder the target is the rendered instruction alone, and stays.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.attacks.steps import unit_mean, within
from telltale.nn.contract import want_images
from telltale.nn.lettering import contrasting, kept_inside, placed, rendered

CANARY = "PURPLE LANTERN 42"
MATCHES = ("maxsim", "ot", "none")
PARTS = ("overlay", "noise", "sentence", "picture")  # two changes, two targets
OPTIONS = ("momentum",)
FINE, TEXT, DECAY = 0.2, 1.0, 0.9  # λ, μ, and MI's momentum
CROPS, SHAPE = (0.5, 0.9), 4 / 3  # of the area; largest ratio of the sides
REFINE, REACH, REPEL = 2 / 255, 64 / 255, 0.1  # α_v, ε_v and γ
SCALES, SPAN = (-1.5, 0.3), 0.6  # bounds of a; of the side, that the overlay takes at first
CENTROIDS, SINKHORN = 5, 0.1


class Features(NamedTuple):
    """What an encoder sees, rows of length 1."""

    whole: Tensor  # (B, C)
    tokens: Tensor | None  # (B, N, C) of patches or words


class Progress(NamedTuple):
    """Where the search stands."""

    number: int  # steps taken
    images: Tensor  # (B, 3, S, S)
    coarse: Tensor  # (n, B) of each encoder
    fine: Tensor  # (n, B), before λ
    pose: Tensor  # (B, 2), a and φ


class PromptInjection(nn.Module):
    """Moves images (B, 3, S, S), float sRGB in [0, 1], within ε toward an instruction.

    Args:
        surrogate: A frozen encoder, or an ``nn.ModuleList`` of some, each with its normalisation
            inside; it gives (B, C), tokens with a class token first, or maps (B, C, h, w).
        target: T, the instruction.
        eps: ε, in [0, 1] of a pixel; overlay and noise together stay within it.
        step: α.
        steps: N; 0 leaves only the overlay.
        fine: M: "maxsim", "ot" or "none".
        every: K, steps between refinements of v; 0 leaves it as it is.
        parts: What takes part, of "overlay", "noise", "sentence" and "picture"; "momentum" besides
            takes the sign of gathered gradients.

    Raises:
        ValueError: If a setting is out of range or images are no float batch of RGB squares.
    """

    def __init__(
        self,
        surrogate: nn.Module,
        *,
        target: str = CANARY,
        eps: float = 16 / 255,
        step: float = 1 / 255,
        steps: int = 300,
        fine: str = "maxsim",
        every: int = 10,
        parts: Sequence[str] = PARTS,
    ) -> None:
        super().__init__()
        if not 0 <= eps < 1 or step < 0 or min(steps, every) < 0:
            raise ValueError(
                f"want eps in [0, 1) and step, steps and every of 0 or more, got {eps}, {step}, "
                f"{steps} and {every}"
            )
        if fine not in MATCHES or not target.strip():
            raise ValueError(
                f"want fine as {', '.join(MATCHES)} and a target with words, got {fine!r} and "
                f"{target!r}"
            )
        chosen = set(parts)
        if chosen - {*PARTS, *OPTIONS} or not chosen & {*PARTS[:2]} or not chosen & {*PARTS[2:]}:
            raise ValueError(
                f"want parts of {', '.join((*PARTS, *OPTIONS))}, one of the first two and one of "
                f"the next two at least, got {list(parts)}"
            )
        listed = surrogate if isinstance(surrogate, nn.ModuleList) else [surrogate]
        self.surrogates = nn.ModuleList(listed).requires_grad_(False).eval()
        if not len(self.surrogates):
            raise ValueError("want one surrogate or more")
        self.target, self.eps, self.step, self.steps = target, eps, step, steps
        self.fine, self.every, self.parts = fine, every, chosen

    def forward(self, images: Tensor) -> Tensor:
        """Changed images in [0, 1]; crops from torch's global generator."""
        return self.perturb(images)

    def perturb(
        self,
        images: Tensor,
        *,
        generator: torch.Generator | None = None,
        texts: Sequence[Features] | None = None,
    ) -> Tensor:
        """Changed images in [0, 1], at most ε from the given ones; arguments as of :meth:`run`."""
        for found in self.run(images, generator=generator, texts=texts):
            last = found.images
        return last

    @torch.enable_grad()
    def run(
        self,
        images: Tensor,
        *,
        generator: torch.Generator | None = None,
        texts: Sequence[Features] | None = None,
    ) -> Iterator[Progress]:
        """The search, from the overlay alone to the last step.

        Args:
            images: (B, 3, S, S).
            generator: Of the crops, the same of all images of a batch.
            texts: t of each surrogate, (1, C), with its words (1, M, C) if there are any.

        Raises:
            ValueError: If there are not as many texts as surrogates, or none and nothing else.
        """
        clean = want_images(images).detach()
        if texts is not None and len(texts) != len(self.surrogates):
            raise ValueError(f"want {len(self.surrogates)} texts, got {len(texts)}")
        if texts is None and "picture" not in self.parts:
            raise ValueError("want texts where the rendered instruction is no target")
        texts = texts if "sentence" in self.parts else None
        goal = first = rendered(self.target, clean.shape[-1]).to(clean)
        mask = 1 - rendered(self.target, clean.shape[-1], SPAN)[:, :1].to(clean)
        pose = torch.zeros_like(clean[:, 0, 0, :2]).requires_grad_(True)
        adam = torch.optim.Adam([pose], lr=0.01, maximize=True)
        delta = gathered = torch.zeros_like(clean)
        for number in range(self.steps + 1):
            with torch.set_grad_enabled(number < self.steps):
                delta.requires_grad_(True)
                found = self.changed(clean, delta, mask, pose)
                coarse, fine = self.terms(found, goal, texts, generator)
                value = (coarse + FINE * fine).mean(0).sum()
            yield Progress(number, *(x.detach().clone() for x in (found, coarse, fine, pose)))
            if number == self.steps:
                return
            slope, pose.grad = torch.autograd.grad(
                value, [delta, pose], allow_unused=True, materialize_grads=True
            )
            if "noise" in self.parts:
                gathered = DECAY * gathered + unit_mean(slope)
                way = gathered if "momentum" in self.parts else slope
                delta = (delta.detach() + self.step * way.sign()).clamp(-self.eps, self.eps)
            if "overlay" in self.parts:
                adam.step()
                pose.data = kept_inside(mask, pose.data, SCALES)
            if self.every and (number + 1) % self.every == 0:
                goal = self.refined(goal, first, found.detach(), texts)

    def changed(self, images: Tensor, delta: Tensor, mask: Tensor, pose: Tensor) -> Tensor:
        """X' of noise, the instruction's mask (1, 1, S, S), and a and φ (B, 2)."""
        change = delta
        if "overlay" in self.parts:
            drawn = (contrasting(images) - images) * placed(mask, pose)
            change = change + drawn.clamp(-self.eps, self.eps)
        # Not `within`: the gradient has to pass.
        return (images + change.clamp(-self.eps, self.eps)).clamp(0, 1)

    def terms(
        self,
        images: Tensor,
        goal: Tensor,
        texts: Sequence[Features] | None,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """L_c and L_f of each encoder and image, (n, B) each, to be made larger."""
        mine, others = cropped(images, generator), cropped(goal, generator)
        coarse, fine = [], []
        for number, encoder in enumerate(self.surrogates):
            seen = features(encoder, mine)
            aims: list[tuple[float, Features]] = []
            if "picture" in self.parts:
                with torch.no_grad():
                    aims.append((1.0, features(encoder, others)))
            if texts is not None:
                aims.append((TEXT, texts[number]))
            near = matched = torch.zeros_like(seen.whole[:, 0])
            for weight, aim in aims:
                near = near + weight * (seen.whole * aim.whole).sum(1)
                if self.fine != "none" and seen.tokens is not None and aim.tokens is not None:
                    match = maxsim if self.fine == "maxsim" else transport
                    matched = matched + weight * match(seen.tokens, aim.tokens)
            coarse.append(near)
            fine.append(matched)
        return torch.stack(coarse), torch.stack(fine)

    def refined(
        self, goal: Tensor, first: Tensor, found: Tensor, texts: Sequence[Features] | None
    ) -> Tensor:
        """V of each image a step nearer to its sentence and away from what the image looks like."""
        if texts is None or "picture" not in self.parts:
            return goal
        goal = goal.detach().expand_as(found).clone().requires_grad_(True)
        value = goal.new_zeros(())
        for encoder, text in zip(self.surrogates, texts, strict=True):
            with torch.no_grad():
                now = features(encoder, found).whole
            value = value + (features(encoder, goal).whole * (text.whole - REPEL * now)).sum()
        (slope,) = torch.autograd.grad(value, goal)
        return within(first, goal.detach() + REFINE * slope.sign(), REACH, "linf")


def features(encoder: nn.Module, images: Tensor) -> Features:
    """What an encoder sees, whatever form its answer has."""
    out: Tensor = encoder(images)
    if out.ndim == 4:
        tokens = out.flatten(2).mT
        return Features(F.normalize(tokens.mean(1), dim=1), F.normalize(tokens, dim=2))
    if out.ndim == 3:
        return Features(F.normalize(out[:, 0], dim=1), F.normalize(out[:, 1:], dim=2))
    return Features(F.normalize(out, dim=1), None)


def cropped(images: Tensor, generator: torch.Generator | None) -> Tensor:
    """A rectangle of half to nine tenths of the area, the same of all, at the old size again."""
    side = images.shape[-1]
    draw = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    area = CROPS[0] + (CROPS[1] - CROPS[0]) * draw[0]
    most = min(math.log(SHAPE), -math.log(area))  # a longer one would not fit
    longer = math.exp((2 * draw[1] - 1) * most)
    height, width = (max(1, round(side * math.sqrt(area * r))) for r in (1 / longer, longer))
    top, left = int(draw[2] * (side - height + 1)), int(draw[3] * (side - width + 1))
    part = images[..., top : top + height, left : left + width]
    return F.interpolate(part, (side, side), mode="bilinear", align_corners=False)


def maxsim(tokens: Tensor, target: Tensor) -> Tensor:
    """Mean over target tokens (1 or B, M, C) of the best cosine among (B, N, C): (B,)."""
    return (tokens @ target.mT).amax(1).mean(1)


def transport(tokens: Tensor, target: Tensor) -> Tensor:
    """Cosine of 5 centroids of (B, N, C) and (1 or B, M, C) under the optimal plan, (B,)."""
    found = []
    for own, other in zip(tokens, target.expand(len(tokens), -1, -1), strict=True):
        alike = centroids(own) @ centroids(other).T
        found.append((plan(1 - alike.detach()) * alike).sum())
    return torch.stack(found)


def centroids(tokens: Tensor, rounds: int = 10) -> Tensor:
    """Means of k-means' groups of (N, C), length 1; gradients flow through the means."""
    count, rows = min(CENTROIDS, len(tokens)), tokens.detach()
    means = rows[torch.linspace(0, len(rows) - 1, count).round().long().to(rows.device)]
    for _ in range(rounds):
        share = F.one_hot((rows @ means.T).argmax(1), count).to(rows.dtype)
        size, last = share.sum(0)[:, None].clamp(min=1), means  # an empty group keeps its mean
        means = F.normalize(torch.where(share.any(0)[:, None], share.T @ rows / size, last), dim=1)
    return F.normalize(torch.where(share.any(0)[:, None], share.T @ tokens / size, last), dim=1)


def plan(cost: Tensor, temperature: float = SINKHORN, rounds: int = 100) -> Tensor:
    """Sinkhorn's plan (K, L) for a cost, both sides uniform."""
    kernel = (-cost / temperature).exp()
    one, other = (kernel.new_full((n,), 1 / n) for n in cost.shape)
    rows, columns = torch.ones_like(one), torch.ones_like(other)
    for _ in range(rounds):
        rows = one / (kernel @ columns)
        columns = other / (kernel.T @ rows)
    return rows[:, None] * kernel * columns

"""Feature-space smoothing: an encoder whose answer a bounded perturbation cannot turn far.

    F(x) = E[f(x + n)],  n ~ N(0, σ²),  f an encoder with features of length 1
    S_u(x) = (1 + ⟨F(x), u⟩) / 2
    ⟨F(x'), u⟩ ≥ B = 2 Φ(Φ⁻¹(S_u(x)) - ε/σ) - 1   whenever ‖x' - x‖₂ ≤ ε
    cos(F(x'), u) ≥ B   where B ≥ 0; elsewhere nothing is certified

The anchor u is f(x), or the mean of a first batch of samples, drawn apart from those that S is
estimated by. A purifier P before f and a mapper M behind it, trained while f stays as it is, make S
larger: z = f(P(x + n)) + M(f(P(x + n)), σ).

    loss = 1 - cos(z, f(x)) + ‖x - P(x + n)‖₂ + 0.1 · statistics + ‖M(f(x), 0)‖²

Source: Xia, Ding, Kong, Yang, Jiang, "Feature-Space Adversarial Robustness Certification for
Multimodal Large Language Models", arXiv:2601.16200.
Assumed: weights 1, 1, 0.1, 1 of the losses; σ drawn from 0.12, 0.25 and 0.5 for each batch; the
insides of P (a light U-Net, no diffusion model) and of M; the proof, for both anchors.
Departures: P and M are trained together where both are there, not one after the other.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from telltale.metrics.bounds import bernstein, cosine_bound, cosine_radius, rivals_radius
from telltale.nn.boosters import Mapper, Purifier
from telltale.nn.contract import Losses, want_images

SIGMAS = (0.12, 0.25, 0.5)  # that training draws from
ANCHORS, FEATURES = ("clean", "smooth"), ("global", "flat")


class Certificate(NamedTuple):
    """What is certified for each of B images; the chance that one of them fails is α at most."""

    anchor: Tensor  # (B, C) u, of length 1
    score: NDArray[np.float64]  # (B,) lower bound of S_u
    mean: NDArray[np.float64]  # (B,) S_u as it was measured
    sigma: float

    def cosine(self, eps: float) -> NDArray[np.float64]:
        """Lower bound (B,) of cos(F(x'), u) for all ‖x' - x‖₂ ≤ ε; NaN where there is none."""
        bound = cosine_bound(self.score, eps, self.sigma)
        return np.where(bound >= 0, bound, np.nan)

    def radius(self, cosine: float = 0.5) -> NDArray[np.float64]:
        """Largest ε (B,) up to which the cosine stays at least so large; 0 if at none."""
        return cosine_radius(self.score, self.sigma, cosine)

    @property
    def is_certified(self) -> NDArray[np.bool_]:
        """Whether anything is: S above one half."""
        return np.asarray(self.score > 0.5)


class FeatureSmoothing(nn.Module):
    """A smoothed encoder on images (B, 3, S, S) in [0, 1], with what it certifies.

    Args:
        encoder: f; frozen, in eval mode, its normalisation inside. It gives (B, C), tokens
            (B, N, C) with a class token first, or maps (B, C, h, w).
        sigma: σ, in [0, 1] of a pixel.
        samples: n0 of :meth:`encode`.
        batch: Noisy images in one pass: bounds the memory.
        feature: "global": the class token, or the mean of maps; "flat": everything, as one vector.
        purify: Whether to put a purifier before the encoder.
        map_features: Whether to put a mapper behind it.
        bfloat16: Whether the encoder runs in bfloat16. What is certified is then that encoder; all
            statistics stay in float64.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        sigma: float = 0.25,
        samples: int = 8,
        batch: int = 64,
        feature: str = "global",
        purify: bool = True,
        map_features: bool = True,
        bfloat16: bool = False,
    ) -> None:
        super().__init__()
        if not sigma > 0 or min(samples, batch) < 1 or feature not in FEATURES:
            raise ValueError(
                f"want sigma above 0, samples and batch of 1 or more and a feature of "
                f"{', '.join(FEATURES)}; got {sigma}, {samples}, {batch} and {feature!r}"
            )
        self.encoder = encoder.requires_grad_(False).eval()
        self.sigma, self.samples, self.batch, self.feature = sigma, samples, batch, feature
        self.autocast = bfloat16  # not named after nn.Module's own method
        width = int(getattr(encoder, "width", 0))
        if map_features and width < 1:
            raise ValueError("want an encoder with its .width C, for the mapper; got none")
        self.purifier = Purifier() if purify else None
        self.mapper = Mapper(width) if map_features else None

    def forward(self, images: Tensor) -> Tensor:
        """F̃ (B, C): the mean of ``samples`` noisy features, each of length 1."""
        return self.encode(images, self.samples)

    def loss(self, images: Tensor) -> Losses:
        """Terms for purifier and mapper, to sum and minimise; noise from torch's generator."""
        sigma = SIGMAS[int(torch.randint(len(SIGMAS), ()))]
        noisy = want_images(images) + sigma * torch.randn_like(images)
        with torch.no_grad():
            clean = self.tokens(images)
        terms: Losses = {}
        if self.purifier is not None:
            cleaned = self.purifier(noisy)
            terms["pixels"] = (cleaned - images).flatten(1).norm(dim=1).mean() / math.sqrt(
                images[0].numel()
            )
            noisy = cleaned
        seen = self.tokens(noisy)
        if self.mapper is not None:
            seen = seen + self.mapper(seen, sigma)
            terms["statistics"] = 0.1 * (moments(seen) - moments(clean)).square().sum()
            terms["identity"] = self.mapper(clean, 0.0).square().sum()
        terms["cosine"] = (1 - F.cosine_similarity(self.pooled(seen), self.pooled(clean))).mean()
        return terms

    @torch.no_grad()
    def encode(
        self, images: Tensor, samples: int, *, generator: torch.Generator | None = None
    ) -> Tensor:
        """The mean of so many noisy features (B, C)."""
        found = []
        for one in want_images(images):
            sums = [drawn.sum(0) for drawn in self.batches(one, samples, generator)]
            found.append(torch.stack(sums).sum(0) / samples)
        return torch.stack(found)

    @torch.no_grad()
    def certify(
        self,
        images: Tensor,
        *,
        samples: int = 1000,
        alpha: float = 1e-3,
        anchor: str = "clean",
        select: int = 64,
        generator: torch.Generator | None = None,
    ) -> Certificate:
        """Lower bounds of the Gaussian robustness score, by empirical Bernstein.

        Args:
            images: (B, 3, S, S).
            samples: n, of which S is estimated.
            alpha: Chance that a bound is too high, for each image.
            anchor: "clean": u = f(x). "smooth": u from ``select`` samples of their own, which
                gives a higher S; the certificate is about that u.
            select: Samples for the anchor "smooth".
            generator: Of the noise.

        Raises:
            ValueError: If a setting is out of range.
        """
        if anchor not in ANCHORS or min(samples, select) < 2:
            wanted = f"want an anchor of {', '.join(ANCHORS)} and two samples or more"
            raise ValueError(f"{wanted}, got {anchor!r}, {samples} and {select}")
        anchors, scores, means = [], [], []
        for one in want_images(images):
            if anchor == "clean":
                chosen = self.features(one[None], 0.0)[0]
            else:
                chosen = self.encode(one[None], select, generator=generator)[0]
            chosen = F.normalize(chosen, dim=0)
            drawn = [x @ chosen for x in self.batches(one, samples, generator)]
            values = ((1 + torch.cat(drawn).double()) / 2).clamp(0, 1).cpu().numpy()
            anchors.append(chosen)
            scores.append(float(np.clip(bernstein(values, alpha), 0, 1)))
            means.append(float(values.mean()))
        return Certificate(torch.stack(anchors), np.array(scores), np.array(means), self.sigma)

    @torch.no_grad()
    def agree(
        self,
        images: Tensor,
        classes: Tensor,
        *,
        samples: int = 1000,
        alpha: float = 1e-3,
        select: int = 64,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, NDArray[np.float64]]:
        """The nearest class of F (B,) and the l2 size up to which it stays so (B,), 0 if at none.

        Args:
            images: (B, 3, S, S).
            classes: t (K, C) of length 1, of K ≥ 2.
            samples: n, of which the radius is estimated.
            alpha: Chance that a radius is too large, for each image.
            select: Samples of their own, by which the class is chosen.
            generator: Of the noise.

        Raises:
            ValueError: If there are fewer than two classes or samples.
        """
        if len(classes) < 2 or min(samples, select) < 2:
            raise ValueError(
                f"want two classes and samples or more, got {len(classes)}, {samples} and {select}"
            )
        best, radii = [], []
        for one in want_images(images):
            chosen = int((self.encode(one[None], select, generator=generator) @ classes.T).argmax())
            drawn = [x @ classes.T for x in self.batches(one, samples, generator)]
            near = torch.cat(drawn).double().cpu().numpy()
            best.append(chosen)
            apart = (classes[chosen] - classes).norm(dim=1).double().cpu().numpy()
            radii.append(rivals_radius(near, chosen, apart, self.sigma, alpha))
        return torch.tensor(best), np.array(radii)

    def draws(self, image: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
        """Features (count, C) of noisy copies of one image (3, S, S)."""
        return torch.cat([*self.batches(image, count, generator)])

    def batches(
        self, image: Tensor, count: int, generator: torch.Generator | None
    ) -> Iterator[Tensor]:
        """The same, at most ``batch`` rows at a time: no more is ever held."""
        for start in range(0, count, self.batch):
            size = min(self.batch, count - start)
            noise = torch.randn((size, *image.shape), generator=generator, dtype=image.dtype)
            noise = noise.to(image.device).mul_(self.sigma).add_(image)
            yield self.features(noise, self.sigma)

    def features(self, images: Tensor, sigma: float) -> Tensor:
        """F of images as they are, boosted for noise of σ, length 1, (B, C)."""
        if self.purifier is not None and sigma > 0:
            images = self.purifier(images)
        tokens = self.tokens(images)
        if self.mapper is not None and sigma > 0:
            tokens = tokens + self.mapper(tokens, sigma)
        return F.normalize(self.pooled(tokens), dim=1)

    def tokens(self, images: Tensor) -> Tensor:
        """What the encoder gives, as (B, N, C)."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.autocast):
            out: Tensor = self.encoder(images)
        out = out.to(images.dtype)
        if out.ndim == 4:
            out = out.flatten(2).transpose(1, 2)
            return out.mean(1, keepdim=True) if self.feature == "global" else out
        return out if out.ndim == 3 else out[:, None]

    def pooled(self, tokens: Tensor) -> Tensor:
        """One vector an image."""
        return tokens[:, 0] if self.feature == "global" else tokens.flatten(1)

    def train(self, mode: bool = True) -> "FeatureSmoothing":
        """The encoder stays in eval mode: its own randomness would void the certificate."""
        super().train(mode)
        self.encoder.eval()
        return self


def moments(tokens: Tensor) -> Tensor:
    """Mean and deviation of each channel of (B, N, C), (2C,)."""
    rows = tokens.flatten(0, 1)
    return torch.cat([rows.mean(0), rows.std(0, correction=0)])


def agreeing_radius(features: Tensor, classes: Tensor, sigma: float) -> NDArray[np.float64]:
    """Certified radius of a zero-shot prediction: no other class wins up to there.

    For F(x) (B, C), not of length 1, and classes t (K, C) of length 1: (B,), the least over
    rivals b of σ Φ⁻¹((1 + ⟨F, w_b⟩)/2) with w_b along t_A - t_b.
    """
    logits = features @ classes.T
    best = logits.argmax(1)
    apart = classes[best][:, None] - classes[None]  # (B, K, C)
    along = F.normalize(apart, dim=2)
    score = (1 + (features[:, None] * along).sum(2)) / 2
    radii = cosine_radius(score.double().numpy(), sigma, 0.0)
    radii[np.arange(len(radii)), best.numpy()] = np.inf
    return np.asarray(radii.min(1))

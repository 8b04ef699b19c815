"""The faithfulness violation test: does an explanation's sign agree with what a feature does?

    i* = argmax |w_i|,   Δ = p_c(x) - p_c(x without i*),   violated iff w_{i*} · Δ < 0

Remove the one feature that the explanation calls most important, in three ways (its embedding set
to zero, cut out of the sequence, no attention to it), and see whether the predicted class's
probability moves as the weight's sign says. Explanations that are never negative, such as raw
attention, cannot say that a feature speaks against the class, and violate wherever it does.

    comprehensiveness   mean Δ when the top 5, 10, 20, 50 % are removed
    sufficiency         mean Δ when the lowest 50, 80, 90, 95 % are removed

Source: Liu, Li, Guo, Kong, Li, Wang, "Rethinking Attention-Model Explainability through
Faithfulness Violation Test", ICML 2022, arXiv:2201.12114.
Assumed: p in float64, so that saturated models do not hide a change.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.explain.maps import EXPLAINERS, Explainer, Subject, Trace
from telltale.losses import want_labels
from telltale.nn.vit import Attention, ViT

REMOVALS = ("zero", "slice", "attention")
TOP, LOW = (0.05, 0.1, 0.2, 0.5), (0.5, 0.8, 0.9, 0.95)
STILL = 1e-6  # a change below this says that the model is saturated


class Verdict(NamedTuple):
    """What the test says of one explanation."""

    violation: float  # share of samples, mean over removals
    by_removal: Mapping[str, float]
    still: float  # share of changes that are too small to have a sign
    comprehensiveness: float
    sufficiency: float
    violated: Tensor  # (R, B) bool, of each removal and sample


class ViolationTest(nn.Module):
    """A vision transformer with a linear head as the subject of explanations and of their test.

    Args:
        backbone: A :class:`telltale.nn.vit.ViT`; features are its patches, their removal hides
            patch and position.
        classes: K of the head.

    Raises:
        ValueError: If the backbone is another network.
    """

    lead = 1

    def __init__(self, backbone: nn.Module, *, classes: int = 2) -> None:
        super().__init__()
        if not isinstance(backbone, ViT) or classes < 2:
            raise ValueError(
                f"want a ViT and two classes or more, got {type(backbone).__name__} and {classes}"
            )
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, 3, S, S) in [0, 1]."""
        found: Tensor = self.head(self.backbone(images)[:, 0])
        return found

    def loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Cross entropy, to train the subject."""
        return {"ce": F.cross_entropy(self(images), want_labels(labels, len(images)))}

    def features(self, samples: Tensor) -> Tensor:
        """Patch tokens with their positions, (B, n, C)."""
        return self.backbone.start(samples)[:, 1:]

    def run(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Trace:
        """See :class:`telltale.explain.maps.Subject`."""
        features, allowed = removed(features, keep, how)
        first = (self.backbone.cls_token + self.backbone.pos_embed[:, :1]).expand(
            len(features), -1, -1
        )
        x, maps = torch.cat([first, features], 1), []
        if allowed is not None:
            allowed = F.pad(allowed, (1, 0), value=1.0)
        values = x
        for block in self.backbone.blocks:
            attention: Attention = block.attn  # type: ignore[assignment]
            y = block.norm1(x)  # type: ignore[operator]
            map_, mixed, values = eager(attention, y, allowed)
            maps.append(map_)
            x = x + block.ls1(mixed)  # type: ignore[operator]
            x = x + block.ls2(block.mlp(block.norm2(x)))  # type: ignore[operator]
        return Trace(self.head(self.backbone.norm(x)[:, 0]), maps, values)

    def test(
        self, images: Tensor, explainers: Mapping[str, Explainer] = EXPLAINERS
    ) -> dict[str, Verdict]:
        """The test of each explanation on images (B, 3, S, S)."""
        return {name: violations(self, explain, images) for name, explain in explainers.items()}


def eager(attention: Attention, x: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Attention map (B, h, N, N), tokens (B, N, C) and each head's values after the projection."""
    split = attention.qkv(x).view(*x.shape[:2], 3, attention.heads, -1)
    q, k, v = split.permute(2, 0, 3, 1, 4)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if allowed is not None:
        scores = scores.masked_fill(allowed[:, None, None] == 0, -torch.inf)
    found = scores.softmax(-1)
    mixed: Tensor = attention.proj((found @ v).transpose(1, 2).flatten(2))
    parts = attention.proj.weight.view(-1, attention.heads, v.shape[-1])  # (C, h, C/h)
    return found, mixed, torch.einsum("bhnd,chd->bhnc", v, parts)


def removed(features: Tensor, keep: Tensor | None, how: str) -> tuple[Tensor, Tensor | None]:
    """Features (B, n, D) without those that ``keep`` (B, n) drops, and which may be attended to.

    "slice" wants the same number dropped in every sample.
    """
    if how not in REMOVALS:
        raise ValueError(f"want a removal of {', '.join(REMOVALS)}, got {how!r}")
    if keep is None:
        return features, None
    if how == "zero":
        return features * keep[..., None], None
    if how == "attention":
        return features, keep
    count = int(keep[0].sum())
    if not bool((keep.sum(1) == count).all()):
        raise ValueError("want the same number of features cut out of every sample")
    rows = keep.bool().nonzero()[:, 1].view(len(keep), count)
    return features.gather(1, rows[..., None].expand(-1, -1, features.shape[-1])), None


class Before(NamedTuple):
    """What a subject says of samples as they are; asked once for all removals."""

    features: Tensor  # (B, n, D)
    chosen: Tensor  # (B, 1) the predicted class
    probability: Tensor  # (B, 1) of it, float64


@torch.no_grad()
def as_given(subject: Subject, samples: Tensor) -> Before:
    """The subject's answer to samples without a removal."""
    features = subject.features(samples)
    found = subject.run(features).logits.double().softmax(1)
    chosen = found.argmax(1, keepdim=True)
    return Before(features, chosen, found.gather(1, chosen))


@torch.no_grad()
def change(subject: Subject, before: Before, keep: Tensor, how: str) -> Tensor:
    """Δ (B,): the predicted class's probability before less after a removal."""
    after = subject.run(before.features, keep, how).logits.double().softmax(1)
    return (before.probability - after.gather(1, before.chosen)).squeeze(1)


def violations(
    subject: Subject, explain: Explainer, samples: Tensor, weights: Tensor | None = None
) -> Verdict:
    """The violation test of an explanation on samples, or of weights (B, n) that were made before.

    A product of zero, where weight or change is nothing, is no violation.
    """
    w = (explain(subject, samples) if weights is None else weights).double()
    before = as_given(subject, samples)
    count = w.shape[1]
    strongest = w.abs().argmax(1, keepdim=True)
    keep = torch.ones_like(w).scatter(1, strongest, 0.0).to(before.features.dtype)
    sign = w.gather(1, strongest).squeeze(1)
    found, still = [], []
    comprehensive: list[Tensor] = []
    sufficient: list[Tensor] = []
    for how in REMOVALS:
        delta = change(subject, before, keep, how)
        found.append(sign * delta < 0)
        still.append((delta.abs() < STILL).double().mean())
        for shares, kept, top in ((TOP, comprehensive, True), (LOW, sufficient, False)):
            for share in shares:
                dropped = min(max(round(share * count), 1), count - 1)
                rows = w.topk(dropped, 1, largest=top).indices
                mask = torch.ones_like(w).scatter(1, rows, 0.0).to(keep.dtype)
                kept.append(change(subject, before, mask, how).mean())
    flags = torch.stack(found)
    ratios = flags.double().mean(1).tolist()
    return Verdict(
        float(flags.double().mean()),
        dict(zip(REMOVALS, ratios, strict=True)),
        float(torch.stack(still).mean()),
        float(torch.stack(comprehensive).mean()),
        float(torch.stack(sufficient).mean()),
        flags,
    )

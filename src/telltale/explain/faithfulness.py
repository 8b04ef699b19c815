"""The faithfulness violation test: does an explanation's sign agree with what a feature does?

    i* = argmax |w_i|,   Δ = p_c(x) - p_c(x without i*),   violated iff w_{i*} · Δ < 0

Remove the one feature that the explanation calls most important, in three ways (its embedding set
to zero, cut out of the sequence, no attention to it), and see whether the predicted class's
probability moves as the weight's sign says. Explanations that are never negative, such as raw
attention, cannot say that a feature speaks against the class, and violate wherever it does.

    comprehensiveness   mean Δ when the top 5, 10, 20, 50 % are removed
    sufficiency         mean Δ when the lowest 50, 80, 90, 95 % are removed
    AUC-TP              area under the accuracy when the top 0 to 90 % are removed
    rank correlation    of |w| with what each feature's removal does to all classes

Source: Liu, Li, Guo, Kong, Li, Wang, "Rethinking Attention-Model Explainability through
Faithfulness Violation Test", ICML 2022, arXiv:2201.12114.
Assumed: p in float64, so that saturated models do not hide a change.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.explain.changes import Before, as_given, change, probabilities
from telltale.explain.maps import EXPLAINERS, Explainer, Subject, Trace
from telltale.explain.subjects import removals_of, traced
from telltale.losses import want_labels
from telltale.metrics.quality import srcc
from telltale.nn.vit import ViT

TOP, LOW = (0.05, 0.1, 0.2, 0.5), (0.5, 0.8, 0.9, 0.95)
TP_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
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

    backbone: ViT

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
        if torch.is_grad_enabled() and not features.requires_grad:
            features = features.detach().requires_grad_(True)
        return traced(self, self.backbone, self._blank(features), features, keep, how)

    def answer(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Tensor:
        """The logits alone, by fused attention."""
        images = self._blank(features)
        return traced(self, self.backbone, images, features, keep, how, fused=True).logits

    def _blank(self, features: Tensor) -> Tensor:
        side = self.backbone.shape.size  # nothing but the trunk looks at the images
        return features.new_zeros(len(features), 3, side, side)

    def test(
        self, images: Tensor, explainers: Mapping[str, Explainer] = EXPLAINERS
    ) -> dict[str, Verdict]:
        """The test of each explanation on images (B, 3, S, S)."""
        return {name: violations(self, explain, images) for name, explain in explainers.items()}


def violations(
    subject: Subject,
    explain: Explainer,
    samples: Tensor,
    weights: Tensor | None = None,
    *,
    removals: Sequence[str] | None = None,
    shares: bool = True,
    before: Before | None = None,
) -> Verdict:
    """The violation test of an explanation on samples, or of weights (B, n) that were made before.

    A product of zero, where weight or change is nothing, is no violation.

    Args:
        subject: The model.
        explain: Makes the weights, unless they are given.
        samples: Whatever the subject takes.
        weights: (B, n).
        removals: By default all that the subject bears. What occlusion made it cannot violate.
        shares: Whether to measure comprehensiveness and sufficiency, nine removals in ten.
        before: What the subject says of these samples as they are, if it was asked already.
    """
    w = (explain(subject, samples) if weights is None else weights).double()
    ways = removals_of(subject) if removals is None else tuple(removals)
    if not ways:
        raise ValueError("want a removal or more, got none")
    before = as_given(subject, samples) if before is None else before
    count = w.shape[1]
    strongest = w.abs().argmax(1, keepdim=True)
    keep = torch.ones_like(w).scatter(1, strongest, 0.0).to(before.features.dtype)
    sign = w.gather(1, strongest).squeeze(1)
    found, still = [], []
    comprehensive: list[Tensor] = []
    sufficient: list[Tensor] = []
    for how in ways:
        delta = change(subject, before, keep, how)
        found.append(sign * delta < 0)
        still.append((delta.abs() < STILL).double().mean())
        for levels, kept, top in ((TOP, comprehensive, True), (LOW, sufficient, False)):
            for share in levels if shares else ():
                dropped = min(max(round(share * count), 1), count - 1)
                rows = w.topk(dropped, 1, largest=top).indices
                mask = torch.ones_like(w).scatter(1, rows, 0.0).to(keep.dtype)
                kept.append(change(subject, before, mask, how).mean())
    flags = torch.stack(found)
    return Verdict(
        float(flags.double().mean()),
        dict(zip(ways, flags.double().mean(1).tolist(), strict=True)),
        float(torch.stack(still).mean()),
        float(torch.stack(comprehensive).mean()) if shares else math.nan,
        float(torch.stack(sufficient).mean()) if shares else math.nan,
        flags,
    )


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict of those on several batches, by the same removals."""
    if not verdicts or len({tuple(it.by_removal) for it in verdicts}) > 1:
        raise ValueError("want verdicts by the same removals, one or more")
    flags = torch.cat([it.violated for it in verdicts], 1)
    sizes = [it.violated.shape[1] / flags.shape[1] for it in verdicts]

    def mean(values: Iterable[float]) -> float:
        return math.fsum(size * value for size, value in zip(sizes, values, strict=True))

    return Verdict(
        float(flags.double().mean()),
        dict(zip(verdicts[0].by_removal, flags.double().mean(1).tolist(), strict=True)),
        mean(it.still for it in verdicts),
        mean(it.comprehensiveness for it in verdicts),
        mean(it.sufficiency for it in verdicts),
        flags,
    )


def auc_tp(subject: Subject, weights: Tensor, samples: Tensor, labels: Tensor) -> float:
    """Area under accuracy when the top 0 to 90 % by signed weight are removed; lower is better.

    Args:
        subject: The model.
        weights: (B, n).
        samples: B of whatever the subject takes.
        labels: (B,) the true classes.
    """
    before, count = as_given(subject, samples), weights.shape[1]
    areas = []
    order = weights.argsort(1, descending=True)
    for how in removals_of(subject):
        accuracies = [float((before.chosen.squeeze(1) == labels).double().mean())]
        for share in TP_SHARES:
            rows = order[:, : min(round(share * count), count - 1)]
            keep = torch.ones_like(weights).scatter(1, rows, 0.0).to(before.features.dtype)
            calls = probabilities(subject, before.features, keep, how).argmax(1)
            accuracies.append(float((calls == labels).double().mean()))
        areas.append(area(accuracies))
    return math.fsum(areas) / len(areas)


def area(accuracies: Sequence[float]) -> float:
    """The trapezoids under accuracies at none and at each of ``TP_SHARES``."""
    places = (0.0, *TP_SHARES)
    if len(accuracies) != len(places):
        raise ValueError(f"want {len(places)} accuracies, got {len(accuracies)}")
    return math.fsum(
        (places[k + 1] - places[k]) * (accuracies[k] + accuracies[k + 1]) / 2
        for k in range(len(TP_SHARES))
    )


def rank_correlation(subject: Subject, weights: Tensor, samples: Tensor, limit: int = 20) -> float:
    """Spearman's ρ of |w| and what each feature's removal does to all classes; higher is better.

    Of each sample the ``limit`` features of largest |w| are removed, one at a time. Samples in
    which nothing differs have no ranks and do not count; NaN if none is left.
    """
    before, size = as_given(subject, samples), weights.abs()
    order = size.argsort(1, descending=True)[:, :limit]
    found = []
    for how in removals_of(subject):
        effects = []
        for column in order.T:
            keep = torch.ones_like(size).scatter(1, column[:, None], 0.0).to(before.features.dtype)
            after = probabilities(subject, before.features, keep, how)
            effects.append((before.probabilities - after).abs().mean(1))
        effect = torch.stack(effects, 1)
        for w, e in zip(size.gather(1, order).double(), effect, strict=True):
            if float(w.max()) > float(w.min()) and float(e.max()) > float(e.min()):
                found.append(srcc(w.numpy(), e.numpy()))
    return math.fsum(found) / len(found) if found else math.nan

"""What a removal changes, and the explanations that are made of it or of a network's maps.

    Δ_i = p_c(x) - p_c(x without i)                       occlusion: w_i = Δ_i, no gradient needed

Source: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014
(occlusion); Selvaraju et al., "Grad-CAM", ICCV 2017, arXiv:1610.02391.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.explain.maps import Subject
from telltale.explain.subjects import Blocks


class Before(NamedTuple):
    """What a subject says of samples as they are; asked once for all removals."""

    features: Tensor  # (B, n, D)
    chosen: Tensor  # (B, 1) the predicted class
    probabilities: Tensor  # (B, K) float64

    @property
    def probability(self) -> Tensor:
        """Of the predicted class, (B, 1)."""
        return self.probabilities.gather(1, self.chosen)


@torch.no_grad()
def as_given(subject: Subject, samples: Tensor) -> Before:
    """The subject's answer to samples without a removal."""
    features = subject.features(samples)
    found = probabilities(subject, features)
    return Before(features, found.argmax(1, keepdim=True), found)


@torch.no_grad()
def probabilities(
    subject: Subject, features: Tensor, keep: Tensor | None = None, how: str = "zero"
) -> Tensor:
    """Of the classes, (B, K) float64, without the attention if the subject can leave it out."""
    answer = getattr(subject, "answer", None)
    given = (
        subject.run(features, keep, how).logits if answer is None else answer(features, keep, how)
    )
    found: Tensor = given.double().softmax(1)
    return found


@torch.no_grad()
def change(subject: Subject, before: Before, keep: Tensor, how: str) -> Tensor:
    """Δ (B,): the predicted class's probability before less after a removal."""
    after = probabilities(subject, before.features, keep, how)
    return (before.probability - after.gather(1, before.chosen)).squeeze(1)


def occlusion(how: str = "zero") -> Callable[[Subject, Tensor], Tensor]:
    """An explanation that needs no gradient: Δ of each feature's own removal, (B, n).

    By the same removal it cannot violate: test it by the others.
    """

    def explain(subject: Subject, samples: Tensor) -> Tensor:
        before = as_given(subject, samples)
        count = before.features.shape[1]
        keep = before.features.new_ones(len(samples), count)
        columns = []
        for number in range(count):
            keep[:, number] = 0
            columns.append(change(subject, before, keep, how))
            keep[:, number] = 1
        return torch.stack(columns, 1)

    return explain


def grad_cam(layer: nn.Module) -> Callable[[Blocks, Tensor], Tensor]:
    """Grad-CAM of a layer that makes maps (B, C, h, w), as weights of blocks, 0 or more.

    max(0, Σ_c A_c · mean_{h,w} ∂y/∂A_c), resampled to the grid. Source: Selvaraju et al., ICCV
    2017, arXiv:1610.02391.
    """

    def explain(subject: Blocks, samples: Tensor) -> Tensor:
        kept: list[Tensor] = []

        def keep(module: nn.Module, given: object, made: Tensor) -> Tensor:
            if not made.requires_grad:  # a frozen network
                made = made.detach().requires_grad_(True)
            kept.append(made)
            return made

        hook = layer.register_forward_hook(keep)
        try:
            with torch.enable_grad():
                logits = subject.answer(subject.features(samples))
        finally:
            hook.remove()
        if len(kept) != 1 or kept[0].ndim != 4:
            raise ValueError("want a layer that makes maps (B, C, h, w), once a picture")
        (slope,) = torch.autograd.grad(logits.max(1).values.sum(), kept[0])
        found = (kept[0] * slope.mean((2, 3), keepdim=True)).sum(1, keepdim=True).clamp(min=0)
        return F.adaptive_avg_pool2d(found, subject.grid).flatten(1).detach()

    return explain

"""Explanations of attention models: one signed weight for each feature of each sample.

    raw attention     α                          attention norm   α · ‖v‖
    attention × grad  α · ∂y/∂α                  input × grad     Σ x · ∂y/∂x
    integrated grad   Σ x · mean_k ∂y/∂x (k/m x) rollout          Π (A + I), rows normed
    generic           R ← R + mean_h max(0, ∂A ⊙ A) R, from I

y is the predicted class's logit. A *subject* is any model that shows what it computes: see
:class:`Subject`. Weights of what cannot be removed (a class token) are not among them.

Source: the list of Liu et al., "Rethinking Attention-Model Explainability through Faithfulness
Violation Test", ICML 2022, arXiv:2201.12114; Kobayashi et al. 2020 (norms), Sundararajan et al.
2017 (integrated gradients), Abnar and Zuidema 2020 (rollout), Chefer et al. 2021 (generic).
Those by relevance (partial LRP, transformer attribution) are in :mod:`telltale.explain.relevance`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

STEPS = 10  # of integrated gradients


class Trace(NamedTuple):
    """What a subject computed."""

    logits: Tensor  # (B, K)
    attention: list[Tensor]  # (B, h, N, N) of each layer, the ones that multiply the values
    values: Tensor  # (B, h, N, D), the last layer's, transformed for the output


class Subject(Protocol):
    """A model to explain.

    ``lead`` tokens stand before the features (1 for a class token, 0 for none); row 0 of attention
    is then the reader's; ``trail`` tokens, if it says so, after them. ``removals`` are the ways of
    removing that it bears, all three if it does not say. ``answer``, if there is one, is ``run``
    for the logits alone. ``features`` gives embeddings (B, n, D) of samples; ``run`` goes on from
    there. ``keep`` (B, n) is 0 where a feature is removed: by setting it to zero, by cutting it out
    of the sequence, or by forbidding attention to it.
    """

    lead: int

    def features(self, samples: Tensor) -> Tensor: ...

    def run(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Trace: ...


Explainer = Callable[[Subject, Tensor], Tensor]


def raw_attention(subject: Subject, samples: Tensor) -> Tensor:
    """The last layer's attention, (B, n), 0 or more."""
    trace = subject.run(subject.features(samples))
    return reader(trace.attention[-1].mean(1), subject).detach()


def attention_norm(subject: Subject, samples: Tensor) -> Tensor:
    """Attention times the length of what it fetches, summed over heads first, (B, n)."""
    trace = subject.run(subject.features(samples))
    last = trace.attention[-1][:, :, 0]  # (B, h, N)
    fetched: Tensor = (last[..., None] * trace.values).sum(1).norm(dim=-1)
    return reader(fetched[:, None], subject).detach()


def attention_gradient(subject: Subject, samples: Tensor) -> Tensor:
    """Attention times the gradient of the predicted class, signed, (B, n)."""
    trace = subject.run(subject.features(samples))
    (slope,) = torch.autograd.grad(_predicted(trace.logits), trace.attention[-1])
    return reader((trace.attention[-1] * slope).sum(1), subject).detach()


def attention_grad_cam(subject: Subject, samples: Tensor) -> Tensor:
    """Grad-CAM of the last layer's attention: heads by their mean slope, (B, n), 0 or more."""
    trace = subject.run(subject.features(samples))
    (slope,) = torch.autograd.grad(_predicted(trace.logits), trace.attention[-1])
    heads = slope.mean((2, 3), keepdim=True)
    return reader((trace.attention[-1] * heads).mean(1), subject).clamp(min=0).detach()


def attention_times(what: Callable[[Tensor, Tensor], Tensor]) -> Explainer:
    """A variant of attention × gradient: what to make of the last layer's map and its slope."""

    def explain(subject: Subject, samples: Tensor) -> Tensor:
        trace = subject.run(subject.features(samples))
        (slope,) = torch.autograd.grad(_predicted(trace.logits), trace.attention[-1])
        return reader(what(trace.attention[-1], slope).sum(1), subject).detach()

    return explain


def input_gradient(subject: Subject, samples: Tensor) -> Tensor:
    """Features times their gradient, summed over dimensions, signed, (B, n)."""
    features = subject.features(samples).detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(_predicted(subject.run(features).logits), features)
    return (features * slope).sum(-1).detach()


def integrated_gradients(subject: Subject, samples: Tensor, steps: int = STEPS) -> Tensor:
    """The same with the gradient's mean on the way from zero, (B, n)."""
    features = subject.features(samples).detach()
    with torch.no_grad():
        chosen = subject.run(features).logits.argmax(1)
    total = torch.zeros_like(features)
    for number in range(1, steps + 1):
        place = (features * number / steps).requires_grad_(True)
        logits = subject.run(place).logits
        (slope,) = torch.autograd.grad(logits.gather(1, chosen[:, None]).sum(), place)
        total += slope
    return (features * total / steps).sum(-1).detach()


def rollout(subject: Subject, samples: Tensor) -> Tensor:
    """Attention multiplied through the layers, with what passes by, (B, n), 0 or more."""
    trace = subject.run(subject.features(samples))
    joint = None
    for attention in trace.attention:
        mean = attention.mean(1).detach()
        step = mean + torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
        step = step / step.sum(-1, keepdim=True)
        joint = step if joint is None else step @ joint
    if joint is None:
        raise ValueError("want a subject with attention, got none")
    return reader(joint, subject)


def generic(subject: Subject, samples: Tensor) -> Tensor:
    """Positive gradient-weighted attention carried through the layers, (B, n), 0 or more."""
    trace = subject.run(subject.features(samples))
    slopes = torch.autograd.grad(_predicted(trace.logits), trace.attention)
    size = trace.attention[0].shape[-1]
    relevance = torch.eye(size, dtype=slopes[0].dtype, device=slopes[0].device).expand(
        len(samples), size, size
    )
    for attention, slope in zip(trace.attention, slopes, strict=True):
        relevance = relevance + (attention * slope).clamp(min=0).mean(1).detach() @ relevance
    return reader(relevance, subject)


def at_random(seed: int = 0) -> Explainer:
    """Uniform weights in [0, 1], the same for the same seed."""

    def explain(subject: Subject, samples: Tensor) -> Tensor:
        random = torch.Generator().manual_seed(seed)
        count = subject.features(samples).shape[1]
        return torch.rand(len(samples), count, generator=random)

    return explain


EXPLAINERS: Mapping[str, Explainer] = {
    "random": at_random(),
    "raw attention": raw_attention,
    "attention norm": attention_norm,
    "attention × gradient": attention_gradient,
    "input × gradient": input_gradient,
    "integrated gradients": integrated_gradients,
    "rollout": rollout,
    "generic": generic,
    "grad-cam": attention_grad_cam,
}
VARIANTS: Mapping[str, Explainer] = {  # what the gradient's sign and size contribute
    "attention × |gradient|": attention_times(lambda alpha, slope: alpha * slope.abs()),
    "attention × sign": attention_times(lambda alpha, slope: alpha * slope.sign()),
    "gradient": attention_times(lambda alpha, slope: slope),
}


def _predicted(logits: Tensor) -> Tensor:
    return logits.max(1).values.sum()


def reader(matrix: Tensor, subject: Subject) -> Tensor:
    """What the reading token has for each feature; of a subject without one, the only row."""
    trail = getattr(subject, "trail", 0)
    return matrix[:, 0, subject.lead : matrix.shape[-1] - trail]

"""Explanations by layer-wise relevance: what of the answer arrives at each attention map.

    linear      Z = x⁺W⁺ + x⁻W⁻,  R_in = x⁺(W⁺ᵀ s) + x⁻(W⁻ᵀ s),  s = R / Z
    sum         x_i R / (x_1 + x_2), scaled so that the parts share R as their absolute sums do
    product     half of x ∂(x y)/∂x · R / (x y) to each operand
    difference  of two logits: R > 0 to the first, R < 0, as -R, to the second
    softmax, GELU, tanh, norms, dropout, constant factors: R passes

    partial LRP               mean_h R^A of the last layer
    transformer attribution   Π_l (I + mean_h max(0, ∂A_l ⊙ R^{A_l}))

A network runs as it is, but for the operations above, whose backward pass carries relevance in
place of gradients: so it works on any network that is made of them (ours, transformers'), and
relevance of what lies between is what autograd makes of it: reshapes, selections and sums are
carried exactly.

Source: Chefer, Gur, Wolf, "Transformer Interpretability Beyond Attention Visualization", CVPR 2021,
arXiv:2012.09838; Voita et al., ACL 2019 (partial LRP); rules as in Liu et al., arXiv:2201.12114.
Assumed: sums are shared sample by sample.
Departures: a detector's answer is one logit. If it is the difference of two, relevance starts at
that of the called class, as the paper's does; if it is a linear layer's only one and the other
class is called, its weights are turned round.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from telltale.explain.maps import EXPLAINERS, Explainer, Subject, reader

SMALL = 1e-9

PASSED = {"softmax", "log_softmax", "gelu", "relu", "tanh", "silu", "sigmoid", "layer_norm"}
PASSED |= {"dropout", "masked_fill", "contiguous", "clone", "to"}
SUMS = {"add", "__add__", "__radd__", "__iadd__", "add_"}
PRODUCTS = {"matmul", "__matmul__", "bmm"}
DIFFERENCES = {"sub", "__sub__", "subtract"}
FACTORS = {"mul", "__mul__", "__rmul__", "__imul__", "mul_", "div", "__truediv__", "true_divide"}


class Relevance(TorchFunctionMode):
    """While it is on, what is computed carries relevance back in place of gradients."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401  # torch's own signature
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        carriers = [it for it in args if _carries(it)]
        if carriers and torch.is_grad_enabled():
            if name == "linear":
                weight = args[1] if len(args) > 1 else kwargs["weight"]
                bias = args[2] if len(args) > 2 else kwargs.get("bias")
                return Linear.apply(args[0], weight, bias)
            if name in PRODUCTS and len(carriers) == 2:
                return Product.apply(torch.matmul, *carriers)
            if name in FACTORS and len(carriers) == 2 and "mul" in name:
                return Product.apply(torch.mul, *carriers)
            if name in DIFFERENCES and len(carriers) == 2:
                return Difference.apply(*carriers)
            if name in SUMS and len(carriers) == 2 and carriers[0].shape == carriers[1].shape:
                return Sum.apply(*carriers)
            if name in PASSED | SUMS | FACTORS and len(carriers) == 1:
                return _passed(func, carriers[0], args, kwargs)
        return func(*args, **kwargs)


class Linear(torch.autograd.Function):
    """Contributions of one sign only, inputs and weights of the same sign."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight = ctx.saved_tensors
        if weight.shape[0] > 1:
            return _like_signs(x, weight, given[0]), None, None
        pro = _like_signs(x, weight, given[0].clamp(min=0))
        return pro + _like_signs(x, -weight, (-given[0]).clamp(min=0)), None, None


class Difference(torch.autograd.Function):
    """Whichever of two logits speaks for the called class."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:  # noqa: ANN401
        return x - y

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return given[0].clamp(min=0), (-given[0]).clamp(min=0)


class Sum(torch.autograd.Function):
    """Each addend's share, scaled per sample so that nothing is lost."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x, y)
        return x + y

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, y = ctx.saved_tensors
        share = divided(given[0], x + y)
        parts = x * share, y * share
        axes = tuple(range(1, x.ndim))
        sums = [part.sum(axes, keepdim=True) for part in parts]
        whole = divided(given[0].sum(axes, keepdim=True), sums[0].abs() + sums[1].abs())
        return tuple(
            part * divided(total.abs(), total) * whole
            for part, total in zip(parts, sums, strict=True)
        )


class Product(torch.autograd.Function):
    """Half to each of two operands that both depend on the input."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        product: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        y: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, y)
        ctx.product = product
        return product(x, y)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, y = (it.detach().requires_grad_(True) for it in ctx.saved_tensors)
        with torch.enable_grad():
            made = ctx.product(x, y)
        slopes = torch.autograd.grad(made, (x, y), divided(given[0], made.detach()))
        return None, x.detach() * slopes[0] / 2, y.detach() * slopes[1] / 2


class Passed(torch.autograd.Function):
    """Relevance as it comes; ``made`` is what was computed of ``x``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, made: Tensor) -> Tensor:  # noqa: ANN401
        return made.view_as(made)

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        return given[0], None


def partial_relevance(subject: Subject, samples: Tensor) -> Tensor:
    """Relevance of the last attention map, mean over heads, signed, (B, n)."""
    return reader(relevances(subject, samples)[-1].mean(1), subject)


def transformer_attribution(subject: Subject, samples: Tensor) -> Tensor:
    """Positive products of relevance and gradient, carried through the layers, (B, n)."""
    arrived = relevances(subject, samples)
    trace = subject.run(subject.features(samples))
    slopes = torch.autograd.grad(trace.logits.max(1).values.sum(), trace.attention)
    size = arrived[0].shape[-1]
    joint = torch.eye(size, dtype=slopes[0].dtype, device=slopes[0].device).expand(
        len(slopes[0]), size, size
    )
    for relevance, slope in zip(arrived, slopes, strict=True):
        joint = joint + (relevance * slope).clamp(min=0).mean(1) @ joint
    return reader(joint, subject)


def relevances(subject: Subject, samples: Tensor) -> list[Tensor]:
    """Relevance of each attention map (B, h, N, N), first layer first, of the predicted class.

    Raises:
        ValueError: If the subject shows no attention.
    """
    features = subject.features(samples).detach().requires_grad_(True)
    with Relevance():
        trace = subject.run(features)
    if not trace.attention:
        raise ValueError("want a subject with attention, got none")
    start = torch.zeros_like(trace.logits).scatter(1, trace.logits.argmax(1, keepdim=True), 1.0)
    return [*torch.autograd.grad(trace.logits, trace.attention, start)]


def divided(above: Tensor, below: Tensor) -> Tensor:
    """The quotient, 0 where there is nothing to divide by."""
    safe = below + torch.where(below < 0, -SMALL, SMALL)
    return torch.where(below == 0, torch.zeros_like(above), above / safe)


def _like_signs(x: Tensor, weight: Tensor, arrived: Tensor) -> Tensor:
    """The linear rule: what inputs and weights of one sign contribute."""
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    more, less = x.clamp(min=0), x.clamp(max=0)
    share = divided(arrived, F.linear(more, up) + F.linear(less, down))
    return more * (share @ up) + less * (share @ down)


def _carries(it: object) -> bool:
    return isinstance(it, Tensor) and it.requires_grad and not isinstance(it, nn.Parameter)


def _passed(
    func: Callable[..., Any], carrier: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Tensor:
    with torch.no_grad():
        made: Tensor = func(*args, **kwargs)
    if made.shape != carrier.shape:  # a broadcast: autograd sums over what was repeated
        carrier = carrier.expand_as(made)
    found: Tensor = Passed.apply(carrier, made)
    return found


ALL: Mapping[str, Explainer] = {
    **EXPLAINERS,
    "partial LRP": partial_relevance,
    "transformer attribution": transformer_attribution,
}

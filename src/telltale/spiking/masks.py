"""The rivals of learnt masks: by magnitude, at random, at every step anew, or without a pattern.

Source: Zhou et al., "Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch",
ICLR 2021, arXiv:2102.04010 (SR-STE); Han et al., NeurIPS 2015, arXiv:1506.02626 (magnitude).
"""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from telltale.spiking.blocks import in_blocks, inner_layers, out_of_blocks, prunable
from telltale.spiking.spike_nm import top

Skip = Collection[str] | None  # layers that stay dense; None is the first and the last

DECAY = 2e-4  # of SR-STE, on weights that are masked out


def magnitude_masks(network: nn.Module, n: int, m: int, skip: Skip = None) -> dict[str, Tensor]:
    """Of each inner layer's weight, the N largest of every M: name to a mask of its shape."""
    return {k: largest(w, n, m) for k, w in _inner(network, skip).items()}


def random_masks(
    network: nn.Module, n: int, m: int, *, generator: torch.Generator, skip: Skip = None
) -> dict[str, Tensor]:
    """N of every M at random."""
    return {
        k: largest(0.5 + torch.rand(w.shape, generator=generator), n, m)
        for k, w in _inner(network, skip).items()
    }


def unstructured_masks(network: nn.Module, kept: float, skip: Skip = None) -> dict[str, Tensor]:
    """The share of inner weights that are largest over all inner layers together."""
    inner = _inner(network, skip)
    sizes = torch.cat([w.abs().flatten() for w in inner.values()])
    limit = sizes.topk(max(1, round(kept * len(sizes)))).values[-1]
    return {k: (w.abs() >= limit).to(w.dtype) for k, w in inner.items()}


def largest(weight: Tensor, n: int, m: int) -> Tensor:
    """1 at the N largest of every M of a weight (O, C, …), in its shape."""
    return out_of_blocks(top(in_blocks(weight.detach().abs(), m), n), weight)


def fix(network: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Multiply weights by masks that stay as they are."""
    for name, mask in masks.items():
        layer = network.get_submodule(name.removesuffix(".weight"))
        parametrize.register_parametrization(layer, "weight", _Fixed(mask))


def by_magnitude(network: nn.Module, n: int, m: int, skip: Skip = None) -> None:
    """SR-STE: at every pass the N largest of every M; gradients reach all weights."""
    for layer in prunable(network, skip):
        parametrize.register_parametrization(layer, "weight", _Largest(n, m))
        weight: nn.Parameter = layer.parametrizations.weight.original  # type: ignore[union-attr,assignment]
        weight.register_hook(
            lambda slope, weight=weight: (
                slope + DECAY * (1 - largest(weight, n, m)) * weight.detach()
            )
        )


def plain(network: nn.Module) -> nn.Module:
    """Make what masks have left the weights themselves; returns the network."""
    for layer in [x for x in network.modules() if parametrize.is_parametrized(x)]:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return network


class _Fixed(nn.Module):
    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask


class _Largest(nn.Module):
    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.n, self.m = n, m

    def forward(self, weight: Tensor) -> Tensor:
        mask = largest(weight, self.n, self.m)
        return weight * mask + (1 - mask) * (weight - weight.detach())


def _inner(network: nn.Module, skip: Skip) -> dict[str, Tensor]:
    return {f"{name}.weight": x.weight.detach() for name, x in inner_layers(network, skip).items()}

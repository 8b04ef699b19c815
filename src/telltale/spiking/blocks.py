"""Blocks of M weights, and which of a network's layers have them."""

import math
from collections.abc import Collection

import torch.nn.functional as F
from torch import Tensor, nn

Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear


def in_blocks(weight: Tensor, m: int) -> Tensor:
    """A weight (O, C, …) as (O, blocks, M): input channels first, each row padded by zeros.

    Sparse kernels reduce along the input channels, so these change fastest.
    """
    rows = weight.movedim(1, -1).flatten(1)
    found: Tensor = F.pad(rows, (0, -rows.shape[1] % m)).unflatten(1, (-1, m))
    return found


def out_of_blocks(blocks: Tensor, like: Tensor) -> Tensor:
    """The inverse of :func:`in_blocks`, in the shape of ``like``."""
    shape = (len(like), *like.shape[2:], like.shape[1])
    return blocks.flatten(1)[:, : like[0].numel()].reshape(shape).movedim(-1, 1)


def inner_layers(network: nn.Module, skip: Collection[str] | None = None) -> dict[str, Layer]:
    """Convolutions and linear layers by name, but for those that stay dense.

    Args:
        network: Any network.
        skip: Names of layers that stay dense; None is the first and the last.

    Raises:
        ValueError: If there is no layer of such a name.
    """
    every = {name: m for name, m in network.named_modules() if isinstance(m, Layer)}
    if skip is None:
        skip = {*[*every][:1], *[*every][-1:]}
    if unknown := sorted(set(skip) - set(every)):
        raise ValueError(f"no layer {', '.join(unknown)}; it has {', '.join(every)}")
    return {name: layer for name, layer in every.items() if name not in skip}


def prunable(network: nn.Module, skip: Collection[str] | None = None) -> list[Layer]:
    """:func:`inner_layers` without their names."""
    return [*inner_layers(network, skip).values()]


def violations(weight: Tensor, n: int, m: int) -> int:
    """Blocks of M with more than N weights that are not zero."""
    return int(((in_blocks(weight, m) != 0).sum(-1) > n).sum())


def patterns(n: int, m: int) -> int:
    """Masks with 1 to N ones among M: what an enumeration would need a logit for, each."""
    return sum(math.comb(m, k) for k in range(1, n + 1))

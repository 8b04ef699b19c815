"""Batches by class, and the rivals of distilled clips: real ones, well chosen."""

import math
from collections.abc import Iterator
from itertools import cycle

import torch
from torch import Tensor


def class_batches(
    events: Tensor, labels: Tensor, each: int, *, seed: int
) -> Iterator[dict[str, Tensor]]:
    """Batches without end with ``each`` clips of every class, or all of a smaller one."""
    random = torch.Generator().manual_seed(seed)
    groups = [(labels == number).nonzero().flatten() for number in labels.unique()]
    for _ in cycle([0]):
        rows = torch.cat(
            [group[torch.randperm(len(group), generator=random)[:each]] for group in groups]
        )
        yield {"events": events[rows], "labels": labels[rows]}


def herding(features: Tensor, count: int) -> list[int]:
    """Rows (B, D) whose running mean stays nearest to the mean of all: greedy, without repeats.

    Source: Welling, "Herding Dynamical Weights to Learn", ICML 2009.
    """
    target, total = features.mean(0), torch.zeros_like(features[0])
    chosen: list[int] = []
    for number in range(1, min(count, len(features)) + 1):
        apart = ((total + features) / number - target).norm(dim=1)
        apart[chosen] = math.inf
        chosen.append(int(apart.argmin()))
        total = total + features[chosen[-1]]
    return chosen


def k_center(features: Tensor, count: int) -> list[int]:
    """Rows (B, D), each the farthest from those before; the first is the nearest to the mean.

    Source: Sener and Savarese, ICLR 2018, arXiv:1708.00489.
    """
    chosen = [int((features - features.mean(0)).norm(dim=1).argmin())]
    nearest = (features - features[chosen[0]]).norm(dim=1)
    while len(chosen) < min(count, len(features)):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (features - features[chosen[-1]]).norm(dim=1))
    return chosen

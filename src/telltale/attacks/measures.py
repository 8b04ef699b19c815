"""Measures to attack, and measures of a varied input."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from telltale.attacks.steps import Measure


def diverse(
    measure: Measure,
    *,
    chance: float = 0.5,
    rate: float = 0.9,
    generator: torch.Generator | None = None,
) -> Measure:
    """The measure of a copy that, by ``chance``, is shrunk to ``rate`` or more and padded (DI)."""

    def varied(images: Tensor) -> Tensor:
        side = images.shape[-1]
        drawn = _draw(int(side * rate), side, generator)
        small = F.interpolate(images, drawn, mode="bilinear", align_corners=False)
        rest = side - drawn
        top, left = _draw(0, rest, generator), _draw(0, rest, generator)
        padded = F.pad(small, (left, rest - left, top, rest - top))
        is_varied = float(torch.rand(1, generator=generator)) < chance
        return measure(padded if is_varied else images)

    return varied


def scaled(measure: Measure, *, copies: int = 5) -> Measure:
    """The mean measure of an image and of its copies darkened to 1/2, 1/4, … (SI)."""

    def varied(images: Tensor) -> Tensor:
        return torch.stack([measure(images / 2**power) for power in range(copies)]).mean(0)

    return varied


def cross_entropy(network: Callable[[Tensor], Tensor], labels: Tensor) -> Measure:
    """How wrong a classifier (B, 3, H, W) → (B, K) is of labels (B,)."""
    return lambda images: F.cross_entropy(network(images), labels, reduction="none")


def dlr(network: Callable[[Tensor], Tensor], labels: Tensor) -> Measure:
    """Difference of logits ratio: - (z_y - max_{i≠y} z_i) / (z_(1) - z_(3)), for K of 3 or more."""

    def measure(images: Tensor) -> Tensor:
        logits = network(images)
        top = logits.sort(1, descending=True).values
        own = logits.gather(1, labels[:, None]).squeeze(1)
        other = torch.where(top[:, 0] == own, top[:, 1], top[:, 0])
        return -(own - other) / (top[:, 0] - top[:, 2] + 1e-12)

    return measure


def gaussian_kernel(size: int = 15, reach: float = 3.0) -> Tensor:
    """A normal density from -``reach`` to ``reach`` deviations, (size, size), summing to 1."""
    line = torch.exp(-(torch.linspace(-reach, reach, size) ** 2) / 2)
    kernel = torch.outer(line, line)
    return kernel / kernel.sum()


def _draw(low: int, high: int, generator: torch.Generator | None) -> int:
    """A whole number from ``low`` to ``high`` - 1; ``low`` if there is no other."""
    return low if high <= low else int(torch.randint(low, high, (1,), generator=generator))

"""The standard attacks written down once more, as plainly as their tables have them.

One image at a time, in double precision, nothing shared with the package: what it is held against
where torchattacks is not installed. Images (3, H, W) in [0, 1]; ``loss`` is of one image.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Loss = Callable[[Tensor], Tensor]


def gradient(loss: Loss, image: Tensor) -> Tensor:
    asked = image.clone().requires_grad_(True)
    loss(asked).backward()
    assert asked.grad is not None
    return asked.grad


def clipped(image: Tensor, clean: Tensor, eps: float) -> Tensor:
    return torch.minimum(torch.maximum(image, clean - eps), clean + eps).clip(0, 1)


def plain_pgd(loss: Loss, clean: Tensor, eps: float, step: float, steps: int) -> Tensor:
    image = clean
    for _ in range(steps):
        image = clipped(image + step * torch.sign(gradient(loss, image)), clean, eps)
    return image


def plain_pgd_l2(loss: Loss, clean: Tensor, eps: float, step: float, steps: int) -> Tensor:
    image = clean
    for _ in range(steps):
        slope = gradient(loss, image)
        apart = image + step * slope / (slope.square().sum().sqrt() + 1e-10) - clean
        size = float(apart.square().sum().sqrt())
        image = (clean + (apart if size <= eps else apart * eps / size)).clip(0, 1)
    return image


def plain_momentum(  # a switch each
    loss: Loss,
    clean: Tensor,
    eps: float,
    step: float,
    steps: int,
    *,
    decay: float = 1.0,
    nesterov: bool = False,
    scales: int = 1,
    kernel: Tensor | None = None,
) -> Tensor:
    """MI, NI, SI-NI and TI."""
    image, momentum = clean, torch.zeros_like(clean)
    for _ in range(steps):
        place = image + step * decay * momentum if nesterov else image
        slope = sum(gradient(lambda x, k=k: loss(x / 2**k), place) for k in range(scales)) / scales  # type: ignore[misc]
        if kernel is not None:
            slope = convolved(slope, kernel)
        momentum = decay * momentum + slope / slope.abs().mean()
        image = clipped(image + step * torch.sign(momentum), clean, eps)
    return image


def plain_vmi(
    loss: Loss, clean: Tensor, eps: float, step: float, steps: int, noises: list[Tensor]
) -> Tensor:
    """VMI with its neighbours given, an equal number a step."""
    image, momentum, variance = clean, torch.zeros_like(clean), torch.zeros_like(clean)
    count = len(noises) // steps
    for number in range(steps):
        slope = gradient(loss, image)
        both = slope + variance
        momentum = momentum + both / both.abs().mean()
        near = [gradient(loss, image + n) for n in noises[number * count : (number + 1) * count]]
        variance = sum(near, torch.zeros_like(clean)) / count - slope
        image = clipped(image + step * torch.sign(momentum), clean, eps)
    return image


def convolved(slope: Tensor, kernel: Tensor) -> Tensor:
    """By hand, with zeros outside."""
    side = kernel.shape[0]
    wide = np.pad(slope.numpy(), ((0, 0), (side // 2,) * 2, (side // 2,) * 2))
    found = np.zeros(slope.shape)
    for y in range(side):
        for x in range(side):
            part = wide[:, y : y + slope.shape[1], x : x + slope.shape[2]]
            found += float(kernel[y, x]) * part
    return torch.from_numpy(found)

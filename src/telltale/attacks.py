"""Attacks on any differentiable measure of images in [0, 1]; for models that one owns and audits.

    g_{t+1} = μ g_t + ∇/‖∇‖₁              x_{t+1} = clip(x_t + α sign g_{t+1}) to ‖x - x_0‖∞ ≤ ε

A measure maps images (B, 3, H, W) to one number an image, (B,), which the attack makes larger.

Source: Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018, arXiv:1710.06081.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Measure = Callable[[Tensor], Tensor]


def mi_fgsm(
    measure: Measure,
    images: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    momentum: float = 1.0,
    start: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images with the measure made larger by the momentum iterative fast gradient sign method.

    Args:
        measure: (B, 3, H, W) to (B,); each image's own, so that the batch around it is no matter.
        images: (B, 3, H, W) in [0, 1].
        eps: Bound of the l∞ norm of the change, in [0, 1] units.
        step: α, in the same units.
        steps: T; 0 gives the images back.
        momentum: μ.
        start: Bound of uniform noise to start from. A distance to the images themselves has no
            gradient where nothing was changed yet, and needs some.
        generator: Of that noise.

    Returns:
        Images of the same shape in [0, 1], without a gradient.

    Raises:
        ValueError: If a setting is out of range.
    """
    if eps < 0 or step < 0 or steps < 0 or not 0 <= start <= eps:
        raise ValueError(
            f"want eps, step and steps of 0 or more and a start in 0..eps, "
            f"got {eps}, {step}, {steps} and {start}"
        )
    clean = images.detach()
    if not steps:
        return clean
    noise = torch.rand(clean.shape, generator=generator, dtype=clean.dtype).to(clean.device)
    found = (clean + start * (2 * noise - 1)).clamp(0, 1)
    gathered = torch.zeros_like(clean)
    for _ in range(steps):
        found.requires_grad_(True)
        (slope,) = torch.autograd.grad(measure(found).sum(), found)
        norm = slope.abs().sum((1, 2, 3), keepdim=True).clamp(min=1e-12)
        gathered = momentum * gathered + slope / norm
        moved = found.detach() + step * gathered.sign()
        found = clean + (moved - clean).clamp(-eps, eps)
        found = found.clamp(0, 1)
    return found.detach()

"""Attacks that follow the gradient in steps of one size, and what all attacks share."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Measure = Callable[[Tensor], Tensor]
Norm = Literal["linf", "l2"]
TINY = 1e-10


def pgd(
    measure: Measure,
    images: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    norm: Norm = "linf",
    start: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images with the measure made larger by projected gradient steps.

    Args:
        measure: (B, 3, H, W) to (B,); each image's own, so that the batch around it is no matter.
        images: (B, 3, H, W) in [0, 1].
        eps: Bound of the change in ``norm``, pixels in [0, 1].
        step: α, in the same units.
        steps: T; 0 gives the images back. FGSM is one step of ``eps``.
        norm: "linf" or "l2".
        start: Bound of uniform noise to start from.
        generator: Of that noise.

    Returns:
        Images of the same shape in [0, 1], without a gradient.

    Raises:
        ValueError: If a setting is out of range.
    """
    checked(eps, step, steps, start)
    clean = images.detach()
    if not steps:
        return clean
    found = started(clean, start, norm, generator)
    for _ in range(steps):
        slope = slope_of(measure, found)
        found = within(clean, found + step * direction(slope, norm), eps, norm)
    return found


def mi_fgsm(  # noqa: PLR0913  # a setting each
    measure: Measure,
    images: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    momentum: float = 1.0,
    start: float = 0.0,
    generator: torch.Generator | None = None,
    kernel: Tensor | None = None,
    ahead: bool = False,
) -> Tensor:
    """Images with the measure made larger by the momentum iterative fast gradient sign method.

    Args:
        measure: As in :func:`pgd`; see :func:`diverse` and :func:`scaled` for DI and SI.
        images: (B, 3, H, W) in [0, 1].
        eps: Bound of the l∞ norm of the change, in [0, 1] units.
        step: α, in the same units.
        steps: T; 0 gives the images back.
        momentum: μ.
        start: Bound of uniform noise to start from. A distance to the images themselves has no
            gradient where nothing was changed yet, and needs some.
        generator: Of that noise.
        kernel: (k, k), k odd, that smooths the gradient (TI); see :func:`gaussian_kernel`.
        ahead: Take the gradient where momentum alone would lead (NI).

    Returns:
        Images of the same shape in [0, 1], without a gradient.

    Raises:
        ValueError: If a setting is out of range.
    """
    checked(eps, step, steps, start)
    clean = images.detach()
    if not steps:
        return clean
    found = started(clean, start, "linf", generator)
    gathered = torch.zeros_like(clean)
    for _ in range(steps):
        place = found + step * momentum * gathered if ahead else found
        slope = slope_of(measure, place)
        if kernel is not None:
            slope = _smoothed(slope, kernel)
        gathered = momentum * gathered + unit_mean(slope)
        found = within(clean, found + step * gathered.sign(), eps, "linf")
    return found


def vmi_fgsm(
    measure: Measure,
    images: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
    momentum: float = 1.0,
    neighbours: int = 5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """The momentum method with the gradient's variance in the neighbourhood taken into account.

    Args:
        measure: As in :func:`pgd`.
        images: (B, 3, H, W) in [0, 1].
        eps: Bound of the l∞ norm of the change; neighbours lie within 1.5 of it.
        step: α.
        steps: T.
        momentum: μ.
        neighbours: N, gradients a step beside the image's own.
        generator: Of the neighbours.

    Raises:
        ValueError: If a setting is out of range.
    """
    checked(eps, step, steps, 0)
    clean = images.detach()
    found, gathered = clean, torch.zeros_like(clean)
    variance = torch.zeros_like(clean)
    for _ in range(steps):
        slope = slope_of(measure, found)
        gathered = momentum * gathered + unit_mean(slope + variance)
        total = torch.zeros_like(clean)
        for _ in range(neighbours):
            total += slope_of(measure, found + uniform(clean, 1.5 * eps, generator))
        variance = total / neighbours - slope
        found = within(clean, found + step * gathered.sign(), eps, "linf")
    return found


def checked(eps: float, step: float, steps: int, start: float) -> None:
    """Raise ValueError for settings out of range."""
    if eps < 0 or step < 0 or steps < 0 or not 0 <= start <= eps:
        raise ValueError(
            f"want eps, step and steps of 0 or more and a start in 0..eps, "
            f"got {eps}, {step}, {steps} and {start}"
        )


def slope_of(measure: Measure, place: Tensor) -> Tensor:
    """The gradient of the summed measure at a place."""
    asked = place.detach().requires_grad_(True)
    with torch.enable_grad():  # an attack is also made where nothing else wants a gradient
        slope: Tensor = torch.autograd.grad(measure(asked).sum(), asked)[0]
    return slope


def direction(slope: Tensor, norm: Norm) -> Tensor:
    """The steepest direction in a norm."""
    return slope.sign() if norm == "linf" else slope / (length(slope) + TINY)


def unit_mean(slope: Tensor) -> Tensor:
    """A gradient over the mean of its size, for each image."""
    return slope / slope.abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-20)


def within(clean: Tensor, found: Tensor, eps: float, norm: Norm) -> Tensor:
    """Moved images back inside the bound and [0, 1]."""
    change = found - clean
    if norm == "linf":
        change = change.clamp(-eps, eps)
    else:
        change = change * (eps / length(change).clamp(min=TINY)).clamp(max=1)
    return (clean + change).clamp(0, 1).detach()


def length(x: Tensor) -> Tensor:
    """l2 norms, (B, 1, 1, 1)."""
    norms: Tensor = x.flatten(1).norm(dim=1)
    return norms.view(-1, 1, 1, 1)


def started(clean: Tensor, start: float, norm: Norm, generator: torch.Generator | None) -> Tensor:
    """Images with uniform noise in the bound."""
    if not start:
        return clean
    return within(clean, clean + uniform(clean, start, generator), start, norm)


def uniform(like: Tensor, bound: float, generator: torch.Generator | None) -> Tensor:
    """Noise from -bound to bound, of the shape of images."""
    noise = torch.rand(like.shape, generator=generator, dtype=like.dtype).to(like.device)
    return bound * (2 * noise - 1)


def _smoothed(slope: Tensor, kernel: Tensor) -> Tensor:
    count = slope.shape[1]
    each = kernel.to(slope.device, slope.dtype).expand(count, 1, *kernel.shape)
    return F.conv2d(slope, each, padding=kernel.shape[-1] // 2, groups=count)

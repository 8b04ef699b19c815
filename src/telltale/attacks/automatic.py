"""AutoAttack's parts: steps that size themselves, and a search without gradients."""

import math

import torch
from torch import Tensor

from telltale.attacks.steps import Measure, Norm, checked, direction, slope_of, started, within


def apgd(
    measure: Measure,
    images: Tensor,
    *,
    eps: float,
    steps: int = 50,
    norm: Norm = "linf",
    generator: torch.Generator | None = None,
) -> Tensor:
    """AutoAttack's PGD, whose step sizes choose themselves; each image's best is returned.

    Args:
        measure: As in :func:`pgd`; :func:`cross_entropy` or :func:`dlr` for a classifier.
        images: (B, 3, H, W) in [0, 1].
        eps: Bound of the change in ``norm``.
        steps: T.
        norm: "linf" or "l2".
        generator: Of the start, uniform noise in the bound.

    Raises:
        ValueError: If a setting is out of range.
    """
    checked(eps, eps, steps, eps)
    clean = images.detach()
    found = started(clean, eps, norm, generator)
    step = torch.full((len(clean), 1, 1, 1), 2 * eps, dtype=clean.dtype, device=clean.device)
    with torch.no_grad():
        value = measure(found)
    best, best_value, before = found, value.clone(), found
    rises, halved = torch.zeros_like(value), torch.zeros_like(value, dtype=torch.bool)
    marked = value.clone()  # best at the last check point
    checks, last = _check_points(steps), 0
    for number in range(1, steps + 1):
        slope = slope_of(measure, found)
        moved = within(clean, found + step * direction(slope, norm), eps, norm)
        share = 1.0 if number == 1 else 0.75
        moved = within(
            clean, found + share * (moved - found) + (1 - share) * (found - before), eps, norm
        )
        before, found = found, moved
        with torch.no_grad():
            now = measure(found)
        rises += now > value
        value = now
        better = now > best_value
        best = torch.where(better.view(-1, 1, 1, 1), found, best)
        best_value = torch.where(better, now, best_value)
        if number in checks:
            stuck = rises < 0.75 * (number - last)
            still = ~halved & (best_value <= marked)
            halved = stuck | still
            step = torch.where(halved.view(-1, 1, 1, 1), step / 2, step)
            again = halved.view(-1, 1, 1, 1)
            found, before = torch.where(again, best, found), torch.where(again, best, before)
            rises, marked, last = torch.zeros_like(rises), best_value.clone(), number
    return best


def square(
    measure: Measure,
    images: Tensor,
    *,
    eps: float,
    queries: int = 200,
    share: float = 0.8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Random search in l∞: squares of ± eps that are kept where the measure grows.

    Args:
        measure: Asked without a gradient, ``queries`` times.
        images: (B, 3, H, W) in [0, 1].
        eps: Bound of the l∞ norm of the change.
        queries: How often to ask.
        share: Of the pixels in the first squares; it falls as queries go by.
        generator: Of all draws.

    Raises:
        ValueError: If a setting is out of range.
    """
    checked(eps, eps, queries, 0)
    clean = images.detach()
    count, channels, height, width = clean.shape
    stripes = _signs((count, channels, 1, width), clean, generator)
    found = (clean + eps * stripes).clamp(0, 1)
    with torch.no_grad():
        value = measure(found)
        for number in range(queries):
            area = share * 0.5 ** (10 * number / max(queries, 1))
            side = max(1, min(round(math.sqrt(area * height * width)), height, width))
            y = int(torch.randint(height - side + 1, (), generator=generator))
            x = int(torch.randint(width - side + 1, (), generator=generator))
            tried = found.clone()
            change = eps * _signs((count, channels, 1, 1), clean, generator)
            place = (..., slice(y, y + side), slice(x, x + side))
            tried[place] = (clean[place] + change).clamp(0, 1)
            now = measure(tried)
            better = now > value
            found = torch.where(better.view(-1, 1, 1, 1), tried, found)
            value = torch.where(better, now, value)
    return found


def _signs(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None) -> Tensor:
    drawn = torch.randint(2, shape, generator=generator)
    return (2 * drawn - 1).to(like.device, like.dtype)


def _check_points(steps: int) -> set[int]:
    """When steps may halve: gaps begin at 22 % of all and shrink by 3 % to 6 %."""
    gap, at, found = max(int(0.22 * steps), 1), 0, set()
    while at + gap <= steps:
        at += gap
        found.add(at)
        gap = max(gap - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
    return found

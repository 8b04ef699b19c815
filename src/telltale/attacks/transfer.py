"""Transfer attacks: crafted on surrogates that one has, shown to a model that they never saw.

    z(x) = mean of the surrogates' logits;  x* = attack(CE(z(x), y))

Source: Dong et al. 2018, arXiv:1710.06081 (ensemble in logits).
Assumed: DI and TI gather momentum, as is usual in combination; TI's kernel has 15 pixels as its
paper's, on pictures below 64 pixels it has 5.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from telltale.attacks.measures import cross_entropy, diverse, gaussian_kernel, scaled
from telltale.attacks.steps import mi_fgsm, pgd, vmi_fgsm

TRANSFER = ("PGD", "MI", "DI", "TI", "SI-NI", "VMI")
Logits = Callable[[Tensor], Tensor]


def ensemble(networks: Sequence[Logits]) -> Logits:
    """The mean of several classifiers' logits.

    Raises:
        ValueError: If there is none.
    """
    if not networks:
        raise ValueError("want one surrogate or more, got none")
    return lambda images: torch.stack([network(images) for network in networks]).mean(0)


def craft(
    attack: str,
    network: Logits,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    step: float | None = None,
    steps: int = 10,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Images that a surrogate misjudges, in the hope that others do.

    Args:
        attack: Of :data:`TRANSFER`.
        network: The surrogate's logits, or :func:`ensemble`'s.
        images: (B, 3, S, S) in [0, 1].
        labels: (B,), the truth.
        eps: Bound in l∞.
        step: None is a quarter of ``eps``, as 2/255 is of 8/255.
        steps: T.
        generator: Of all draws.

    Raises:
        ValueError: If there is no such attack, or a setting is out of range.
    """
    if attack not in TRANSFER:
        raise ValueError(f"want an attack of {', '.join(TRANSFER)}, got {attack!r}")
    alpha = eps / 4 if step is None else step
    measure = cross_entropy(network, labels)
    if attack == "PGD":
        return pgd(
            measure, images, eps=eps, step=alpha, steps=steps, start=eps, generator=generator
        )
    if attack == "VMI":
        return vmi_fgsm(measure, images, eps=eps, step=alpha, steps=steps, generator=generator)
    kernel = gaussian_kernel(15 if images.shape[-1] >= 64 else 5) if attack == "TI" else None
    if attack in ("DI", "TI"):
        measure = diverse(measure, generator=generator)
    if attack == "SI-NI":
        measure = scaled(measure)
    ahead = attack == "SI-NI"
    return mi_fgsm(measure, images, eps=eps, step=alpha, steps=steps, kernel=kernel, ahead=ahead)

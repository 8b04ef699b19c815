"""What a method promises to its callers: the shapes that training, scan and tests rely on."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Evidence(NamedTuple):
    """A detector's answer."""

    logit: Tensor  # (B,) log-odds of the card's claim, in nats
    mask: Tensor | None = None  # (B, 1, H, W) the same for each pixel, if the method locates


Losses = dict[str, Tensor]  # scalar terms, weights applied; their sum is minimised


class Trainable(Protocol):
    """Anything that ``fit`` can train."""

    @property
    def loss(self) -> Callable[..., Losses]: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


class Network(Trainable, Protocol):
    """A detector: tensors in, evidence out."""

    def __call__(self, *takes: Tensor) -> Evidence: ...


class Perturber(Protocol):
    """A method that changes pictures within a bound."""

    def perturb(self, images: Tensor, *, generator: torch.Generator) -> Tensor: ...


def want_images(images: Tensor, multiple: int = 1) -> Tensor:
    """Return ``images`` if they are a float batch (B, 3, S, S), S a multiple of ``multiple``.

    Raises:
        ValueError: That says what is wanted and what was given.
    """
    shape = tuple(images.shape)
    good = images.ndim == 4 and shape[1] == 3 and shape[2] == shape[3] and shape[2] % multiple == 0
    if not good or not images.is_floating_point():
        raise ValueError(
            f"want float (B, 3, S, S) with S a multiple of {multiple}, got {images.dtype} {shape}"
        )
    return images

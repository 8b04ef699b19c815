"""The amplitudes of maps' two-dimensional Fourier transform, in terms that every exporter knows."""

import math

import torch
from torch import Tensor


def log_amplitude(x: Tensor) -> Tensor:
    """log(1 + |DFT|) of each channel of maps (B, C, h, w), the zero frequency first.

    By matrices, whose product costs little on maps of some dozens of cells a side.
    """
    (cos_h, sin_h), (cos_w, sin_w) = (_waves(size, x) for size in x.shape[-2:])
    real = cos_h @ x @ cos_w - sin_h @ x @ sin_w
    imaginary = sin_h @ x @ cos_w + cos_h @ x @ sin_w
    return torch.log1p((real.square() + imaginary.square() + 1e-12).sqrt())  # √0 has no slope


def amplitude_tokens(x: Tensor) -> Tensor:
    """Log amplitudes of maps (B, C, h, w), the mean of each row and each column: (B, h + w, C)."""
    amplitude = log_amplitude(x)
    return torch.cat([amplitude.mean(3), amplitude.mean(2)], 2).mT


def _waves(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the Fourier matrix (size, size)."""
    places = torch.arange(size, dtype=like.dtype, device=like.device)
    angle = 2 * math.pi / size * torch.outer(places, places)
    return angle.cos(), angle.sin()

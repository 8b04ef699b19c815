"""The amplitudes of maps' two-dimensional Fourier transform, in terms that every exporter knows."""

import math

import torch
from torch import Tensor


def log_amplitude(x: Tensor) -> Tensor:
    """log(1 + |DFT|) of each channel of maps (B, C, h, w), the zero frequency first.

    By matrices, whose product costs little on maps of some dozens of cells a side. Computed in
    float32 or finer, whatever the maps' type, and given in their type.
    """
    maps = x.to(torch.promote_types(x.dtype, torch.float32))
    with torch.autocast(x.device.type, enabled=False):  # sums of waves cancel: no half precision
        (cos_h, sin_h), (cos_w, sin_w) = (_waves(size, maps) for size in x.shape[-2:])
        real = cos_h @ maps @ cos_w - sin_h @ maps @ sin_w
        imaginary = sin_h @ maps @ cos_w + cos_h @ maps @ sin_w
        size = (real.square() + imaginary.square() + 1e-12).sqrt()  # √0 has no slope
    return torch.log1p(size).to(x.dtype)


def amplitude_tokens(x: Tensor) -> Tensor:
    """Log amplitudes of maps (B, C, h, w), the mean of each row and each column: (B, h + w, C)."""
    amplitude = log_amplitude(x)
    return torch.cat([amplitude.mean(3), amplitude.mean(2)], 2).mT


def _waves(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the Fourier matrix (size, size)."""
    places = torch.arange(size, device=like.device)
    turns = torch.outer(places, places) % size  # whole numbers, so none is rounded
    angle = 2 * math.pi / size * turns.to(like.dtype)
    return angle.cos(), angle.sin()

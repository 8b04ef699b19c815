"""What is left of a picture when its content is taken out: high-pass filters and camera noise.

    high_pass    x - 3 × 3 mean
    srm          three fixed predictors of a pixel from its neighbours; the prediction's error
    noise        W = inverse wavelet transform of the details, each shrunk to what looks like noise:
                 d → d·σ² / (v + σ²),   v = min over windows 3, 5, 7, 9 of max(mean of d² - σ², 0)

The noise of a camera covers its whole picture alike. A part that was generated, scaled or blurred
lacks it, and the residual shows where.

Source: Fridrich and Kodovsky, "Rich Models for Steganalysis of Digital Images", TIFS 2012, with the
three kernels and their scale as in Zhou et al., "Learning Rich Features for Image Manipulation
Detection", CVPR 2018, arXiv:1805.04953; Mihcak et al., "Spatially Adaptive Statistical Modeling of
Wavelet Image Coefficients and its Application to Denoising", ICASSP 1999, as Lukas et al.,
"Digital Camera Identification from Sensor Pattern Noise", TIFS 2006, use it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601, as residuals of cameras are made grey
WINDOWS = (3, 5, 7, 9)  # pixels, around a wavelet coefficient
LEVELS = 4
RANGE = 30.0  # grey levels that a noise map's [0, 1] covers: ±3σ of σ = 5

# Predictors of first, second and third order; each sums to 0.
SRM = (
    (
        (0, 0, 0, 0, 0),
        (0, -1 / 4, 2 / 4, -1 / 4, 0),
        (0, 2 / 4, -4 / 4, 2 / 4, 0),
        (0, -1 / 4, 2 / 4, -1 / 4, 0),
        (0, 0, 0, 0, 0),
    ),
    (
        (-1 / 12, 2 / 12, -2 / 12, 2 / 12, -1 / 12),
        (2 / 12, -6 / 12, 8 / 12, -6 / 12, 2 / 12),
        (-2 / 12, 8 / 12, -12 / 12, 8 / 12, -2 / 12),
        (2 / 12, -6 / 12, 8 / 12, -6 / 12, 2 / 12),
        (-1 / 12, 2 / 12, -2 / 12, 2 / 12, -1 / 12),
    ),
    (
        (0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0),
        (0, 1 / 2, -2 / 2, 1 / 2, 0),
        (0, 0, 0, 0, 0),
        (0, 0, 0, 0, 0),
    ),
)
# Scaling filter of Daubechies' wavelet with four vanishing moments.
DB4 = (
    0.2303778133088965,
    0.7148465705529157,
    0.6308807679298589,
    -0.02798376941685985,
    -0.1870348117190931,
    0.03084138183556076,
    0.03288301166688520,
    -0.01059740178506903,
)


def high_pass(images: Tensor, gain: float = 1.0) -> Tensor:
    """``gain`` times what a 3 × 3 mean leaves of images (B, C, H, W); mirrored at the border."""
    mean = F.avg_pool2d(F.pad(images, [1] * 4, mode="reflect"), 3, stride=1)
    return gain * (images - mean)


def srm(images: Tensor, limit: float = 2.0) -> Tensor:
    """Errors of the three SRM predictors, truncated.

    Args:
        images: (B, C, H, W) in [0, 1], with sides of 3 pixels or more.
        limit: Largest size of a residual, in grey levels of 255: edges say nothing about noise.

    Returns:
        (B, 3C, H, W) in grey levels, the three residuals of a channel one after the other.
    """
    kernels = images.new_tensor(SRM)[:, None].repeat(images.shape[1], 1, 1, 1)  # (3C, 1, 5, 5)
    padded = F.pad(255 * images, [2] * 4, mode="reflect")
    residual = F.conv2d(padded, kernels, groups=images.shape[1])
    return residual.clamp(-limit, limit)


@torch.no_grad()
def noise(images: Tensor, sigma: float = 5.0) -> Tensor:
    """The part of images that looks like noise of deviation σ; the rest is the denoised image.

    Args:
        images: (B, C, H, W) in [0, 1], as they left the camera: scaling and recompression change
            what is measured here.
        sigma: σ in grey levels of 255.

    Returns:
        W, (B, C, H, W) in grey levels.

    Raises:
        ValueError: If σ is not positive or images are no float batch.
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise ValueError(f"want float (B, C, H, W), got {images.dtype} {tuple(images.shape)}")
    if sigma <= 0:
        raise ValueError(f"want sigma > 0, got {sigma}")
    # The mean is content: without it float32 is exact enough for a constant to give 0.
    levels = 255 * (images - images.mean((2, 3), keepdim=True))
    low, bands = levels.flatten(0, 1)[:, None], []  # (B·C, 1, H, W)
    for _ in range(LEVELS):
        size = low.shape[-2:]
        parts = _analyse(low)
        low = parts[:, :1]
        bands.append((_shrunk(parts[:, 1:], sigma**2), size))
    residual = torch.zeros_like(low)
    for details, (height, width) in reversed(bands):
        residual = _synthesise(torch.cat([residual, details], 1))[..., :height, :width]
    return residual.reshape(images.shape)


def noise_map(images: Tensor, sigma: float = 5.0) -> Tensor:
    """The noise of RGB images (B, 3, H, W) as one grey map (B, 1, H, W) in [0, 1], 0.5 for none."""
    luma = images.new_tensor(LUMA).view(3, 1, 1)
    grey = (luma * noise(images, sigma)).sum(1, keepdim=True)
    return (grey / RANGE + 0.5).clamp(0, 1)


def _shrunk(details: Tensor, variance: float) -> Tensor:
    """Coefficients (M, 3, h, w), each scaled by the share of noise around it: a Wiener filter."""
    energy = details.square()
    signal = torch.stack(
        [F.avg_pool2d(energy, size, stride=1, padding=size // 2) for size in WINDOWS]
    )
    least = (signal - variance).clamp(min=0).amin(0)
    return details * (variance / (least + variance))


def _analyse(x: Tensor) -> Tensor:
    """One level of the transform: (M, 1, H, W) to low pass and details, (M, 4, h, w).

    h = (H + 7) // 2. The picture goes on as its mirror image, the border pixel twice.
    """
    for axis in (-2, -1):
        size = x.shape[axis]
        places = torch.arange(-6, size + 7, device=x.device) % (2 * size)
        x = x.index_select(axis, torch.minimum(places, 2 * size - 1 - places))
    return F.conv2d(x, _filters(x), stride=2)


def _synthesise(parts: Tensor) -> Tensor:
    """Undo :func:`_analyse`; where H or W was odd, there is a row or column too many."""
    return F.conv_transpose2d(parts, _filters(parts), stride=2, padding=6)


def _filters(like: Tensor) -> Tensor:
    """Low pass and details along rows, columns and both, (4, 1, 8, 8)."""
    low = like.new_tensor(DB4)
    high = low.flip(0) * like.new_tensor([1.0, -1.0] * 4)
    pairs = ((low, low), (low, high), (high, low), (high, high))
    return torch.stack([torch.outer(rows, columns) for rows, columns in pairs])[:, None]

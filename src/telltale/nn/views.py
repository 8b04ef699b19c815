"""Random views of pictures in [0, 1] that assume nothing about how a forgery was made.

Geometry (:func:`moved`) may be shared by pictures that have to stay aligned; degradations
(:func:`degraded`) are each picture's own. Draws come from torch's global generator.
"""

import io
import math

import torch
import torch.nn.functional as F
from torch import Tensor

JITTER, HUE = 0.2, 0.05  # brightness, contrast, saturation; share of the colour circle
NOISE = (10.0, 50.0)  # variance, in units of 8-bit levels
BLURS = (3, 5, 7)  # pixels
QUALITY = (40, 100)  # of JPEG
YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def geometry(count: int, chance: float = 0.5) -> Tensor:
    """Affine maps (count, 2, 3): a flip, and a crop of 0.8 to 1 of the area, each by ``chance``."""
    flip = torch.where(torch.rand(count) < chance, -1.0, 1.0)
    scale = torch.where(torch.rand(count) < chance, torch.empty(count).uniform_(0.8, 1), 1.0).sqrt()
    shift = (1 - scale)[:, None] * torch.empty(count, 2).uniform_(-1, 1)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = flip * scale, scale, shift
    return theta


def moved(images: Tensor, theta: Tensor) -> Tensor:
    """Images (B, 3, S, S) under affine maps (B, 2, 3), bilinear, the border repeated."""
    grid = F.affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def degraded(images: Tensor, chance: float = 0.5) -> Tensor:
    """Each image (B, 3, S, S) through its own draw of degradations, each by ``chance``.

    Colour jitter, Gaussian blur (none by motion), down- and up-scaling, noise, JPEG, cut-outs; the
    channels are shuffled by a fifth of ``chance``.
    """
    return torch.stack([_degrade(image, chance) for image in images])


def _degrade(image: Tensor, chance: float) -> Tensor:
    def hits(share: float = 1.0) -> bool:
        return bool(torch.rand(()) < chance * share)

    if hits():
        image = jittered(image)
    if hits():
        image = blurred(image, BLURS[int(torch.randint(3, ()))])
    if hits():
        image = rescaled(image, _uniform(0.5, 1.0))
    if hits():
        image = image + math.sqrt(_uniform(*NOISE)) / 255 * torch.randn_like(image)
    if hits():
        image = recompressed(image, int(_uniform(*QUALITY)))
    if hits(0.2):
        image = image[torch.randperm(3)]
    if hits():
        image = cut_out(image)
    return image.clamp(0, 1)


def jittered(image: Tensor) -> Tensor:
    """Brightness, contrast and saturation by ± 20 %, hue by ± 5 % of the circle."""
    yiq = torch.einsum("ij,jhw->ihw", YIQ.to(image), image)
    light, colour = yiq[:1], yiq[1:]
    angle = _uniform(-HUE, HUE) * 2 * math.pi
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin], [sin, cos]]).to(image) * _uniform(1 - JITTER, 1 + JITTER)
    colour = torch.einsum("ij,jhw->ihw", turn, colour)
    mean = light.mean()
    light = mean + (light - mean) * _uniform(1 - JITTER, 1 + JITTER)
    back = torch.linalg.inv(YIQ).to(image)
    again = torch.einsum("ij,jhw->ihw", back, torch.cat([light, colour]))
    return (again * _uniform(1 - JITTER, 1 + JITTER)).clamp(0, 1)


def blurred(image: Tensor, size: int) -> Tensor:
    """Gaussian blur with a kernel of ``size`` pixels, σ a sixth of it."""
    place = torch.arange(size).to(image) - size // 2
    kernel = torch.exp(-0.5 * (6 * place / size) ** 2)
    kernel = torch.outer(kernel, kernel) / kernel.sum() ** 2
    padded = F.pad(image[None], [size // 2] * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(3, 1, size, size), groups=3)[0]


def rescaled(image: Tensor, factor: float) -> Tensor:
    """Shrunk by a factor and enlarged again."""
    small = [max(1, round(side * factor)) for side in image.shape[1:]]
    down = F.interpolate(image[None], small, mode="bilinear", antialias=True)
    return F.interpolate(down, image.shape[1:], mode="bilinear")[0]


def recompressed(image: Tensor, quality: int) -> Tensor:
    """Through JPEG."""
    import numpy as np
    from PIL import Image

    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    again = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)
    return again.to(image) / 255


def cut_out(image: Tensor) -> Tensor:
    """One to four grey boxes, each of up to a quarter of the side."""
    image = image.clone()
    side = image.shape[-1]
    for _ in range(int(torch.randint(1, 5, ()))):
        high, wide = (int(_uniform(1, max(2, side / 4))) for _ in range(2))
        top, left = (int(torch.randint(0, side - n + 1, ())) for n in (high, wide))
        image[:, top : top + high, left : left + wide] = 0.5
    return image


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))

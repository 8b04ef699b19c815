"""Drawn pictures of which a part was changed, for the experiments on local changes.

Textures as cameras took them (**synthetic**); in every other picture a part has another camera's
history. And textures with a shape of another colour, to teach a small SAM what SAM is public for.
"""

import numpy as np
import torch
from torch import Tensor
from toy import as_masks, as_tensor

from telltale.data.synth.camera import draw_camera, photograph, to_linear
from telltale.data.synth.shapes import blob
from telltale.data.synth.textures import textures

SIZE = 64


def shapes(number: int, size: int = 16) -> dict[str, Tensor]:
    """A batch of textures with a shape of another colour, and masks."""
    rng = np.random.default_rng([9, number])
    pictures = textures(size, SIZE, rng)
    masks = np.stack([blob((SIZE, SIZE), rng) for _ in range(size)])
    shift = rng.uniform(-0.4, 0.4, (size, 3, 1, 1)) * masks[:, None]
    images = torch.from_numpy((pictures + shift).clip(0, 1).astype(np.float32))
    return {"images": images, "masks": as_masks(masks)}


def scene(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A photograph of a texture, every other one with a part from another camera, and a mask."""
    rng = np.random.default_rng([seed, number])
    drawn = (textures(2, SIZE, rng).transpose(0, 2, 3, 1) * 255).astype(np.uint8)
    own = draw_camera(rng)._replace(quality=95, read_noise=2.0, blur=0.4)
    other = draw_camera(rng)._replace(quality=60, read_noise=40.0, blur=1.2)
    host, donor = (
        photograph(to_linear(it), camera, rng)
        for it, camera in zip(drawn, (own, other), strict=True)
    )
    mask = blob((SIZE, SIZE), rng)
    if number % 2:
        return host, np.zeros_like(mask)
    return np.where(mask[..., None], donor, host), mask


def scenes(numbers: range, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, S, S) and masks (N, 1, S, S)."""
    pictures, masks = zip(*(scene(number, seed) for number in numbers), strict=True)
    return as_tensor(np.stack(pictures)), as_masks(np.stack(masks))

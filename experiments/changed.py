"""Drawn pictures of which a part was changed, for the experiments on local changes.

Textures as cameras took them (**synthetic**); in every other picture a part has another camera's
history. And a small SAM that learnt to cut shapes of another colour out of textures, in boxes and
without: what SAM is public for. Its encoder starts as four blocks of the real DINOv2 ViT-S/14.
"""

import time
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy import CACHE, as_masks, as_tensor, learn

from telltale.data.synth.camera import draw_camera, photograph, to_linear
from telltale.data.synth.shapes import blob
from telltale.data.synth.textures import textures
from telltale.nn.backbones import backbone
from telltale.nn.contract import Losses
from telltale.nn.regions import box_of, jittered
from telltale.nn.sam import Sam, sam, start_from

SIZE, STEPS = 112, 1000


class Cutting(nn.Module):
    """A SAM that learns which pixels a drawn shape has: every other picture's in its box."""

    def __init__(self, network: Sam) -> None:
        super().__init__()
        self.sam = network

    def loss(self, images: Tensor, masks: Tensor) -> Losses:
        embedding = self.sam.encode(images)[0]
        boxes = jittered(box_of(masks), 0.1, SIZE)
        logits = torch.cat(
            [self.sam.decode(embedding[::2], boxes[::2]), self.sam.decode(embedding[1::2])]
        )
        target = torch.cat([masks[::2], masks[1::2]])
        target = F.interpolate(target, logits.shape[-2:], mode="nearest")
        return {"bce": F.binary_cross_entropy_with_logits(logits, target)}


def public_sam(dinov2: Path) -> Sam:
    """A fresh copy of the small SAM; taught once, kept in the cache.

    Args:
        dinov2: Weights of ViT-S/14 under timm's names, safetensors.
    """
    from safetensors.torch import load_file, save_file

    network = sam("sam_small", size=SIZE)
    kept = CACHE / f"public_sam-{SIZE}-{STEPS}.safetensors"
    if not kept.exists():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = sam("sam_small", size=SIZE)
            start_from(network, backbone("dinov2_small", dinov2, size=SIZE))  # type: ignore[arg-type]
            cutting = Cutting(network)
            slow = {n: 1e-4 for n, _ in cutting.named_parameters() if "vision_encoder.layers" in n}
            losses = learn(cutting, (shapes(k) for k in count()), STEPS, 1e-3, slow)
        print("public SAM:", losses, flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{time.time_ns()}.part")
        save_file(network.state_dict(), part)
        part.replace(kept)
    network.load_state_dict(load_file(kept))
    return network.eval()


def shapes(number: int, size: int = 12) -> dict[str, Tensor]:
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

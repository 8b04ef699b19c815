"""A trunk with a linear head for each of K tasks, and the crops that it learns from.

It is what the owner of pictures protects them against: the surrogate, and whatever somebody trains.

Source: the multi-task network of Yu et al., "MTL-UE: Learning to Learn Nothing for Multi-Task
Learning", ICML 2025, arXiv:2505.05279.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.contract import Losses

CROP = 64 / 70  # of the side
HIDDEN = 256


class MultiTask(nn.Module):
    """A trunk, its mean over places, and a linear head a task: one logit for two classes."""

    def __init__(self, trunk: nn.Module, classes: Sequence[int]) -> None:
        super().__init__()
        self.trunk = trunk
        self.classes = tuple(classes)
        self.embed = nn.Sequential(nn.Linear(int(getattr(trunk, "width", 0)), HIDDEN), nn.ELU())
        self.heads = nn.ModuleList(nn.Linear(HIDDEN, 1 if k == 2 else k) for k in classes)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Each task's logits (B, C_k), or (B, 1) for two classes."""
        seen = self.embed(self.trunk(images).mean((2, 3)))
        return [head(seen) for head in self.heads]

    def loss(self, images: Tensor, attributes: Tensor) -> Losses:
        """To train it on crops of pictures as they are."""
        return {"tasks": self.error(augmented(images), attributes)}

    def error(self, images: Tensor, attributes: Tensor) -> Tensor:
        """Mean over tasks of the cross entropy."""
        return torch.stack(self.errors(images, attributes)).mean()

    def errors(self, images: Tensor, attributes: Tensor) -> list[Tensor]:
        """Cross entropy of each task."""
        return [
            F.binary_cross_entropy_with_logits(logits[:, 0], truth.to(logits.dtype))
            if logits.shape[1] == 1
            else F.cross_entropy(logits, truth)
            for logits, truth in zip(self(images), attributes.T, strict=True)
        ]

    def accuracy(self, images: Tensor, attributes: Tensor) -> Tensor:
        """Share of right answers of each task (K,), on the middle of pictures (B, 3, S, S)."""
        return self.right(images, attributes).double().mean(0)

    @torch.no_grad()
    def right(self, images: Tensor, attributes: Tensor) -> Tensor:
        """Which answers (B, K) are right, on the middle of pictures (B, 3, S, S)."""
        whole = images.shape[-1]
        side = round(CROP * whole)
        cut = slice((whole - side) // 2, (whole - side) // 2 + side)
        found = [
            (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
            for logits in self(images[..., cut, cut])
        ]
        return torch.stack(found, 1) == attributes


def augmented(images: Tensor) -> Tensor:
    """Each picture's own crop of 64/70 of its side, mirrored half of the time."""
    count, _, whole, _ = images.shape
    side = round(CROP * whole)
    start = torch.randint(whole - side + 1, (2, count, 1), device=images.device)
    rows, columns = start + torch.arange(side, device=images.device)
    flip = torch.rand(count, 1, device=images.device) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    item = torch.arange(count, device=images.device)[:, None, None]
    return images.movedim(1, 3)[item, rows[:, :, None], columns[:, None]].movedim(3, 1)

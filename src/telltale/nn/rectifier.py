"""Evidence of boxes in forensic maps: what lies in a box against what lies round it.

A reconstruction; see :mod:`telltale.pictures.propose_rectify`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.filters import SCALES
from telltale.nn.regions import places, sampled

RING = 1.5  # side of the ring's outer box, in sides of the box
POINTS = 7  # samples along a side of a box


class Rectifier(nn.Module):
    """Evidence of boxes: whether to keep them, and where they should move."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.evidence = nn.Sequential(
            nn.Linear(5 * len(SCALES) * channels, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.accept = nn.Linear(hidden, 1)
        self.shift = nn.Linear(hidden, 4)
        self.peak = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, 1, 1)
        )

    def forward(self, maps: list[Tensor], boxes: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Logits a (B, K) and shifts t (B, K, 4) of boxes (B, K, 4) in pixels of ``size``."""
        token = self.evidence(contrast(maps, boxes / size))
        return self.accept(token).squeeze(-1), self.shift(token)

    def dense(self, maps: list[Tensor]) -> Tensor:
        """Log-odds of change at stride 8, (B, 1, S/8, S/8)."""
        wide = F.interpolate(maps[2], maps[1].shape[-2:], mode="bilinear", align_corners=False)
        found: Tensor = self.peak(torch.cat([maps[1], wide], 1))
        return found


def contrast(maps: list[Tensor], boxes: Tensor) -> Tensor:
    """Mean and deviation of maps (B, C, h, w) in boxes and in their rings, (B, K, 5C·scales).

    Boxes (B, K, 4) are in sides of the picture; the ring is what the box, 1.5 times as large, adds.
    """
    x, y = (boxes[..., 0] + boxes[..., 2]) / 2, (boxes[..., 1] + boxes[..., 3]) / 2
    half = RING / 2 * (boxes[..., 2:] - boxes[..., :2])
    low, high = torch.stack([x, y], -1) - half, torch.stack([x, y], -1) + half
    line = (torch.arange(POINTS + 2, device=boxes.device) + 0.5) / (POINTS + 2) - 0.5
    inside = line.abs() < 0.5 / RING
    ring = ~(inside[:, None] & inside[None]).flatten()
    inner = places(boxes, POINTS)
    outer = places(torch.cat([low, high], -1), POINTS + 2)[:, :, ring]
    parts = []
    for each in maps:
        box, around = sampled(each, inner), sampled(each, outer)  # (B, C, K, P)
        middle, beside = box.mean(-1), around.mean(-1)
        parts += [middle, box.std(-1), beside, around.std(-1), middle - beside]
    return torch.cat(parts, 1).transpose(1, 2)

"""Boxes in tensors: overlap, moves, samples of maps in them.

Moves are Faster R-CNN's: t = ((x' - x)/w, (y' - y)/h, log w'/w, log h'/h) of centres and sides.

Source: Ren et al., "Faster R-CNN", NeurIPS 2015, arXiv:1506.01497, eq. 2.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 4.0  # pixels of a box's side
FARTHEST = 1.0  # of a move's components: a box and its e-fold


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes (…, 4), pairwise along the leading axes."""
    low, high = (
        torch.maximum(one[..., :2], other[..., :2]),
        torch.minimum(one[..., 2:], other[..., 2:]),
    )
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (one, other)]
    return both / (areas[0] + areas[1] - both).clamp(min=1e-6)


def box_of(masks: Tensor) -> Tensor:
    """The box (B, 4) round what is set in masks (B, 1, H, W); the whole picture if nothing is."""
    found = masks[:, 0] > 0.5
    height, width = found.shape[-2:]
    edges = []
    for axis, size in ((1, width), (2, height)):
        hit = found.any(axis)  # columns, then rows
        places = torch.arange(size, device=masks.device)
        edges.append(torch.where(hit, places, size).amin(1))
        edges.append(torch.where(hit, places + 1, 0).amax(1))
    left, right, top, bottom = edges
    boxes = torch.stack([left, top, right, bottom], 1).to(masks.dtype)
    whole = boxes.new_tensor([0, 0, width, height])
    return torch.where(found.flatten(1).any(1)[:, None], boxes, whole)


def shift(boxes: Tensor, wanted: Tensor) -> Tensor:
    """The move (…, 4) from boxes to the wanted ones."""
    (x, y, w, h), (u, v, a, b) = _middles(boxes), _middles(wanted)
    return torch.stack([(u - x) / w, (v - y) / h, (a / w).log(), (b / h).log()], -1)


def moved(boxes: Tensor, move: Tensor, size: int) -> Tensor:
    """Boxes (…, 4) after a move, cut at the picture's sides, never empty."""
    x, y, w, h = _middles(boxes)
    by = move.clamp(-FARTHEST, FARTHEST)
    x, y = x + by[..., 0] * w, y + by[..., 1] * h
    w, h = w * by[..., 2].exp(), h * by[..., 3].exp()
    return _cut(torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1), size)


def jittered(boxes: Tensor, by: float, size: int) -> Tensor:
    """Boxes (…, 4), each side moved by up to ``by`` of the box's length, uniformly."""
    _, _, w, h = _middles(boxes)
    draw = by * (2 * torch.rand_like(boxes) - 1)
    return _cut(boxes + draw * torch.stack([w, h, w, h], -1), size)


def random_boxes(count: int, each: int, size: int, like: Tensor) -> Tensor:
    """Boxes (count, each, 4) anywhere, their sides a tenth to half of the picture's."""
    sides = size * (0.1 + 0.4 * torch.rand(count, each, 2, dtype=like.dtype, device=like.device))
    low = (size - sides) * torch.rand_like(sides)
    return torch.cat([low, low + sides], -1)


def centred(x: Tensor, y: Tensor, side: float, size: int) -> Tensor:
    """Squares (…, 4) of a side round places, cut at the picture's sides."""
    half = side / 2
    return _cut(torch.stack([x - half, y - half, x + half, y + half], -1), size)


def places(boxes: Tensor, points: int) -> Tensor:
    """Where points × points samples of boxes (B, K, 4) lie, as ``grid_sample`` wants it.

    Boxes are in sides of the picture; (B, K, points², 2), from -1 to 1.
    """
    line = (torch.arange(points, dtype=boxes.dtype, device=boxes.device) + 0.5) / points
    x = boxes[..., :1] + line * (boxes[..., 2:3] - boxes[..., :1])  # (B, K, P)
    y = boxes[..., 1:2] + line * (boxes[..., 3:] - boxes[..., 1:2])
    across = x[:, :, None, :].expand(-1, -1, points, -1)
    down = y[:, :, :, None].expand(-1, -1, -1, points)
    return 2 * torch.stack([across, down], -1).flatten(2, 3) - 1


def sampled(maps: Tensor, grid: Tensor) -> Tensor:
    """Maps (B, C, h, w) at :func:`places`, (B, C, K, P²); outside it is the nearest border."""
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def _middles(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    left, top, right, bottom = boxes.unbind(-1)
    w, h = (right - left).clamp(min=1e-3), (bottom - top).clamp(min=1e-3)
    return (left + right) / 2, (top + bottom) / 2, w, h


def _cut(boxes: Tensor, size: int) -> Tensor:
    low = boxes[..., :2].clamp(0.0, float(size) - LEAST)
    high = torch.maximum(boxes[..., 2:].clamp(max=float(size)), low + LEAST)
    return torch.cat([low, high], -1)

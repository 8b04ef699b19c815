"""Spans of time, (…, 2) start and end in any unit: overlap, suppression, all windows of a grid."""

import torch
from torch import Tensor


def span_iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of spans (…, 2) and (…, 2) that broadcast; 0 for two points."""
    start, end = (
        torch.maximum(one[..., 0], other[..., 0]),
        torch.minimum(one[..., 1], other[..., 1]),
    )
    shared = (end - start).clamp(min=0)
    either = (one[..., 1] - one[..., 0]) + (other[..., 1] - other[..., 0]) - shared
    return torch.where(either > 0, shared / either.clamp(min=1e-12), 0.0)


def suppressed(spans: Tensor, scores: Tensor, overlap: float, most: int | None = None) -> Tensor:
    """Rows of spans (A, 2) that stay, best score first: those that overlap a better one go.

    Args:
        spans: Start and end.
        scores: (A,).
        overlap: IoU above which the lower score goes; 0 leaves disjoint spans only.
        most: Rows to keep; None is all.

    Raises:
        ValueError: If the overlap is not in [0, 1].
    """
    if not 0 <= overlap <= 1:
        raise ValueError(f"want an overlap in [0, 1], got {overlap}")
    left = scores.argsort(descending=True, stable=True)
    kept: list[Tensor] = []
    while len(left) and (most is None or len(kept) < most):
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[span_iou(spans[left], spans[best]) <= overlap]
    return torch.stack(kept) if kept else left


def all_windows(clips: int) -> Tensor:
    """Every window of a grid of T clips, (T (T + 1) / 2, 2), as floats: 0 ≤ start < end ≤ T."""
    starts, ends = torch.triu_indices(clips + 1, clips + 1, offset=1)
    return torch.stack([starts, ends], -1).float()

"""How well boxes follow a target: overlap, success rates and the area under their curve.

Boxes are (…, 4) of x, y, w, h. Source: Wu et al., "Object Tracking Benchmark", IEEE TPAMI 2015
(success, 21 thresholds); Huang et al., "GOT-10k", IEEE TPAMI 2021, arXiv:1810.11981 (AO, SR).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
THRESHOLDS = np.linspace(0, 1, 21)


def overlap(boxes: ArrayLike, others: ArrayLike) -> Floats:
    """Intersection over union of boxes with the others at the same place, (…); 0 if both are empty.

    Raises:
        ValueError: If shapes differ or the last axis is not 4.
    """
    a, b = np.asarray(boxes, np.float64), np.asarray(others, np.float64)
    if a.shape != b.shape or not a.ndim or a.shape[-1] != 4:
        raise ValueError(f"want two arrays (…, 4), got {a.shape} and {b.shape}")
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    both = (high - low).clip(0).prod(-1)
    either = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both
    found: Floats = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return found


def average_overlap(overlaps: ArrayLike) -> float:
    """AO: the mean over frames, then over videos (N, T)."""
    return float(np.asarray(overlaps, np.float64).mean())


def success_rate(overlaps: ArrayLike, threshold: float = 0.5) -> float:
    """SR: the share of frames whose overlap is above the threshold."""
    return float((np.asarray(overlaps, np.float64) > threshold).mean())


def success_auc(overlaps: ArrayLike) -> float:
    """The mean success rate over 21 thresholds from 0 to 1."""
    return float(np.mean([success_rate(overlaps, threshold) for threshold in THRESHOLDS]))

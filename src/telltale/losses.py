"""Losses that two or more methods share, as functions of features and labels."""

import torch
import torch.nn.functional as F
from torch import Tensor


def want_labels(labels: Tensor, count: int) -> Tensor:
    """Return ``labels`` if they are whole numbers (B,) with B = ``count``.

    Raises:
        ValueError: That says what is wanted and what was given.
    """
    if labels.shape != (count,) or labels.dtype != torch.int64:
        shape = tuple(labels.shape)
        raise ValueError(f"want int64 labels ({count},), got {labels.dtype} {shape}")
    return labels


def single_center(features: Tensor, labels: Tensor, center: Tensor, margin: float) -> Tensor:
    """Single-centre loss: M_real + max(M_real - M_fake + m·√C, 0), M the mean distance to a centre.

    Args:
        features: (B, C).
        labels: (B,), 0 real and 1 fake. A class missing from the batch counts as distance 0.
        center: (C,), learnt.
        margin: m, in units of √C.

    Source: Li et al., "Frequency-aware Discriminative Feature Learning Supervised by Single-Center
    Loss for Face Forgery Detection", CVPR 2021, eq. 2-4.
    """
    offset = features.to(center.dtype) - center  # half precision would lose small distances
    distance = (offset.square().sum(-1) + 1e-12).sqrt()  # √0 has no finite slope
    fake = labels.to(distance.dtype)  # (B,)
    m_fake = distance @ fake / fake.sum().clamp(min=1)
    m_real = distance @ (1 - fake) / (1 - fake).sum().clamp(min=1)
    return m_real + F.relu(m_real - m_fake + margin * center.numel() ** 0.5)

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


def want_maps(maps: Tensor, images: Tensor, name: str = "masks") -> Tensor:
    """Return ``maps`` if they are float (B, 1, H, W) in [0, 1], B, H and W those of ``images``.

    Raises:
        ValueError: That calls them ``name``, and says what is wanted and what was given.
    """
    want = (len(images), 1, *images.shape[-2:])
    if maps.shape != want or not maps.is_floating_point():
        raise ValueError(f"want float {name} {want}, got {maps.dtype} {tuple(maps.shape)}")
    if not 0 <= float(maps.min()) <= float(maps.max()) <= 1:
        low, high = float(maps.min()), float(maps.max())
        raise ValueError(f"want {name} in [0, 1], got {low:g} to {high:g}")
    return maps


def dice(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice loss of each picture's map, 1 - (2 Σ pm + 1) / (Σ p + Σ m + 1) with p = σ(logit).

    Args:
        logits: (B, 1, H, W) in nats.
        masks: (B, 1, H, W) in [0, 1].

    Returns:
        (B,) in [0, 1), finite where map and mask are empty.

    Source: Milletari et al., "V-Net", 3DV 2016, arXiv:1606.04797, smoothed by 1.
    """
    found = logits.sigmoid()
    both, each = (found * masks).sum((1, 2, 3)), (found + masks).sum((1, 2, 3))
    return 1 - (2 * both + 1) / (each + 1)


def balanced_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross entropy of cells against their forged shares; forged and genuine weigh the same.

    The mean over all that is forged and the mean over all that is not count half each, however
    small the forgeries are.

    Args:
        logits: Any shape, in nats.
        shares: The same shape, in [0, 1].
    """
    errors = F.binary_cross_entropy_with_logits(logits, shares, reduction="none")
    inside, outside = shares, 1 - shares
    forged = (errors * inside).sum() / inside.sum().clamp(min=1)
    return 0.5 * (forged + (errors * outside).sum() / outside.sum().clamp(min=1))


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
    # sums and no products of vectors: autocast would round the latter to half precision
    m_fake = (distance * fake).sum() / fake.sum().clamp(min=1)
    m_real = (distance * (1 - fake)).sum() / (1 - fake).sum().clamp(min=1)
    return m_real + F.relu(m_real - m_fake + margin * center.numel() ** 0.5)


def matched(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Real and fake rows of a batch of pairs: the i-th real face and the i-th fake belong together.

    Args:
        features: (B, …).
        labels: (B,), 0 real and 1 fake, as many of each, in any order.

    Returns:
        Both (B / 2, …).

    Raises:
        ValueError: If there are not as many fakes as real faces.
    """
    real, fake = features[labels == 0], features[labels == 1]
    if len(real) != len(fake):
        raise ValueError(f"want as many fakes as real faces, got {len(fake)} and {len(real)}")
    return real, fake


def circle(alike: Tensor, unlike: Tensor, *, margin: float = 0.25, scale: float = 24.0) -> Tensor:
    """Circle loss of matched similarities: mean of softplus(-γ[α_p(s_p - 1 + m) - α_n(s_n - m)]).

    α_p = max(1 + m - s_p, 0) and α_n = max(s_n + m, 0) carry gradients, unlike in the original: for
    s_n ≥ -m this is softplus(γ[(1 - s_p)² + s_n² - 2m²]).

    Args:
        alike: s_p, (P,), cosines that should be 1.
        unlike: s_n, (P,), cosines that should be 0.
        margin: m.
        scale: γ.

    Source: Sun et al., "Circle Loss", CVPR 2020, arXiv:2002.10857, eq. 6, with optima 1 and 0.
    """
    pull = F.relu(1 + margin - alike) * (alike - (1 - margin))
    push = F.relu(unlike + margin) * (unlike - margin)
    return F.softplus(-scale * (pull - push)).mean()


def gram(maps: Tensor) -> Tensor:
    """Gram matrices Z Zᵀ / (C·N) of maps (B, C, …): (B, C, C), N the number of their places.

    Source: Gatys et al., "Image Style Transfer Using Convolutional Neural Networks", CVPR 2016.
    """
    flat = maps.flatten(2).float()
    return flat @ flat.mT / (flat.shape[1] * flat.shape[2])


def style_distance(maps: Tensor, domains: Tensor, *, squared: bool = True) -> Tensor:
    """Mean distance of the Gram matrices of two domains' samples, over all pairs of domains.

    The i-th sample of one domain meets the i-th of the other; those left over meet nobody.

    Args:
        maps: (B, C, …).
        domains: (B,) int64.
        squared: Squared Frobenius norm of a pair of samples, averaged; else the norm of all
            differences of two domains together, not squared.

    Returns:
        A scalar, 0 with a single domain.

    Source: Cai et al., "S-Adapter", IEEE TIFS 2024, arXiv:2309.04038: token style regularisation.
    """
    found = [gram(maps[domains == domain]) for domain in torch.unique(domains)]
    distances = []
    for number, one in enumerate(found):
        for other in found[number + 1 :]:
            count = min(len(one), len(other))
            apart = (one[:count] - other[:count]).square().sum((1, 2))
            # √0 has no finite slope
            distances.append(apart.mean() if squared else (apart.sum() + 1e-12).sqrt())
    return torch.stack(distances).mean() if distances else maps.sum() * 0.0


def tet(outputs: Tensor, labels: Tensor, *, weight: float = 1e-3, level: float = 1.0) -> Tensor:
    """Temporal efficient training, (1 - λ) mean_t CE(o_t, y) + λ mean (o - φ)².

    Args:
        outputs: (T, B, K), a spiking network's at each step, in nats.
        labels: (B,) class numbers.
        weight: λ.
        level: φ, the neurons' threshold.

    Returns:
        A scalar; with λ = 0 never below the cross-entropy of the mean over time.

    Source: Deng et al., ICLR 2022, arXiv:2202.11946.
    """
    want_labels(labels, outputs.shape[1])
    steps = len(outputs)
    entropy = F.cross_entropy(outputs.flatten(0, 1), labels.repeat(steps))
    return (1 - weight) * entropy + weight * (outputs - level).square().mean()

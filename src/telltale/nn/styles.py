"""Feature statistics as style: what two pictures of one kind share beside their content.

    F' = γ (F - μ) / σ + η        γ = δσ + (1 - δ)σ~,  η = δμ + (1 - δ)μ~

μ, σ are a sample's own mean and deviation over its tokens, μ~, σ~ another's; δ says how much of
its own a sample keeps. Statistics carry no gradient.

Source: Zhou et al., "Domain Generalization with MixStyle", ICLR 2021, arXiv:2104.02008, eq. 4-6.
"""

import torch
from torch import Tensor

EPS = 1e-6


def style(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation over the second dimension, kept: of (B, N, C) both (B, 1, C).

    Of features (B, C) both are (B, 1): one pair of numbers a sample.
    """
    mean = features.mean(1, keepdim=True)
    deviation = (features.var(1, keepdim=True) + EPS).sqrt()
    return mean.detach(), deviation.detach()


def mix_styles(features: Tensor, partners: Tensor, share: Tensor) -> Tensor:
    """Features (B, …) with a share of another sample's style.

    Args:
        features: (B, N, C) tokens or (B, C).
        partners: (B,) int64, row of whom each takes style from; its own row changes nothing.
        share: δ, (B,) in [0, 1]: 1 keeps the own style, 0 takes the partner's.
    """
    mean, deviation = style(features)
    keep = share.view(-1, *[1] * (features.ndim - 1)).to(features.dtype)
    gain = keep * deviation + (1 - keep) * deviation[partners]
    offset = keep * mean + (1 - keep) * mean[partners]
    return gain * (features - mean) / deviation + offset


def other_domain(domains: Tensor) -> Tensor:
    """For each sample (B,) the row of a random one of another domain; its own if there is none.

    The domains, in order, are shifted by one place, forwards or backwards by the toss of a coin,
    and permuted within: in domains of equal size everyone is somebody's partner exactly once.
    """
    found = torch.unique(domains)
    partners = torch.arange(len(domains), device=domains.device)
    if len(found) < 2:
        return partners
    step = 1 if torch.rand(()) < 0.5 else -1
    rows = [torch.nonzero(domains == domain).flatten() for domain in found]
    for number, own in enumerate(rows):
        others = rows[(number + step) % len(rows)]
        mixed = others[torch.randperm(len(others), device=others.device)]
        partners[own] = mixed[torch.arange(len(own), device=own.device) % len(mixed)]
    return partners

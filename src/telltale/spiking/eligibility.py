"""Eligibility of synapses over time, the idea behind SpikeNM's credits.

With the signal ∂L/∂s_i taken through the whole network and all of time, a synapse's credit is the
gradient of its weight, which is what SpikeNM uses. These are the local parts of it.

Source: Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking
neurons", Nature Communications 2020.
"""

import torch
from torch import Tensor


def eligibility(spikes: Tensor, slopes: Tensor, keep: float) -> Tensor:
    """e_ij(t) = λ e_ij(t-1) + ψ_i(t) s_j(t): what a synapse j → i may be thanked for.

    Args:
        spikes: s (T, B, J) before the synapse.
        slopes: ψ (T, B, I), the surrogate's derivative behind it.
        keep: λ, what the membrane keeps of its potential in a step.

    Returns:
        (T, B, I, J).
    """
    trace = spikes.new_zeros(*slopes.shape[1:], spikes.shape[-1])
    found = []
    for before, behind in zip(spikes, slopes, strict=True):
        trace = keep * trace + behind[..., None] * before[..., None, :]
        found.append(trace)
    return torch.stack(found)


def credit_of(signals: Tensor, traces: Tensor) -> Tensor:
    """e-prop's credit |Σ_t Σ_b L_i(t) e_ij(t)| (I, J) of signals (T, B, I) and traces."""
    return torch.einsum("tbi,tbij->ij", signals, traces).abs()

"""What a synapse may be thanked for: eligibility traces, and credits made of them.

    e_ij(t) = λ e_ij(t-1) + ψ_i(t) s_j(t)              trace of the synapse from j to i
    c_ij = |Σ_t Σ_b L_i(t) e_ij(t)|                    "eprop", L_i = ∂L/∂s_i through space only
    c_ij = |Σ_t Σ_b ψ_i(t) s̄_j(t)|                     "local", s̄_j(t) = λ s̄_j(t-1) + s_j(t)

Neither goes back through time. Both sums are those of a gradient: Σ_t L(t) e(t) = Σ_t s(t) ψ(t)
A(t) with A(t) = L(t) + λ A(t+1), so that no trace of a size of weights times steps is kept.

Source: Bellec et al., "A solution to the learning dilemma for recurrent networks of spiking
neurons", Nature Communications 2020.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from telltale.nn.snn import is_neuron, reset

Call = Callable[[], Tensor]


def eligibility(spikes: Tensor, slopes: Tensor, keep: float) -> Tensor:
    """e_ij(t), all of it: for a look at single synapses.

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


def spatial_credits(
    network: nn.Module, layers: Sequence[nn.Module], task: Call, *, signals: bool
) -> list[Tensor]:
    """The credit of every weight of some layers, by a pass of its own without time.

    Batch normalisation and the neurons are left as they were found, and no ``.grad`` is touched.

    Args:
        network: Of SpikingJelly's neurons in multi-step mode, one behind each layer.
        layers: Convolutions or linear layers; within ``parametrize.cached()``, so that a mask is
            drawn once.
        task: Runs the network on a batch and returns the loss.
        signals: "eprop", with the task's learning signals; else "local", without.

    Returns:
        Each in its weight's shape, 0 or more.

    Raises:
        ValueError: If a neuron works step by step, none follows a layer, or, for local credits,
            its input has another size than the layer's output.
    """
    with _Pass(network, layers) as seen:
        loss = task()
    outs = [firing.out for firing in seen.firings]
    told: Sequence[Tensor | None] = [firing.slope for firing in seen.firings]
    if signals:
        told = torch.autograd.grad(loss, outs, retain_graph=True, allow_unused=True)
    found = []
    for layer in layers:
        if layer not in seen.given:
            raise ValueError(f"want a spiking neuron behind each layer, got none behind {layer}")
        out, place = seen.given[layer]
        firing, signal = seen.firings[place], told[place]
        weight: Tensor = layer.weight  # type: ignore[assignment]
        if signal is None:  # nothing of the loss hangs on it
            found.append(torch.zeros_like(weight))
            continue
        earned = discounted(signal, firing.keep)
        if signals:
            paths, told_there = firing.given, firing.slope * earned
        elif out.numel() == earned.numel():  # straight to the synapse: no normalisation between
            paths, told_there = out, earned.reshape(out.shape)
        else:
            raise ValueError(f"local credits want no pooling between {layer} and its neuron")
        (credit,) = torch.autograd.grad(paths, weight, told_there, retain_graph=True)
        found.append(credit.detach().abs())
    return found


def discounted(signal: Tensor, keep: float) -> Tensor:
    """A(t) = L(t) + λ A(t+1) of a signal (T, …)."""
    found = [signal[-1]]
    for now in signal[:-1].flip(0):
        found.append(now + keep * found[-1])
    return torch.stack(found[::-1])


@torch.enable_grad()
def slopes(neuron: nn.Module, given: Tensor) -> Tensor:
    """ψ (T, B, …): how a neuron's spike at t hangs on its input at t, its potential as it was.

    Args:
        neuron: One of SpikingJelly's in multi-step mode; it is reset.
        given: Its input of all steps.
    """
    node: Any = neuron
    if node.step_mode != "m":
        raise ValueError("want neurons in multi-step mode: step_mode='m'")
    kept, node.store_v_seq = node.store_v_seq, False
    node.reset()
    found = []
    for now in given.detach():
        now.requires_grad_()
        spikes = node.single_step_forward(now)  # not a call: hooks are none of its business
        found.append(torch.autograd.grad(spikes.sum(), now)[0])
        node.detach()
    node.store_v_seq = kept
    node.reset()
    return torch.stack(found)


def kept_by(neuron: nn.Module) -> float:
    """λ: the share of its potential that a membrane keeps in a step; 1 where nothing leaks."""
    node: Any = neuron
    if hasattr(node, "tau"):
        return 1 - 1 / float(node.tau)
    if isinstance(getattr(node, "w", None), nn.Parameter):  # parametric: 1 / τ = σ(w)
        return 1 - float(node.w.detach().sigmoid())
    return 1.0


# ── a pass without time ──────────────────────────────────────────────────────────────────────────


class _Firing(NamedTuple):
    given: Tensor
    out: Tensor
    slope: Tensor
    keep: float


class _Pass:
    """Within it neurons pass gradients by ψ alone, and what they and the layers saw is kept."""

    def __init__(self, network: nn.Module, layers: Sequence[nn.Module]) -> None:
        self.network = network
        self.firings: list[_Firing] = []
        self.given: dict[nn.Module, tuple[Tensor, int]] = {}  # output, number of the neuron behind
        self.waiting: dict[nn.Module, Tensor] = {}
        self.handles: list[Any] = []
        self.momenta: list[tuple[Any, float | None]] = []
        self.layers = layers

    def __enter__(self) -> "_Pass":
        reset(self.network)
        for module in self.network.modules():
            if is_neuron(module):
                self.handles.append(module.register_forward_hook(self._fired))
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                self.momenta.append((module, module.momentum))
                module.momentum = 0.0  # a second look at the batch is no second batch
        for layer in self.layers:
            self.handles.append(layer.register_forward_hook(self._gave))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()
        for norm, momentum in self.momenta:
            norm.momentum = momentum
        reset(self.network)

    def _gave(self, layer: nn.Module, _: object, out: Tensor) -> None:
        self.waiting[layer] = out

    def _fired(self, node: nn.Module, given: tuple[Tensor, ...], spikes: Tensor) -> Tensor:
        slope = slopes(node, given[0])
        path = given[0] * slope  # backward ψ and nothing of time; forward nothing
        out: Tensor = spikes.detach() + (path - path.detach())
        for layer, value in self.waiting.items():
            self.given[layer] = value, len(self.firings)
        self.waiting.clear()
        self.firings.append(_Firing(given[0], out, slope, kept_by(node)))
        return out

"""Small spiking networks on SpikingJelly's neurons, and what is read off any spiking network.

    u_t = τ u_{t-1} (1 - s_{t-1}) + I_t        s_t = Θ(u_t - 1)        τ = 0.5, hard reset to 0
    residual membrane potential  r_t = (1 - s_t) u_t

Convolutions and normalisation work on all steps at once (T · B rows), neurons step by step.
Networks of SpikingJelly's layers may stand in for these: a neuron is whatever can keep its
potentials in ``v_seq``.

Source: Deng et al., "Temporal Efficient Training of Spiking Neural Network via Gradient
Re-weighting", ICLR 2022, arXiv:2202.11946 (neuron, VGGSNN); Fang et al., "SpikingJelly", Science
Advances 2023, arXiv:2310.16620.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from telltale.nn.states import read_state


class Shape(NamedTuple):
    """Channels of each convolution, 0 for a 2 × 2 average pooling, and the hidden width."""

    layers: tuple[int, ...]
    hidden: int  # 0: none, the classifier follows the convolutions


SHAPES = {
    "snn_toy": Shape((16, 0, 32, 0), 64),
    "snn_small": Shape((32, 0, 64, 0, 64, 0), 128),
    "vggsnn": Shape((64, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0), 0),
}


def spiking(
    name: str, weights: Path | None = None, *, size: int = 16, classes: int = 10, channels: int = 2
) -> "SpikingNetwork":
    """A spiking network that starts at random, or with the weights of a file.

    Args:
        name: One of :data:`SHAPES`.
        weights: Safetensors of all its weights.
        size: Side of a frame in pixels.
        classes: K.
        channels: Of a frame; 2 are the polarities.

    Raises:
        ValueError: If a setting is out of range, or the file is of another network.
    """
    if name not in SHAPES:
        raise ValueError(f"no spiking network {name!r}; want one of {', '.join(SHAPES)}")
    made = SpikingNetwork(SHAPES[name], size=size, classes=classes, channels=channels)
    if weights is not None:
        state, own = read_state(Path(weights)), made.state_dict()
        if {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in own.items()}:
            raise ValueError(f"{weights}: not the weights of {name} for {classes} classes")
        made.load_state_dict(state)
    return made


class SpikingNetwork(nn.Module):
    """From events (B, T, C, H, W), counts, to the classifier's output of every step (T, B, K).

    Args:
        shape: Its layers.
        size: Side of a frame, halved by each pooling.
        classes: K, two or more.
        channels: C.
    """

    def __init__(self, shape: Shape, *, size: int, classes: int, channels: int = 2) -> None:
        super().__init__()
        side = size >> shape.layers.count(0)
        if side < 1 or classes < 2 or channels < 1:
            raise ValueError(
                f"want frames of {1 << shape.layers.count(0)} pixels or more, 2 classes or more "
                f"and a channel; got {size}, {classes} and {channels}"
            )
        self.size, self.classes, self.channels = size, classes, channels
        layers: list[nn.Module] = []
        width = channels
        for wide in shape.layers:
            if wide:
                convolution = nn.Conv2d(width, wide, 3, padding=1, bias=False)
                layers += [convolution, nn.BatchNorm2d(wide), neuron()]
                width = wide
            else:
                layers.append(nn.AvgPool2d(2))
        layers.append(nn.Flatten())
        width *= side * side
        if shape.hidden:
            layers += [nn.Linear(width, shape.hidden), neuron()]
            width = shape.hidden
        self.layers = nn.ModuleList(layers)
        self.classifier = nn.Linear(width, classes)

    def forward(self, events: Tensor) -> Tensor:
        """The classifier's output (T, B, K), in nats."""
        want_events(events, self.channels, self.size)
        batch, steps = events.shape[:2]
        values = events.float().transpose(0, 1).flatten(0, 1)
        # On a CPU the gradient of the few input channels takes three times as long otherwise.
        values = values.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            if is_neuron(layer):
                values = layer(values.unflatten(0, (steps, batch))).flatten(0, 1)
            else:
                values = layer(values)
        reset(self)
        found: Tensor = self.classifier(values).unflatten(0, (steps, batch))
        return found


def neuron() -> nn.Module:
    """SpikingJelly's LIF neuron in the form above, over (T, B, …), with the ATan surrogate."""
    from spikingjelly.activation_based.neuron import LIFNode
    from spikingjelly.activation_based.surrogate import ATan

    made: nn.Module = LIFNode(
        tau=2.0,  # the potential keeps 1 - 1/2 of itself
        decay_input=False,
        v_threshold=1.0,
        v_reset=0.0,
        surrogate_function=ATan(),
        step_mode="m",
        store_v_seq=False,
    )
    return made


def is_neuron(module: nn.Module) -> bool:
    """Whether a module is a spiking neuron that can keep its potentials."""
    return hasattr(module, "store_v_seq")


def reset(network: nn.Module) -> None:
    """Let every neuron forget what it saw: samples are independent of each other."""
    for module in network.modules():
        if is_neuron(module):
            module.reset()  # type: ignore[operator]  # SpikingJelly's


def want_events(events: Tensor, channels: int, size: int) -> Tensor:
    """Return ``events`` if they are (B, T, C, S, S) counts.

    Raises:
        ValueError: That says what is wanted and what was given.
    """
    shape = tuple(events.shape)
    if events.ndim != 5 or shape[2:] != (channels, size, size) or not shape[1]:
        raise ValueError(
            f"want events (B, T, {channels}, {size}, {size}), got {events.dtype} {shape}"
        )
    return events


@contextmanager
def potentials(network: nn.Module, place: int = -1) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Within it, each forward pass appends a neuron's spikes and residual potentials (T, B, …).

    Args:
        network: Of SpikingJelly's neurons in multi-step mode.
        place: Which neuron, in the order of the modules; the last by default.

    Raises:
        ValueError: If the network has no such neuron.
    """
    nodes = [module for module in network.modules() if is_neuron(module)]
    if not -len(nodes) <= place < len(nodes):
        raise ValueError(f"want one of the network's {len(nodes)} spiking neurons, got {place}")
    node: Any = nodes[place]
    found: list[tuple[Tensor, Tensor]] = []
    kept = node.store_v_seq
    node.store_v_seq = True

    def seen(_: nn.Module, __: object, spikes: Tensor) -> None:
        found.append((spikes, node.v_seq))

    handle = node.register_forward_hook(seen)
    try:
        yield found
    finally:
        handle.remove()
        node.store_v_seq = kept


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Estimate batch normalisation's means and variances anew, e.g. after masks have settled."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    network.train()
    for events in batches:
        network(events)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


class Work(NamedTuple):
    """What one sample costs, by layer: operations of a dense layer and those that spikes cause."""

    macs: dict[str, float]  # multiply-accumulates of all steps, dense
    sops: dict[str, float]  # accumulates: non-zero inputs times the weights that they meet
    kept: dict[str, float]  # share of weights that are not zero


@torch.no_grad()
def work(network: nn.Module, events: Tensor) -> Work:
    """Count the operations of a network's convolutions and linear layers, a sample on average.

    A synaptic operation is a non-zero input that meets a non-zero weight. Inputs at the border of a
    padded convolution meet fewer; here as in the field each meets its full fan-out.

    Args:
        network: In evaluation mode.
        events: (B, T, C, H, W).
    """
    found = Work({}, {}, {})

    def watch(name: str, layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        kept = float((weight != 0).double().mean())
        macs = out.numel() * weight[0].numel() / len(events)
        rate = float((given[0] != 0).double().mean())
        found.macs[name] = found.macs.get(name, 0.0) + macs
        found.sops[name] = found.sops.get(name, 0.0) + macs * rate * kept
        found.kept[name] = kept

    handles = []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            handles.append(
                layer.register_forward_hook(
                    lambda layer, given, out, name=name: watch(name, layer, given, out)
                )
            )
    try:
        network(events)
    finally:
        for handle in handles:
            handle.remove()
    return found

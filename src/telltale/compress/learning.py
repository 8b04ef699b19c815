"""Training of spiking networks, with masks or without."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from telltale.spiking.classifier import Classifier
    from telltale.spiking.spike_nm import SpikeNM

SETTLED = 0.6  # share of the steps after which masks are fixed
CALIBRATION = 10  # batches that normalisation is estimated anew on


def learn(
    network: "SpikeNM | Classifier",
    events: "Tensor",
    labels: "Tensor",
    *,
    steps: int,
    lr: float = 2e-3,
    batch: int = 50,
    seed: int = 0,
    note: Callable[[Mapping[str, float]], object] = lambda row: None,
) -> None:
    """Train a :class:`SpikeNM` or a :class:`Classifier`; it is left in evaluation mode.

    Args:
        network: Its masks are annealed over the first 60 % of the steps, then fixed.
        events: Counts (N, T, 2, H, W), bytes.
        labels: (N,).
        steps: Batches.
        lr: Of Adam, with a cosine; ten times that for masks' logits.
        batch: Clips.
        seed: Of the order.
        note: Told after each epoch: step, terms of the loss, and of masks the entropy in nats and
            the share of blocks whose choice has changed since the epoch before.
    """
    import torch

    from telltale.data.memory import batches
    from telltale.fit import adam, cosine, fit
    from telltale.nn.snn import recalibrate
    from telltale.spiking.spike_nm import SpikeNM

    masked = network if isinstance(network, SpikeNM) else None
    lrs = dict.fromkeys(masked.logits() if masked else (), 10 * lr)
    optimizer = adam(network, lr=lr, lrs=lrs, weight_decay=0.0)
    batch = min(batch, len(labels))
    feed = batches({"events": events, "labels": labels}, batch, seed=seed)
    epoch, before = max(1, len(labels) // batch), _choices(masked)
    for step in fit(network, feed, optimizer, schedule=cosine(steps)):
        if masked:
            masked.advance(step.number / (SETTLED * steps))
        if step.number % epoch == 0 or step.number == steps:
            row = {"step": float(step.number), **step.losses}
            if masked:
                after = _choices(masked)
                pairs = zip(before, after, strict=True)
                changed = torch.cat([(a != b).any(-1).flatten() for a, b in pairs])
                row |= {"entropy": masked.entropy(), "changed": float(changed.float().mean())}
                before = after
            note(row)
        if step.number == steps:
            break
    calm = batches({"events": events}, min(2 * batch, len(labels)), seed=seed)
    if masked:  # statistics that were gathered under drawn masks do not fit the fixed one
        recalibrate(masked, (next(calm)["events"] for _ in range(CALIBRATION)))
    network.eval()


def _choices(network: "SpikeNM | None") -> "list[Tensor]":
    return [mask.chosen() for mask in network.masks] if network else []


def fresh(table: dict[str, Any], seed: int) -> "nn.Module":
    """A spiking network of a recipe's table, random, the same each time."""
    import torch

    from telltale.nn.snn import spiking

    torch.manual_seed(seed)
    return spiking(**table)

"""A spiking network trained as it is: what compressed ones are compared with, and teachers."""

import torch
from torch import Tensor, nn

from telltale.losses import tet, want_labels
from telltale.nn.contract import Losses


class Classifier(nn.Module):
    """A network from events (B, T, C, H, W) to outputs (T, B, K), and its loss, TET's."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, events: Tensor) -> Tensor:
        """The mean output over time (B, K)."""
        found: Tensor = self.network(events).mean(0)
        return found

    def loss(self, events: Tensor, labels: Tensor) -> Losses:
        """The task's term for labels (B,)."""
        want_labels(labels, len(events))
        return {"task": tet(self.network(events), labels)}


@torch.no_grad()
def accuracy(network: nn.Module, events: Tensor, labels: Tensor, *, batch: int = 100) -> float:
    """Share of clips that a network (to (B, K)) puts into their class; it is left in eval mode."""
    network.eval()
    right = 0
    for part, truth in zip(events.split(batch), labels.split(batch), strict=True):
        right += int((network(part.float()).argmax(1) == truth).sum())
    return right / len(labels)

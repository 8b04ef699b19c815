"""What validation says of a network in training: one figure, the higher the better.

A detector is judged by its AUC, a rater of quality by the rank correlation with its scores
(Spearman's), anything else by minus its loss; so is a detector in a stage of training that does not
touch its verdict, which its ``by_loss`` says.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from telltale import catalog, metrics
from telltale.metrics.quality import srcc

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from telltale.data.sources import Batch, Source

AUC, SRCC, GAIN = "val_auc", "val_srcc", "val_gain"
BY_VERB = {"detect": AUC, "rate": SRCC}
WORDS = {AUC: "AUC", SRCC: "SRCC", GAIN: "gain"}


def judged_by(slug: str, network: "nn.Module") -> str:
    """The figure that a method's weights are chosen by, as ``steps.jsonl`` calls it."""
    if getattr(network, "by_loss", False):
        return GAIN
    return BY_VERB.get(catalog.card(slug).verb, GAIN)


def judge(network: "nn.Module", source: "Source", slug: str) -> float:
    """The value of :func:`judged_by` over a source's validation batches."""
    figure = judged_by(slug, network)
    if figure == GAIN:
        return gain(network, source, catalog.card(slug).learns_from)
    if figure == AUC:
        return validate(network, source, catalog.card(slug).takes)
    return correlation(network, source)


def validate(network: "nn.Module", source: "Source", takes: Sequence[str] = ("images",)) -> float:
    """The AUC of a network's logits over a source's validation batches."""
    import torch

    device = next(network.parameters()).device
    logits, labels = [], []
    was_training = network.training
    network.eval()
    with torch.no_grad():
        for batch in source.validation():
            given = batch | {"images": shown(network, batch)}
            evidence = network(*(torch.from_numpy(given[word]).to(device) for word in takes))
            logits.append(evidence.logit.double().cpu().numpy())
            labels.append(batch["labels"])
    network.train(was_training)
    return float(metrics.auc(np.concatenate(logits), np.concatenate(labels)))


def shown(network: "nn.Module", batch: "Batch") -> "NDArray[np.float32]":
    """The pictures (B, 3, S, S) of a batch that a detector judges: those that hide its faces.

    All but StegaFFD are shown the faces themselves.
    """
    hide = getattr(network, "hide", None)
    faces: NDArray[np.float32] = batch["images"]
    if hide is None or "covers" not in batch:
        return faces
    import torch

    device = next(network.parameters()).device
    hidden = hide(*(torch.from_numpy(batch[word]).to(device) for word in ("images", "covers")))
    return np.asarray(hidden.cpu().numpy(), np.float32)


def correlation(network: "nn.Module", source: "Source") -> float:
    """Spearman's rank correlation of a network's scores with those of the validation batches.

    A network that gives all pictures the same score has none, which counts as -1: the worst.
    """
    import torch

    device = next(network.parameters()).device
    found, wanted = [], []
    was_training = network.training
    network.eval()
    with torch.no_grad():
        for batch in source.validation():
            scores = network(torch.from_numpy(batch["images"]).to(device))
            found.append(scores.double().cpu().numpy())
            wanted.append(batch["scores"])
    network.train(was_training)
    value = srcc(np.concatenate(found), np.concatenate(wanted))
    return -1.0 if np.isnan(value) else value


def gain(network: "nn.Module", source: "Source", words: Sequence[str]) -> float:
    """Minus the mean loss over a source's validation batches, with the same draws each time."""
    import torch

    device = next(network.parameters()).device
    losses = []
    was_training = network.training
    network.eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for batch in source.validation():
            given = {word: torch.from_numpy(batch[word]).to(device) for word in words}
            terms: dict[str, Tensor] = network.loss(**given)  # type: ignore[operator]
            losses.append(sum(float(term) for term in terms.values()))
    network.train(was_training)
    return -float(np.mean(losses))

"""ReCorrect, of Vid-Morp: two stages that clean machine-made labels of moments.

    stage 1: Φ(a, b) = mean s_in - mean s_out;  the lowest ρ of Φ are dropped, the others pulled
             to W* = argmax √|W| Φ(W) over IoU(W, [a, b]) ≥ 0.3:  (1 - η)[a, b] + η W*
    stage 2: κ = mean pairwise IoU of the last K answers;  κ ≥ κ_0: (1 - β) label + β medoid

The first runs once, before training, on the similarities s of a video's clips to the sentence. The
root of |W| keeps it from shrinking to the single best clip. The second runs at the end of each
epoch; a medoid is one of the answers, where a mean of two far apart would match neither.

Source: Bao et al., arXiv:2412.00811, see :mod:`telltale.language.vid_morp`.
Assumed: all formulas and constants; of the two stages only the idea is published.
Departures: a label moves only while the medoid keeps IoU ≥ 0.5 with what stage 1 made of it, and
five times at most: agreement also rises when a network is wrong in the same way each time.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from telltale.nn.spans import all_windows, span_iou


class Refined(NamedTuple):
    """What stage 1 makes of labels."""

    spans: Tensor  # (N, 2) in clips; of dropped pairs as they were given
    kept: Tensor  # (N,) bool
    contrasts: Tensor  # (N,) Φ of the labels that were given


class Memory:
    """Stage 2: what the network answered to each sample of late, and labels that follow it.

    Args:
        labels: (N, 2), of stage 1, in any unit.
        history: K, epochs that are remembered.
        consensus: κ_0, mean pairwise IoU from which the answers agree.
        pull: β, share of the way towards the medoid.
        guard: Least IoU of the medoid and the label of stage 1; 0 is no guard.
        warmup: Epochs before the first correction.
        updates: Most corrections of a label; None is no limit.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        history: int = 4,
        consensus: float = 0.7,
        pull: float = 0.3,
        guard: float = 0.5,
        warmup: int = 12,
        updates: int | None = 5,
    ) -> None:
        if labels.ndim != 2 or labels.shape[1] != 2 or history < 2:
            raise ValueError(
                f"want labels (N, 2) and history ≥ 2, got {tuple(labels.shape)}, {history}"
            )
        if not (0 <= consensus <= 1 and 0 < pull <= 1 and 0 <= guard <= 1 and warmup >= 0):
            raise ValueError("want consensus, pull and guard in [0, 1] and warmup ≥ 0")
        self.first, self.labels = labels.clone(), labels.clone()
        self.answers = labels.new_zeros(len(labels), history, 2)
        self.seen = torch.zeros(len(labels), dtype=torch.int64)  # answers so far
        self.moved = torch.zeros(len(labels), dtype=torch.int64)  # corrections so far
        self.consensus, self.pull, self.guard = consensus, pull, guard
        self.warmup, self.updates, self.epochs = warmup, updates, 0

    def correct(self, rows: Tensor, answers: Tensor) -> Tensor:
        """Note an epoch's answers and move the labels on whose answers agree.

        Args:
            rows: (n,) int64, whose they are; samples that were dropped just don't come.
            answers: (n, 2), first spans of a network in eval mode, in the labels' unit.

        Returns:
            All labels, (N, 2).
        """
        self.answers[rows, self.seen[rows] % self.answers.shape[1]] = answers
        self.seen[rows] += 1
        self.epochs += 1
        if self.epochs <= self.warmup:
            return self.labels
        middle, agreement = medoids(self.answers[rows])
        ready = (self.seen[rows] >= self.answers.shape[1]) & (agreement >= self.consensus)
        if self.guard:
            ready &= span_iou(middle, self.first[rows]) >= self.guard
        if self.updates is not None:
            ready &= self.moved[rows] < self.updates
        chosen = rows[ready]
        self.labels[chosen] += self.pull * (middle[ready] - self.labels[chosen])
        self.moved[chosen] += 1
        return self.labels


def refined(
    similarities: Tensor,
    spans: Tensor,
    *,
    drop: float = 0.25,
    near: float = 0.3,
    pull: float = 0.6,
) -> Refined:
    """Stage 1: pairs that don't match are dropped, the others' ends moved to where they match best.

    Args:
        similarities: (N, T), cosine of each clip with the pair's sentence.
        spans: (N, 2), labels in clips.
        drop: ρ, share of pairs to drop.
        near: Least IoU of a span that a label may be pulled to.
        pull: η.

    Raises:
        ValueError: If a setting is out of range or the numbers of rows differ.
    """
    if not (0 <= drop < 1 and 0 <= near <= 1 and 0 <= pull <= 1):
        raise ValueError(f"want drop, near and pull in [0, 1], got {drop}, {near} and {pull}")
    if similarities.ndim != 2 or spans.shape != (len(similarities), 2):
        raise ValueError(
            f"want similarities (N, T) and spans (N, 2), "
            f"got {tuple(similarities.shape)} and {tuple(spans.shape)}"
        )
    windows = all_windows(similarities.shape[1]).to(spans.device)
    before, after = [], []
    for row, span in zip(similarities, spans, strict=True):
        contrast = contrasts(row, windows)
        overlaps = span_iou(windows.to(span.dtype), span)
        before.append(contrast[overlaps.argmax()])  # the label as the grid of clips has it
        merit = (windows[:, 1] - windows[:, 0]).sqrt() * contrast
        best = windows[merit.masked_fill(overlaps < near, -torch.inf).argmax()].to(span.dtype)
        is_near = bool((overlaps >= near).any())
        after.append((1 - pull) * span + pull * best if is_near else span)
    found, moved = torch.stack(before), torch.stack(after)
    kept = torch.ones(len(spans), dtype=torch.bool, device=spans.device)
    kept[found.sort(stable=True).indices[: int(drop * len(spans))]] = False
    return Refined(torch.where(kept[:, None], moved, spans), kept, found)


def contrasts(similarities: Tensor, windows: Tensor) -> Tensor:
    """Φ of windows (M, 2) on the grid of clips: mean similarity inside less that outside.

    A window of the whole video has no outside, and Φ = 0.
    """
    total = similarities.double().cumsum(0)  # differences of sums lose digits
    sums = torch.cat([total.new_zeros(1), total])
    start, end = windows.long().unbind(-1)
    inside, size = sums[end] - sums[start], end - start
    rest = len(similarities) - size
    found = inside / size - (total[-1] - inside) / rest.clamp(min=1)
    return torch.where(rest > 0, found, 0.0).to(similarities.dtype)


def medoids(answers: Tensor) -> tuple[Tensor, Tensor]:
    """Of answers (n, K, 2): the one nearest to all others (n, 2), and κ (n,)."""
    overlaps = span_iou(answers[:, :, None], answers[:, None])  # (n, K, K)
    count = answers.shape[1]
    itself = torch.eye(count, dtype=torch.bool, device=answers.device)
    others = overlaps.masked_fill(itself, 0)
    agreement = others.sum((1, 2)) / (count * (count - 1))
    # Rounded, so that the order of the answers does not decide between two that are as near; then
    # the earliest start wins.
    nearness = (others.sum(2) * 1e5).round()
    earliest = answers[..., 0] + answers[..., 1] * 1e-3
    rank = earliest.argsort(1).argsort(1).to(nearness.dtype) / count
    best = (nearness - rank).argmax(1)
    return answers[torch.arange(len(answers)), best], agreement

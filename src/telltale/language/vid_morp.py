"""Vid-Morp: a moment network learns from machine-made labels, which ReCorrect cleans on the way.

    m_t = (W_v conv(v))_t ⊙ W_s s            clips v_t and a sentence s, both from CLIP
    c = c_a + 0.3 w_a δ_c,   w = w_a e^{0.3 δ_w}            a span of each anchor (c_a, w_a)
    L = BCE(σ(o), y) + mean smooth-L1(δ, δ*),   y = clip((IoU - l)(1 - b)/(u - l) + b)

The network is SimBase: a pyramid of six lengths over 128 clips, anchors of five widths at each of
its 63 cells, 315 in all. The answer is the first of their ranking, after suppression of all that
overlap a better one. The labels' two stages are in :mod:`telltale.language.recorrect`.

Source: Bao, Kong, Shao, Ng, Er, Kot, "Vid-Morp: Video Moment Retrieval Pretraining from Unlabeled
Videos in the Wild", arXiv:2412.00811; Bao, Kot, "A Simple Baseline for Temporal Video Grounding",
arXiv:2411.07945.
Assumed: anchors with IoU > 0.5 are regressed, to targets clipped to [-1, 1], and their mean has
weight 1; l = 0.5, u = 1, b = 0 as the line of 2D-TAN has them on Charades; ReCorrect's formulas.
Departures: a guard on the second stage; and, off by default, evidence: λ √(w/T) Φ is added to an
anchor's score, Φ the mean cosine of clips and sentence inside it less that outside, as ReCorrect's
first stage measures it. What the two frozen towers agree on is then not left to be learnt again.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.contract import Losses
from telltale.nn.spans import span_iou, suppressed

RATIOS = 5  # anchor widths of a cell, 0.2 to 1 of it
REACH = 0.3  # how far regression may go: share of the anchor's width, and of e
POSITIVE = 0.5  # IoU above which an anchor is regressed


class Moments(NamedTuple):
    """One span an anchor."""

    scores: Tensor  # (B, A), logits of the overlap
    spans: Tensor  # (B, A, 2), start and end as shares of the video


class VidMorp(nn.Module):
    """Finds the moment that a sentence describes, in clip features (B, T, C), rows of any scale.

    Args:
        width: C, of the clips' features; 768 of CLIP ViT-L/14.
        sentence_width: Of the sentences' vectors.
        channels: Of the pyramid.
        clips: T, a power of two.
        floor: l, IoU up to which an anchor's overlap counts as none.
        ceiling: u, IoU from which it counts as whole.
        bias: b, what an overlap above the floor counts at least.
        regression_weight: Of the smooth-L1 term.

    Raises:
        ValueError: If a setting is out of range or a batch is not of these shapes.
    """

    anchors: Tensor  # (A, 2) centre and width in clips
    evidence: Tensor  # λ, 0 as published; ``telltale.moments.weigh`` chooses it
    inside: Tensor  # (A, T), clips' weights in an anchor's contrast

    def __init__(
        self,
        *,
        width: int = 768,
        sentence_width: int = 768,
        channels: int = 128,
        clips: int = 128,
        floor: float = 0.5,
        ceiling: float = 1.0,
        bias: float = 0.0,
        regression_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if clips < 8 or clips & (clips - 1):
            raise ValueError(f"want clips a power of two, 8 or more, got {clips}")
        if min(width, sentence_width, channels) < 1:
            raise ValueError(f"want widths ≥ 1, got {width}, {sentence_width} and {channels}")
        if not (0 <= floor < ceiling <= 1 and 0 <= bias < 1 and regression_weight >= 0):
            raise ValueError(
                f"want 0 ≤ floor < ceiling ≤ 1, bias in [0, 1) and regression_weight ≥ 0, "
                f"got {floor}, {ceiling}, {bias} and {regression_weight}"
            )
        self.clips, self.width, self.sentence_width = clips, width, sentence_width
        self.floor, self.ceiling, self.bias = floor, ceiling, bias
        self.regression_weight = regression_weight
        levels = int(math.log2(clips)) - 1  # of clips / 4, clips / 8, … 1 cells
        self.over_time = nn.Conv1d(width, width, 3, padding=1)
        self.visual = nn.Linear(width, width)
        self.textual = nn.Linear(sentence_width, width)
        self.stem = nn.Sequential(
            nn.Conv1d(width, channels, 5, padding=2),
            *normed(channels, channels, 5),
            nn.MaxPool1d(2),
        )
        self.down = nn.ModuleList(
            nn.Sequential(*normed(channels, channels, 3, stride=2)) for _ in range(levels)
        )
        self.overlap = nn.ModuleList(head(channels, RATIOS) for _ in range(levels))
        self.regression = nn.ModuleList(head(channels, 2 * RATIOS) for _ in range(levels))
        self.register_buffer("anchors", anchors(clips), persistent=False)
        self.register_buffer("inside", contrasting(edges(self.anchors), clips), persistent=False)
        self.register_buffer("evidence", torch.tensor(0.0))

    def forward(self, features: Tensor, sentences: Tensor) -> Moments:
        """A score and a span of every anchor."""
        scores, deltas = self.predict(features, sentences)
        if self.width == self.sentence_width:
            clips, words = F.normalize(features, dim=-1), F.normalize(sentences, dim=-1)
            similar = torch.einsum("btc,bc->bt", clips, words)
            scores = scores + self.evidence * (similar @ self.inside.T)
        spans = decoded(self.anchors, deltas).clamp(0, self.clips) / self.clips
        return Moments(scores, spans)

    def loss(self, features: Tensor, sentences: Tensor, spans: Tensor, durations: Tensor) -> Losses:
        """Terms to sum and minimise.

        Args:
            features: (B, T, C).
            sentences: (B, S).
            spans: (B, 2), start and end in seconds.
            durations: (B,), seconds of each video.
        """
        if spans.shape != (len(features), 2) or durations.shape != (len(features),):
            raise ValueError(
                f"want spans ({len(features)}, 2) and durations ({len(features)},), "
                f"got {tuple(spans.shape)} and {tuple(durations.shape)}"
            )
        truth = (spans * (self.clips / durations)[:, None]).clamp(0, self.clips).to(features.dtype)
        if not bool((truth[:, 1] > truth[:, 0]).all()):
            raise ValueError("want spans that start within the video and before they end")
        scores, deltas = self.predict(features, sentences)
        overlaps = span_iou(edges(self.anchors), truth[:, None])  # (B, A)
        positive = (overlaps > POSITIVE).to(scores.dtype)
        wanted = encoded(self.anchors, truth[:, None]).clamp(-1, 1)
        apart = F.smooth_l1_loss(deltas, wanted, reduction="none").sum(-1)
        return {
            "overlap": F.binary_cross_entropy_with_logits(
                scores, rescaled(overlaps, self.floor, self.ceiling, self.bias)
            ),
            "regression": self.regression_weight
            * ((apart * positive).sum() / positive.sum().clamp(min=1)),
        }

    def predict(self, features: Tensor, sentences: Tensor) -> tuple[Tensor, Tensor]:
        """Overlap logits (B, A) and regression δ in [-1, 1], (B, A, 2)."""
        want, got = (self.clips, self.width), tuple(features.shape[1:])
        if features.ndim != 3 or got != want or not features.is_floating_point():
            raise ValueError(
                f"want float features (B, {want[0]}, {want[1]}), "
                f"got {features.dtype} {tuple(features.shape)}"
            )
        if sentences.shape != (len(features), self.sentence_width):
            raise ValueError(
                f"want sentences ({len(features)}, {self.sentence_width}), "
                f"got {tuple(sentences.shape)}"
            )
        seen = self.visual(self.over_time(features.mT).mT)
        x = self.stem((seen * self.textual(sentences)[:, None]).mT)
        scores, deltas = [], []
        for down, overlap, regression in zip(self.down, self.overlap, self.regression, strict=True):
            x = down(x)
            scores.append(overlap(x).mT.flatten(1))  # anchors of a cell side by side
            deltas.append(regression(x).mT.reshape(len(x), -1, 2).tanh())
        return torch.cat(scores, 1), torch.cat(deltas, 1)

    @torch.no_grad()
    def localise(
        self, features: Tensor, sentences: Tensor, durations: Tensor, *, overlap: float = 0.0
    ) -> list[Tensor]:
        """Ranked moments of each pair, (n, 3): start and end in seconds, and score; best first.

        Args:
            features: (B, T, C).
            sentences: (B, S).
            durations: (B,) in seconds.
            overlap: IoU above which a lower-ranked span goes; 0 leaves disjoint ones only.
        """
        scores, spans = self(features, sentences)
        found = []
        for score, span, duration in zip(scores, spans, durations, strict=True):
            rows = suppressed(span, score, overlap)
            found.append(torch.cat([span[rows] * duration, score[rows, None]], 1))
        return found


def normed(inward: int, outward: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    """Norm, ReLU and convolution over time."""
    convolution = nn.Conv1d(inward, outward, kernel, stride, kernel // 2)
    return nn.BatchNorm1d(inward), nn.ReLU(), convolution


def head(channels: int, outward: int) -> nn.Sequential:
    """What a level says of its cells: (B, channels, f) to (B, outward, f)."""
    return nn.Sequential(*normed(channels, channels, 3), *normed(channels, outward, 3))


def anchors(clips: int) -> Tensor:
    """Centre and width in clips, (A, 2): level by level from the finest, in a cell narrow first."""
    found, cells = [], clips // 4
    while cells:
        edge = clips / cells
        centres = (torch.arange(cells) + 0.5) * edge
        widths = torch.linspace(0.2, 1.0, RATIOS) * edge
        found.append(torch.cartesian_prod(centres, widths))
        cells //= 2
    return torch.cat(found)


def edges(middles: Tensor) -> Tensor:
    """(…, 2) centre and width to start and end."""
    half = middles[..., 1] / 2
    return torch.stack([middles[..., 0] - half, middles[..., 0] + half], -1)


def contrasting(spans: Tensor, clips: int) -> Tensor:
    """Weights (A, T) of similarities that give √(w/T) Φ of spans (A, 2) in clips, w their width.

    Parts of clips count as such. A span of the whole video has no outside, and all weights are 0.
    """
    start, end = spans.clamp(0, clips).unbind(-1)
    at = torch.arange(clips)
    share = (torch.minimum(end[:, None], at + 1) - torch.maximum(start[:, None], at)).clamp(min=0)
    size = share.sum(1, keepdim=True)
    rest = clips - size
    weights = share / size - (1 - share) / rest.clamp(min=1e-6)
    return torch.where(rest > 1e-6, weights, 0.0) * (size / clips).sqrt()


def decoded(places: Tensor, deltas: Tensor) -> Tensor:
    """Spans (B, A, 2) of regressions (B, A, 2), in clips, not clipped to the video."""
    centre, width = places.unbind(-1)
    middle = centre + REACH * width * deltas[..., 0]
    return edges(torch.stack([middle, width * (REACH * deltas[..., 1]).exp()], -1))


def encoded(places: Tensor, spans: Tensor) -> Tensor:
    """The regressions (B, A, 2) that would give spans (B, 1, 2); beyond ±1 out of reach."""
    centre, width = places.unbind(-1)
    start, end = spans.unbind(-1)
    moved = ((start + end) / 2 - centre) / (REACH * width)
    return torch.stack([moved, ((end - start) / width).log() / REACH], -1)


def rescaled(overlaps: Tensor, floor: float, ceiling: float, bias: float) -> Tensor:
    """y: 0 up to the floor, 1 from the ceiling on, a straight line from b between."""
    risen = (overlaps - floor) * (1 - bias) / (ceiling - floor)
    return (risen + bias * (risen > 0)).clamp(0, 1)

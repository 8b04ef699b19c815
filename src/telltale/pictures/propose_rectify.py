"""Propose and Rectify: regions that a language model suspects, checked by forensic filters.

    f_s  = Σ_k softmax_k(w_k(z_k)) ⊙ z_k      filters k: SRM, Bayar, noise residual, DCT; s = 4 … 32
    e(b) = MLP[mean, std of f in b; mean, std in its ring; their difference], over scales
    a(b), t(b) = heads of e;  b ← b moved by t, twice;  kept if σ(a) ≥ 0.5
    E'   = E + γ ⊙ (g(f_16) + attention(E → f_16)),  γ = 0 at first
    mask = max over kept b of decoder(E', b) + log σ(a(b));   score = 1 - Π(1 - σ(a(b)))
    loss = BCE(a) + smooth-L1(t) + BCE(peaks) + BCE(mask) + Dice + 0.5 · edge-weighted BCE

Proposals come from a language model (:mod:`telltale.nn.proposals`), a user or another detector.
Without any, the whole picture and the peaks of a dense head are the proposals.

Source: Zhang, Kong, Liu, et al., "Propose and Rectify: A Forensics-Driven MLLM Framework for Image
Manipulation Localization", arXiv 2025. The abstract names stages and parts; there is no code.
Assumed: every formula above: this is a reconstruction.
Departures: filters and SAM look at the same square; give it tiles of the picture as it is, since
resizing erases what the filters look for.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import dice, want_labels, want_maps
from telltale.nn.contract import Evidence, Losses, want_images
from telltale.nn.filters import Filters
from telltale.nn.rectifier import Rectifier
from telltale.nn.regions import box_of, centred, iou, jittered, moved, random_boxes, shift
from telltale.nn.sam import Sam, at_size

STAGES = ("rectify", "segment", "both")
PEAK = 0.25  # side of a peak's box, in sides of the picture


class Judged(NamedTuple):
    """Proposals after rectification."""

    boxes: Tensor  # (B, K, 4) left, top, right, bottom in pixels
    accept: Tensor  # (B, K) logits a


class ProposeRectify(nn.Module):
    """Locates changes in pictures (B, 3, S, S), float sRGB in [0, 1], S of the SAM.

    Args:
        sam: A :class:`telltale.nn.sam.Sam`; frozen but for its mask decoder.
        channels: C of the filters' maps, at every scale.
        hidden: Width of the evidence token.
        passes: How often a box is moved.
        peaks: Boxes from the dense head, beside the whole picture, where none are proposed.
        accept: σ(a) from which on a proposal is kept.
        stage: What ``loss`` teaches: "rectify" (B of the paper), "segment" (C) or "both".

    Raises:
        ValueError: If a setting is out of range or images are no float batch of RGB squares.
    """

    def __init__(
        self,
        sam: nn.Module,
        *,
        channels: int = 32,
        hidden: int = 128,
        passes: int = 2,
        peaks: int = 3,
        accept: float = 0.5,
        stage: str = "both",
    ) -> None:
        super().__init__()
        if not isinstance(sam, Sam):
            raise ValueError(f"want a Sam of telltale.nn, got {type(sam).__name__}")
        if min(channels, hidden, passes, peaks) < 1 or not 0 < accept < 1 or stage not in STAGES:
            raise ValueError(
                f"want sizes of 1 or more, accept in (0, 1) and a stage of {', '.join(STAGES)}; "
                f"got {channels}, {hidden}, {passes}, {peaks}, {accept} and {stage!r}"
            )
        self.sam = sam
        self.filters = Filters(channels)
        self.rectifier = Rectifier(channels, hidden)
        self.enhance = Enhancement(channels, sam.embedding)
        self.passes, self.peaks, self.accept = passes, peaks, accept
        self.slots = 1 + peaks  # boxes that :meth:`hinted` takes
        self.size = sam.size
        self.enter(stage)

    def forward(self, images: Tensor) -> Evidence:
        """Log-odds of change and of each pixel, with proposals of the picture's own."""
        return self.locate(images, None)

    def locate(self, images: Tensor, boxes: Tensor | None) -> Evidence:
        """The same with proposals from elsewhere: a language model, a user, another finding.

        Args:
            images: (B, 3, S, S).
            boxes: (B, K, 4) left, top, right, bottom in pixels of S; None: whole picture and peaks.
        """
        maps = self.filters(want_images(images))
        return self.answered(images, maps, self.own(maps) if boxes is None else boxes, None)

    def hinted(self, images: Tensor, hints: Tensor) -> Evidence:
        """:meth:`locate` in the form of an exported file: always as many boxes.

        Args:
            images: (B, 3, S, S).
            hints: (B, ``slots``, 4) as boxes of :meth:`locate`. One without an area is none; a
                picture that has none gets proposals of its own.
        """
        maps = self.filters(want_images(images))
        there = ((hints[..., 2:] - hints[..., :2]) > 0).all(-1)
        without = ~there.any(1, keepdim=True)
        boxes = torch.where(there[..., None], hints, self.own(maps))
        return self.answered(images, maps, boxes, there | without)

    def answered(
        self, images: Tensor, maps: list[Tensor], boxes: Tensor, counts: Tensor | None
    ) -> Evidence:
        """The answer for proposals (B, K, 4), of those that count (B, K) only."""
        found = self.rectify(maps, boxes)
        if counts is not None:
            found = found._replace(accept=torch.where(counts, found.accept, -1e4))
        embedding = self.enhance(self.encode(images), maps[2])
        return Evidence(union(found.accept), self.mask(embedding, found, images))

    def loss(self, images: Tensor, labels: Tensor, masks: Tensor) -> Losses:
        """Terms to sum and minimise; true boxes are jittered, false ones drawn, by the stage.

        Args:
            images: (B, 3, S, S).
            labels: (B,) int64, 0 pristine and 1 changed.
            masks: (B, 1, S, S), 0 or 1; a pristine picture has none, whatever is given for it.
        """
        want_labels(labels, len(want_images(images)))
        masks = want_maps(masks, images) * labels.view(-1, 1, 1, 1)
        maps = self.filters(images)
        truth, has = box_of(masks), masks.flatten(1).amax(1) > 0.5  # an empty mask has no box
        near = torch.stack([jittered(truth, by, self.size) for by in (0.1, 0.25, 0.4)], 1)
        drawn = random_boxes(len(images), 3, self.size, images)
        given = torch.cat([torch.where(has.view(-1, 1, 1), near, drawn), drawn.roll(1, 0)], 1)
        terms: Losses = {}
        if self.stage != "segment":
            terms |= self.rectifying(maps, given, truth, has)
            target = F.adaptive_max_pool2d(masks, maps[1].shape[-1])
            terms["peaks"] = F.binary_cross_entropy_with_logits(self.rectifier.dense(maps), target)
        if self.stage != "rectify":
            with torch.no_grad():
                refined = self.rectify(maps, given[:, :1]).boxes[:, 0]
            teacher = torch.rand(len(images), 1, device=images.device) < 0.5
            box = torch.where(teacher, jittered(truth, 0.1, self.size), refined)
            embedding = self.enhance(self.encode(images), maps[2])
            terms |= mask_terms(at_size(self.sam.decode(embedding, box), images), masks, has)
        return terms

    def rectifying(
        self, maps: list[Tensor], boxes: Tensor, truth: Tensor, has: Tensor
    ) -> dict[str, Tensor]:
        """Acceptance and shifts of every pass, for proposals (B, K, 4)."""
        accepts, shifts = [], []
        wanted = truth[:, None].expand_as(boxes)
        for _ in range(self.passes):
            accept, move = self.rectifier(maps, boxes, self.size)
            overlap = iou(boxes, wanted) * has[:, None]
            known = ((overlap >= 0.5) | (overlap < 0.3)).to(accept.dtype)
            label = (overlap >= 0.5).to(accept.dtype)
            each = F.binary_cross_entropy_with_logits(accept, label, reduction="none")
            accepts.append((known * each).sum() / known.sum().clamp(min=1))
            off = F.smooth_l1_loss(move, shift(boxes, wanted), reduction="none").sum(-1)
            shifts.append((label * off).sum() / label.sum().clamp(min=1))
            boxes = moved(boxes, move.detach(), self.size)
        return {"accept": torch.stack(accepts).mean(), "shift": torch.stack(shifts).mean()}

    def rectify(self, maps: list[Tensor], boxes: Tensor) -> Judged:
        """Proposals (B, K, 4), moved ``passes`` times and judged where they end."""
        for _ in range(self.passes):
            boxes = moved(boxes, self.rectifier(maps, boxes, self.size)[1], self.size)
        return Judged(boxes, self.rectifier(maps, boxes, self.size)[0])

    def own(self, maps: list[Tensor]) -> Tensor:
        """The whole picture and the peaks of the dense head, (B, 1 + peaks, 4)."""
        dense = self.rectifier.dense(maps)
        side = dense.shape[-1]
        lone = torch.where(dense == F.max_pool2d(dense, 5, 1, 2), dense, dense - 100)
        at = lone.flatten(1).topk(min(self.peaks, side * side)).indices
        x, y = (at % side + 0.5) / side, (at // side + 0.5) / side
        peaks = centred(x * self.size, y * self.size, PEAK * self.size, self.size)
        whole = peaks.new_tensor([0.0, 0.0, self.size, self.size]).expand(dense.shape[0], 1, 4)
        return torch.cat([whole, peaks], 1)

    def mask(self, embedding: Tensor, found: Judged, images: Tensor) -> Tensor:
        """The best kept proposal's log-odds of each pixel, (B, 1, S, S); all, below 0, if none."""
        count = found.boxes.shape[1]
        repeated = embedding.repeat_interleave(count, 0)
        each = self.sam.decode(repeated, found.boxes.flatten(0, 1))
        sure = F.logsigmoid(found.accept)[..., None, None]
        logits = each.unflatten(0, (-1, count))[:, :, 0] + sure
        kept = (found.accept.sigmoid() >= self.accept)[..., None, None]
        best = torch.where(kept, logits, -1e4).amax(1, keepdim=True)
        doubtful = logits.amax(1, keepdim=True).clamp(max=-0.01)
        return at_size(torch.where(kept.any(1, keepdim=True), best, doubtful), images)

    def encode(self, images: Tensor) -> Tensor:
        """SAM's own embedding; its encoder is frozen."""
        with torch.no_grad():
            return self.sam.encode(images)[0]

    def enter(self, stage: str) -> None:
        """Train what a stage trains and freeze the rest; raises ValueError for an unknown one."""
        if stage not in STAGES:
            raise ValueError(f"want a stage of {', '.join(STAGES)}, got {stage!r}")
        self.stage = stage
        self.requires_grad_(False)
        if stage != "segment":
            self.filters.requires_grad_(True)
            self.rectifier.requires_grad_(True)
            self.filters.project()
        if stage != "rectify":
            self.enhance.requires_grad_(True)
            self.sam.mask_decoder.requires_grad_(True)
            self.sam.freeze_idle()


class Enhancement(nn.Module):
    """Puts forensic cues into SAM's embedding; with γ = 0 the embedding stays what it was."""

    def __init__(self, channels: int, embedding: int, heads: int = 2) -> None:
        super().__init__()
        self.cue = nn.Conv2d(channels, embedding, 1)
        self.key = nn.Conv2d(channels, embedding, 1)
        self.attention = nn.MultiheadAttention(embedding, heads, batch_first=True)
        self.gamma = nn.Parameter(torch.zeros(embedding, 1, 1))

    def forward(self, embedding: Tensor, maps: Tensor) -> Tensor:
        """E' of embedding (B, E, g, g) and maps (B, C, h, h)."""
        cue = F.interpolate(self.cue(maps), embedding.shape[-2:], mode="bilinear")
        query, key = embedding.flatten(2).transpose(1, 2), self.key(maps).flatten(2).transpose(1, 2)
        seen: Tensor = self.attention(query, key, key, need_weights=False)[0]
        return embedding + self.gamma * (cue + seen.transpose(1, 2).view_as(embedding))


def union(accept: Tensor) -> Tensor:
    """Log-odds (B,) of 1 - Π(1 - σ(a)) for logits a (B, K); never below the largest of them."""
    none = F.logsigmoid(-accept).sum(1).clamp(max=-1e-6)  # log Π(1 - σ(a))
    return -none + torch.log1p(-none.exp())


def mask_terms(logits: Tensor, masks: Tensor, has: Tensor) -> dict[str, Tensor]:
    """BCE, Dice and edge-weighted BCE of the changed pictures' maps (B, 1, S, S)."""
    share = has.to(logits.dtype) / has.sum().clamp(min=1)
    each = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    edge = F.max_pool2d(masks, 5, 1, 2) + F.max_pool2d(-masks, 5, 1, 2)  # 1 in a band of 5 pixels
    return {
        "mask": (share * each.mean((1, 2, 3))).sum(),
        "dice": (share * dice(logits, masks)).sum(),
        "edge": 0.5 * (share * ((1 + edge) * each).mean((1, 2, 3))).sum(),
    }

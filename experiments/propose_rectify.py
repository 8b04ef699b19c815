"""What do rectification and forensic cues bring to proposals, as these get worse?

    python experiments/propose_rectify.py           about ten minutes on one core

A SAM of 64 pixels learns to cut out drawn shapes by their boxes, and is frozen from then on but
for its mask decoder. Then pictures of textures in which a part has another camera's history
(**synthetic**), half of them pristine. Proposals are simulated, none is a language model's: the
true box jittered by 10 % or by 40 %, or by 10 % but wrong altogether in three of ten; in pristine
pictures they are boxes anywhere. Arms: the box as SAM cuts it out; moved and judged by the
rectifier first; SAM's embedding enhanced by forensic cues; both. "Called" is the share of pristine
pictures in which more than one pixel in a hundred is called.

Not run to the end yet: no figures are claimed.

Writes results/propose_rectify.json and .png. A run that was stopped goes on with the next seed.
"""

import argparse
import copy
from itertools import count
from pathlib import Path

import torch
import torch.nn.functional as F
from changed import SIZE, scenes, shapes
from torch import Tensor, nn
from toy import RESULTS, Figures, draw, learn, located, over_seeds

from telltale import metrics
from telltale.nn.contract import Losses
from telltale.nn.regions import box_of, jittered, random_boxes
from telltale.nn.sam import Sam, at_size, sam
from telltale.pictures.propose_rectify import ProposeRectify

QUALITIES = ("10 %", "40 %", "3 of 10 wrong")


class Cutting(nn.Module):
    """A SAM that learns which pixels of a box a drawn shape has."""

    def __init__(self, network: Sam) -> None:
        super().__init__()
        self.sam = network

    def loss(self, images: Tensor, masks: Tensor) -> Losses:
        boxes = jittered(box_of(masks), 0.1, SIZE)
        logits = self.sam.decode(self.sam.encode(images)[0], boxes)
        target = F.interpolate(masks, logits.shape[-2:], mode="nearest")
        return {"bce": F.binary_cross_entropy_with_logits(logits, target)}


def proposals(masks: Tensor, quality: str) -> Tensor:
    """One box a picture, (N, 1, 4), as good as ``quality`` says."""
    torch.manual_seed(QUALITIES.index(quality))
    drawn = random_boxes(len(masks), 1, SIZE, masks)[:, 0]
    near = jittered(box_of(masks), 0.4 if quality == "40 %" else 0.1, SIZE)
    wrong = ~masks.flatten(1).any(1)
    if quality == QUALITIES[2]:
        wrong |= torch.rand(len(masks)) < 0.3
    return torch.where(wrong[:, None], drawn, near)[:, None]


def judged(net: ProposeRectify, images: Tensor, masks: Tensor, *, rectify: bool) -> Figures:
    """F1 on changed pictures and what is called in pristine ones, at each quality."""
    found: Figures = {}
    changed = masks.flatten(1).any(1)
    for quality in QUALITIES:
        boxes = proposals(masks, quality)
        with torch.no_grad():
            if rectify:
                maps = net.locate(images, boxes).mask
            else:
                embedding = net.encode(images)
                if float(net.enhance.gamma.abs().max()) > 0:
                    embedding = net.enhance(embedding, net.filters(images)[2])
                maps = at_size(net.sam.decode(embedding, boxes[:, 0]), images)
        if maps is None:
            raise ValueError("want a map")
        called = maps.sigmoid()[:, 0].numpy()
        pairs = zip(called[changed.numpy()], masks[changed][:, 0].numpy(), strict=True)
        found[f"f1, {quality}"] = metrics.pixel_f1(pairs)
        alarms = (called[~changed.numpy()] >= 0.5).mean((1, 2)) > 0.01
        found[f"called, {quality}"] = float(alarms.mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--out", type=Path, default=RESULTS / "propose_rectify.json")
    args = parser.parse_args()

    def one_seed(seed: int) -> dict[str, Figures]:
        torch.manual_seed(seed)
        images, masks = scenes(range(400), seed)
        test = scenes(range(5000, 5120), seed)
        public = Cutting(sam("sam_toy", size=SIZE))
        learn(public, (shapes(1000 * seed + k) for k in count()), args.steps, 1e-3)
        rows: dict[str, Figures] = {}
        for enhanced in (False, True):
            torch.manual_seed(seed)
            net = ProposeRectify(copy.deepcopy(public.sam), channels=12, hidden=48)
            net.enhance.requires_grad_(enhanced)
            learn(net, located(images, masks, seed, 12), args.steps, 2e-3)
            cues = " + cues" if enhanced else ""
            rows[f"box{cues}"] = judged(net, *test, rectify=False)
            rows[f"rectified{cues}"] = judged(net, *test, rectify=True)
        return rows

    result = over_seeds(args.out, {"steps": args.steps}, args.seeds, one_seed)
    draw(
        result,
        args.out.with_suffix(".png"),
        "Propose and Rectify in small",
        ("pixel F1 at 0.5", tuple(f"f1, {quality}" for quality in QUALITIES)),
        ("pristine pictures called", tuple(f"called, {quality}" for quality in QUALITIES)),
    )


if __name__ == "__main__":
    main()

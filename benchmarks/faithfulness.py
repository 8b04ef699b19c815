"""The violation test against the bare passes that it needs, on a ViT-S.

    python benchmarks/faithfulness.py --pictures 100 --size 112

Every explanation of the catalogue is made and tested on drawn pictures, by all three removals: one
explanation and three answers each. The bare passes are those of the same network as it stands,
with fused attention and nothing recorded: as many forward, and forward and backward, passes as the
test needs, one token more where a slice has one fewer. What the test takes more is what looking
inside costs.

Writes nothing; prints processor seconds of both, by one thread, and their ratio; see
docs/explanations.md.
"""

import argparse
import time

import torch
from torch import Tensor

from telltale.explain.changes import as_given
from telltale.explain.faithfulness import ViolationTest, violations
from telltale.explain.maps import STEPS
from telltale.explain.relevance import ALL
from telltale.explain.subjects import REMOVALS
from telltale.nn.backbones import backbone

# Forward, and forward and backward, passes that each explanation needs by its definition.
FORWARD = {"raw attention": 1, "attention norm": 1, "rollout": 1, "integrated gradients": 1}
BACKWARD = {
    "attention × gradient": 1,
    "input × gradient": 1,
    "integrated gradients": STEPS,
    "generic": 1,
    "grad-cam": 1,
    "partial LRP": 1,
    "transformer attribution": 2,  # one for the relevance, one for the gradient
}


def tested(net: ViolationTest, batches: list[Tensor]) -> float:
    began = time.process_time()
    for images in batches:
        before = as_given(net, images)
        for explain in ALL.values():
            violations(net, explain, images, shares=False, before=before)
    return time.process_time() - began


def bare(net: ViolationTest, batches: list[Tensor]) -> float:
    """The same passes of the plain network; a slice has one token fewer."""
    began = time.process_time()
    for images in batches:
        for _ in range(sum(BACKWARD.values())):
            images_ = images.clone().requires_grad_(True)
            torch.autograd.grad(net(images_).max(1).values.sum(), images_)
        with torch.no_grad():
            for _ in range(sum(FORWARD.values()) + 1 + len(ALL) * len(REMOVALS)):
                net(images)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    trunk = backbone("vit_small", size=args.size)
    net = ViolationTest(trunk, classes=2).eval().requires_grad_(False)
    images = torch.rand(args.pictures, 3, args.size, args.size)
    batches = [*images.split(args.batch)]
    tested(net, batches[:1])
    bare(net, batches[:1])  # warm
    for _ in range(args.repeats):
        one, two = tested(net, batches), bare(net, batches)
        print(
            f"{args.pictures} pictures of {args.size} px: test {one:.1f} s, "
            f"bare passes {two:.1f} s, ratio {one / two:.2f}"
        )


if __name__ == "__main__":
    main()

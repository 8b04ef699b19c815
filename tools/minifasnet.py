"""The public MiniFASNetV2 of Silent-Face-Anti-Spoofing as a peer of the shipped spoof detector.

    python tools/minifasnet.py --weights 2.7_80x80_MiniFASNetV2.pth --cache CROPS

Both weigh the test faces of `ship_spoof.py` (simulated attacks) in one run. The peer's crop is 2.7
times the face's box, BGR in 0 to 255; our crops hold two faces' sides, so what is missing repeats
the border. Its weights (Apache-2.0, minivision-ai) are not part of Telltale.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from shipping import answers  # beside this file
from torch import Tensor

from telltale import metrics

SIDE, REACH = 80, 2.7


class MiniFASNet:
    """Answers for pictures (N, 80, 80, 3), uint8 RGB: log-odds that the face is an attack."""

    def __init__(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.state: Mapping[str, Tensor] = {k.removeprefix("module."): v for k, v in state.items()}

    @torch.no_grad()
    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
        bgr = np.ascontiguousarray(pictures[..., ::-1].transpose(0, 3, 1, 2))
        x = torch.from_numpy(bgr).float()
        x = self.block("conv1", x, stride=2, padding=1)
        x = self.block("conv2_dw", x, padding=1)
        for name, count in (("conv_23", 0), ("conv_3", 4), ("conv_34", 0), ("conv_4", 6)):
            x = self.stage(name, x, count)
        for name, count in (("conv_45", 0), ("conv_5", 2)):
            x = self.stage(name, x, count)
        x = self.block("conv_6_sep", x)
        x = self.block("conv_6_dw", x).flatten(1)
        x = self.norm("bn", F.linear(x, self.state["linear.weight"]))
        shares = torch.softmax(F.linear(x, self.state["prob.weight"]), 1)
        live = shares[:, 1].double().clamp(1e-9, 1 - 1e-9)  # the other two are kinds of attack
        return torch.logit(1 - live).numpy()

    def stage(self, name: str, x: Tensor, count: int) -> Tensor:
        """A layer that halves the map, or ``count`` residual ones."""
        if not count:
            return self.depthwise(name, x, stride=2)
        for k in range(count):
            x = x + self.depthwise(f"{name}.model.{k}", x, stride=1)
        return x

    def depthwise(self, name: str, x: Tensor, *, stride: int) -> Tensor:
        x = self.block(f"{name}.conv", x)
        x = self.block(f"{name}.conv_dw", x, stride=stride, padding=1)
        return self.block(f"{name}.project", x)

    def block(self, name: str, x: Tensor, *, stride: int = 1, padding: int = 0) -> Tensor:
        """A convolution, its batch norm, and a PReLU where it has one."""
        weight = self.state[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, None, stride, padding, groups=x.shape[1] // weight.shape[1])
        x = self.norm(f"{name}.bn", x)
        slope = self.state.get(f"{name}.prelu.weight")
        return x if slope is None else F.prelu(x, slope)

    def norm(self, name: str, x: Tensor) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.state[f"{name}.{key}"] for key in keys))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder of *.crops")
    args = parser.parse_args()
    import ship_spoof

    from telltale.engine import session, weights_folder

    peer = MiniFASNet(args.weights)
    ours = session(weights_folder() / "joint_attacks.onnx")
    for split in ("test", "others"):
        near = ship_spoof.make(args.cache, split)
        wide = ship_spoof.make(args.cache, split, margin=REACH, size=SIDE)
        for name, scores in (
            ("ours", [answers(ours, part) for part in (near.live, near.attack)]),
            ("MiniFASNetV2", [peer(part) for part in (wide.live, wide.attack)]),
        ):
            for kind in (*ship_spoof.KINDS, "all"):
                rows = near.kinds == kind if kind != "all" else np.full(len(near.kinds), True)
                both = np.r_[scores[0], scores[1][rows]]
                labels = np.r_[np.zeros(len(scores[0]), int), np.ones(int(rows.sum()), int)]
                print(split, name, kind, f"{metrics.auc(both, labels):.3f}", flush=True)
            called = float((scores[0] > 0).mean())
            print(split, name, "live faces above even odds", f"{called:.3f}", flush=True)


if __name__ == "__main__":
    main()

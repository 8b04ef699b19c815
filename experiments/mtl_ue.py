"""Who learns two tasks from protected pictures: how little of each is learnt?

    python experiments/mtl_ue.py               about 2 minutes a seed on one core

Two of scikit-learn's digits (real scans), one above the other, faint and in clutter, are a picture
of 24 pixels; the upper digit and the lower one are the tasks, ten classes each. ε = 24/255. Arms:
pictures as they are; a random sign for each value; TAP for each picture by itself (PGD); MTL-UE
with TAP, with and without its regularisers; MTL-UE with EM. All are rounded to bytes before
somebody trains on them from scratch, with a network of the surrogate's kind and fresh weights.
Figures: clean test accuracy of both tasks, the best of any epoch, and the deviation of the changes
that pictures of the same labels have.

Found (3 seeds, mean accuracy of both tasks): originals 0.86, random signs 0.88, TAP alone 0.40,
MTL-UE with TAP 0.09, without its regularisers 0.10, MTL-UE with EM 0.43. Changes of pictures with
the same labels deviate by 7.3 levels with it and by 14.4 with TAP alone. The regularisers
show no effect.

Writes results/mtl_ue.json and .png. A run that was stopped goes on with the next seed.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from toy import RESULTS, Figures, draw, over_seeds

from telltale.attacks import pgd
from telltale.data.memory import batches
from telltale.fit import adam, fit
from telltale.nn.multitask import MultiTask
from telltale.nn.residual_block import ResidualBlock, conv_norm
from telltale.robustness.mtl_ue import MTLUE, shifted

CLASSES, EPS, SIDE = (10, 10), 24 / 255, 24
EPOCHS, BATCH = 25, 64


class Trunk(nn.Module):
    """Three small stages; four places become channels, since where a digit stands matters."""

    width = 64 * 4

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm(3, 16, stride=2), nn.ReLU(), ResidualBlock(16, 32), ResidualBlock(32, 64)
        )

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.body(images)
        return nn.functional.adaptive_avg_pool2d(maps, 2).flatten(1)[..., None, None]


def pictures(seed: int, count: int, *, test: bool) -> tuple[Tensor, Tensor]:
    """Pairs of digits (N, 3, 24, 24) with their labels (N, 2)."""
    rng = np.random.default_rng([seed, test])
    found = load_digits()
    of = np.flatnonzero((np.arange(len(found.target)) % 3 == 0) == test)
    rows = rng.choice(of, (count, 2))
    scans = np.kron(found.images[rows] / 16, np.ones((2, 3)))[..., 2:14, :]  # to 12 × 24
    # not side by side: training mirrors pictures
    both = np.concatenate([scans[:, 0], scans[:, 1]], 1)[:, None].repeat(3, 1)
    noisy = 0.35 * both + 0.3 + rng.normal(0, 0.12, both.shape)
    images = torch.from_numpy((noisy.clip(0, 1) * 255).round() / 255).float()
    return images, torch.from_numpy(found.target[rows])


def steps(net: nn.Module, feed: object, count: int, lr: float = 3e-3) -> None:
    for step in fit(net, feed, adam(net, lr=lr, weight_decay=1e-4), clip=5.0):  # type: ignore[arg-type]
        if step.number == count:
            return


def feed(images: Tensor, labels: Tensor, seed: int) -> object:
    return batches({"images": images, "attributes": labels}, BATCH, seed=seed)


def protected(arm: str, images: Tensor, labels: Tensor, seed: int, epoch: int) -> Tensor:
    """The pictures of an arm, in bytes."""
    torch.manual_seed(seed)
    if arm == "clean":
        return images
    if arm == "random":
        change = EPS * (2 * torch.randint(2, images.shape) - 1)
        return ((images + change).clamp(0, 1) * 255).round() / 255
    base = "em" if "EM" in arm else "tap"
    weights = (0.0, 0.0) if "without" in arm else (10.0, 200.0)
    made = MTLUE(
        Trunk(), classes=CLASSES, size=SIDE, eps=EPS, base=base, width=16, regularisation=weights
    )
    given = feed(images, labels, seed)
    if base == "tap":
        made.enter("clean")
        steps(made, given, EPOCHS * epoch)
    if arm == "TAP alone":
        judge = made.surrogate.eval()
        found = [
            pgd(
                lambda x, y=part: -judge.error(x, shifted(y, CLASSES)) * len(x),
                images[rows],
                eps=EPS,
                step=EPS / 8,
                steps=30,
            )
            for rows in torch.arange(len(images)).split(256)
            for part in [labels[rows]]
        ]
        return (torch.cat(found) * 255).round() / 255
    if base == "tap":
        made.enter("generator")
        steps(made, given, 15 * epoch)
    else:
        for _ in range(8):
            made.enter("generator")
            steps(made, given, epoch)
            made.enter("surrogate")
            steps(made, given, 8)
    made.eval()
    with torch.no_grad():
        rows = torch.arange(len(images)).split(256)
        stored = torch.cat([made(images[r], labels[r]) for r in rows])
    return (stored * 255).round() / 255


def one_seed(seed: int, count: int) -> dict[str, Figures]:
    images, labels = pictures(seed, count, test=False)
    test = pictures(seed, 600, test=True)
    epoch = -(-count // BATCH)
    figures = {}
    for arm in ("clean", "random", "TAP alone", "MTL-UE TAP", "TAP without ER", "MTL-UE EM"):
        made = protected(arm, images, labels, seed, epoch)
        torch.manual_seed(100 + seed)
        victim = MultiTask(Trunk(), CLASSES)
        given, best = feed(made, labels, 7), 0.0
        for _ in range(EPOCHS):
            steps(victim, given, epoch)
            found = victim.eval().accuracy(*test)
            best = max(best, float(found.mean()))
        change = 255 * (made - images).flatten(1)
        pairs = labels.unique(dim=0)
        groups = [change[(labels == pair).all(1)] for pair in pairs]
        spread = [float(g.std(0).mean()) for g in groups if len(g) > 1]
        figures[arm] = {
            "upper": float(found[0]),
            "lower": float(found[1]),
            "best_epoch": best,
            "trained_on": float(victim.accuracy(made, labels).mean()),
            "spread": float(np.mean(spread)),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS / "mtl_ue.json")
    args = parser.parse_args()
    result = over_seeds(
        args.out, {"count": args.count}, args.seeds, lambda seed: one_seed(seed, args.count)
    )
    draw(
        result,
        args.out.with_suffix(".png"),
        "Learnt from protected pairs of digits",
        ("clean test accuracy", ["upper", "lower", "best_epoch"]),
        ("deviation of alike changes, levels", ["spread"]),
    )


if __name__ == "__main__":
    main()

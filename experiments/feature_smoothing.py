"""What do smoothing, mapper and purifier each add to a certificate, and does it hold under attack?

    python experiments/feature_smoothing.py            about 3 minutes a seed on one core

A small CNN learns scikit-learn's 8 × 8 digits (real scans) with a cosine softmax, and is frozen.
σ = 0.25. Arms: smoothing alone, with the mapper, with the purifier, with both; each booster learns
on the training digits. Of 40 test digits: mean lower bound of the Gaussian robustness score (2,000
samples, α = 0.001), mean certified cosine (0 where nothing is certified), certified accuracy by the
prediction's radius, and accuracy under PGD in l2 on the mean over 16 noise samples; "plain" is the
encoder without smoothing under the same attack.

Found (three seeds): score 0.962 alone, 0.971 with the mapper, 0.974 with the purifier,
0.977 with both, and certified cosines in the same order, as the paper has it. The encoder
without smoothing does not break at these sizes (0.867 at 0.5): the defence shows little.

Writes results/feature_smoothing.json and .png. A run that was stopped goes on with the next seed.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from toy import RESULTS, Figures, draw, over_seeds

from telltale.attacks import pgd
from telltale.fit import adam, fit
from telltale.nn.contract import Losses
from telltale.robustness.feature_smoothing import FeatureSmoothing, agreeing_radius

SIGMA, EPS = 0.25, (0.1, 0.25, 0.5)
ARMS = {"smoothing": (False, False), "mapper": (False, True), "purifier": (True, False)}
ARMS["both"] = (True, True)


class Encoder(nn.Module):
    """Three convolutions to a feature of 64."""

    width = 64

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 64),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.net(images)
        return found


class Classifier(nn.Module):
    """The encoder with a cosine softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.classes = nn.Parameter(torch.randn(10, 64))

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        logits = F.normalize(self.encoder(images), dim=1) @ F.normalize(self.classes, dim=1).T
        return {"ce": F.cross_entropy(10 * logits, labels)}


def digits(seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 8, 8) in [0, 1] and labels, shuffled."""
    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    images = torch.from_numpy(data.images[order] / 16).float()[:, None].expand(-1, 3, -1, -1)
    return images.contiguous(), torch.from_numpy(data.target[order])


def learnt(net: nn.Module, images: Tensor, labels: Tensor | None, steps: int, lr: float) -> None:
    rows = torch.Generator().manual_seed(0)

    def batches():  # noqa: ANN202
        while True:
            at = torch.randint(len(images), (64,), generator=rows)
            batch = {"images": images[at]}
            yield batch if labels is None else batch | {"labels": labels[at]}

    for step in fit(net, batches(), adam(net, lr=lr)):
        if step.number >= steps:
            break


def attacked(net: FeatureSmoothing, classes: Tensor, x: Tensor, y: Tensor, eps: float) -> float:
    """Accuracy under PGD that takes its gradient through the mean over noise."""
    noise = net.sigma * torch.randn(16, 1, *x.shape[1:], generator=torch.Generator().manual_seed(1))

    def wrong(images: Tensor) -> Tensor:
        copies = (images[None] + noise).flatten(0, 1)
        mean = net.features(copies, net.sigma).unflatten(0, (16, len(images))).mean(0)
        return F.cross_entropy(10 * mean @ classes.T, y, reduction="none")

    moved = pgd(wrong, x, eps=eps, step=eps / 5, steps=20, norm="l2", start=eps / 2)
    means = net.encode(moved, 128, generator=torch.Generator().manual_seed(2))
    return float(((means @ classes.T).argmax(1) == y).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600, help="of a booster")
    parser.add_argument("--out", type=Path, default=RESULTS / "feature_smoothing.json")
    args = parser.parse_args()

    def one_seed(seed: int) -> dict[str, Figures]:
        torch.manual_seed(seed)
        images, labels = digits(seed)
        classifier = Classifier()
        learnt(classifier, images[:1400], labels[:1400], 500, 2e-3)
        classes = F.normalize(classifier.classes.detach(), dim=1)
        x, y = images[1400:1440], labels[1400:1440]
        found: dict[str, Figures] = {}
        encoder = classifier.encoder.eval().requires_grad_(False)

        def plainly(batch: Tensor) -> Tensor:
            logits = F.normalize(encoder(batch), dim=1) @ classes.T
            return F.cross_entropy(10 * logits, y, reduction="none")

        found["plain"] = {}
        for eps in EPS:
            moved = pgd(plainly, x, eps=eps, step=eps / 5, steps=20, norm="l2", start=eps / 2)
            calls = (F.normalize(encoder(moved), dim=1) @ classes.T).argmax(1)
            found["plain"][f"attacked accuracy at {eps}"] = float((calls == y).float().mean())
        for name, (purify, mapped) in ARMS.items():
            torch.manual_seed(seed)
            net = FeatureSmoothing(
                encoder, sigma=SIGMA, batch=500, purify=purify, map_features=mapped
            )
            if purify or mapped:
                learnt(net, images[:1400], None, args.steps, 2e-3)
            net.eval()
            draws = torch.Generator().manual_seed(seed)
            certificate = net.certify(x, samples=2000, generator=draws)
            mean = net.encode(x, 2000, generator=draws)
            radius = agreeing_radius(mean, classes, SIGMA)
            right = ((mean @ classes.T).argmax(1) == y).numpy()
            each: Figures = {"score": float(certificate.score.mean())}
            for eps in EPS:
                each[f"cosine at {eps}"] = float(np.nan_to_num(certificate.cosine(eps)).mean())
                each[f"certified accuracy at {eps}"] = float((right & (radius >= eps)).mean())
                each[f"attacked accuracy at {eps}"] = attacked(net, classes, x, y, eps)
            found[name] = each
        return found

    settings = {"steps": args.steps, "sigma": SIGMA}
    result = over_seeds(args.out, settings, args.seeds, one_seed)
    draw(
        result,
        args.out.with_suffix(".png"),
        "Feature-space smoothing of a digits encoder",
        ("lower bound of the score", ["score"]),
        ("certified accuracy", [f"certified accuracy at {eps}" for eps in EPS]),
        ("accuracy under attack", [f"attacked accuracy at {eps}" for eps in EPS]),
    )


if __name__ == "__main__":
    main()

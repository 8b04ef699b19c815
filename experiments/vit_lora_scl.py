"""Does low-rank adaptation generalise to unseen forgeries, and what does the single centre add?

    python experiments/vit_lora_scl.py                 about 10 minutes on one core

A small ViT (C = 96, 6 blocks, 4 × 4 patches on 40 × 40 toy faces) learns to tell people apart. Then
four arms learn from two forgeries and are tested on these and on the two others, with people that
they never saw: linear probe; full fine-tuning; LoRA; LoRA with the single-centre loss (SCL).
κ is the mean distance of real test faces to their mean over the distance of the class means, for
the forgeries seen and held out: what SCL is there to lower.

Writes results/vit_lora_scl.json and .png. A run that was stopped goes on with the next seed.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from telltale import metrics
from telltale.data.synth.toyfaces import ToyFaces, toy_faces
from telltale.faces.vit_lora_scl import ViTLoRASCL
from telltale.fit import adam, cosine, fit
from telltale.nn.backbones import backbone
from telltale.nn.contract import Losses

SEEN, HELD_OUT = ("DF", "F2F"), ("FS", "NT")
KNOWN, LEARN, TEST = range(200, 264), range(100), range(100, 140)  # people: pretraining, …
ARMS = ("linear probe", "full fine-tune", "LoRA", "LoRA + SCL")
RESULTS = Path(__file__).parent / "results"


class Plain(nn.Module):
    """A trunk and a linear head on its class token: two classes, or as many as there are people."""

    def __init__(self, trunk: nn.Module, classes: int = 2) -> None:
        super().__init__()
        self.backbone = trunk
        self.head = nn.Linear(96, classes)

    def embed(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.backbone(images)
        return tokens[:, 0]

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        return {"ce": F.cross_entropy(self.head(self.embed(images)), labels)}


Learner = Plain | ViTLoRASCL


def pretrain(steps: int, batch: int) -> tuple[dict[str, Tensor], float]:
    """A trunk that tells 64 people apart; its weights, and its accuracy on new frames of them.

    Each picture gets white noise in a random half of its 4 × 4 blocks, so that the trunk has to
    see noise to disregard it.
    """
    torch.manual_seed(0)
    net = Plain(backbone("vit_toy"), len(KNOWN))
    frames = toy_faces(1200, seed=1, identities=KNOWN)
    labels = frames.identities - KNOWN.start

    def batches() -> Iterator[dict[str, Tensor]]:
        for number in count():
            rng = np.random.default_rng([1, number])
            rows = rng.choice(len(labels), batch, replace=False)
            images = as_tensor(frames.images["real"][rows])
            blocks = rng.random((batch, 1, 10, 10)).repeat(4, 2).repeat(4, 3) < 0.5
            noise = rng.normal(0, 0.08, images.shape) * blocks
            noisy = (images + torch.from_numpy(noise).float()).clamp(0, 1)
            yield {"images": noisy, "labels": torch.from_numpy(labels[rows])}

    run(net, batches(), steps, lr=1e-3)
    fresh = toy_faces(200, seed=1, identities=KNOWN, start=1200)
    with torch.no_grad():
        guess = net.head(net.embed(as_tensor(fresh.images["real"]))).argmax(1).numpy()
    accuracy = float((guess == fresh.identities - KNOWN.start).mean())
    return net.backbone.state_dict(), accuracy


def run(net: Learner, batches: Iterator[Mapping[str, Tensor]], steps: int, lr: float) -> float:
    """Train for so many steps; the mean loss of the last tenth."""
    own = {"center": 1e-2} if hasattr(net, "center") else {}
    optimizer = adam(net, lr=lr, lrs=own, weight_decay=1e-5)
    last = []
    for step in fit(net, batches, optimizer, schedule=cosine(steps, warmup=steps // 10)):
        last.append(step.losses["ce"])
        if step.number == steps:
            break
    net.eval()
    return float(np.mean(last[-max(1, steps // 10) :]))


def arm(name: str, trunk: Mapping[str, Tensor], scl_weight: float, margin: float) -> Learner:
    """A fresh network of an arm on the pretrained trunk."""
    vit = backbone("vit_toy")
    vit.load_state_dict(trunk)
    if name.startswith("LoRA"):
        weight = scl_weight if "SCL" in name else 0.0
        return ViTLoRASCL(vit, rank=4, scl_weight=weight, margin=margin)
    vit.requires_grad_(name != "linear probe")
    return Plain(vit)


def pairs(frames: ToyFaces, seed: int, size: int) -> Iterator[dict[str, Tensor]]:
    """Endless batches: real frames and one of the seen forgeries of each."""
    for number in count():
        rng = np.random.default_rng([seed, number])
        rows = rng.choice(len(frames.identities), size // 2, replace=False)
        kinds = rng.choice(SEEN, size // 2)
        fake = np.stack([frames.images[k][r] for k, r in zip(kinds, rows, strict=True)])
        images = np.concatenate([frames.images["real"][rows], fake])
        labels = torch.arange(2).repeat_interleave(size // 2)
        yield {"images": as_tensor(images), "labels": labels}


@torch.no_grad()
def measure(net: Learner, frames: ToyFaces) -> dict[str, float]:
    """AUC of each forgery against the real test frames, and κ seen and held out."""
    features = {k: net.embed(as_tensor(images)) for k, images in frames.images.items()}
    head = {k: net.head(f) for k, f in features.items()}
    logits = {k: (v[:, 1] - v[:, 0]).double().numpy() for k, v in head.items()}
    labels = np.repeat([0, 1], len(frames.identities))
    found = {
        f"auc_{kind}": metrics.auc(np.concatenate([logits["real"], logits[kind]]), labels)
        for kind in (*SEEN, *HELD_OUT)
    }
    found["auc_seen"] = float(np.mean([found[f"auc_{k}"] for k in SEEN]))
    found["auc_held_out"] = float(np.mean([found[f"auc_{k}"] for k in HELD_OUT]))
    real = features["real"]
    spread = (real - real.mean(0)).norm(dim=1).mean()
    for name, kinds in (("seen", SEEN), ("held_out", HELD_OUT)):
        fake = torch.cat([features[k] for k in kinds])
        found[f"kappa_{name}"] = float(spread / (fake.mean(0) - real.mean(0)).norm())
    found["real_spread"] = float(spread)
    return found


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation over seeds of every figure of every arm."""
    table: dict[str, dict[str, list[float]]] = {}
    for name in ARMS:
        rows = [r[name] for r in runs]
        table[name] = {
            key: [
                round(float(np.mean([row[key] for row in rows])), 4),
                round(float(np.std([row[key] for row in rows], ddof=min(1, len(rows) - 1))), 4),
            ]
            for key in rows[0]
        }
    return table


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Bars of the AUCs and of κ, with the seeds' standard deviation."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    places = np.arange(len(ARMS))
    for axes, keys in (
        (left, ("auc_seen", "auc_held_out")),
        (right, ("kappa_seen", "kappa_held_out")),
    ):
        for offset, key in zip((-0.2, 0.2), keys, strict=True):
            mean, deviation = zip(*(result["summary"][a][key] for a in ARMS), strict=True)
            axes.bar(places + offset, mean, 0.38, yerr=deviation, capsize=3, label=key)
        axes.set_xticks(places, ARMS, fontsize=8)
        axes.legend(fontsize=8)
    left.set_ylabel("AUC")
    left.axhline(0.5, color="grey", linewidth=0.8)
    right.set_ylabel("κ (smaller: more compact)")
    right.set_yscale("log")
    seeds = len(result["runs"])
    figure.suptitle(f"Toy faces: learnt from {', '.join(SEEN)}; {seeds} seeds", fontsize=10)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--pretraining", type=int, default=250)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--scl-weight", type=float, default=0.1)
    parser.add_argument("--margin", type=float, default=0.3)
    parser.add_argument("--out", type=Path, default=RESULTS / "vit_lora_scl.json")
    args = parser.parse_args()
    settings = {k: v for k, v in vars(args).items() if k not in ("seeds", "out")}
    torch.set_num_threads(1)
    began = time.process_time()
    result: dict[str, Any] = {"settings": settings, "runs": [], "cpu_seconds": 0.0}
    if args.out.exists() and (old := json.loads(args.out.read_text()))["settings"] == settings:
        result = old
    trunk, result["people_told_apart"] = pretrain(args.pretraining, args.batch)
    print(f"pretrained: {result['people_told_apart']:.2f}, {time.process_time() - began:.0f} s")
    test = toy_faces(150, seed=2, identities=TEST)
    for seed in range(len(result["runs"]), args.seeds):
        frames = toy_faces(400, seed=3 + seed, identities=LEARN)
        figures: dict[str, Any] = {}
        for name in ARMS:
            torch.manual_seed(seed)
            net = arm(name, trunk, args.scl_weight, args.margin)
            lr = 3e-4 if name == "full fine-tune" else 3e-3
            loss = run(net, pairs(frames, seed, args.batch), args.steps, lr)
            figures[name] = measure(net, test) | {"train_ce": loss}
            print(seed, name, {k: round(v, 3) for k, v in figures[name].items()}, flush=True)
        result["runs"].append(figures)
        result["summary"] = summary(result["runs"])
        result["cpu_seconds"] = round(result["cpu_seconds"] + time.process_time() - began)
        began = time.process_time()
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    draw(result, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()

"""What the toy experiments share: a pretrained trunk, batches of toy faces, the loop over seeds.

A small ViT (C = 96, 6 blocks, 4 × 4 patches on 40 × 40 toy faces) learns to tell people apart and
to say which blocks of a picture were made noisy; its weights are made once and kept in the cache.
Its patch filters start as a DCT. Pretrained on identity alone, as the briefs have it, nothing that
was put on it learnt the forgeries in 150 steps.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from telltale import metrics
from telltale.data.synth.toyfaces import KINDS, ToyFaces, toy_faces
from telltale.fit import adam, cosine, fit
from telltale.nn.backbones import backbone
from telltale.nn.contract import Evidence, Losses, Trainable

KNOWN, LEARN, TEST = range(200, 264), range(100), range(100, 140)  # people: pretraining, …
HERE = Path(__file__).parent
RESULTS, CACHE = HERE / "results", HERE.parent / "cache"
Figures = dict[str, float]


class Plain(nn.Module):
    """A trunk and a linear head on its class token, or on the mean of its map."""

    def __init__(self, trunk: nn.Module, width: int = 96) -> None:
        super().__init__()
        self.backbone = trunk
        self.head = nn.Linear(width, 2)

    def embed(self, images: Tensor) -> Tensor:
        found: Tensor = self.backbone(images)
        return found[:, 0] if found.ndim == 3 else found.mean((2, 3))

    def forward(self, images: Tensor) -> Evidence:
        logits = self.head(self.embed(images))
        return Evidence(logits[:, 1] - logits[:, 0])

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        return {"ce": F.cross_entropy(self.head(self.embed(images)), labels)}


class Pretraining(nn.Module):
    """A trunk that names the person from the class token and the noisy blocks from the others."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        self.backbone = trunk
        self.people = nn.Linear(96, len(KNOWN))
        self.noise = nn.Linear(96, 1)

    def loss(self, images: Tensor, labels: Tensor, masks: Tensor) -> Losses:
        tokens = self.backbone(images)
        noisy = self.noise(tokens[:, 1:]).squeeze(-1)
        return {
            "people": F.cross_entropy(self.people(tokens[:, 0]), labels),
            "noise": F.binary_cross_entropy_with_logits(noisy, masks),
        }


def fresh_trunk() -> nn.Module:
    """A ViT whose first 48 patch features start as the patch's DCT, high frequencies amplified.

    The traces of toy forgeries are some hundredths of the range of values. A random projection of
    a patch drowns them in its mean colour, and 500 steps did not dig them out.
    """
    vit = backbone("vit_toy")
    u, x = np.mgrid[:4, :4]
    rows = np.cos(np.pi * u * (2 * x + 1) / 8) * np.where(u == 0, 0.5, np.sqrt(0.5))  # (u, x)
    basis = np.einsum("ux,vy->uvxy", rows, rows).reshape(16, 4, 4)
    gain = np.maximum(1, 4 * np.add.outer(np.arange(4), np.arange(4))).reshape(16, 1, 1)
    weight = vit.patch_embed.proj.weight.data
    weight[:48] = 0
    for color in range(3):
        weight[16 * color : 16 * color + 16, color] = torch.from_numpy(gain * basis).float()
    return vit


def trunk(steps: int = 300, batch: int = 32) -> nn.Module:
    """A fresh copy of the pretrained trunk; pretrains it if the cache has none."""
    from safetensors.torch import load_file

    kept = CACHE / f"toy_trunk-{steps}-{batch}.safetensors"
    if not kept.exists():
        with torch.random.fork_rng():  # whatever is drawn next is as if the cache had had it
            pretrain(kept, steps, batch)
    vit = backbone("vit_toy")
    vit.load_state_dict(load_file(kept))
    return vit


def pretrain(kept: Path, steps: int, batch: int) -> Figures:
    """Pretrain a trunk, keep its weights, and say how well it does; two minutes on one core.

    A random half of each picture's 4 × 4 blocks gets white noise, and each patch token says whether
    its block did. Identity alone lies in low frequencies, and a trunk that saw nothing else would
    have nothing to adapt.
    """
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net = Pretraining(fresh_trunk())
    frames = toy_faces(1200, seed=1, identities=KNOWN)
    labels = frames.identities - KNOWN.start

    def batches() -> Iterator[dict[str, Tensor]]:
        for number in count():
            rng = np.random.default_rng([1, number])
            rows = rng.choice(len(labels), batch, replace=False)
            images = as_tensor(frames.images["real"][rows])
            blocks = rng.random((batch, 1, 10, 10)) < 0.5
            strength = rng.uniform(0.02, 0.1, (batch, 1, 1, 1))
            noise = rng.normal(size=images.shape) * strength * blocks.repeat(4, 2).repeat(4, 3)
            yield {
                "images": (images + torch.from_numpy(noise).float()).clamp(0, 1),
                "labels": torch.from_numpy(labels[rows]),
                "masks": torch.from_numpy(blocks).flatten(1).float(),
            }

    losses = learn(net, batches(), steps, lr=1e-3)
    fresh = toy_faces(200, seed=1, identities=KNOWN, start=1200)
    with torch.no_grad():
        guess = net.people(net.backbone(as_tensor(fresh.images["real"]))[:, 0]).argmax(1).numpy()
    kept.parent.mkdir(parents=True, exist_ok=True)
    part = kept.with_suffix(f".{time.time_ns()}.part")
    save_file(net.backbone.state_dict(), part)
    part.replace(kept)
    accuracy = float((guess == fresh.identities - KNOWN.start).mean())
    return {"people_told_apart": accuracy, "noise_bce": losses["noise"]}


def learn(
    net: nn.Module,
    batches: Iterator[Mapping[str, Tensor]],
    steps: int,
    lr: float,
    lrs: Mapping[str, float] | None = None,
    clip: float = 1.0,
) -> Figures:
    """Train for so many steps, leave in eval mode; the mean loss terms of the last tenth."""
    optimizer, schedule = adam(net, lr=lr, lrs=lrs), cosine(steps, warmup=steps // 10)
    last: list[Mapping[str, float]] = []
    for step in fit(cast(Trainable, net), batches, optimizer, schedule=schedule, clip=clip):
        last.append(step.losses)
        if step.number == steps:
            break
    net.eval()
    last = last[-max(1, steps // 10) :]
    return {name: float(np.mean([terms[name] for terms in last])) for name in last[0]}


def pairs(
    frames: ToyFaces, kinds: Sequence[str], seed: int, size: int, fields: Sequence[str]
) -> Iterator[dict[str, Tensor]]:
    """Endless batches of ``size``: real frames, then one forgery of each.

    Args:
        frames: What to draw from.
        kinds: Forgeries to draw from, alike often.
        seed: Of the draws.
        size: Rows of a batch, even.
        fields: Some of images, labels, masks, domains (0 real, 1 + place in KINDS) and partners.
    """
    half = size // 2
    for number in count():
        rng = np.random.default_rng([seed, number])
        rows = rng.choice(len(frames.identities), half, replace=False)
        drawn = rng.choice(kinds, half)
        real = frames.images["real"][rows]
        fake = np.stack([frames.images[k][r] for k, r in zip(drawn, rows, strict=True)])
        masks = np.stack([frames.masks[k][r] for k, r in zip(drawn, rows, strict=True)])
        domains = [0] * half + [1 + KINDS.index(kind) for kind in drawn]
        whole = {
            "images": as_tensor(np.concatenate([real, fake])),
            "labels": torch.arange(2).repeat_interleave(half),
            "masks": torch.from_numpy(
                np.concatenate([np.zeros_like(masks), masks])[:, None]
            ).float(),
            "domains": torch.tensor(domains),
            "partners": as_tensor(np.concatenate([real, real])),
        }
        yield {field: whole[field] for field in fields}


@torch.no_grad()
def measure(net: nn.Module, frames: ToyFaces, seen: Sequence[str]) -> Figures:
    """AUC of each forgery against the real test frames, and the means of those seen and not."""
    logits = {k: net(as_tensor(v)).logit.double().numpy() for k, v in frames.images.items()}
    labels = np.repeat([0, 1], len(frames.identities))
    found = {
        f"auc_{kind}": float(metrics.auc(np.concatenate([logits["real"], logits[kind]]), labels))
        for kind in KINDS
    }
    others = [kind for kind in KINDS if kind not in seen]
    found["auc_seen"] = float(np.mean([found[f"auc_{kind}"] for kind in seen]))
    if others:
        found["auc_held_out"] = float(np.mean([found[f"auc_{kind}"] for kind in others]))
    return found


def located(images: Tensor, masks: Tensor, seed: int, size: int) -> Iterator[dict[str, Tensor]]:
    """Endless batches of pictures (N, 3, S, S) with masks (N, 1, S, S); label 1 where any is."""
    for number in count():
        random = torch.Generator().manual_seed(1000 * seed + number)
        rows = torch.randperm(len(images), generator=random)[:size]
        labels = masks[rows].flatten(1).any(1).long()
        yield {"images": images[rows], "labels": labels, "masks": masks[rows]}


def as_tensor(images: NDArray[np.uint8]) -> Tensor:
    """(N, S, S, 3) bytes as (N, 3, S, S) in [0, 1]."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def as_masks(masks: NDArray[np.bool_]) -> Tensor:
    """(N, S, S) as (N, 1, S, S), 1 where forged."""
    return torch.from_numpy(masks[:, None]).float()


def over_seeds(
    out: Path,
    settings: Mapping[str, Any],
    seeds: int,
    one_seed: Callable[[int], dict[str, Figures]],
) -> dict[str, Any]:
    """Run an experiment seed by seed and write ``out`` after each; a stopped one goes on.

    Args:
        out: JSON file; of other settings, it is begun anew.
        settings: What the figures depend on.
        seeds: How many.
        one_seed: Seed to arm to figures.
    """
    torch.set_num_threads(1)
    result: dict[str, Any] = {"settings": dict(settings), "runs": [], "cpu_seconds": 0.0}
    if out.exists() and (old := json.loads(out.read_text()))["settings"] == dict(settings):
        result = old
    for seed in range(len(result["runs"]), seeds):
        began = time.process_time()
        figures = one_seed(seed)
        for arm, row in figures.items():
            print(seed, arm, {k: round(v, 3) for k, v in row.items()}, flush=True)
        result["runs"].append(figures)
        result["summary"] = summary(result["runs"])
        result["cpu_seconds"] = round(result["cpu_seconds"] + time.process_time() - began)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")
    return result


def summary(runs: Sequence[Mapping[str, Figures]]) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation over seeds of every figure of every arm."""
    table: dict[str, dict[str, list[float]]] = {}
    for name in runs[0]:
        rows = [r[name] for r in runs]
        table[name] = {
            key: [
                round(float(np.mean([row[key] for row in rows])), 4),
                round(float(np.std([row[key] for row in rows], ddof=min(1, len(rows) - 1))), 4),
            ]
            for key in rows[0]
        }
    return table


def draw(
    result: Mapping[str, Any], path: Path, title: str, *panels: tuple[str, Sequence[str]]
) -> None:
    """Bars of each arm's figures with the seeds' standard deviation; a panel: (label, keys)."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    arms = [*result["summary"]]
    figure, axes = plt.subplots(1, len(panels), figsize=(5 * len(panels), 3.6), squeeze=False)
    for place, (label, keys) in zip(axes[0], panels, strict=True):
        width = 0.8 / len(keys)
        for number, key in enumerate(keys):
            rows = [result["summary"][arm].get(key, [np.nan, 0.0]) for arm in arms]
            mean, deviation = zip(*rows, strict=True)
            spots = np.arange(len(arms)) + (number - (len(keys) - 1) / 2) * width
            place.bar(spots, mean, 0.95 * width, yerr=deviation, capsize=3, label=key)
        upright = 90 if len(arms) > 10 else 0
        place.set_xticks(np.arange(len(arms)), arms, fontsize=7, rotation=upright)
        place.set_ylabel(label)
        place.legend(fontsize=7)
        if label.startswith("AUC"):
            place.axhline(0.5, color="grey", linewidth=0.8)
    figure.suptitle(f"{title}; {len(result['runs'])} seeds", fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)

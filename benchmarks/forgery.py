"""Seven methods and three references on real faces: which finds a kind of forgery it never saw?

    python benchmarks/forgery.py --cache CROPS        (`make benchmark-forgery CROPS=…`)

Leave-one-kind-out: each arm learns from the kinds of `forgery_faces.py` but one (`--together 2`:
but two, in three folds) and is tested on people that it never saw, with the kinds that it learnt,
with those held out, and with faces of other sources, none of which it learnt from.
Leave-one-source-out (`--leave source`): it learns all kinds on the faces of all sources but one
(of Labeled Faces in the Wild on the training people) and is tested on the one.
Same trunk (but for the CNN arms), pairs, steps and batch for all; each arm's learning rate is the
better of two on the validation people, chosen once.

Writes `FORGERY_AUC.md` and `forgery_auc.json`. Each run's figures are a line of
`forgery_runs.jsonl`: a benchmark that was stopped goes on, on another machine too, and may be done
piece by piece (`--arms`, `--first-seed`, `--seeds`). The tables show what is there: of each arm the
seeds that have all their folds.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import forgery_tables
import numpy as np
from forgery_faces import (  # its import finds tools/
    KINDS,
    Faces,
    batches,
    covers,
    faces,
    floats,
    joined,
    picked,
)
from forgery_tables import HERE, SOURCES, by_kind, by_source

from carriers import dinov2, efficientnet_lite  # isort: skip

RUNS = HERE / "forgery_runs.jsonl"
SIZE, DEPTH, BATCH = 70, 4, 16  # 5 × 5 patches and 4 blocks of DINOv2 ViT-S/14: minutes on a CPU
RATES = (1e-3, 3e-3)
TRUNK: dict[str, Any] = {"name": "dinov2_small", "size": SIZE, "depth": DEPTH}
CNN: dict[str, Any] = {"name": "tf_efficientnet_lite0", "size": SIZE}
ARMS: dict[str, dict[str, Any]] = {
    "linear head": {"backbone": TRUNK},
    "full fine-tuning": {"backbone": TRUNK, "rates": (1e-4, 3e-4)},
    "EfficientNet-Lite0": {"backbone": CNN, "rates": (3e-4, 1e-3)},
    "vit_lora_scl": {"backbone": TRUNK},
    "fa_vit": {"backbone": TRUNK, "inject_layers": (0, 2), "fal_weight": 0.1},
    "cfm": {"backbone": CNN, "plc_steps": 40, "momentum": 0.99, "rates": (3e-4, 1e-3)},
    "osdfd": {"backbone": TRUNK, "scl_weight": 0.01},
    "moe_ffd": {"backbone": TRUNK, "balance": (1.0, 0.1)},
    "detect_and_locate": {"backbone": {"name": "xception_toy", "size": SIZE}},
    "stega_ffd": {"hider": "mix", "width": 16, "teacher_steps": 30},
}


class Job(NamedTuple):
    """One training and what it is tested on; without ``held_out`` it learns from all kinds."""

    arm: str
    held_out: tuple[str, ...]
    seed: int
    lr: float
    steps: int
    source: str = ""  # the family of faces that is left out, and tested on

    @property
    def name(self) -> str:
        without = "+".join(self.held_out) or self.source or "none"
        return f"{self.arm}-{without}-{self.seed}-{self.lr:g}-{self.steps}"


def network(arm: str, weights: Mapping[str, Path]) -> Any:
    """A fresh network of an arm on its pretrained trunk."""
    from telltale import catalog

    settings = {k: v for k, v in ARMS[arm].items() if k != "rates"}
    if "backbone" in settings:
        trunk = dict(settings.pop("backbone"))
        if trunk["name"] in weights:
            trunk["weights"] = weights[trunk["name"]]
        settings["backbone"] = trunk
    return catalog.build(arm, **settings) if arm in catalog.cards() else reference(arm, trunk)


def reference(arm: str, trunk: Mapping[str, Any]) -> Any:
    """A trunk and a linear head on its class token, or on the mean of its map."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from telltale.nn.backbones import maker
    from telltale.nn.contract import Evidence

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone: Any = maker(trunk["name"])(**trunk)
            self.backbone.requires_grad_(arm != "linear head")
            self.head = nn.Linear(self.backbone.width, 2)

        def forward(self, images: torch.Tensor) -> Evidence:
            logits = self.score(images)
            return Evidence(logits[:, 1] - logits[:, 0])

        def score(self, images: torch.Tensor) -> torch.Tensor:
            found = self.backbone(images)
            pooled = found[:, 0] if found.ndim == 3 else found.mean((2, 3))
            logits: torch.Tensor = self.head(pooled)
            return logits

        def loss(self, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"ce": F.cross_entropy(self.score(images), labels)}

    return Plain()


def run(job: Job, cache: Path, weights: Mapping[str, Path]) -> dict[str, Any]:
    """Train, then the figures of every kind on every split."""
    import torch

    from telltale import catalog
    from telltale.fit import adam, cosine, fit
    from telltale.nn.residuals import noise_map

    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    net = network(job.arm, weights).to(memory_format=torch.channels_last)  # faster on a CPU
    wants = ("images", "labels")
    if job.arm in catalog.cards():
        wants = catalog.card(job.arm).learns_from
    kinds = [kind for kind in KINDS if kind not in job.held_out]
    learnt = without(job.source, cache) if job.source else faces(cache, "train", SIZE)
    stream = batches(learnt, kinds, BATCH, job.seed, "covers" in wants)
    if "noise" in wants:  # of the faces as they are kept, which were scaled once
        stream = (
            batch | {"noise": noise_map(torch.from_numpy(batch["images"])).numpy()}
            for batch in stream
        )
    fed = ({word: torch.from_numpy(batch[word]) for word in wants} for batch in stream)
    began = time.process_time()
    optimizer = adam(net, lr=job.lr)
    for step in fit(net, fed, optimizer, schedule=cosine(job.steps, warmup=job.steps // 10)):
        if step.number == job.steps:
            break
    seconds = time.process_time() - began
    net.eval()
    if job.source:
        found = {"left": figures(net, left_out(job.source, cache))}
    else:
        splits = ("val",) if job.seed < 0 else ("test", "others")
        found = {split: figures(net, faces(cache, split, SIZE)) for split in splits}
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return {"job": job._asdict(), "trained": trained, "seconds": round(seconds), **found}


def without(source: str, cache: Path) -> Faces:
    """The faces to learn from when a source is left out: all of the others."""
    parts = [faces(cache, split, SIZE) for split in ("train", "others")]
    return joined([picked(part, lambda family: family != source) for part in parts])


def left_out(source: str, cache: Path) -> Faces:
    """The faces to test on: all of a source, of Labeled Faces in the Wild the test people."""
    split = "test" if source == "lfw" else "others"
    return picked(faces(cache, split, SIZE), lambda family: family == source)


def figures(net: Any, data: Faces) -> dict[str, Any]:
    """AUC of each kind against the real faces, and for each source."""
    import torch

    from telltale import metrics

    def weigh(images: Any) -> Any:
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), 50):
                batch = torch.from_numpy(floats(images[start : start + 50]))
                if hasattr(net, "hide"):  # each face in a cover of its own
                    batch = net.hide(batch, torch.from_numpy(covers(len(batch), start)))
                parts.append(net(batch).logit.double().numpy())
        return np.concatenate(parts)

    # One real picture a face, its upload chain from each kind's pair in turn.
    real = weigh(np.stack([data.real[KINDS[k % len(KINDS)]][k] for k in range(len(data.sources))]))
    fake = {kind: weigh(data.fake[kind]) for kind in KINDS}
    family = np.array([source.split(":")[0] for source in data.sources])

    def auc(kind: str, rows: Any) -> float:
        scores = np.r_[real[rows], fake[kind][rows]]
        labels = np.repeat([0, 1], len(scores) // 2)
        return round(float(metrics.auc(scores, labels)), 4)

    everyone = np.full(len(real), True)
    return {
        "auc": {kind: auc(kind, everyone) for kind in KINDS},
        "by source": {
            str(name): {kind: auc(kind, family == name) for kind in KINDS}
            for name in np.unique(family)
            if (family == name).sum() >= 10
        },
    }


def done(
    jobs: Sequence[Job], cache: Path, weights: Mapping[str, Path], workers: int
) -> list[dict[str, Any]]:
    """The figures of all jobs, those that are in :data:`RUNS` not made again."""
    found = kept()
    missing = [job for job in jobs if job.name not in found]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        under_way = {pool.submit(run, job, cache, weights): job for job in missing}
        for number, future in enumerate(as_completed(under_way), 1):
            job = under_way[future]
            found[job.name] = future.result()
            with RUNS.open("a") as file:
                file.write(json.dumps({"name": job.name} | found[job.name]) + "\n")
            print(f"{number}/{len(missing)} {job.name}", flush=True)
    return [found[job.name] for job in jobs]


def kept() -> dict[str, dict[str, Any]]:
    """Each run's figures by its name."""
    lines = RUNS.read_text().splitlines() if RUNS.exists() else []
    return {line.pop("name"): line for line in map(json.loads, lines)}


def chosen_rates(
    arms: Sequence[str], steps: int, finish: Callable[[Sequence[Job]], list[dict[str, Any]]]
) -> dict[str, float]:
    """Each arm's learning rate, by the mean AUC on the validation people with all kinds learnt.

    An arm that a table has keeps the rate that was chosen for it.
    """
    chosen = known_rates()
    new = [arm for arm in arms if arm not in chosen]
    results = finish([Job(arm, (), -1, lr, steps) for arm in new for lr in rates_of(arm)])
    best: dict[str, tuple[float, float]] = {}
    for result in results:
        mean = float(np.mean([*result["val"]["auc"].values()]))
        arm, lr = result["job"]["arm"], result["job"]["lr"]
        best[arm] = max(best.get(arm, (0.0, 0.0)), (mean, lr))
    return {arm: chosen[arm] if arm in chosen else best[arm][1] for arm in arms}


def known_rates() -> dict[str, float]:
    """The rates that the tables' arms had."""
    tables = forgery_tables.known().values()
    return {arm: row["learning rate"] for table in tables for arm, row in table["arms"].items()}


def rates_of(arm: str) -> tuple[float, ...]:
    """Learning rates to choose from."""
    rates: tuple[float, ...] = ARMS[arm].get("rates", RATES)
    return rates


def folds(together: int) -> list[tuple[str, ...]]:
    """The kinds held out together; two that are made alike never are, so each has a relative."""
    count = len(KINDS) // together
    return [KINDS[k::count] for k in range(count)]


def complete(folds: Sequence[Job]) -> list[dict[str, Any]]:
    """The figures that are kept of ``folds``, for seeds and arms that have all of theirs."""
    found, results = kept(), []
    for arm, seed in dict.fromkeys((job.arm, job.seed) for job in folds):
        own = [job.name for job in folds if (job.arm, job.seed) == (arm, seed)]
        if all(name in found for name in own):
            results += [found[name] for name in own]
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder of *.crops")
    parser.add_argument("--arms", nargs="+", default=[*ARMS], choices=ARMS)
    parser.add_argument("--leave", choices=("kind", "source"), default="kind")
    parser.add_argument("--together", type=int, default=1, choices=(1, 2, 3), help="kinds a fold")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--choosing-steps", type=int, default=80, help="to choose rates by")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    weights = {
        "dinov2_small": dinov2(args.cache),
        "tf_efficientnet_lite0": efficientnet_lite(args.cache),
    }
    sizes = {s: len(faces(args.cache, s, SIZE).sources) for s in ("train", "val", "test", "others")}

    def finish(jobs: Sequence[Job]) -> list[dict[str, Any]]:
        return done(jobs, args.cache, weights, args.workers)

    rates = chosen_rates(args.arms, args.choosing_steps, finish)
    settings: dict[str, Any] = {"steps": args.steps, "batch": BATCH, "size": SIZE}
    if args.leave == "source":
        sizes |= {s: len(left_out(s, args.cache).sources) for s in SOURCES}
        name = "One source left out"
        ways: list[dict[str, Any]] = [{"held_out": (), "source": s} for s in SOURCES]
    else:
        settings["folds"] = folds(args.together)
        name = ("One kind", "Two kinds", "Three kinds")[args.together - 1] + " left out"
        ways = [{"held_out": fold} for fold in folds(args.together)]

    def of_all(arms: Sequence[str], seeds: Sequence[int]) -> list[Job]:
        return [
            Job(arm=arm, seed=seed, lr=rates[arm], steps=args.steps, **way)
            for seed in seeds
            for way in ways
            for arm in arms
        ]

    finish(of_all(args.arms, range(args.first_seed, args.first_seed + args.seeds)))
    rates = known_rates() | rates
    results = complete(of_all([arm for arm in ARMS if arm in rates], range(100)))
    rows = (by_source if args.leave == "source" else by_kind)(results)
    print(forgery_tables.write(name, settings | {"faces": sizes}, rows))


if __name__ == "__main__":
    main()

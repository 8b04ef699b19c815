"""Seven methods and three references on real faces: which finds a kind of forgery it never saw?

    python benchmarks/forgery.py --cache CROPS        (`make benchmark-forgery CROPS=…`)

Leave-one-kind-out: each arm learns from the kinds of `forgery_faces.py` but one (`--together 2`:
but two, in three folds) and is tested on people that it never saw, with the kinds that it learnt,
with those held out, and with faces of other sources, none of which it learnt from. Same trunk (but
for the CNN arms), pairs, steps and batch for all; each arm's learning rate is the better of two on
the validation people. Writes `FORGERY_AUC.md` and `forgery_auc.json`. Each run's figures are kept
in the cache: a benchmark that was stopped goes on, and may be done piece by piece.
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

import numpy as np
from forgery_faces import KINDS, Faces, batches, covers, faces, floats  # its import finds tools/

from carriers import dinov2, efficientnet_lite  # isort: skip

HERE = Path(__file__).resolve().parent
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

    @property
    def name(self) -> str:
        without = "+".join(self.held_out) or "none"
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

    torch.set_num_threads(1)
    torch.manual_seed(job.seed)
    net = network(job.arm, weights)
    wants = ("images", "labels")
    if job.arm in catalog.cards():
        wants = catalog.card(job.arm).learns_from
    kinds = [kind for kind in KINDS if kind not in job.held_out]
    stream = batches(faces(cache, "train", SIZE), kinds, BATCH, job.seed, "covers" in wants)
    fed = ({word: torch.from_numpy(batch[word]) for word in wants} for batch in stream)
    began = time.process_time()
    optimizer = adam(net, lr=job.lr)
    for step in fit(net, fed, optimizer, schedule=cosine(job.steps, warmup=job.steps // 10)):
        if step.number == job.steps:
            break
    seconds = time.process_time() - began
    net.eval()
    splits = ("val",) if job.seed < 0 else ("test", "others")
    found = {split: figures(net, faces(cache, split, SIZE)) for split in splits}
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return {"job": job._asdict(), "trained": trained, "seconds": round(seconds), **found}


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
    """The figures of all jobs, those that are in the cache not made again."""
    runs = cache / "forgery-runs"
    runs.mkdir(exist_ok=True)
    missing = [job for job in jobs if not (runs / f"{job.name}.json").exists()]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        under_way = {pool.submit(run, job, cache, weights): job for job in missing}
        for number, future in enumerate(as_completed(under_way), 1):
            job = under_way[future]
            part = runs / f"{job.name}.part"
            part.write_text(json.dumps(future.result()))
            part.replace(runs / f"{job.name}.json")
            print(f"{number}/{len(missing)} {job.name}", flush=True)
    return [json.loads((runs / f"{job.name}.json").read_text()) for job in jobs]


def chosen_rates(
    arms: Sequence[str], steps: int, finish: Callable[[Sequence[Job]], list[dict[str, Any]]]
) -> dict[str, float]:
    """Each arm's learning rate, by the mean AUC on the validation people with all kinds learnt."""
    results = finish([Job(arm, (), -1, lr, steps) for arm in arms for lr in rates_of(arm)])
    best: dict[str, tuple[float, float]] = {}
    for result in results:
        mean = float(np.mean([*result["val"]["auc"].values()]))
        arm, lr = result["job"]["arm"], result["job"]["lr"]
        best[arm] = max(best.get(arm, (0.0, 0.0)), (mean, lr))
    return {arm: lr for arm, (_, lr) in best.items()}


def rates_of(arm: str) -> tuple[float, ...]:
    """Learning rates to choose from."""
    rates: tuple[float, ...] = ARMS[arm].get("rates", RATES)
    return rates


def table(results: Sequence[Mapping[str, Any]], rates: Mapping[str, float]) -> dict[str, Any]:
    """For each arm the mean and deviation over seeds of every column."""
    rows: dict[str, Any] = {}
    for arm in rates:
        own = [r for r in results if r["job"]["arm"] == arm]
        columns: dict[str, dict[int, list[float]]] = {}
        for result in own:
            held_out, seed = result["job"]["held_out"], result["job"]["seed"]
            tested, others = result["test"]["auc"], result["others"]["auc"]
            seen = [kind for kind in KINDS if kind not in held_out]
            found = {
                **{kind: tested[kind] for kind in held_out},
                "mean held out": float(np.mean([tested[kind] for kind in held_out])),
                "mean seen": float(np.mean([tested[kind] for kind in seen])),
                "held out, other sources": float(np.mean([others[kind] for kind in held_out])),
            }
            for name, kinds in result["others"]["by source"].items():
                found[f"source {name}"] = float(np.mean([*kinds.values()]))
            for name, value in found.items():
                columns.setdefault(name, {}).setdefault(seed, []).append(value)
        values = {n: [float(np.mean(v)) for v in by.values()] for n, by in columns.items()}
        sources = [np.mean(v) for n, v in values.items() if n.startswith("source ")]
        rows[arm] = {
            "trained weights": own[0]["trained"],
            "learning rate": rates[arm],
            "cpu seconds a run": round(float(np.median([r["seconds"] for r in own]))),
            "worst source": round(float(min(sources)), 4),
            **{n: [round(float(np.mean(v)), 4), spread(v)] for n, v in values.items()},
        }
    return rows


def folds(together: int) -> list[tuple[str, ...]]:
    """The kinds held out together; two that are made alike never are, so each has a relative."""
    count = len(KINDS) // together
    return [KINDS[k::count] for k in range(count)]


def spread(values: Sequence[float]) -> float:
    return round(float(np.std(values, ddof=min(1, len(values) - 1))), 4)


def markdown(rows: Mapping[str, Any], args: argparse.Namespace, sizes: Mapping[str, int]) -> str:
    """The table as the docs show it."""
    columns = [*KINDS, "mean held out", "mean seen", "held out, other sources"]
    lines = [
        "# Forged faces: which method finds a kind that it never saw?",
        "",
        f"`python benchmarks/forgery.py --together {args.together} --steps {args.steps}`: AUC, "
        f"{of_seeds(args.seeds)}. What a column of a kind shows was learnt without that kind; held "
        f"out together: {'; '.join(' and '.join(fold) for fold in folds(args.together))}. "
        "Forgeries are **synthetic**, made from "
        f"real faces: Labeled Faces in the Wild, {sizes['train']} people to learn from, "
        f"{sizes['test']} others to test; {sizes['others']} faces of other sources, never learnt "
        "from.",
        f"Trunk: DINOv2 ViT-S/14 cut after {DEPTH} blocks, {SIZE} pixels (CFM: EfficientNet-Lite0; "
        "detect_and_locate and stega_ffd: small networks that start at random, the latter on faces "
        f"hidden in drawn textures); {args.steps} steps of {BATCH} images, learning rate chosen on "
        f"validation people by {args.choosing_steps} steps. So small a budget ranks methods for "
        "this budget, not for the papers' full training, and none of the papers' figures is "
        "reproduced here.",
        "",
        "| arm | weights trained | " + " | ".join(columns) + " | worst source |",
        "|---|---" + "|---" * (len(columns) + 1) + "|",
    ]
    order = sorted(rows, key=lambda arm: -rows[arm]["mean held out"][0])
    for arm in order:
        row = rows[arm]
        cells = [shown(row.get(c), args.seeds) for c in columns]
        weights = f"{row['trained weights'] / 1e3:.0f} k"
        lines.append(
            f"| {arm} | {weights} | " + " | ".join(cells) + f" | {row['worst source']:.3f} |"
        )
    return "\n".join(lines) + "\n"


def shown(value: Sequence[float] | None, seeds: int) -> str:
    """A cell of the table."""
    if value is None:
        return "–"
    return f"{value[0]:.3f} ± {value[1]:.3f}" if seeds > 1 else f"{value[0]:.3f}"


def of_seeds(seeds: int) -> str:
    return f"mean ± deviation over {seeds} seeds" if seeds > 1 else "one seed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder of *.crops")
    parser.add_argument("--arms", nargs="+", default=[*ARMS], choices=ARMS)
    parser.add_argument("--together", type=int, default=1, choices=(1, 2, 3), help="kinds a fold")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--choosing-steps", type=int, default=80, help="to choose rates by")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    weights = {
        "dinov2_small": dinov2(args.cache),
        "tf_efficientnet_lite0": efficientnet_lite(args.cache),
    }
    sizes = {split: len(faces(args.cache, split, SIZE).sources) for split in ("train", "val")}
    sizes |= {split: len(faces(args.cache, split, SIZE).sources) for split in ("test", "others")}

    def finish(jobs: Sequence[Job]) -> list[dict[str, Any]]:
        return done(jobs, args.cache, weights, args.workers)

    rates = chosen_rates(args.arms, args.choosing_steps, finish)
    jobs = [
        Job(arm, fold, seed, rates[arm], args.steps)
        for seed in range(args.seeds)
        for fold in folds(args.together)
        for arm in args.arms
    ]
    rows = table(finish(jobs), rates)
    settings = {"steps": args.steps, "seeds": args.seeds, "batch": BATCH, "size": SIZE}
    settings |= {"folds": folds(args.together)}
    text = json.dumps({"settings": settings | {"faces": sizes}, "arms": rows}, indent=1)
    (HERE / "forgery_auc.json").write_text(text + "\n")
    (HERE / "FORGERY_AUC.md").write_text(markdown(rows, args, sizes))
    print(markdown(rows, args, sizes))


if __name__ == "__main__":
    main()

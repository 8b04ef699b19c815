"""What the tools that make shipped weights share: training, thresholds, figures, the card.

Nothing here is part of the package.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale import metrics

Floats = NDArray[np.float64]

SURVIVES = ["JPEG 95", "JPEG 75", "crop"]  # halving a picture erases halftone and moiré


def learn(
    net: Any,
    batches: Iterable[Mapping[str, Any]],
    run: Path,
    *,
    steps: int,
    lr: float,
    validate: Callable[[Any], float],
    every: int = 50,
    pause: int = 10**9,
) -> float:
    """Train, resume from the run's folder if it was begun, and keep the best by ``validate``.

    A call ends after ``pause`` steps, a multiple of ``every``; the next goes on.
    """
    from telltale import fit

    run.mkdir(parents=True, exist_ok=True)
    optimiser = fit.adam(net, lr=lr, decoupled=True)
    state, log = run / "progress.safetensors", run / "steps.jsonl"
    done = fit.resume(state, net, optimiser) if state.exists() else 0
    lines = [json.loads(line) for line in log.read_text().splitlines()] if done else []
    best = max((line.get("val_auc", 0.0) for line in lines), default=0.0)
    began = time.monotonic()
    schedule = fit.cosine(steps, warmup=min(50, steps // 10))
    with log.open("a" if done else "w") as file:
        for step in fit.fit(net, batches, optimiser, schedule=schedule, done=done):
            losses = {name: round(value, 5) for name, value in step.losses.items()}
            line: dict[str, Any] = {"step": step.number, "lr": round(step.lr, 7), **losses}
            if step.number % every == 0 or step.number >= steps:
                net.eval()
                line["val_auc"] = round(validate(net), 4)
                line["seconds"] = round(time.monotonic() - began)
                net.train()
                if line["val_auc"] > best:
                    best = line["val_auc"]
                    fit.save(net, run / "weights.safetensors")
                print(json.dumps(line), flush=True)
                fit.checkpoint(state, net, optimiser, step.number)
            file.write(json.dumps(line) + "\n")
            if step.number >= min(steps, done + pause):
                break
    return best


def steps_done(run: Path) -> int:
    """Steps at which :func:`learn` would go on: batches start there, too."""
    from safetensors import safe_open

    state = run / "progress.safetensors"
    if not state.exists():
        return 0
    with safe_open(state, framework="numpy") as file:
        return int(file.metadata()["number"])


def logits_of(net: Any, crops: NDArray[np.uint8], batch: int = 32) -> Floats:
    """A network's logits for crops (N, S, S, 3)."""
    import torch

    found = []
    with torch.no_grad():
        for start in range(0, len(crops), batch):
            images = crops[start : start + batch].transpose(0, 3, 1, 2).astype(np.float32) / 255
            found.append(net(torch.from_numpy(images)).logit.double().numpy())
    return np.concatenate(found)


def answers(runner: Any, crops: NDArray[np.uint8]) -> Floats:
    """An exported file's logits, one crop a call as the detector asks."""
    found = []
    for crop in crops:
        images = crop[None].transpose(0, 3, 1, 2).astype(np.float32) / 255
        found.append(np.asarray(runner.run(["logit"], {"images": images})[0], np.float64))
    return np.concatenate(found)


def band(scores: Floats, labels: NDArray[np.int64]) -> tuple[float, float]:
    """Threshold and doubt of calibrated scores.

    "yes" begins where 1 % of the genuine are left, "no" ends where 10 % of the attacks lie below;
    but never is a score between 0.3 and 0.9 taken for an answer, however clear the validation was:
    what the detector meets may be unlike it.
    """
    high = float(max(np.quantile(scores[labels == 0], 0.99), 0.9))
    low = float(min(np.quantile(scores[labels == 1], 0.10), 0.3))
    return round((high + low) / 2, 3), round((high - low) / 2, 3)


def rates(
    genuine: Floats, attacks: Floats, people: Iterable[str], others: Iterable[str], threshold: float
) -> dict[str, list[float]]:
    """AUC, EER, BPCER, APCER and HTER at a frozen threshold, with 95 % intervals by source."""
    scores = np.r_[genuine, attacks]
    labels = np.r_[np.zeros(len(genuine), int), np.ones(len(attacks), int)]
    groups = np.array([*people, *others])
    measures: dict[str, Callable[[Any, Any], float]] = {
        "auc": metrics.auc,
        "eer": metrics.eer,
        "bpcer": lambda s, y: metrics.bpcer(s, y, threshold),
        "apcer": lambda s, y: metrics.apcer(s, y, threshold),
        "hter": lambda s, y: metrics.hter(s, y, threshold),
    }
    return {
        name: [round(float(v), 4) for v in metrics.bootstrap(f, scores, labels, groups, seed=0)]
        for name, f in measures.items()
    }


def write_weights(card: Path, weights: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Put one weights' table, metrics included, at the end of a method's card."""
    plain = {k: v for k, v in weights.items() if not isinstance(v, Mapping)}
    lines = ["", "[[weights]]", *(f"{k} = {toml(v)}" for k, v in plain.items())]
    tables = {k: v for k, v in weights.items() if isinstance(v, Mapping)}
    for name, table in {**tables, "metrics": figures}.items():
        lines += ["", f"[weights.{name}]"]
        lines += [f"{json.dumps(k) if ' ' in k else k} = {toml(v)}" for k, v in table.items()]
    text = card.read_text("utf-8").split("\n[[weights]]")[0].rstrip("\n")
    part = card.with_suffix(".part")
    part.write_text(text + "\n" + "\n".join(lines) + "\n", encoding="utf-8")
    part.replace(card)


def toml(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)

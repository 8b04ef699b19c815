"""``compress pace``: a few clips per class, and how well they train a fresh network."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from telltale.compress.learning import fresh, learn
from telltale.compress.pruning import plan_of, with_size
from telltale.compress.report import Row, write_table
from telltale.compress.sets import Given, load_set

if TYPE_CHECKING:
    from torch import Tensor, nn

    from telltale.spiking.pace import PACE

USUAL: dict[str, dict[str, Any]] = {
    "teacher": {"name": "snn_toy"},
    "data": {"manifest": "-", "batch": 24, "license": "the owner's"},  # real clips a class
    "fit": {"lr": 0.1, "steps": 300},
}
TEACHERS, TEACHING = 2, 300  # how many; their steps
STUDY, PAGE = 240, 25  # steps of a fresh network on a small set; clips a step
RIVALS = ("random", "herding", "k-center", "rates")


def distil(  # noqa: PLR0913  # an option each
    data: str,
    out: Path,
    *,
    ipcs: Sequence[int] = (1,),
    compare: bool = False,
    start: Literal["random", "herding"] = "random",
    recipe: Path | str | None = None,
    settings: dict[str, Any] | None = None,
    given: Given | None = None,
    watch: Callable[[str], None] = lambda text: None,
    **reading: Any,
) -> list[Row]:
    """Distil sets of IPC clips per class, train a fresh network on each, and write all.

    Args:
        data: See :func:`telltale.compress.sets.load_set`.
        out: Folder for ``ipc1.safetensors`` (``events`` uint8, ``labels``), ``ipc1.png``,
            ``report.json`` and ``report.md``.
        ipcs: Clips per class.
        compare: The rivals, too: random clips, herding, k-center, and matching of mean rates.
        start: The real clips that PACE's begin as: random ones, or those that herding chooses.
        recipe: As for training.
        settings: "table.key" to value, over the recipe.
        given: Data already read.
        watch: Told what is being done.
        reading: Further arguments of ``load_set``.

    Raises:
        ValueError: If data or settings are not right, or a class has fewer clips than IPC.
    """
    over = dict(settings or {})
    if start not in ("random", "herding"):
        raise ValueError(f"want a start of 'random' or 'herding', got {start!r}")
    plan = plan_of("pace", recipe, over, USUAL) | {"start": start}
    seed, lr = plan["fit"]["seed"], plan["fit"]["lr"]
    given = given or load_set(data, seed=seed, **with_size(reading, plan))
    network = plan["teacher"] | {"size": given.events.shape[-1], "classes": len(given.names)}
    fewest = int(given.labels.bincount(minlength=len(given.names)).min())
    if wrong := [ipc for ipc in ipcs if not 1 <= ipc <= fewest]:
        raise ValueError(f"want 1 to {fewest} clips a class, as many as each has; got {wrong[0]}")
    out.mkdir(parents=True, exist_ok=True)
    watch(given.says)
    teachers, whole = taught(network, given, seed, watch)
    rows = [Row("all clips", whole)]
    about = {"data": given.says, "network": network["name"], "plan": plan}
    for ipc in ipcs:
        for arm in ("pace", *(RIVALS if compare else ())):
            watch(f"{arm}, {ipc} a class")
            began = time.process_time()
            events, labels = chosen(arm, ipc, teachers, given, plan, lr)
            spent = time.process_time() - began
            found = studied(network, events, labels, given, seed + 100)
            found |= {"seconds_to_make": spent, "bytes": float(events.numel())}
            found["times_smaller"] = given.events.numel() / events.numel()
            found |= likeness(events, labels, given)
            rows.append(Row(f"{arm}, {ipc} a class", found))
            if arm == "pace":
                _write_set(out / f"ipc{ipc}.safetensors", events, labels)
                picture(out / f"ipc{ipc}.png", events, labels, given.names)
            write_table(out, rows, about)
    return rows


def taught(
    network: dict[str, Any], given: Given, seed: int, watch: Callable[[str], None]
) -> tuple["nn.ModuleList", dict[str, float]]:
    """Teachers trained on all clips, and the figures of the first.

    One whose table names ``weights`` has learnt already: it is the only teacher, as it is.
    """
    from torch import nn

    from telltale.spiking.classifier import Classifier, accuracy

    teachers, figures = [], []
    if network.get("weights"):
        teacher = fresh(network, seed)
        right = accuracy(Classifier(teacher), given.test_events, given.test_labels)
        return nn.ModuleList([teacher]), {"accuracy": right, "bytes": float(given.events.numel())}
    for number in range(TEACHERS):
        watch(f"teacher {number + 1} of {TEACHERS}")
        teacher = fresh(network, seed + number)
        figures.append(taught_on(teacher, given.events, given.labels, given, TEACHING, seed))
        teachers.append(teacher)
    return nn.ModuleList(teachers), figures[0] | {"bytes": float(given.events.numel())}


def studied(
    network: dict[str, Any], events: "Tensor", labels: "Tensor", given: Given, seed: int
) -> dict[str, float]:
    """Figures of a fresh network, never of given weights, that learnt from a small set alone."""
    blank = {key: value for key, value in network.items() if key != "weights"}
    return taught_on(fresh(blank, seed), events, labels, given, STUDY, seed, batch=PAGE)


def taught_on(
    network: "nn.Module",
    events: "Tensor",
    labels: "Tensor",
    given: Given,
    steps: int,
    seed: int,
    batch: int = 50,
) -> dict[str, float]:
    """Train a network; its accuracy on the test clips and the processor's seconds."""
    from telltale.spiking.classifier import Classifier, accuracy

    whole = Classifier(network)
    began = time.process_time()
    learn(whole, events, labels, steps=steps, batch=batch, seed=seed)
    spent = time.process_time() - began
    return {
        "accuracy": accuracy(whole, given.test_events, given.test_labels),
        "seconds_to_train": spent,
    }


def chosen(
    arm: str, ipc: int, teachers: "nn.ModuleList", given: Given, plan: dict[str, Any], lr: float
) -> tuple["Tensor", "Tensor"]:
    """A small set (bytes) and its classes, by one of the ways."""
    import torch

    from telltale.fit import adam, fit
    from telltale.spiking.coresets import class_batches
    from telltale.spiking.pace import PACE

    seed, steps = plan["fit"]["seed"], plan["fit"]["steps"]
    shape = (given.events.shape[1], *given.events.shape[-2:])
    settings = plan["method"] | {"classes": len(given.names), "ipc": ipc, "shape": shape}
    settings["most"] = int(given.events.max())
    if arm == "rates":
        settings |= {"matching": "rates", "residual": 0.0}
    torch.manual_seed(seed)
    network = PACE(teachers, **settings)
    drawn = torch.Generator().manual_seed(seed)
    network.start(given.events, given.labels, generator=drawn)
    if arm == "random":
        return network.export()
    if arm in ("herding", "k-center"):
        rows = _real(arm, ipc, network, given)
        return given.events[rows], given.labels[rows]
    if plan.get("start") == "herding":
        rows = _real("herding", ipc, network, given)
        with torch.no_grad():
            network.clips.copy_(given.events[rows])
    optimizer = adam(network, lr=lr, weight_decay=0.0)
    feed = class_batches(given.events, given.labels, plan["batch"], seed=seed)
    for step in fit(network, feed, optimizer, clip=float("inf")):
        if step.number == steps:
            break
    return network.export()


def _real(arm: str, ipc: int, network: "PACE", given: Given) -> list[int]:
    """Rows of real clips, class by class, chosen among the features that are matched."""
    import torch

    from telltale.spiking.coresets import herding, k_center

    rows = []
    network.eval()
    for number in range(len(given.names)):
        mine = (given.labels == number).nonzero().flatten()
        with torch.no_grad():
            features = network(given.events[mine].float()).transpose(0, 1).flatten(1)
        pick = herding if arm == "herding" else k_center
        rows += [int(mine[row]) for row in pick(features, ipc)]
    return rows


def likeness(events: "Tensor", labels: "Tensor", given: Given) -> dict[str, float]:
    """How many events a clip has, and how near it is to a real one.

    Returns:
        ``events_a_clip``, and ``apart``: events that a clip and the nearest clip of its class do
        not share, as a share of the clip's own; 0 if it is a copy.
    """
    import torch

    apart = []
    for number in labels.unique():
        mine = events[labels == number].flatten(1).float()
        real = given.events[given.labels == number].flatten(1).float()
        nearest = torch.cdist(mine, real, p=1).min(1).values
        apart.append(nearest / mine.sum(1).clamp_min(1))
    counts = events.flatten(1).sum(1, dtype=torch.float64)
    return {"events_a_clip": float(counts.mean()), "apart": float(torch.cat(apart).mean())}


def picture(path: Path, events: "Tensor", labels: "Tensor", names: Sequence[str]) -> None:
    """Draw the first clip of each class, a row each, its frames side by side.

    Brighter events are blue and darker ones red, white is rest.
    """
    import numpy as np
    from PIL import Image

    rows = []
    for number in range(len(names)):
        clip = events[labels == number][0].numpy().astype(np.float64)
        share = clip / max(1.0, float(clip.max()))
        off, on = share[:, 0], share[:, 1]
        frames = np.stack([1 - on, 1 - np.maximum(on, off), 1 - off], -1)
        frames = np.pad(frames, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=0.6)
        rows.append(np.concatenate([*frames], 1))
    sheet = (np.concatenate(rows, 0) * 255).round().astype(np.uint8)
    image = Image.fromarray(sheet)
    part = path.with_name(path.name + ".part")
    image.resize((3 * image.width, 3 * image.height), Image.Resampling.NEAREST).save(part, "PNG")
    os.replace(part, path)


def _write_set(path: Path, events: "Tensor", labels: "Tensor") -> None:
    from safetensors.torch import save_file

    part = path.with_name(path.name + ".part")
    save_file({"events": events.contiguous(), "labels": labels.contiguous()}, part)
    os.replace(part, path)

"""The verb: train a method by a recipe, in a folder that says all about the run.

    run = train("vit_lora_scl", recipe="toy", settings={"method.rank": 8})
    run = train("vit_lora_scl", run=run, resume=True)      # after a kill: exactly as if it had not
    next = train("forensics_sam", settings={"method.stage": 2}, start=run)   # a later stage
    network = network_of(run)                              # with its best weights

The folder holds ``run.json`` (every value in force, versions), ``steps.jsonl`` (a line a step),
``sources.txt`` (whom it learnt from, if a manifest says so: ``telltale evaluate`` warns of them),
``weights.safetensors`` (what was trained, best by validation), ``progress.safetensors`` (what a
resume needs), ``start.safetensors`` if it went on from another run, of a method with experts
``experts.svg`` (how they are used) and, when training is over, ``card.toml`` that describes the
weights.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from telltale import catalog, expert_use, runs
from telltale import fit as fitting
from telltale.data.sources import Source, absolute, open_source
from telltale.judging import WORDS, judge, judged_by
from telltale.nn.states import begin, read_state
from telltale.recipe import Fit, Recipe, in_force, read_recipe

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Record = dict[str, Any]
_V = TypeVar("_V")
START = "start.safetensors"  # in a run's folder: what it began with


def train(
    slug: str,
    *,
    data: Path | str | None = None,
    recipe: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    run: Path | None = None,
    resume: bool = False,
    start: Path | None = None,
    watch: Callable[[Record], None] = lambda record: None,
) -> Path:
    """Train a method and return the folder of the run.

    Args:
        slug: Method; one that takes ``images`` and learns from them.
        data: What to learn from, in place of the recipe's ``data.manifest``.
        recipe: TOML file, or the name of one of the method's recipes.
        settings: "table.key" to value, over the recipe.
        run: Folder; a new one in ``runs`` by default.
        resume: Go on with ``run`` as its ``run.json`` says, from the last state that was kept.
        start: Another run of the method, whose best weights this one begins with: a later stage
            trains other parts, and its folder keeps those that it does not train.
        watch: Gets each step's record as ``steps.jsonl`` does.

    Raises:
        ValueError: If a name, a value, the data or the folder is not right, or the loss is not
            finite; the text says what is wanted.
    """
    if resume:
        if run is None or data is not None or recipe is not None or settings or start is not None:
            raise ValueError("to resume, name the run's folder only: its run.json has the rest")
        plan = runs.read_run(run)
        if plan.slug != slug:
            raise ValueError(f"{run}: is a run of {plan.slug}, not of {slug}")
    else:
        plan = _plan(slug, data, recipe, settings or {})
        run = run or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}"
        run = Path(_agreed(str(run)))  # the clocks of several processes may differ
        if (run / "run.json").exists() and _is_main():
            raise ValueError(f"{run}: there is a run already; resume it or name another folder")
    network = _build(plan)
    begin(network, run / START if start is None else _begun(plan, start))
    source = _source(plan, network, run)
    if not resume and _is_main():
        about = {"data": source.about, "trained_weights": _trainable(network)}
        runs.write_run(run, plan, about | ({} if start is None else {"start": str(start)}))
        if learnt := getattr(source, "learnt", ()):  # who the manifest's training pictures show
            runs.replace_text(run / "sources.txt", "".join(f"{name}\n" for name in learnt))
        if start is not None:
            fitting.keep(run / START, _begun(plan, start))
    for record in _learn(run, plan, network, source):
        watch(record)
    if _is_main():
        figure = judged_by(slug, network)
        judged = [r for r in runs.read_log(run / "steps.jsonl") if figure in r]
        best = max(judged, key=lambda r: float(r[figure]))
        words = f"{WORDS[figure]} {best[figure]:.4f}"
        runs.write_card(run, plan, _size(plan, network), best["step"], words)
    return run


def network_of(run: Path) -> nn.Module:
    """A run's network with its best weights, in eval mode: ready to export.

    Raises:
        ValueError: If it is not a run's folder, or there are no weights yet.
    """
    network = _build(runs.read_run(run))
    begin(network, run / START)
    fitting.restore(network, run / "weights.safetensors")
    return network.eval()


def data_of(run: Path) -> Source:
    """What a run learnt from, opened again: to calibrate on its validation part.

    Raises:
        ValueError: If it is not a run's folder, or its data are no longer where they were.
    """
    plan = runs.read_run(run)
    return _source(plan, _build(plan), run)


def _begun(plan: Recipe, start: Path) -> dict[str, Tensor]:
    """All that a run and those before it trained, the latest of each.

    Raises:
        ValueError: If it is not a run's folder, of another method, or has no weights yet.
    """
    slug = runs.read_run(start).slug
    if slug != plan.slug:
        raise ValueError(f"{start}: is a run of {slug}, not of {plan.slug}")
    before = read_state(start / START) if (start / START).exists() else {}
    return before | read_state(start / "weights.safetensors")


def _learn(run: Path, plan: Recipe, network: nn.Module, source: Source) -> Iterator[Record]:
    """Train from the last state that was kept, or from the start; one record a step."""
    fit = plan.fit
    optimizer = fitting.adam(
        network, lr=fit.lr, lrs=fit.lrs, weight_decay=fit.weight_decay, decoupled=fit.decoupled
    )
    state, steps = run / "progress.safetensors", run / "steps.jsonl"
    done = fitting.resume(state, network, optimizer) if state.exists() else 0
    records = runs.read_log(steps, until=done)  # what came after is made again, the same
    if _is_main():
        runs.replace_text(steps, "".join(json.dumps(record) + "\n" for record in records))
    figure = judged_by(plan.slug, network)
    values = [record[figure] for record in records if figure in record]
    if done >= fit.steps or _is_over(values, fit):
        return
    writer = _tensorboard(run, done) if fit.tensorboard and _is_main() else None
    for step in _steps(plan, network, source, optimizer, done):
        record = {"step": step.number, "lr": step.lr, "norm": step.norm, **step.losses}
        if step.number % fit.every == 0 or step.number == fit.steps:
            use = expert_use.used(network, step.number)  # of the step's batch
            if use is not None and _is_main():
                expert_use.keep(run, use)
            is_best = False
            if getattr(network, "decides", True) or step.number == fit.steps:
                record[figure] = _agreed(judge(network, source, plan.slug))
                is_best = record[figure] > max(values, default=-math.inf)
                values.append(record[figure])
            if _is_main():
                if is_best:
                    fitting.save(network, run / "weights.safetensors")
                runs.log(steps, record)  # before the state: the log is never behind it
                fitting.checkpoint(state, network, optimizer, step.number)
        elif _is_main():
            runs.log(steps, record)
        if writer is not None:
            runs.to_tensorboard([record], writer)
        yield record
        if step.number == fit.steps or (figure in record and _is_over(values, fit)):
            break
    if writer is not None:
        writer.close()


def _steps(
    plan: Recipe, network: nn.Module, source: Source, optimizer: Optimizer, done: int
) -> Iterator[fitting.Step]:
    fit = plan.fit
    loader = DataLoader(
        _Batches(source, catalog.card(plan.slug).learns_from),
        batch_size=None,  # a number is a whole batch
        sampler=range(done, fit.steps),
        num_workers=plan.data.workers,
        multiprocessing_context="spawn" if plan.data.workers else None,
        generator=torch.Generator(),  # its own, so that opening it draws nothing from the run's
    )
    schedule: fitting.Schedule = fitting.constant
    if fit.schedule == "cosine":
        turns = getattr(network, "turns", ())  # each learns at rates of its own
        schedule = fitting.cosine(*turns, fit.steps - sum(turns), warmup=fit.warmup)
    return fitting.fit(
        network,  # type: ignore[arg-type]
        loader,
        optimizer,
        schedule=schedule,
        clip=fit.clip,
        bfloat16=fit.bfloat16,
        done=done,
    )


class _Batches(Dataset[dict[str, Tensor]]):
    """A source's batches by number, under the words that a method's loss takes."""

    def __init__(self, source: Source, fields: tuple[str, ...]) -> None:
        self.source = source
        self.fields = fields

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        batch = self.source[number]
        return {field: torch.as_tensor(batch[field]) for field in self.fields}


def _plan(
    slug: str, data: Path | str | None, recipe: Path | str | None, settings: Mapping[str, Any]
) -> Recipe:
    card = catalog.card(slug)
    if "images" not in card.takes or "images" not in card.learns_from:
        raise ValueError(
            f"{slug} learns from {', '.join(card.learns_from) or 'nothing'}; train is for "
            "methods that learn from images"
        )
    tables = {} if recipe is None else read_recipe(recipe, slug)
    over = dict(settings) | ({} if data is None else {"data.manifest": str(data)})
    plan = in_force(slug, tables, over)
    read = not (plan.data.forge or plan.data.manifest.startswith("synth:"))  # those forge in pairs
    if card.pairs and read and plan.data.balance != "pairs":
        raise ValueError(
            f"{slug} compares each genuine frame with a forgery of that frame: "
            "--set data.balance=pairs (the manifest's column partner says which belong together)"
        )
    # a run may be resumed from another folder
    covers = str(Path(plan.data.covers).absolute()) if plan.data.covers else ""
    return plan._replace(
        data=replace(plan.data, manifest=absolute(plan.data.manifest), covers=covers)
    )


def _build(plan: Recipe) -> nn.Module:
    """The network; parts that are not pretrained depend on the seed alone."""
    torch.manual_seed(plan.fit.seed)
    return catalog.build(plan.slug, **plan.modules, **plan.method)


def _source(plan: Recipe, network: nn.Module, run: Path) -> Source:
    return open_source(
        plan.data,
        fields=catalog.card(plan.slug).learns_from,
        size=_size(plan, network),
        seed=plan.fit.seed,
        cache=run.parent / "faces",
    )


def _size(plan: Recipe, network: nn.Module) -> int:
    shape = getattr(getattr(network, "backbone", None), "shape", None)
    size = plan.data.size or getattr(shape, "size", None)
    if size is None:
        raise ValueError("want data.size, the side of the images in pixels")
    return int(size)


def _is_over(values: list[float], fit: Fit) -> bool:
    return fit.patience > 0 and fitting.plateaued(values, fit.patience)


def _trainable(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def _is_main() -> bool:
    return bool(fitting.processes().is_main_process)


def _agreed(value: _V) -> _V:
    """The first process's value in all processes."""
    from accelerate.utils import broadcast_object_list

    fitting.processes()
    agreed: _V = broadcast_object_list([value])[0]
    return agreed


def _tensorboard(run: Path, done: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError as error:
        raise ValueError(
            f"fit.tensorboard needs {error.name}: pip install 'telltale-vision[tensorboard]'"
        ) from None
    return SummaryWriter(str(run / "tensorboard"), purge_step=done + 1)

"""``compress spike-nm``: networks with N of every M weights, and what they lose."""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telltale.compress.learning import SETTLED, fresh, learn
from telltale.compress.report import Row, write_table, write_text
from telltale.compress.sets import Given, load_set

if TYPE_CHECKING:
    from torch import nn

    from telltale.spiking.classifier import Classifier
    from telltale.spiking.spike_nm import SpikeNM

USUAL: dict[str, dict[str, Any]] = {
    "network": {"name": "snn_toy"},
    "data": {"manifest": "-", "batch": 50, "license": "the owner's"},
    "fit": {"lr": 2e-3, "steps": 540},
}
TAKEN = ("lr", "steps", "seed")  # of a recipe's table fit
RIVALS = ("random", "sr-ste", "magnitude", "unstructured", "no distillation")


def prune(
    data: str,
    out: Path,
    *,
    patterns: Sequence[tuple[int, int]] = ((2, 4),),
    compare: bool = False,
    recipe: Path | str | None = None,
    settings: dict[str, Any] | None = None,
    given: Given | None = None,
    watch: Callable[[str], None] = lambda text: None,
    **reading: Any,
) -> list[Row]:
    """Train networks with N of every M weights, and the dense one; write weights and a table.

    Args:
        data: See :func:`telltale.compress.sets.load_set`.
        out: Folder for ``dense.safetensors``, ``2-4.safetensors`` (zeros in place),
            ``2-4.packed.safetensors`` (values and places), ``2-4.log.jsonl`` (losses and masks
            by epoch), ``report.json`` and ``report.md``.
        patterns: N and M.
        compare: Train the rivals, too, as many steps each: fixed random masks, SR-STE, magnitude
            after dense training, the same without a pattern, and SpikeNM without distillation.
        recipe: As for training.
        settings: "table.key" to value, over the recipe.
        given: Data already read.
        watch: Told what is being done.
        reading: Further arguments of ``load_set``.

    Raises:
        ValueError: If data, settings or patterns are not right.
    """
    plan = plan_of("spike_nm", recipe, settings or {}, USUAL)
    from telltale.spiking.spike_nm import SpikeNM

    seed, steps = plan["fit"]["seed"], plan["fit"]["steps"]
    given = given or load_set(data, seed=seed, **with_size(reading, plan))
    network = plan["network"] | {"size": given.events.shape[-1], "classes": len(given.names)}
    skip = plan["method"].get("skip")
    for n, m in patterns:  # what is wrong is said before anything is trained
        SpikeNM(fresh(network, seed), **plan["method"] | {"n": n, "m": m})
    out.mkdir(parents=True, exist_ok=True)
    watch(given.says)
    watch(f"dense, {steps} steps")
    dense = trained(fresh(network, seed), given, plan, steps)
    rows = [Row("dense", figures(dense, given))]
    save(dense, out / "dense.safetensors")
    arms = ("spike-nm", *(RIVALS if compare else ()))
    base = half_way(network, given, plan) if compare else None
    for n, m in patterns:
        for arm in arms:
            watch(f"{n}:{m} {arm}")
            log: list[Mapping[str, float]] = []
            made = arm_of(arm, n, m, network, given, plan, base=base, note=log.append)
            rows.append(Row(f"{n}:{m} {arm}", figures(made, given, n, m, skip)))
            if arm == "spike-nm":
                from telltale.spiking.packing import write_packed

                save(made, out / f"{n}-{m}.safetensors")
                write_packed(made, out / f"{n}-{m}.packed.safetensors", n, m, skip)
                lines = "".join(json.dumps(dict(row)) + "\n" for row in log)
                write_text(out / f"{n}-{m}.log.jsonl", lines)
        write_table(out, rows, {"data": given.says, "network": network["name"], "plan": plan})
    return rows


def half_way(network: dict[str, Any], given: Given, plan: dict[str, Any]) -> "nn.Module":
    """A dense network trained for the share of the steps that masks are learnt in.

    What is pruned after dense training has the rest for its tuning, so that no arm learns longer.
    """
    steps = max(1, round(SETTLED * plan["fit"]["steps"]))
    return trained(fresh(network, plan["fit"]["seed"]), given, plan, steps)


def arm_of(  # what it is, and what all share
    arm: str,
    n: int,
    m: int,
    network: dict[str, Any],
    given: Given,
    plan: dict[str, Any],
    *,
    base: "nn.Module | None" = None,
    note: Callable[[Mapping[str, float]], object] = lambda row: None,
) -> "nn.Module":
    """A network trained by one of the ways, its weights plain, zero where the masks are.

    Args:
        arm: "spike-nm" or one of :data:`RIVALS`.
        n: N.
        m: M.
        network: The recipe's table.
        given: Data.
        plan: Every value in force.
        base: For "magnitude" and "unstructured": :func:`half_way`.
        note: See :func:`telltale.compress.learning.learn`.
    """
    import torch

    from telltale.spiking import masks
    from telltale.spiking.spike_nm import SpikeNM

    seed, steps = plan["fit"]["seed"], plan["fit"]["steps"]
    begun, skip = fresh(network, seed), plan["method"].get("skip")
    if arm in ("spike-nm", "no distillation"):
        chosen = plan["method"] | {"n": n, "m": m}
        chosen |= {"eid": 0.0} if arm == "no distillation" else {}
        torch.manual_seed(seed + 1)
        pruned = SpikeNM(begun, **chosen)
        _learn(pruned, given, plan, steps, note)
        return pruned.finalise()
    if arm == "random":
        drawn = torch.Generator().manual_seed(seed)
        masks.fix(begun, masks.random_masks(begun, n, m, generator=drawn, skip=skip))
    elif arm == "sr-ste":
        masks.by_magnitude(begun, n, m, skip)
    else:
        begun = deepcopy(base or half_way(network, given, plan))
        kept = masks.magnitude_masks(begun, n, m, skip)
        if arm == "unstructured":
            kept = masks.unstructured_masks(begun, n / m, skip)
        masks.fix(begun, kept)
        steps = max(1, steps - round(SETTLED * steps))
    return masks.plain(trained(begun, given, plan, steps))


def trained(network: "nn.Module", given: Given, plan: dict[str, Any], steps: int) -> "nn.Module":
    """A network after plain training, in evaluation mode."""
    import torch

    from telltale.spiking.classifier import Classifier

    torch.manual_seed(plan["fit"]["seed"] + 1)
    _learn(Classifier(network), given, plan, steps)
    return network


def _learn(
    network: "SpikeNM | Classifier",
    given: Given,
    plan: dict[str, Any],
    steps: int,
    note: Callable[[Mapping[str, float]], object] = lambda row: None,
) -> None:
    fit = plan["fit"]
    common: dict[str, Any] = {"lr": fit["lr"], "batch": plan["batch"], "seed": fit["seed"]}
    learn(network, given.events, given.labels, steps=steps, note=note, **common)


def figures(
    network: "nn.Module",
    given: Given,
    n: int = 0,
    m: int = 0,
    skip: Collection[str] | None = None,
) -> dict[str, float]:
    """Accuracy on the test clips, sparsity, and what a clip costs; ``skip`` stays dense."""
    from telltale.metrics.spikes import energy
    from telltale.nn.snn import work
    from telltale.spiking.blocks import prunable, violations
    from telltale.spiking.classifier import Classifier, accuracy

    found = {"accuracy": accuracy(Classifier(network), given.test_events, given.test_labels)}
    inner = [layer.weight for layer in prunable(network, skip)]
    zero = sum(int((weight == 0).sum()) for weight in inner)
    found["inner_sparsity"] = zero / sum(weight.numel() for weight in inner)
    weights = sum(weight.numel() for weight in network.parameters())
    found |= {"sparsity": zero / weights, "weights_kept": float(weights - zero)}
    if m:
        found["violations"] = sum(violations(weight, n, m) for weight in inner)
    cost = work(network, given.test_events[:100].float())
    found["macs"] = sum(cost.macs.values())
    found["sops"] = sum(cost.sops.values())
    found["nanojoule"] = energy(cost.macs, cost.sops)
    return found


def save(network: "nn.Module", path: Path) -> None:
    """Write all weights as safetensors; ``nn.snn.spiking`` reads them."""
    from telltale import fit

    fit.save(network, path)


def plan_of(
    slug: str,
    recipe: Path | str | None,
    settings: dict[str, Any],
    usual: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Every value in force, as tables.

    Raises:
        ValueError: If a recipe or setting is not right or not one that compressing heeds, or torch
            is not installed.
    """
    for where in settings:
        table, _, key = where.partition(".")
        if (table == "fit" and key not in TAKEN) or (table == "data" and key != "batch"):
            heeded = ", ".join(f"fit.{name}" for name in TAKEN)
            raise ValueError(f"compressing heeds {heeded}, data.batch; not {where}")
    try:
        from telltale.recipe import in_force, read_recipe
    except ModuleNotFoundError as error:
        raise ValueError(
            f"compressing needs {error.name}: pip install 'telltale-vision[train,spiking]'"
        ) from None
    tables = {name: dict(table) for name, table in usual.items()}
    tables |= {} if recipe is None else read_recipe(recipe, slug)
    made = in_force(slug, tables, settings)
    plan = {"method": dict(made.method), **made.modules}
    plan["fit"] = {key: getattr(made.fit, key) for key in TAKEN}
    return plan | {"batch": made.data.batch, "size": made.data.size}


def with_size(reading: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """How to read data: the recipe's side, where none is asked for."""
    return reading | {"size": reading.get("size") or plan["size"]}

"""``compress spike-nm``: networks with N of every M weights, and what they lose."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telltale.compress.learning import fresh, learn
from telltale.compress.report import Row, write_table
from telltale.compress.sets import Given, load_set

if TYPE_CHECKING:
    from torch import nn

USUAL: dict[str, dict[str, Any]] = {
    "network": {"name": "snn_toy"},
    "fit": {"lr": 2e-3, "steps": 540},
}
BATCH = 50
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
            ``2-4.packed.safetensors`` (values and places), ``report.json`` and ``report.md``.
        patterns: N and M.
        compare: Train the rivals, too: fixed random masks, SR-STE, magnitude after dense training,
            the same without a pattern, and SpikeNM without distillation.
        recipe: As for training.
        settings: "table.key" to value, over the recipe.
        given: Data already read.
        watch: Told what is being done.
        reading: Further arguments of ``load_set``.

    Raises:
        ValueError: If data, settings or patterns are not right.
    """
    from telltale.spiking.spike_nm import violations  # noqa: F401  # torch is needed: say so now

    plan = plan_of("spike_nm", recipe, settings or {}, USUAL)
    seed, steps = plan["fit"]["seed"], plan["fit"]["steps"]
    given = given or load_set(data, seed=seed, **reading)
    network = plan["network"] | {"size": given.events.shape[-1], "classes": len(given.names)}
    out.mkdir(parents=True, exist_ok=True)
    watch(given.says)
    watch(f"dense, {steps} steps")
    dense = trained(fresh(network, seed), given, steps, plan["fit"]["lr"], seed)
    rows = [Row("dense", figures(dense, given))]
    save(dense, out / "dense.safetensors")
    for n, m in patterns:
        arms = ("spike-nm", *(RIVALS if compare else ()))
        for arm in arms:
            watch(f"{n}:{m} {arm}")
            made = arm_of(arm, n, m, dense, network, given, plan)
            rows.append(Row(f"{n}:{m} {arm}", figures(made, given, n, m)))
            if arm == "spike-nm":
                from telltale.spiking.packing import write_packed

                save(made, out / f"{n}-{m}.safetensors")
                write_packed(made, out / f"{n}-{m}.packed.safetensors", n, m)
        write_table(out, rows, {"data": given.says, "network": network["name"], "plan": plan})
    return rows


def arm_of(
    arm: str,
    n: int,
    m: int,
    dense: "nn.Module",
    network: dict[str, Any],
    given: Given,
    plan: dict[str, Any],
) -> "nn.Module":
    """A network trained by one of the ways, its weights plain, zero where the masks are."""
    import torch

    from telltale.spiking import masks
    from telltale.spiking.spike_nm import SpikeNM

    seed, steps, lr = (plan["fit"][key] for key in ("seed", "steps", "lr"))
    begun = fresh(network, seed)
    if arm in ("spike-nm", "no distillation"):
        chosen = plan["method"] | {"n": n, "m": m}
        chosen |= {"eid": 0.0} if arm == "no distillation" else {}
        torch.manual_seed(seed + 1)
        pruned = SpikeNM(begun, **chosen)
        learn(pruned, given.events, given.labels, steps=steps, lr=lr, batch=BATCH, seed=seed)
        return pruned.finalise()
    if arm == "random":
        drawn = torch.Generator().manual_seed(seed)
        masks.fix(begun, masks.random_masks(begun, n, m, generator=drawn))
    elif arm == "sr-ste":
        masks.by_magnitude(begun, n, m)
    else:  # after dense training; tuning takes as long again as SpikeNM's fixed masks train
        begun = deepcopy(dense)
        kept = masks.magnitude_masks(begun, n, m)
        if arm == "unstructured":
            kept = masks.unstructured_masks(begun, n / m)
        masks.fix(begun, kept)
        steps = max(1, round(0.4 * steps))
    return masks.plain(trained(begun, given, steps, lr, seed))


def trained(network: "nn.Module", given: Given, steps: int, lr: float, seed: int) -> "nn.Module":
    """A network after plain training, in evaluation mode."""
    import torch

    from telltale.spiking.classifier import Classifier

    torch.manual_seed(seed + 1)
    learn(
        Classifier(network), given.events, given.labels, steps=steps, lr=lr, batch=BATCH, seed=seed
    )
    return network


def figures(network: "nn.Module", given: Given, n: int = 0, m: int = 0) -> dict[str, float]:
    """Accuracy on the test clips, sparsity, and what a clip costs."""
    from telltale.metrics.spikes import energy
    from telltale.nn.snn import work
    from telltale.spiking.classifier import Classifier, accuracy
    from telltale.spiking.spike_nm import prunable, violations

    found = {"accuracy": accuracy(Classifier(network), given.test_events, given.test_labels)}
    inner = [layer.weight for layer in prunable(network)]
    zero = sum(int((weight == 0).sum()) for weight in inner)
    found["inner_sparsity"] = zero / sum(weight.numel() for weight in inner)
    everything = [*network.parameters()]
    found["sparsity"] = zero / sum(weight.numel() for weight in everything)
    if m:
        found["violations"] = sum(violations(weight, n, m) for weight in inner)
    cost = work(network, given.test_events[:100].float())
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
        ValueError: If a recipe or setting is not right, or torch is not installed.
    """
    try:
        from telltale.recipe import in_force, read_recipe
    except ModuleNotFoundError as error:
        raise ValueError(
            f"compressing needs {error.name}: pip install 'telltale-vision[train,spiking]'"
        ) from None
    tables = {name: dict(table) for name, table in usual.items()}
    tables |= {} if recipe is None else read_recipe(recipe, slug)
    tables.setdefault("data", {"manifest": "-", "license": "the owner's"})
    made = in_force(slug, tables, settings)
    return {"method": dict(made.method), **made.modules, "fit": made.tables()["fit"]}

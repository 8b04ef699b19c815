"""What `forgery.py` found, as tables: one a way of leaving out, all in one page and one JSON file.

A table is `{"settings": …, "arms": {arm: row}}`; a row has the mean and the deviation over seeds of
each column. `forgery_runs.jsonl` has each run's own figures.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from forgery_faces import KINDS

HERE = Path(__file__).resolve().parent
SOURCES = {  # families of real faces that can be left out
    "lfw": "press photographs (Labeled Faces in the Wild)",
    "portraits": "small portraits",
    "groups": "photographs of groups",
    "web": "BSDS500 and photographs of ImageNet's classes",
}
Rows = dict[str, Any]


def by_kind(results: Sequence[Mapping[str, Any]]) -> Rows:
    """For each arm the mean and deviation over seeds of every column, kinds left out."""
    rows: Rows = {}
    for arm, own in by_arm(results):
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
        values = means(columns)
        sources = [np.mean(v) for n, v in values.items() if n.startswith("source ")]
        rows[arm] = about(own) | {"worst source": round(float(min(sources)), 4)} | spreads(values)
    return rows


def by_source(results: Sequence[Mapping[str, Any]]) -> Rows:
    """For each arm the mean AUC over all kinds, learnt with all sources but the column's."""
    rows: Rows = {}
    for arm, own in by_arm(results):
        columns: dict[str, dict[int, list[float]]] = {}
        for result in own:
            seed, value = result["job"]["seed"], float(np.mean([*result["left"]["auc"].values()]))
            for name in (result["job"]["source"], "mean left out"):
                columns.setdefault(name, {}).setdefault(seed, []).append(value)
        values = means(columns)
        worst = min(float(np.mean(values[name])) for name in values if name in SOURCES)
        rows[arm] = about(own) | {"worst source": round(worst, 4)} | spreads(values)
    return rows


def by_arm(
    results: Sequence[Mapping[str, Any]],
) -> Iterable[tuple[str, list[Mapping[str, Any]]]]:
    """Each arm's results of the seeds that are complete: folds missing would bend a mean."""
    for arm in dict.fromkeys(result["job"]["arm"] for result in results):
        yield arm, [result for result in results if result["job"]["arm"] == arm]


def about(own: Sequence[Mapping[str, Any]]) -> Rows:
    return {
        "seeds": len({r["job"]["seed"] for r in own}),
        "trained weights": own[0]["trained"],
        "learning rate": own[0]["job"]["lr"],
        "cpu seconds a run": round(float(np.median([r["seconds"] for r in own]))),
    }


def means(columns: Mapping[str, Mapping[int, list[float]]]) -> dict[str, list[float]]:
    """Of each column a value a seed."""
    return {name: [float(np.mean(v)) for v in by.values()] for name, by in columns.items()}


def spreads(values: Mapping[str, Sequence[float]]) -> Rows:
    return {n: [round(float(np.mean(v)), 4), spread(v)] for n, v in values.items()}


def spread(values: Sequence[float]) -> float:
    return round(float(np.std(values, ddof=min(1, len(values) - 1))), 4)


def write(name: str, settings: Mapping[str, Any], rows: Rows) -> str:
    """Put a table beside those that are there; returns the page with all of them.

    An arm of the table that had more seeds before stays as it was.

    Raises:
        SystemExit: If the table is there with other settings: figures of two kinds don't mix.
    """
    path, tables = HERE / "forgery_auc.json", known()
    settings = json.loads(json.dumps(settings))  # lists, as in the file
    before = tables.get(name, {"settings": settings, "arms": {}})
    if before["settings"] != settings:
        raise SystemExit(f"{path}: {name!r} has other settings ({settings}); take it out first")
    rows = rows | {
        arm: row
        for arm, row in before["arms"].items()
        if row["seeds"] > rows.get(arm, {"seeds": 0})["seeds"]
    }
    tables[name] = {"settings": settings, "arms": rows}
    path.write_text(json.dumps(tables, indent=1) + "\n")
    page = markdown(tables)
    (HERE / "FORGERY_AUC.md").write_text(page)
    return page


def known() -> dict[str, Any]:
    """The tables that were made before."""
    path = HERE / "forgery_auc.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def markdown(tables: Mapping[str, Any]) -> str:
    """All tables as the docs show them."""
    lines = [
        "# Forged faces: which method finds what it never saw?",
        "",
        "AUC, mean ± deviation over seeds. Forgeries are **synthetic**, made from real faces: "
        "Labeled Faces in the Wild, some people to learn from and others to test, and faces of "
        "other sources.",
        "Trunk: DINOv2 ViT-S/14 cut after 4 blocks, 70 pixels (CFM: EfficientNet-Lite0; "
        "detect_and_locate and stega_ffd: small networks that start at random, the latter on faces "
        "hidden in drawn textures); 16 images a step, learning rate chosen on validation people. "
        "So small a budget ranks methods for this budget, not for the papers' full training, and "
        "none of the papers' figures is reproduced here.",
    ]
    for name in sorted(tables, key=lambda name: ("source" in name, "one" not in name)):
        lines += ["", f"## {name}", "", *section(name, **tables[name])]
    return "\n".join(lines) + "\n"


def section(name: str, settings: Mapping[str, Any], arms: Rows) -> list[str]:
    """One table and what was done for it."""
    sizes, steps = settings["faces"], settings["steps"]
    if "source" in name:
        columns = [*(s for s in SOURCES if any(s in row for row in arms.values())), "mean left out"]
        sources = ", ".join(f"{s} ({sizes[s]} faces: {SOURCES[s]})" for s in columns[:-1])
        said = (
            f"`python benchmarks/forgery.py --leave source`: {steps} steps. What a column shows "
            f"was learnt from all sources but that one, all six kinds of forgery, and tested on "
            f"it: {sources}. Of lfw {sizes['train']} people train and {sizes['lfw']} others test; "
            "of the others all faces do either."
        )
        order = sorted(arms, key=lambda arm: -arms[arm]["mean left out"][0])
    else:
        columns = [*KINDS, "mean held out", "mean seen", "held out, other sources", "worst source"]
        together = len(settings["folds"][0])
        folds = "; ".join(" and ".join(fold) for fold in settings["folds"])
        said = (
            f"`python benchmarks/forgery.py --together {together}`: {steps} steps. What a column "
            "of a kind shows was learnt without that kind"
            + (f"; held out together: {folds}" if together > 1 else ", from the five others")
            + f". {sizes['train']} people to learn from, {sizes['test']} others to test, "
            f"{sizes['others']} faces of other sources, never learnt from."
        )
        order = sorted(arms, key=lambda arm: -arms[arm]["mean held out"][0])
    lines = [said, "", "| arm | seeds | weights trained | " + " | ".join(columns) + " |"]
    lines.append("|---|---|---" + "|---" * len(columns) + "|")
    for arm in order:
        row = arms[arm]
        seeds = row["seeds"]
        cells = " | ".join(shown(row.get(column), seeds) for column in columns)
        lines.append(f"| {arm} | {seeds} | {row['trained weights'] / 1e3:.0f} k | {cells} |")
    return lines


def shown(value: Sequence[float] | float | None, seeds: int) -> str:
    """A cell of a table."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value[0]:.3f} ± {value[1]:.3f}" if seeds > 1 else f"{value[0]:.3f}"

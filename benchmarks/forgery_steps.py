"""What a training step of each face method costs beside a linear head and full fine-tuning.

    python benchmarks/forgery_steps.py --methods osdfd moe_ffd --rounds 3

Each method of the catalogue trains on its paper's settings, on one trunk for all that take a ViT
and on its paper's for the others; one that trains in stages is timed in the last, on its own
detector. Beside it run, on the same trunk and batch and in the same round, a
linear head on the frozen trunk, which runs without gradients, the least that changes the first
block, and full fine-tuning. A way has a process of its own; a ratio is of processor time, which
other work on the machine hardly changes, and the median over the rounds. Writes
benchmarks/FORGERY.md.
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from bench import HERE, Result, of_many, ratio, run

from telltale import catalog
from telltale.nn.backbones import SHAPES, backbone, maker
from telltale.recipe import read_recipe

RESULTS = HERE / "FORGERY.md"
# Twice as many experts, of which each token still takes one: the cost of a step should stay.
DOUBLED = {
    "lora_ranks": 2 * [8, 16, 32, 48, 64, 96, 128],
    "adapter_ops": 2 * ["cv", "cd", "ad", "rd", "scd"],
}
VARIANTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {"moe_ffd": {"experts doubled": DOUBLED}}


LAST_STAGE = {"hider_steps": 0, "teacher_steps": 0}


class Contender(NamedTuple):
    """One row: a method with settings, on a trunk."""

    name: str
    slug: str
    trunk: Mapping[str, Any]
    method: Mapping[str, Any]


def main() -> None:
    slugs = [slug for slug, card in catalog.cards().items() if ".faces." in card.network]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=slugs, default=slugs, metavar="SLUG")
    parser.add_argument(
        "--backbone", default="vit_small", choices=[*SHAPES], help="the ViT of those that take one"
    )
    parser.add_argument("--batch", type=int, default=8, help="pictures, an even number")
    parser.add_argument("--steps", type=int, default=3, help="counted steps of a way and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.batch < 2 or options.batch % 2 or min(options.steps, options.rounds) < 1:
        parser.error("want an even --batch, --steps and --rounds of 1 or more")

    contenders = [one for slug in options.methods for one in of_method(slug, options.backbone)]
    costs = {"batch": options.batch, "steps": options.steps}
    rows = []
    for trunk in unique(one.trunk for one in contenders):
        group = [one for one in contenders if one.trunk == trunk]
        runs = [one_round(trunk, group, costs) for _ in range(options.rounds)]
        new = [row(one, runs) for one in group]
        print(*new, sep="\n", flush=True)
        rows += new
        if "floor" in runs[0]:
            rows.append(row(Contender("floor", "", trunk, {}), runs))
    merged = inference(
        {"name": options.backbone, "size": SHAPES[options.backbone].size}, options.rounds, costs
    )
    print(merged, flush=True)
    write(options, rows, merged)
    print(f"wrote {options.out}")


def of_method(slug: str, vit: str) -> Iterator[Contender]:
    """A method with its paper's settings and its variants, on the ViT or on its own trunk."""
    tables = read_recipe("paper", slug)
    method, size = tables.get("method", {}), tables["data"]["size"]
    if "backbone" not in tables:
        trunk, method = {"slug": slug, "size": size}, {**method, **LAST_STAGE}
    elif maker(tables["backbone"]["name"]) is backbone:
        trunk = {"name": vit, "size": SHAPES[vit].size}
    else:
        trunk = {"name": tables["backbone"]["name"], "size": size}
    yield Contender(slug, slug, trunk, method)
    for name, settings in VARIANTS.get(slug, {}).items():
        yield Contender(f"{slug}, {name}", slug, trunk, {**method, **settings})


def one_round(
    trunk: Mapping[str, Any], group: list[Contender], costs: Mapping[str, int]
) -> dict[str, Result]:
    """Every way of one trunk, one after the other."""
    found = {
        way: run(way, json.dumps({"trunk": trunk, **costs}), "forgery_ways.py")
        for way in ways_beside(trunk)
    }
    for one in group:
        settings = {"trunk": trunk, "method": one.method, **costs}
        found[one.name] = run(one.slug, json.dumps(settings), "forgery_ways.py")
    return found


def ways_beside(trunk: Mapping[str, Any]) -> tuple[str, ...]:
    """The references; the floor is of a ViT."""
    is_vit = "name" in trunk and maker(trunk["name"]) is backbone
    return ("head", "floor", "full") if is_vit else ("head", "full")


def inference(trunk: Mapping[str, Any], rounds: int, costs: Mapping[str, int]) -> str:
    """Time of merged low-rank updates over that of the plain trunk, forward passes."""
    settings = json.dumps({"trunk": trunk, **costs, "steps": 10 * costs["steps"]})
    ratios = [run("merged", settings, "forgery_ways.py")["ratios"] for _ in range(rounds)]
    return of_many([statistics.median(of_round) for of_round in ratios])


def row(one: Contender, runs: list[dict[str, Result]]) -> str:
    """A line of the table."""
    first = runs[0][one.name]
    memory = [
        statistics.median(r[one.name]["peak"] / r[other]["peak"] for r in runs)
        for other in ("head", "full")
    ]
    cells = (
        one.name,
        one.trunk.get("name", "its own") + f", {one.trunk['size']} px",
        f"{first['trained'] / 1e6:.2f} M of {runs[0]['full']['trained'] / 1e6:.2f} M",
        ratio(runs, one.name, "head", "processor"),
        ratio(runs, one.name, "full", "processor"),
        f"{statistics.median(r[one.name]['peak'] for r in runs):.0f} MB",
        f"{memory[0]:.2f}×",
        f"{memory[1]:.2f}×",
    )
    return f"| {' | '.join(cells)} |"


def write(options: argparse.Namespace, rows: list[str], merged: str) -> None:
    versions = ", ".join(f"{name} {version(name)}" for name in ("telltale-vision", "torch"))
    lines = [
        "# Training steps of the face methods",
        "",
        f"`python benchmarks/forgery_steps.py --methods {' '.join(options.methods)} --backbone "
        f"{options.backbone} --batch {options.batch} --steps {options.steps} --rounds "
        f"{options.rounds}` on {datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, "
        f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'unset')}, {platform.machine()}, "
        f"{platform.system()}, Python {platform.python_version()}, {versions}.",
        "",
        "Processor time of a step and peak memory of the process over those of a linear head on",
        "the frozen trunk, which runs without gradients, and of full fine-tuning, on the same",
        "trunk and batch in the same round; medians over the rounds with the smallest and the",
        "largest. Memory is the whole process, Python and torch included. A step that goes back",
        "through a trunk costs about twice its forward pass even where nothing in it is trained:",
        "*floor* is a head and a rank-1 update of the first block's queries alone, the least that",
        "a method can cost that changes that block. A method that trains in stages is timed in the",
        "last; all that it ever trains is counted.",
        "",
        "| method | trunk | trained | time / head | / full | peak memory | / head | / full |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Inference with merged low-rank updates (`vit_lora_scl`, {options.backbone}) takes "
        f"{merged} the time of the plain trunk with a linear head.",
        "",
    ]
    part = options.out.with_suffix(".md.part")
    part.write_text("\n".join(lines), "utf-8")
    part.replace(options.out)


def unique(tables: Iterator[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for table in tables:
        if table not in found:
            found.append(table)
    return found


if __name__ == "__main__":
    main()

"""What masks and matching cost over the passes that they need anyway; writes SPIKING.md.

    python benchmarks/spiking.py            two minutes on one core
    python benchmarks/spiking.py --draw     the picture alone, from SPIKING.md

A training step of SpikeNM over a dense one's, interleaved; drawing of masks by SpikeNM's N draws
among M over drawing of patterns by their enumeration, for M = 4 … 32; a step of PACE over two plain
passes; a packed 2:4 layer's product over the dense one's. Processor seconds, medians. The curve of
drawing masks goes into docs/images/spike_nm_masks.png.
"""

import argparse
import re
import statistics
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import torch

from telltale.losses import tet
from telltale.nn.snn import potentials, spiking
from telltale.spiking.blocks import patterns
from telltale.spiking.masks import largest
from telltale.spiking.pace import PACE
from telltale.spiking.packing import pack, sparse_linear, sparse_product
from telltale.spiking.spike_nm import SpikeNM, gumbel, sample

ROUNDS = 15
OUT = Path(__file__).parent / "SPIKING.md"
PICTURE = Path(__file__).parents[1] / "docs/images/spike_nm_masks.png"


def timed(*calls: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Median processor seconds of each call, in turns."""
    spent: list[list[float]] = [[] for _ in calls]
    for number in range(rounds + 2):
        for row, call in zip(spent, calls, strict=True):
            began = time.process_time()
            call()
            if number > 1:  # the first ones warm up
                row.append(time.process_time() - began)
    return [statistics.median(row) for row in spent]


def step_ratio(
    name: str, size: int, batch: int, steps: int, credit: str = "grad"
) -> tuple[float, float]:
    torch.manual_seed(0)
    events = torch.poisson(torch.rand(batch, steps, 2, size, size))
    labels = torch.arange(batch) % 10
    dense, network = spiking(name, size=size), SpikeNM(spiking(name, size=size), credit=credit)
    network.train().advance(0.5)

    def one() -> None:
        tet(dense(events), labels).backward()

    def two() -> None:
        torch.stack([*network.loss(events, labels).values()]).sum().backward()

    plain, masked = timed(one, two)
    return plain, masked / plain


def sampling(m: int, blocks: int = 4096) -> tuple[float, float | None]:
    """Seconds of a draw with its gradient: N = M / 2 among M, and among all patterns."""
    logits = torch.zeros(blocks, m, requires_grad=True)
    n = m // 2

    def ours() -> None:
        sample(5 * logits + gumbel(logits), n, 1.0)[0].square().sum().backward()

    if patterns(n, m) > 200_000:
        return timed(ours, rounds=5)[0], None
    every = torch.zeros(len([*combinations(range(m), n)]), m)
    for row, places in zip(every, combinations(range(m), n), strict=True):
        row[[*places]] = 1.0
    whole = torch.zeros(blocks, len(every), requires_grad=True)

    def theirs() -> None:
        soft = (5 * whole + gumbel(whole)).softmax(-1) @ every
        soft.square().sum().backward()

    first, second = timed(ours, theirs, rounds=5)
    return first, second


def matching_ratio(ipc: int) -> float:
    torch.manual_seed(0)
    teacher = spiking("snn_small", size=34)
    network = PACE(teacher, ipc=ipc, shape=(6, 34, 34))
    real = torch.poisson(torch.rand(10 * ipc, 6, 2, 34, 34))
    labels = torch.arange(10).repeat_interleave(ipc)

    def ours() -> None:
        network.loss(real, labels)["match"].backward()

    def passes() -> None:
        """What no way of matching can do without, and the backward pass of the real half."""
        for events in (real, network.clips):
            with potentials(teacher) as seen:
                teacher(events if events.requires_grad else events.clone().requires_grad_())
            (seen[-1][0] + seen[-1][1]).sum().backward()

    first, second = timed(ours, passes, rounds=5)
    return first / second


def packed_ratio(width: int, batch: int) -> tuple[float, float]:
    torch.manual_seed(0)
    weight = torch.randn(width, width)
    weight = weight * largest(weight, 2, 4)
    rows = sparse_linear(pack(weight, 2, 4))
    inputs = (torch.rand(batch, width) < 0.1).float()
    dense, sparse = timed(lambda: inputs @ weight.T, lambda: sparse_product(rows, inputs))
    return dense, sparse / dense


def draw(report: str) -> None:
    """Milliseconds of drawing masks over M, from the rows of SPIKING.md."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    found = re.findall(r"^\| (\d+) \| \d+ \| ([\d.]+) \| [\d,]+ \| (.+) \|$", report, re.M)
    ours = [(int(m), float(spent)) for m, spent, _ in found]
    theirs = [(int(m), float(spent)) for m, _, spent in found if spent != "too many"]
    figure, place = plt.subplots(figsize=(5.2, 3.6))
    for rows, name in ((ours, "N draws among M"), (theirs, "one of all patterns")):
        place.plot(*zip(*rows, strict=True), marker="o", label=name)
    line = [(m, ours[0][1] * m / ours[0][0]) for m, _ in ours]
    place.plot(*zip(*line, strict=True), color="grey", linestyle=":", label="in proportion to M")
    place.set_yscale("log")
    place.set_xticks([m for m, _ in ours])
    place.set_xlabel("M, N = M/2")
    place.set_ylabel("ms for 4,096 blocks, with gradient")
    place.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="draw the picture from SPIKING.md")
    if parser.parse_args().draw:
        draw(OUT.read_text())
        return
    torch.set_num_threads(1)
    lines = [
        "# Spiking networks: cost of masks and of matching",
        "",
        "`python benchmarks/spiking.py`: one thread, processor seconds, medians in turns.",
        "",
        "| training step | dense, s | SpikeNM over dense |",
        "|---|---|---|",
    ]
    for name, size, batch, steps in (("snn_toy", 16, 50, 6), ("snn_small", 34, 32, 6)):
        plain, ratio = step_ratio(name, size, batch, steps)
        lines.append(f"| {name}, {batch} clips of {steps} × {size}² | {plain:.3f} | {ratio:.2f} |")
        print(lines[-1], flush=True)
    for credit in ("eprop", "local"):
        plain, ratio = step_ratio("snn_toy", 16, 50, 6, credit)
        lines.append(f"| snn_toy, credits {credit!r} | {plain:.3f} | {ratio:.2f} |")
        print(lines[-1], flush=True)
    lines += ["", "| M, N = M/2 | logits a block | draw, ms | patterns | their draw, ms |"]
    lines.append("|---|---|---|---|---|")
    for m in (4, 8, 12, 16, 32):
        ours, theirs = sampling(m)
        count = len([*combinations(range(m), m // 2)]) if m <= 16 else 601_080_390
        said = "too many" if theirs is None else f"{1000 * theirs:.1f}"
        lines.append(f"| {m} | {m} | {1000 * ours:.1f} | {count:,} | {said} |")
        print(lines[-1], flush=True)
    lines += ["", "| PACE, step over two passes forward and backward | |", "|---|---|"]
    for ipc in (2, 8):
        lines.append(f"| {ipc} clips a class, snn_small, 6 × 34² | {matching_ratio(ipc):.2f} |")
        print(lines[-1], flush=True)
    lines += ["", "| 2:4 layer by scipy's rows | dense, ms | packed over dense |", "|---|---|---|"]
    for width, batch in ((512, 1), (2048, 1), (2048, 16)):
        dense, ratio = packed_ratio(width, batch)
        lines.append(f"| {width} × {width}, batch {batch} | {1000 * dense:.2f} | {ratio:.2f} |")
        print(lines[-1], flush=True)
    OUT.write_text("\n".join(lines) + "\n")
    draw(OUT.read_text())


if __name__ == "__main__":
    main()

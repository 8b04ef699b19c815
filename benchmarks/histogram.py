"""The soft local histogram against a 3 × 3 convolution of the same size, as ratios of time.

    python benchmarks/histogram.py [--rounds 15]

Sizes are those of S-Adapter's bottleneck (8 channels on the 14 × 14 patches of a ViT-B/16, one
picture and the 24 of a training step), and of a wider map. Both sides run on one core, turn by turn
in the same run; a round is as many calls as take some hundredths of a second. "Pooled" is the same
histogram with ``avg_pool2d`` as the window's mean: the obvious way, and the check of its values.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.histogram import LocalHistogram

SHAPES = ((1, 8, 14, 14), (24, 8, 14, 14), (8, 64, 28, 28))
Way = Callable[[Tensor], Tensor]
AIM = 2.0  # times the convolution's time, on a batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="repetitions of each comparison")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"aim: ≤ {AIM:g}× the convolution on a batch; median over {rounds} rounds (range)")
    for shape in SHAPES:
        torch.manual_seed(0)
        maps = torch.randn(shape)
        histogram, convolution = LocalHistogram(shape[1]), nn.Conv2d(shape[1], shape[1], 3, 1, 1)
        torch.testing.assert_close(histogram(maps), pooled(histogram, maps))
        calls = max(4, 400_000 // maps.numel())
        ways: tuple[Way, ...] = (histogram, partial(pooled, histogram), convolution)
        for name, run in (("forward", forward), ("forward and back", both)):
            times = [[run(way, maps, calls) for way in ways] for _ in range(rounds)]
            print(
                f"{shape} {name}: histogram {ratio(times, 0)}, pooled {ratio(times, 1)}", flush=True
            )


def pooled(layer: LocalHistogram, maps: Tensor) -> Tensor:
    """The Gaussian histogram the obvious way."""
    apart = layer.widths.view(-1, 1, 1) * (maps - layer.centers.view(-1, 1, 1))
    bins = torch.exp(-apart.square())
    return F.avg_pool2d(bins, layer.window, 1, layer.window // 2, count_include_pad=False)


def forward(way: Way, maps: Tensor, calls: int) -> float:
    """Seconds of this process for so many calls."""
    with torch.no_grad():
        way(maps)
        started = time.process_time()
        for _ in range(calls):
            way(maps)
        return time.process_time() - started


def both(way: Way, maps: Tensor, calls: int) -> float:
    """Seconds of this process for so many calls, each with the slopes of maps and weights."""
    given, back = maps.clone().requires_grad_(), torch.ones_like(maps)
    way(given).backward(back)
    started = time.process_time()
    for _ in range(calls):
        way(given).backward(back)
    return time.process_time() - started


def ratio(times: list[list[float]], way: int) -> str:
    """A way's time over the convolution's, which comes last."""
    found = sorted(row[way] / row[-1] for row in times)
    return f"{statistics.median(found):.2f}× ({found[0]:.2f} – {found[-1]:.2f})"


if __name__ == "__main__":
    main()

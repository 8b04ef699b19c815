"""How many pictures a second does the shipped rater of visual quality rate?

    python benchmarks/quality_speed.py --side 512 --workers 2

Photographs are drawn (their content does not change the work). One thread inside a network call and
so many workers side by side, as a folder's scan has them; then one worker with all threads.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from telltale.data.synth.textures import textures
from telltale.detector.quality import Rater


def per_second(rater: Rater, pictures: list[np.ndarray], workers: int) -> float:
    rater.rate(pictures[0])
    with ThreadPoolExecutor(workers) as pool:
        began = time.perf_counter()
        list(pool.map(rater.rate, pictures))
    return len(pictures) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--count", type=int, default=60)
    args = parser.parse_args()
    drawn = textures(4, args.side, np.random.default_rng(0)).transpose(0, 2, 3, 1)
    pictures = [np.rint(drawn[n % 4] * 255).astype(np.uint8) for n in range(args.count)]
    for threads, workers in ((1, args.workers), (args.workers, 1), (1, 1)):
        runs = [per_second(Rater(threads), pictures, workers) for _ in range(3)]
        print(
            f"{workers} workers of {threads} threads: {np.median(runs):.1f} pictures/s of "
            f"{args.side} px (three runs: {', '.join(f'{v:.1f}' for v in runs)})"
        )


if __name__ == "__main__":
    main()

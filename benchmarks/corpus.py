"""The scan over Ray against the plain folder scan: files a second with one and with two workers.

    python benchmarks/corpus.py [--files 200]

Real photographs with faces, each of another size. Rates leave out the start: Ray's cluster, the
processes, the networks. Ratios of one run.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from serving import pictures  # beside this file
from telltale.scale import scan_corpus

TASK = ("--task", "faces")


def plain(folder: Path, out: Path, workers: int) -> float:
    command = [sys.executable, "-m", "telltale", "scan", folder, "--no-survival", "--quiet", *TASK]
    began = time.perf_counter()
    subprocess.run([*command, "--workers", str(workers), "--json", out], check=False)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many, one = folder / "many", folder / "one"
        for place, count in ((many, args.files), (one, 1)):
            place.mkdir()
            pictures(place, count)
        start = plain(one, folder / "one.jsonl", 1)
        print("| engine | workers | files/s | of the plain scan |\n|---|---|---|---|")
        for workers in (1, 2):
            seconds = plain(many, folder / f"plain{workers}.jsonl", workers) - start
            rate = args.files / seconds
            print(f"| threads | {workers} | {rate:.2f} | 1 |")
            tally = scan_corpus(
                [many], folder / f"ray{workers}.jsonl", workers=workers, task=TASK[1]
            )
            print(f"| ray | {workers} | {tally.rate:.2f} | {tally.rate / rate:.2f} |", flush=True)


if __name__ == "__main__":
    main()

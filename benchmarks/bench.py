"""Speed and memory as ratios: `make bench`, or `python benchmarks/bench.py --only scan --files 40`.

A ratio compares two ways that ran one after the other in the same run, so it holds on other
machines where seconds do not; each is the median over the rounds. Writes benchmarks/RESULTS.md.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tools")]

import audits  # noqa: E402  # beside this file
from check_licences import closure  # noqa: E402  # tools/

from pictures import make_pictures  # noqa: E402  # beside this file

RESULTS = HERE / "RESULTS.md"
Result = dict[str, Any]


class Row(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    aim: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=200, help="pictures of the folder scan")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of each comparison")
    parser.add_argument("--only", choices=PARTS, help="one part; RESULTS.md is then left alone")
    options = parser.parse_args()

    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="telltale-bench-") as folder:
        for name, part in PARTS.items():
            if options.only in (None, name):
                print(f"{name} …", flush=True)
                new = part(Path(folder), options.files, options.rounds)
                for row in new:
                    print(f"  {row.what}: {row.measured} (aim: {row.aim})", flush=True)
                rows += new
    if options.only is None:
        write(rows, options.files, options.rounds)
        print(f"wrote {RESULTS}")


def start(_: Path, __: int, rounds: int) -> list[Row]:
    """What every command pays before it does anything, and what an install weighs."""
    calls = {
        "bare": ["-c", "pass"],
        "import": ["-c", "import telltale"],
        "help": ["-c", "from telltale.cli import main; main()", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(max(5, rounds)):
        for name, call in calls.items():
            times[name].append(clock([sys.executable, *call]))
    bare, imported, shown = (statistics.median(times[name]) for name in calls)
    core = closure("telltale-vision", frozenset())
    sizes = {name: size(found) for name, found in core.items()}
    total, largest = sum(sizes.values()), max(sizes, key=lambda name: sizes[name])
    return [
        Row("`import telltale`", f"{imported - bare:.2f} s above a bare Python", "≤ 0.3 s"),
        Row("`telltale --help`", f"{shown:.2f} s ({shown / bare:.1f}× a bare Python)", "≤ 0.5 s"),
        Row(
            f"core install, {len(core)} distributions",
            f"{total:.0f} MB ({largest} {sizes[largest]:.0f} MB)",
            "≤ 260 MB",
        ),
    ]


def scanning(folder: Path, files: int, rounds: int) -> list[Row]:
    """The folder scan against a plain loop and against its network calls alone."""
    pictures = folder / "many"
    make_pictures(pictures, files)
    runs = [
        {way: run(way, pictures) for way in ("plain", "scan", "networks")} for _ in range(rounds)
    ]
    last = runs[-1]
    if last["scan"]["faces"] != last["plain"]["faces"]:
        sys.exit(f"the ways disagree: {last['scan']['faces']} faces, {last['plain']['faces']}")
    rate = statistics.median(files / r["scan"]["seconds"] for r in runs)
    what = f"folder scan, {files} pictures of 1080p, {last['scan']['faces']} faces"
    return [
        Row(f"{what}: throughput", f"{rate:.1f} pictures a second", "–"),
        Row(
            f"{what}: against decode → find → classify one at a time",
            f"{ratio(runs, 'plain', 'scan')} as fast",
            "≥ 2×",
        ),
        Row(
            f"{what}: time against the network calls alone",
            f"{ratio(runs, 'scan', 'networks')} the time",
            "≤ 1.3×",
        ),
    ]


def memory(folder: Path, files: int, _: int) -> list[Row]:
    """Peak memory of the scan must not grow with the number of files."""
    peaks = []
    few = max(1, files // 4)
    for count in (few, files):
        pictures = folder / f"count_{count}"
        make_pictures(pictures, count)
        peaks.append(run("scan", pictures)["peak"])
    measured = f"{peaks[0]:.0f} MB and {peaks[1]:.0f} MB ({peaks[1] / peaks[0]:.2f}×)"
    what = f"peak memory of the scan, {few} and {files} pictures of 1080p"
    return [Row(what, measured, "flat, ≤ 1200 MB")]


def training(folder: Path, _: int, rounds: int) -> list[Row]:
    """What low-rank adaptation costs above a linear head."""
    runs = [{way: run(way, folder) for way in ("adapted", "head")} for _ in range(rounds)]
    last = runs[-1]
    peaks = last["adapted"]["peak"], last["head"]["peak"]
    what = "training step, ViT-LoRA-SCL against a linear head (ViT-S/14 cut at 9, 16 crops of 168)"
    weights = f"{last['adapted']['trained'] / 1e3:.0f} k weights trained"
    return [
        Row(f"{what}: time", f"{ratio(runs, 'adapted', 'head')} ({weights})", "reported"),
        Row(
            f"{what}: peak memory",
            f"{peaks[0]:.0f} MB against {peaks[1]:.0f} MB ({peaks[0] / peaks[1]:.2f}×)",
            "reported",
        ),
    ]


def certificates(_: Path, __: int, ___: int) -> list[Row]:
    """What certificates cost over the passes that they need."""
    return [Row(*row) for row in audits.certifying()]


def protecting(_: Path, __: int, ___: int) -> list[Row]:
    """Whether protecting streams."""
    return [Row(*row) for row in audits.protecting()]


def ratio(runs: list[dict[str, Result]], upper: str, lower: str, clock: str = "seconds") -> str:
    """Time of ``upper`` over time of ``lower``: the median over the rounds, and the range.

    ``clock`` is "seconds" of the wall, or "processor": what other work on the machine delays is
    not counted then, and a step on one thread takes as long as on an idle machine.
    """
    return of_many([r[upper][clock] / r[lower][clock] for r in runs])


def of_many(ratios: list[float]) -> str:
    """The median and the range."""
    ratios = sorted(ratios)
    return f"{statistics.median(ratios):.2f}× ({ratios[0]:.2f} – {ratios[-1]:.2f})"


def run(way: str, folder: Path | str, script: str = "ways.py") -> Result:
    """One way of a script in a fresh process; the second word is what that script makes of it."""
    command = [sys.executable, str(HERE / script), way, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def clock(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def size(found: Any) -> float:
    """MB of a distribution's files; of an editable install, of the package's sources."""
    if found.name == "telltale-vision":
        paths = [p for p in (HERE.parent / "src").rglob("*") if p.is_file()]
    else:
        paths = [Path(str(f.locate())) for f in found.files or ()]
    return sum(p.stat().st_size for p in paths if p.is_file()) / 1e6


def write(rows: list[Row], files: int, rounds: int) -> None:
    made_with = ("telltale-vision", "onnxruntime", "numpy", "pillow", "torch")
    versions = ", ".join(f"{name} {version(name)}" for name in made_with)
    lines = [
        "# Benchmarks",
        "",
        f"`python benchmarks/bench.py --files {files} --rounds {rounds}` on "
        f"{datetime.now(UTC):%Y-%m-%d}: {os.cpu_count()} cores, {platform.machine()}, "
        f"{platform.system()}, Python {platform.python_version()}, {versions}.",
        "",
        "Ratios are medians over the rounds, with the smallest and the largest; both sides ran in",
        "the same run, one after the other. Telltale's own aims stand on the right.",
        "",
        "| what | measured | aim |",
        "|---|---|---|",
        *(f"| {row.what} | {row.measured} | {row.aim} |" for row in rows),
        "",
    ]
    part = RESULTS.with_suffix(".md.part")
    part.write_text("\n".join(lines), "utf-8")
    part.replace(RESULTS)


PARTS: dict[str, Callable[[Path, int, int], list[Row]]] = {
    "start": start,
    "scan": scanning,
    "memory": memory,
    "train": training,
    "certify": certificates,
    "protect": protecting,
}

if __name__ == "__main__":
    main()

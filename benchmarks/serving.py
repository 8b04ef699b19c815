"""The server against the command line on the same files: throughput, latency, a soak.

    python benchmarks/serving.py [--soak 5000] [--out benchmarks/SERVING.md]

Ratios of one run: files a second through the REST API (both workers busy) over those of
``telltale scan`` on the same folder; the 95th percentile of latency at concurrency 4 over that at
concurrency 1, for a 1080p picture with one face; memory of the server over a soak.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from telltale.client import Client

MEDIA = Path(__file__).parents[1] / "examples/media"


@contextmanager
def server(folder: Path, workers: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "telltale", "serve", "--port", "0", "--no-survival"]
    process = subprocess.Popen(
        [*command, "--folder", folder, "--workers", str(workers), "--queue", "100000"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        url = re.search(r"http://\S+?(?=/ )", process.stdout.readline())[0]
        with Client(url) as client:  # the workers load their networks at the first scan
            list(ThreadPoolExecutor(workers).map(client.scan, [MEDIA / "astronaut.jpg"] * workers))
        yield url, process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
        process.stdout.close()


def pictures(folder: Path, count: int) -> list[Path]:
    """Real photographs with faces at slightly different sizes, so that no two files are alike."""
    sources = [Image.open(MEDIA / name) for name in ("astronaut.jpg", "four_people.jpg")]
    made = []
    for number in range(count):
        source = sources[number % len(sources)]
        scale = 1 - 0.002 * (number // len(sources))
        size = tuple(round(scale * side) for side in source.size)
        path = folder / f"{number:04d}.jpg"
        source.resize(size).save(path, quality=92)
        made.append(path)
    return made


def throughput(folder: Path, count: int) -> dict[str, float]:
    inputs = folder / "in"
    inputs.mkdir()
    paths = pictures(inputs, count)
    command = [sys.executable, "-m", "telltale", "scan", inputs, "--no-survival", "--quiet"]
    began = time.perf_counter()
    subprocess.run([*command, "--json", folder / "cli.jsonl"], check=False)
    whole = time.perf_counter() - began
    began = time.perf_counter()
    small = [*command[:4], paths[0], *command[5:], "--json", folder / "one.jsonl"]
    subprocess.run(small, check=False)
    start = time.perf_counter() - began  # the server has loaded its networks, too
    with server(folder / "t", 2) as (url, _), Client(url) as client:
        began = time.perf_counter()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(client.scan, paths))
        served = time.perf_counter() - began
    return {"cli": count / (whole - start), "server": count / served}


def latency(folder: Path) -> dict[str, float]:
    face = Image.open(MEDIA / "astronaut.jpg").resize((1080, 1080))
    scene = Image.new("RGB", (1920, 1080), (120, 130, 140))
    scene.paste(face, (420, 0))
    path = folder / "1080p.jpg"
    scene.save(path, quality=92)

    def timed(client: Client) -> float:
        began = time.perf_counter()
        client.scan(path)
        return time.perf_counter() - began

    found = {}
    with server(folder / "l", 2) as (url, _), Client(url) as client:
        for concurrency in (1, 4):
            with ThreadPoolExecutor(concurrency) as pool:
                times = list(pool.map(timed, [client] * 60))
            found[f"p95 at {concurrency}"] = float(np.quantile(times, 0.95))
    return found


def soak(folder: Path, requests: int) -> dict[str, float]:
    path = folder / "small.jpg"
    Image.open(MEDIA / "astronaut.jpg").resize((256, 256)).save(path, quality=80)
    memory: list[float] = []
    with server(folder / "s", 2) as (url, process), Client(url) as client:
        family = psutil.Process(process.pid)

        def one(number: int) -> bool:
            report = client.scan(path)
            if number % 250 == 249:
                each = [family, *family.children(recursive=True)]
                memory.append(sum(it.memory_info().rss for it in each) / 1e6)
            return bool(report.findings)

        with ThreadPoolExecutor(16) as pool:
            answered = sum(pool.map(one, range(requests)))
        states = [job.state for job in client.jobs()]
    half = len(memory) // 2
    return {
        "requests": requests,
        "answered": answered,
        "not done": sum(state != "done" for state in states),
        "first half MB": float(np.mean(memory[:half])),
        "second half MB": float(np.mean(memory[half:])),
        "exit code": float(process.returncode),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=150)
    parser.add_argument("--soak", type=int, default=0, help="requests at concurrency 16")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found["throughput, files/s"] = throughput(folder, args.files)
        found["latency, s"] = latency(folder)
        if args.soak:
            found["soak"] = soak(folder, args.soak)
    rates, times = found["throughput, files/s"], found["latency, s"]
    rates["server / cli"] = rates["server"] / rates["cli"]
    times["p95 at 4 / at 1"] = times["p95 at 4"] / times["p95 at 1"]
    lines = ["# The server", "", f"`python benchmarks/serving.py --soak {args.soak}`", ""]
    for what, figures in found.items():
        lines += [f"| {what} | |", "|---|---|"]
        lines += [f"| {name} | {value:,.3g} |" for name, value in figures.items()] + [""]
    text = "\n".join(lines)
    print(text)
    print(json.dumps(found))
    if args.out:
        args.out.write_text(text)


if __name__ == "__main__":
    main()

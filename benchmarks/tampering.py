"""What locating local changes costs: large pictures, and attention in windows; writes TAMPERING.md.

    python benchmarks/tampering.py                    about ten minutes on one core
    python benchmarks/tampering.py --megapixels 12 --only picture

A JPEG through the shipped detector (reading, tiles, network, stitching) over the network's own
calls on the same tiles; peak memory of that, each size in a process of its own; peak memory and
time of a layer of PIM's masked attention in windows, and of the dense form in which every token of
the picture attends to all before it, from 256 x 256 to 1024 x 1024 pixels. One thread.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
OUT, CURVE = HERE / "TAMPERING.md", HERE / "TAMPERING.png"
SIDES = (256, 384, 512, 768, 1024)
DENSE = (256, 384)  # beyond, its scores alone are gigabytes
WIDTH, HEADS, WINDOW, PATCH = 96, 3, 7, 4  # of PIM's first level


def peak() -> float:
    """Megabytes that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def picture(megapixels: float, path: Path) -> None:
    """A JPEG of 4:3 with some structure everywhere."""
    from PIL import Image

    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)


def whole(path: Path) -> dict[str, float]:
    """Seconds of a scan's answer and of its network calls alone, and the peak of memory."""
    from telltale.detector import Detector
    from telltale.detector.tiles import Tiled
    from telltale.media import read_picture

    detector = Detector.load("pim", threads=1)
    before = peak()
    began, cpu = time.perf_counter(), time.process_time()
    (finding,) = detector.detect(path, survival=False)
    seconds, own = time.perf_counter() - began, time.process_time() - cpu
    assert finding.heatmap is not None
    most = peak()
    pixels = read_picture(path).pixels
    tiles = Tiled(pixels, detector.size, int(detector.weights.input["overlap"]))
    some = range(0, len(tiles), max(1, len(tiles) // 60))
    batches = [tiles[k][None].transpose(0, 3, 1, 2).astype(np.float32) / 255 for k in some]
    cpu = time.process_time()
    for batch in batches:
        detector.network.run(None, {"images": batch})
    each = (time.process_time() - cpu) / len(batches)
    return {
        "tiles": len(tiles),
        "seconds": seconds,
        "processor": own,
        "network": each * len(tiles),
        "before": before,
        "peak": most,
    }


def attention(form: str, side: int) -> dict[str, float]:
    """Memory and processor seconds of one layer over a picture of this side."""
    import torch

    from telltale.nn.swin import Block
    from telltale.nn.windows import WindowAttention

    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = WindowAttention(WIDTH, HEADS, WINDOW, causal=True, include_self=False, leak=True)
    grid = side // PATCH
    x = torch.randn(1, grid, grid, WIDTH)
    with torch.no_grad():
        small = torch.randn(1, 1, WINDOW * WINDOW, WIDTH)
        layer(small)
        before, cpu = peak(), time.process_time()
        if form == "windows":
            Block(layer, shift=0, drop_path=0.0).attended(x)
        else:
            tokens = x.reshape(1, grid * grid, 1, WIDTH).transpose(1, 2)  # one window of all
            query, key, value = (
                layer.qkv(tokens).reshape(1, grid * grid, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            )
            scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            later = torch.ones(grid * grid, grid * grid, dtype=torch.bool).triu()
            layer.proj(
                (scores.masked_fill_(later, -1e4).softmax(-1) @ value).transpose(1, 2).flatten(2)
            )
        return {"memory": peak() - before, "processor": time.process_time() - cpu}


def alone(*words: str) -> dict[str, float]:
    """This file's answer in a process of its own."""
    made = subprocess.run(
        [sys.executable, __file__, *words], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(made.stdout.splitlines()[-1])
    return found


def curve() -> list[str]:
    """The table of both forms, and its picture."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [
        "| picture | tokens | windows, MB | windows, s | dense, MB | dense, s |",
        "|---|---|---|---|---|---|",
    ]
    found: dict[str, list[tuple[int, float]]] = {"windows": [], "dense": []}
    for side in SIDES:
        here = alone("--child", "windows", str(side))
        found["windows"].append((side * side, here["memory"]))
        tokens = (side // PATCH) ** 2
        line = f"| {side}² | {tokens:,} | {here['memory']:.0f} | {here['processor']:.2f} |"
        scores = 4 * HEADS * tokens**2 / 1e6
        if side in DENSE:
            other = alone("--child", "dense", str(side))
            found["dense"].append((side * side, other["memory"]))
            line += f" {other['memory']:.0f} | {other['processor']:.2f} |"
        else:
            line += f" {scores:,.0f} for its scores alone | not run |"
        rows.append(line)
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for form, points in found.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=form)
    more = [(s * s, 4 * HEADS * (s // PATCH) ** 4 / 1e6) for s in SIDES]
    axes.plot(*zip(*more, strict=True), ls=":", color="grey", label="dense: its scores, computed")
    axes.set(xscale="log", yscale="log", xlabel="pixels", ylabel="megabytes of one layer")
    axes.legend(frameon=False)
    figure.savefig(CURVE, dpi=120)
    return rows


def pictures(sizes: list[float]) -> list[str]:
    rows = [
        "| megapixels | tiles | scan, s | network's own tiles, s | ratio | peak memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            path = Path(folder, "large.jpg")
            picture(size, path)
            it = alone("--child", "picture", str(path))
            rows.append(
                f"| {size:g} | {it['tiles']:.0f} | {it['processor']:.1f} | {it['network']:.1f} | "
                f"{it['processor'] / it['network']:.2f} | {it['peak']:.0f} |"
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megapixels", type=float, action="append")
    parser.add_argument("--only", choices=("picture", "attention"))
    parser.add_argument("--child", nargs=2)
    args = parser.parse_args()
    if args.child:
        what, word = args.child
        found = whole(Path(word)) if what == "picture" else attention(what, int(word))
        print(json.dumps(found))
        return
    parts = {"attention": curve, "picture": lambda: pictures(args.megapixels or [12.0, 100.0])}
    text = OUT.read_text() if OUT.exists() else ""
    kept = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    titles = {"picture": "Large pictures", "attention": "Masked attention, one layer"}
    for name, make in parts.items():
        if args.only in (None, name):
            kept[titles[name]] = "\n" + "\n".join(make()) + "\n"
    lead = (
        "# Local changes: what it costs\n\n`python benchmarks/tampering.py`: one thread, processor "
        "seconds; memory is a process's peak.\n"
    )
    body = "".join(f"\n## {title}\n{kept[title]}" for title in titles.values() if title in kept)
    OUT.write_text(lead + body)
    print(OUT.read_text())


if __name__ == "__main__":
    main()

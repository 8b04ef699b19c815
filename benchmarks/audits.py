"""What certificates cost over the passes they need, and whether protecting takes flat memory.

    python benchmarks/audits.py                    (writes AUDITS.md; parts of `make bench`)

Certificates: N noisy copies of a picture through ViT-T/16 at 224 pixels (random weights), one
thread, in turns with N passes of the same batches without noise and statistics; and through the
shipped face detector, one copy a call. Memory: peaks of processes of their own, for N and 4 N
copies and for batches of 8 and 64, and of `protect` for few and four times as many pictures and
frames.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from ways import report

HERE = Path(__file__).resolve().parent
COPIES, BATCH, ROUNDS = 64, 32, 3
Row = tuple[str, str, str]
Timed = tuple[int, float, dict[str, Any]]


def certifying() -> list[Row]:
    """Ratios of processor time, medians over turns, and peaks of memory."""
    import torch

    torch.set_num_threads(1)
    rows, plain = [], 0.0
    with torch.no_grad():
        for half in (False, True):
            net, images = _smoothing(half=half)
            draws = torch.Generator().manual_seed(0)

            def certify(net: Any = net, images: Any = images, draws: Any = draws) -> None:
                net.certify(images, samples=COPIES, generator=draws)

            def passes(net: Any = net, images: Any = images) -> None:
                copies = images.expand(BATCH, -1, -1, -1).contiguous()
                for _ in range(COPIES // BATCH):
                    net.tokens(copies)

            spent = turns(certify, passes)
            ratio = median(a / b for a, b in spent)
            low, high = min(a / b for a, b in spent), max(a / b for a, b in spent)
            bare = median(b for _, b in spent) / COPIES
            name = "bfloat16" if half else "float32"
            what = f"certificate of {COPIES} copies over as many passes, ViT-T/16, {name}"
            rows.append((what, f"{ratio:.3f}× ({low:.3f} – {high:.3f})", "≤ 1.05×"))
            if half:
                fewer = f"{plain / bare:.2f}× as fast"
                rows.append(("a pass in bfloat16 against float32", fewer, "reported"))
            plain = bare
    rows.append(_verdicts())
    peaks = {
        (copies, batch): run("certify", copies, batch)["peak"]
        for copies, batch in ((32, 8), (128, 8), (128, 64))
    }
    few, many, wide = peaks.values()
    says = f"{few:.0f} MB and {many:.0f} MB ({many / few:.2f}×); in batches of 64 {wide:.0f} MB"
    rows.append(("peak memory of 32 and of 128 copies in batches of 8", says, "flat"))
    return rows


def protecting() -> list[Row]:
    """Peaks of memory of folders and videos."""
    rows = []
    for what, few, many in (("pictures of 1080p", 4, 16), ("frames of 640 × 360", 20, 80)):
        way = "pictures" if what.startswith("pictures") else "frames"
        one, other = (run(way, count, 0)["peak"] for count in (few, many))
        says = f"{one:.0f} MB and {other:.0f} MB ({other / one:.2f}×)"
        rows.append((f"peak memory of protecting {few} and {many} {what}", says, "flat"))
    return rows


def turns(one: Callable[[], None], other: Callable[[], None]) -> list[tuple[float, float]]:
    """Processor seconds of both, in turns, after one turn to warm up."""
    found = []
    for number in range(ROUNDS + 1):
        pair = []
        for call in (one, other):
            began = time.process_time()
            call()
            pair.append(time.process_time() - began)
        if number:
            found.append((pair[0], pair[1]))
    return found


def _smoothing(*, half: bool = False, batch: int = BATCH) -> tuple[Any, Any]:
    import torch

    from telltale.nn.backbones import backbone
    from telltale.robustness.feature_smoothing import FeatureSmoothing

    torch.manual_seed(0)
    net = FeatureSmoothing(
        backbone("vit_tiny"), batch=batch, purify=False, map_features=False, bfloat16=half
    )
    return net, torch.rand(1, 3, 224, 224)


def _verdicts(copies: int = 64) -> Row:
    import telltale
    from telltale.certify import Noise
    from telltale.certify.verdicts import SELECT, Verdicts

    detector = telltale.load("vit_lora_scl", threads=1)
    made = Verdicts(detector, Noise(0.05, copies), "crops")
    pixels = np.random.default_rng(0).integers(0, 256, (240, 240, 3), dtype=np.uint8)
    crop = np.zeros((1, 3, detector.size, detector.size), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        Image.fromarray(pixels).save(path)

        def passes() -> None:
            for _ in range(copies + SELECT):
                detector.network.run(None, {"images": crop})

        spent = turns(lambda: made.of(path, ()) and None, passes)
    ratio = median(a / b for a, b in spent)
    what = f"certificate of the shipped detector's verdict over its {copies + SELECT} network calls"
    return what, f"{ratio:.3f}×", "≤ 1.05×"


def certify(copies: int, batch: int) -> Timed:
    """Certify one picture; the peak is the process's."""
    net, images = _smoothing(batch=batch)
    net.feature = "flat"  # 196 × 192 values a copy: to hold them all would show
    began = time.perf_counter()
    net.certify(images, samples=copies)
    return copies, time.perf_counter() - began, {}


def pictures(count: int, _: int) -> Timed:
    """Protect so many drawn pictures; networks hardly trained."""
    from telltale.protect import protect_pictures

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "in"
        for number in range(count):
            target = folder / str(number % 2) / f"{number}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            coarse = np.random.default_rng(number).integers(0, 256, (9, 16, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((1920, 1080)).save(target)
        began = time.perf_counter()
        settings = {"fit.steps": 2, "method.size": 32, "method.width": 8}
        made = list(protect_pictures(folder, Path(place) / "out", settings=settings, most=6))
        return len(made), time.perf_counter() - began, {}


def frames(count: int, _: int) -> Timed:
    """Protect a video of so many frames."""
    import av

    from telltale.protect import protect_videos

    with tempfile.TemporaryDirectory() as place:
        video = Path(place) / "walk.mkv"
        with av.open(video, "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 640, 360, "bgr0"
            for number in range(count):
                coarse = np.random.default_rng(number).integers(0, 256, (9, 16, 3), dtype=np.uint8)
                pixels = np.asarray(Image.fromarray(coarse).resize((640, 360)))
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        video.with_suffix(".txt").write_text("200,100,80,60\n" * count)
        began = time.perf_counter()
        settings = {"fit.steps": 2, "method.width": 16}
        (made,) = protect_videos([video], Path(place) / "out", settings=settings)
        if not hasattr(made, "frames"):
            raise ValueError(f"want a copy, got {made}")
        return count, time.perf_counter() - began, {}


def run(way: str, *words: int) -> dict[str, Any]:
    """One way in a fresh process."""
    command = [sys.executable, str(HERE / "audits.py"), way, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


WAYS = {way.__name__: way for way in (certify, pictures, frames)}


def main() -> None:
    lines = [
        "# What certificates cost, and the memory of protecting",
        "",
        "`python benchmarks/audits.py`; ratios are of processor time, one thread, the median over "
        f"{ROUNDS} turns with the smallest and the largest.",
        "",
        "| what | measured | aim |",
        "|---|---|---|",
    ]
    for part in (certifying, protecting):
        for row in part():
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
    (HERE / "AUDITS.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        report(lambda: WAYS[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3])))
    else:
        main()

"""How much faster ``telltale prepare`` is in two processes than in one.

    python benchmarks/prepare.py [--videos 12] [--frames 16]

Clips of 720 × 720 pixels are filmed from the example photographs; both ways cut the same faces of
them, and the runs take turns. One process means one thread for decoding and one for the networks,
as in each of the two. Starting the processes is part of the time.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import av
import numpy as np
from PIL import Image

from telltale.data.clips import Cut
from telltale.prepare import prepare

MEDIA = Path(__file__).parents[1] / "examples/media"
SIZE, FRAMES = 720, 100


def film(path: Path, photograph: Path) -> None:
    photo = Image.open(photograph).convert("RGB")
    side = min(photo.size)
    photo = photo.crop((0, 0, side, side)).resize((SIZE + FRAMES, SIZE + FRAMES))
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for k in range(FRAMES):
            pixels = np.asarray(photo.crop((k, k, k + SIZE, k + SIZE)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def seconds(raw: Path, out: Path, cut: Cut, workers: int) -> float:
    start = time.perf_counter()
    _, results = prepare([raw], out, cut, workers=workers)
    if failed := [it.error for it in results if it.error]:
        raise ValueError(failed[0])
    return time.perf_counter() - start


def main(videos: int, frames: int, repeats: int) -> None:
    times: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        photographs = [MEDIA / f"{name}.jpg" for name in ("astronaut", "commodore")]
        for number in range(videos):
            path = raw / ("real", "fake")[number % 2] / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            film(path, photographs[number % 2])
        for repeat in range(repeats):
            for workers, taken in times.items():
                out = Path(folder) / f"{workers}-{repeat}"
                taken.append(seconds(raw, out, Cut(frames=frames), workers))
    one, two = median(times[1]), median(times[2])
    print(
        f"{videos} videos of {FRAMES} frames, {frames} faces of each: one process {one:.1f} s "
        f"({videos * frames / one:.1f} faces a second), two {two:.1f} s: {one / two:.2f}×"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    main(given.videos, given.frames, given.repeats)

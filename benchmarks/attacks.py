"""What the parts on presentation attacks cost: front end, histogram layer, simulators, spoof scan.

    python benchmarks/attacks.py                 (writes ATTACKS.md)

One thread each. The front end is compared with the time its recording takes to hear, the histogram
layer with a 3 × 3 convolution of the same maps, the simulators by megapixels a second, the scan by
faces a second, without the survival strip.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn

from telltale.data.synth import camera, display, masks, printing
from telltale.data.synth.echo import Setting, recording
from telltale.loading import load
from telltale.media.sound import RATE, echo_spectrogram
from telltale.nn.histogram import LocalHistogram

HERE = Path(__file__).resolve().parent
MEDIA = HERE.parent / "examples/media"
SIDE = 1536


def seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """The median time of a call, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return median(times)


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    heard = recording("live", Setting(), rng)
    front = len(heard) / RATE / seconds(lambda: echo_spectrogram(heard))
    maps = torch.randn(16, 8, 56, 56)
    layer, plain = LocalHistogram(8), nn.Conv2d(8, 8, 3, padding=1)

    def step(module: nn.Module) -> None:
        module(maps).sum().backward()

    ratio = seconds(lambda: step(layer), 20) / seconds(lambda: step(plain), 20)
    photo = Image.open(MEDIA / "astronaut.jpg").convert("RGB").resize((SIDE, SIDE))
    picture = np.asarray(photo)
    light, mega = camera.to_linear(picture), SIDE**2 / 1e6
    points = masks.usual_landmarks((SIDE, SIDE))
    simulators: dict[str, Callable[[], object]] = {
        "camera": lambda: camera.photograph(light, camera.Camera(), rng),
        "display": lambda: display.replayed(picture, display.draw_display(rng), rng),
        "print, clustered": lambda: printing.printed(picture, printing.Printer(), rng),
        "print, diffused": lambda: printing.printed(
            picture, printing.Printer(screen="diffused"), rng
        ),
        "mask": lambda: masks.masked(light, masks.Mask(), points, rng),
    }
    speeds = {name: mega / seconds(run, 3) for name, run in simulators.items()}
    detector = load(task="spoof", threads=0)
    photos = [
        np.asarray(Image.open(MEDIA / f"{n}.jpg").convert("RGB"))
        for n in ("astronaut", "commodore", "four_people")
    ]
    faces = sum(len(detector.detect(pixels, survival=False)) for pixels in photos)
    took = seconds(lambda: [detector.detect(pixels, survival=False) for pixels in photos], 3)
    lines = [
        "# What presentation attacks cost",
        "",
        "`python benchmarks/attacks.py`, one thread but for the scan, which has all cores.",
        "",
        "| part | measured | aim |",
        "|---|---|---|",
        f"| M3FAS's front end, over real time | {front:.0f}× | 100× |",
        f"| histogram layer over a 3 × 3 convolution, forward and back | {ratio:.2f}× | 2× |",
        *(f"| {n}, megapixels a second | {v:.1f} | 10 |" for n, v in speeds.items()),
        f"| spoof scan, faces a second (three photographs) | {faces / took:.1f} | 8 |",
    ]
    (HERE / "ATTACKS.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

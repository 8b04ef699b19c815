"""What the parts on presentation attacks cost: front end, simulators, spoof scan.

    python benchmarks/attacks.py                 (writes ATTACKS.md)

One thread each, by the time of that core: other work on the machine does not count, though it slows
memory. The front end is compared with the time its recording takes to hear, the simulators by
megapixels a second, the scan by faces a second of one core, without the survival strip. The
histogram layer has `histogram.py`.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from PIL import Image

from telltale.data.synth import camera, display, masks, printing
from telltale.data.synth.echo import Setting, recording
from telltale.loading import load
from telltale.media.sound import RATE, echo_spectrogram

HERE = Path(__file__).resolve().parent
MEDIA = HERE.parent / "examples/media"
SIDE = 1536


def seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """The median time of this process for a call, after one to warm up."""
    run()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        times.append(time.process_time() - began)
    return median(times)


def main() -> None:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    heard = recording("live", Setting(), rng)
    front = len(heard) / RATE / seconds(lambda: echo_spectrogram(heard), 15)
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
    speeds = {name: mega / seconds(run) for name, run in simulators.items()}
    detector = load(task="spoof", threads=1)
    photos = [
        np.asarray(Image.open(MEDIA / f"{n}.jpg").convert("RGB"))
        for n in ("astronaut", "commodore", "four_people")
    ]
    faces = sum(len(detector.detect(pixels, survival=False)) for pixels in photos)
    took = seconds(lambda: [detector.detect(pixels, survival=False) for pixels in photos], 3)
    lines = [
        "# What presentation attacks cost",
        "",
        "`python benchmarks/attacks.py`: time of one core; other work was on the machine.",
        "",
        "| part | measured | aim |",
        "|---|---|---|",
        f"| M3FAS's front end, over real time | {front:.0f}× | 100× |",
        *(f"| {n}, megapixels a second | {v:.1f} | 10 |" for n, v in speeds.items()),
        f"| spoof scan, faces a second of one core | {faces / took:.1f} | 8 on two |",
    ]
    (HERE / "ATTACKS.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

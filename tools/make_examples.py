"""Make examples/media from its originals: `python tools/make_examples.py ORIGINALS`.

ORIGINALS is a folder with `astronaut.png`, `camera.png` and `rocket.jpg` (scikit-image's data),
`grace_hopper.jpg` (matplotlib's sample data) and `sample6.jpg` (demo folder of the npm package
@vladmandic/face-api); examples/media/LICENSES.md says what each is and whose. The forgeries come
from Telltale's own synthesis with fixed seeds and say what they are in their metadata, so that they
cannot be taken for photographs. Needs the extras `train` and `video`.
"""

import sys
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.data.synth.blend import self_blend
from telltale.data.synth.faceswap import swap
from telltale.media import read_picture
from telltale.media.facefinder import FaceFinder

Pixels = NDArray[np.uint8]
MEDIA = Path(__file__).resolve().parent.parent / "examples/media"
LONG_SIDE = 1280  # pixels, of the group picture
QUALITY = 92
DESCRIPTION, ARTIST, SOFTWARE = 0x010E, 0x013B, 0x0131  # EXIF tags
SEED = 3


def main(originals: Path) -> None:
    MEDIA.mkdir(parents=True, exist_ok=True)
    pictures = {path.stem: read_picture(path).pixels for path in sorted(originals.iterdir())}
    hopper, astronaut = pictures["grace_hopper"], pictures["astronaut"]
    group = Image.fromarray(pictures["sample6"])
    group.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)

    save(astronaut, "astronaut.jpg", "Astronaut Eileen Collins, 1993", "NASA")
    save(hopper, "commodore.jpg", "Commodore Grace M. Hopper, 1984", "James S. Davis, US Navy")
    save(np.asarray(group), "four_people.jpg", "Four people", "Vladimir Mandic")
    save(pictures["camera"], "photographer.jpg", "A photographer", "Lav Varshney")
    save(pictures["rocket"], "rocket_at_night.jpg", "Falcon 9 with DSCOVR, 2015", "SpaceX")

    finder = FaceFinder()
    from_hopper, from_astronaut = (finder.find(p)[0].points for p in (hopper, astronaut))
    made = swap(hopper, from_hopper, astronaut, from_astronaut, blending="alpha", rng=rng())
    save(made.fake, "forged_swap.jpg", "FORGED: the commodore's face on the astronaut", "Telltale")
    blend = self_blend(astronaut, from_astronaut, rng(), hull=3, ratio=1.0)
    save(blend.fake, "forged_blend.jpg", "FORGED: the astronaut's face blended anew", "Telltale")
    zoom(made.fake, from_astronaut, MEDIA / "forged_video.mp4")
    for path in sorted(MEDIA.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


def save(pixels: Pixels, name: str, what: str, who: str) -> None:
    """A JPEG with nothing in its metadata but what it shows and who made it."""
    exif = Image.Exif()
    exif[DESCRIPTION], exif[ARTIST] = what, who
    if who == "Telltale":
        exif[SOFTWARE] = "tools/make_examples.py"
    Image.fromarray(pixels).save(MEDIA / name, quality=QUALITY, exif=exif)


def zoom(pixels: Pixels, points: NDArray[np.float32], path: Path) -> None:
    """Four seconds in which the camera comes half again as near to the face."""
    x, y = points.mean(0).tolist()
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    image = Image.fromarray(pixels)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        container.metadata["title"] = "FORGED: the commodore's face on the astronaut"
        stream = container.add_stream("libx264", rate=15, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for step in np.linspace(1, 1 / 1.5, 60):
            w, h = width * step, height * step
            left, top = min(max(x - w / 2, 0), width - w), min(max(y - h / 2, 0), height - h)
            box = (left, top, left + w, top + h)
            near = image.resize((width, height), Image.Resampling.BICUBIC, box)
            container.mux(stream.encode(av.VideoFrame.from_image(near)))
        container.mux(stream.encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

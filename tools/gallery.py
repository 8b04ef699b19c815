"""Make docs/images/synth_gallery.jpg, the kinds of forgery side by side: `python tools/gallery.py`.

The faces are the astronaut and the commodore of examples/media, both public domain; LICENSES.md
there names their makers. Each stands twice, with other draws. The labels and the metadata say what
is forged. Needs the extra `train`.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from telltale.data.synth.blend import self_blend
from telltale.data.synth.faceswap import swap
from telltale.data.synth.regenerate import regenerate
from telltale.media import read_picture
from telltale.media.facefinder import FaceFinder, crop_region
from telltale.media.regions import cut

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]
Points = NDArray[np.float32]
ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs/images/synth_gallery.jpg"
PEOPLE = ("astronaut", "commodore")
PARTS = ("face", "eyes", "eyes", "mouth")  # one a column
TILE, GAP, LABEL = 200, 4, 150  # pixels
DESCRIPTION, ARTIST, SOFTWARE = 0x010E, 0x013B, 0x0131  # EXIF tags


def main() -> None:
    finder = FaceFinder()
    faces = [face(finder, ROOT / f"examples/media/{name}.jpg") for name in PEOPLE]
    columns = [
        column(faces[k % 2], faces[1 - k % 2], part, np.random.default_rng(k))
        for k, part in enumerate(PARTS)
    ]
    sheet = arrange(columns)
    exif = Image.Exif()
    exif[DESCRIPTION] = "FORGED: kinds of face forgery that Telltale makes to train detectors"
    exif[ARTIST], exif[SOFTWARE] = "Telltale", "tools/gallery.py"
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    part = PICTURE.with_suffix(".part")
    sheet.save(part, "JPEG", quality=88, exif=exif)
    part.replace(PICTURE)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")


def face(finder: FaceFinder, path: Path) -> tuple[Pixels, Points]:
    """The largest face of a file, twice its size round it, and its mesh in that crop."""
    pixels = read_picture(path).pixels
    found = finder.find(pixels)[0]
    square = crop_region(found, 1.8)
    points = (found.points - np.array([square.x, square.y])) * (TILE * 2 / square.width)
    return cut(pixels, square, TILE * 2), points.astype(np.float32)


def column(
    one: tuple[Pixels, Points], other: tuple[Pixels, Points], part: str, rng: np.random.Generator
) -> dict[str, Pixels | Mask]:
    """Label to picture, from top to bottom; ``one`` is forged, ``other`` lends its face."""
    blend = self_blend(*one, rng, ratio=1.0)
    alpha = swap(*other, *one, rng=rng)
    poisson = swap(*other, *one, blending="poisson", rng=rng)
    again = regenerate(*one, rng, part=part)
    return {
        "real": one[0],
        "self-blended:\nits real half": blend.real,
        "self-blended:\nforged half": blend.fake,
        "self-blended:\nmask": blend.mask,
        "swapped,\nalpha": alpha.fake,
        "swapped,\nalpha: mask": alpha.mask,
        "swapped,\nPoisson": poisson.fake,
        "regenerated\npart": again.fake,
        "regenerated\npart: mask": again.mask,
    }


def arrange(columns: list[dict[str, Pixels | Mask]]) -> Image.Image:
    """The columns side by side with their labels on the left."""
    step = TILE + GAP
    size = (LABEL + step * len(columns), step * len(columns[0]))
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for row, label in enumerate(columns[0]):
        draw.multiline_text((8, row * step + TILE // 2 - 20), label, "black", font, spacing=6)
        for number, pictures in enumerate(columns):
            sheet.paste(tile(pictures[label]), (LABEL + number * step, row * step))
    return sheet


def tile(picture: Pixels | Mask) -> Image.Image:
    """A picture (H, W, 3), or a mask (H, W) in [0, 1] as grey."""
    shown = picture if picture.ndim == 3 else np.rint(picture * 255).astype(np.uint8)
    return Image.fromarray(shown).convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()

"""A folder of 1080p pictures with faces, made from examples/media with a seed."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MEDIA = Path(__file__).resolve().parent.parent / "examples/media"
WIDTH, HEIGHT = 1920, 1080
COLUMNS = 3


def make_pictures(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write ``count`` different JPEGs of 1920×1080: three random, mirrored, cropped pictures each.

    Every third column is a picture without a face, as in a real folder.
    """
    rng = np.random.default_rng(seed)
    sources = [ImageOps.exif_transpose(Image.open(p)).convert("RGB") for p in MEDIA.glob("*.jpg")]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"picture_{number:04d}.jpg" for number in range(count)]
    for path in paths:
        canvas = Image.new("RGB", (WIDTH, HEIGHT))
        for column in range(COLUMNS):
            tile = sources[int(rng.integers(len(sources)))]
            box = (WIDTH // COLUMNS, HEIGHT)
            centre = (float(rng.uniform(0.3, 0.7)), float(rng.uniform(0.1, 0.4)))
            tile = ImageOps.fit(tile, box, Image.Resampling.BILINEAR, centering=centre)
            canvas.paste(
                ImageOps.mirror(tile) if rng.random() < 0.5 else tile, (column * box[0], 0)
            )
        canvas.save(path, quality=int(rng.integers(75, 96)))
    return paths

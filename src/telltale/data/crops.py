"""Faces cut once from pictures and kept: pixels, mesh and source of each, in one file.

Finding faces costs more than a training step, so it is done once. A crop is the square twice the
face (blends need what is round it) at the picture's own resolution, at most ``LARGEST`` pixels.
"""

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.media import MediaError, read_picture
from telltale.media.facefinder import FaceFinder, crop_region
from telltale.media.regions import cut
from telltale.records import Region

CONTEXT = 2.0  # sides of the face's own square
LARGEST = 384  # pixels


class Crop(NamedTuple):
    """One face with its surroundings.

    Args:
        pixels: (S, S, 3) uint8 sRGB.
        points: (468, 2) mesh in the crop's pixels.
        source: Who or what the picture shows; splits never divide a source.
        path: File it was cut from.
    """

    pixels: NDArray[np.uint8]
    points: NDArray[np.float32]
    source: str
    path: str


def cut_faces(
    pictures: Iterable[tuple[Path, str]],
    finder: FaceFinder,
    *,
    smallest: float = 40.0,
    every: bool = False,
) -> Iterator[Crop | MediaError]:
    """Cut the largest face of each (path, source); pictures without one are passed over.

    Args:
        pictures: Files, each with who or what it shows.
        finder: Finds the faces.
        smallest: Width in pixels below which a face is passed over.
        every: All faces of a picture, not the largest alone: the k-th has the source ``source:k``.

    Yields:
        A crop, or the error of a file that could not be read.
    """
    for path, source in pictures:
        try:
            pixels = read_picture(path).pixels
        except MediaError as error:
            yield error
            continue
        faces = finder.find(pixels)
        for number, face in enumerate(faces if every else faces[:1]):
            if face.box[2] < smallest or face.presence < 0:
                continue
            square = crop_region(face, CONTEXT)
            region = Region(square.x, square.y, square.width, square.height)  # never turned
            size = min(round(region.width), LARGEST)
            points = (face.points - np.array([region.x, region.y])) * (size / region.width)
            who = f"{source}:{number}" if every else source
            yield Crop(cut(pixels, region, size), points.astype(np.float32), who, str(path))


def save_crops(path: Path, crops: Iterable[Crop]) -> int:
    """Write crops to one ``.npz``-like file (arrays only, no pickle); returns how many."""
    part = path.with_suffix(path.suffix + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    names: list[str] = []
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for number, crop in enumerate(crops):
            for key, array in (("pixels", crop.pixels), ("points", crop.points)):
                with archive.open(f"{key}/{number}.npy", "w") as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)
            names.append(f"{crop.source}\t{crop.path}")
        archive.writestr("index.tsv", "\n".join(names))
    part.replace(path)
    return len(names)


def load_crops(path: Path) -> list[Crop]:
    """Read what :func:`save_crops` wrote.

    Raises:
        ValueError: If the file is not of that form; the text names it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            index = archive.read("index.tsv").decode("utf-8").splitlines()
            return [
                Crop(
                    _array(archive, f"pixels/{number}.npy").astype(np.uint8, copy=False),
                    _array(archive, f"points/{number}.npy").astype(np.float32, copy=False),
                    *line.split("\t"),
                )
                for number, line in enumerate(index)
            ]
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a file of face crops ({error})") from None


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[np.generic]:
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)

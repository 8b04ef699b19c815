"""Cuts the faces of one video to files.

Of a video with n frames, ⌊linspace(0, n-1, frames)⌋ are cut; of a forgery whose real video is
there, the same numbers as of that one, so that each crop has its real partner. The largest face is
cut, and a mask by the same square; a frame without a face is dropped, and counted. Where a protocol
takes a video's first frames alone (``Row.first``), those are the n. Faces that lie cut in a file
(HDF5) are only scaled.

Source of the settings (32 frames, 256 pixels, 1.3 times the face, masks over 1 of 255):
DeepfakeBench (Yan et al., NeurIPS 2023).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.data.layout import STACKS, VIDEOS
from telltale.data.manifest import Row, by_number
from telltale.data.stacks import count_stack, read_stack
from telltale.media import MediaError, read_picture
from telltale.media.alignment import aligned_region
from telltale.media.facefinder import FaceFinder, crop_region
from telltale.media.files import one_line
from telltale.media.frames import count_frames, read_frames
from telltale.media.regions import cut as cut_out
from telltale.records import Region

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Cut:
    """What is cut, the same for a whole folder.

    Args:
        frames: Of each video, at most.
        size: Side of the crops in pixels.
        margin: Of the square, in sides of the face (or of the template).
        align: Turn and scale the face to the five-point template, instead of a square round it.
    """

    frames: int = 32
    size: int = 256
    margin: float = 1.3
    align: bool = False

    def __post_init__(self) -> None:
        if self.frames < 1 or self.size < 16 or not 1 <= self.margin <= 4:
            raise ValueError(
                "want frames ≥ 1, size ≥ 16 and a margin from 1 to 4; got "
                f"{self.frames}, {self.size} and {self.margin}"
            )


class Clip(NamedTuple):
    """A video, or the frames of one, with what its first row says of it."""

    name: str  # "ffpp/Deepfakes/071_054", also where its faces go
    files: tuple[Path, ...]
    row: Row


class Done(NamedTuple):
    """What became of a clip: the numbers of the frames that were cut, or why there are none."""

    name: str
    frames: tuple[int, ...]
    dropped: int = 0  # frames without a face
    error: str = ""


def clips_of(rows: Iterable[Row]) -> list[Clip]:
    """Rows gathered to clips; a row of no video is a clip of its own, named by kind and path."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        name = row.video
        if not name:
            tail = hashlib.sha256(str(row.path).encode()).hexdigest()[:8]
            name = f"{row.kind or 'real'}/{row.path.stem}-{tail}"
        found.setdefault(re.sub(r'[\\:*?"<>|]|\.\.+', "_", name).strip("/"), []).append(row)
    made = []
    for name, members in found.items():
        files = sorted((row.path for row in members), key=by_number)
        made.append(Clip(name, tuple(files), members[0]))
    return made


def cut_clip(clip: Clip, out: Path, cut: Cut) -> Done:
    """Cut a clip's faces to files; a file that cannot be used gives an error, not a raise."""
    faces, masks = out / "faces" / clip.name, out / "masks" / clip.name
    frames: list[int] = []
    dropped = 0
    stacked = clip.files[0].suffix.lower() in STACKS
    try:
        for number, pixels, mask in _frames(clip, cut.frames):
            region = whole(pixels) if stacked else _region(_finder(), pixels, cut)
            if region is None:
                dropped += 1
                continue
            _save(faces / f"{number:04}.png", cut_out(pixels, region, cut.size))
            if mask is not None:
                if mask.shape != pixels.shape:
                    height, width = pixels.shape[:2]
                    raise MediaError(f"{clip.row.mask}: want {width} × {height} pixels")
                shown = cut_out(mask, region, cut.size).max(-1) > 1
                _save(masks / f"{number:04}.png", shown.astype(np.uint8) * 255)
            frames.append(number)
    except (MediaError, OSError) as error:
        return Done(clip.name, (), error=one_line(error))
    if not frames:
        return Done(clip.name, (), dropped, error=f"{clip.files[0]}: no face in {dropped} frames")
    return Done(clip.name, tuple(frames), dropped)


def whole(pixels: Pixels) -> Region:
    """The region that is all of a picture."""
    height, width = pixels.shape[:2]
    return Region(0.0, 0.0, float(width), float(height))


@cache
def _finder() -> FaceFinder:
    return FaceFinder(threads=1)  # processes fill the cores


def _region(finder: FaceFinder, pixels: Pixels, cut: Cut) -> Region | None:
    """Where the largest face is, or None."""
    found = finder.find(pixels)
    if not found:
        return None
    if cut.align:
        return aligned_region(found[0].points, cut.margin)
    return crop_region(found[0], cut.margin)


def _frames(clip: Clip, count: int) -> Iterator[tuple[int, Pixels, Pixels | None]]:
    """Number, pixels and mask of the frames to cut."""
    if clip.files[0].suffix.lower() in STACKS:
        for number in evenly(count_stack(clip.files[0]), count):
            yield number, read_stack(clip.files[0], number), None
        return
    if clip.files[0].suffix.lower() not in VIDEOS:
        for number in evenly(len(clip.files), count):
            yield number, read_picture(clip.files[number]).pixels, None
        return
    numbers = _numbers(clip, count)
    frames = read_frames(clip.files[0], numbers)
    if clip.row.mask is None:
        yield from ((frame.number, frame.pixels, None) for frame in frames)
        return
    masks = read_frames(clip.row.mask, numbers)
    for frame in frames:
        mask = next(masks, None)  # mask videos can be shorter
        yield frame.number, frame.pixels, mask.pixels if mask else None


def _numbers(clip: Clip, count: int) -> list[int]:
    """The numbers to cut of a video: its real partner's, if most of those are there."""
    length, partner = count_frames(clip.files[0]), clip.row.partner
    length = min(length, clip.row.first or length)
    own = evenly(length, count)
    if partner is None or partner.suffix.lower() not in VIDEOS:
        return own
    shared = [number for number in evenly(count_frames(partner), count) if number < length]
    return shared if 2 * len(shared) >= len(own) else own


def evenly(length: int, count: int) -> list[int]:
    """⌊linspace(0, length-1, count)⌋ without repeats."""
    if length < 1:
        return []
    return sorted({i * (length - 1) // max(count - 1, 1) for i in range(count)})


def _save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG", compress_level=3)

"""Cuts the faces of one video to files.

Of a video with n frames, ⌊linspace(0, n-1, frames)⌋ are cut; of a forgery whose real video is
there, the same numbers as of that one, so that each crop has its real partner. A video that lies as
a folder of frames may lack some, so its frames go by the numbers in their names. The largest face
is cut, and a mask by the same square; a frame without a face is dropped, and counted. Where a
protocol takes a video's first frames alone (``Row.first``), those are the n. Faces that lie cut in
a file (HDF5) are only scaled.

Source of the settings (32 frames, 256 pixels, 1.3 times the face, masks over 1 of 255):
DeepfakeBench (Yan et al., NeurIPS 2023).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
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
    """A video, or the frames of one, with what its rows say of it."""

    name: str  # "ffpp/Deepfakes/071_054", also where its faces go
    rows: tuple[Row, ...]  # one of a video; of frames one each, in order
    behind: tuple[Path, ...] = ()  # frames of the real clip that it was made from, in order

    @property
    def row(self) -> Row:
        """The video's row, or that of the first frame."""
        return self.rows[0]

    @property
    def of_frames(self) -> bool:
        """That each row is a picture, not a video or a file of faces."""
        return self.row.path.suffix.lower() not in VIDEOS | STACKS

    @property
    def numbered(self) -> dict[int, Row]:
        """Frames by the last number in their name; by their order if two share one."""
        numbers = [by_number(row.path)[0] for row in self.rows]
        if len(set(numbers)) < len(numbers):
            numbers = [*range(len(numbers))]
        return dict(zip(numbers, self.rows, strict=True))


class _Frame(NamedTuple):
    number: int
    pixels: Pixels
    mask: Pixels | None = None
    masked_by: Path | None = None


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
    clips = {
        name: Clip(name, tuple(sorted(members, key=lambda row: by_number(row.path))))
        for name, members in found.items()
    }
    belongs = {row.path: clip for clip in clips.values() for row in clip.rows}
    for name, clip in clips.items():
        real = next((belongs[it.partner] for it in clip.rows if it.partner in belongs), None)
        if real and clip.of_frames:
            clips[name] = clip._replace(behind=tuple(row.path for row in real.rows))
    return [*clips.values()]


def cut_clip(clip: Clip, out: Path, cut: Cut) -> Done:
    """Cut a clip's faces to files; a file that cannot be used gives an error, not a raise."""
    faces, masks = out / "faces" / clip.name, out / "masks" / clip.name
    frames: list[int] = []
    dropped = 0
    stacked = clip.row.path.suffix.lower() in STACKS
    try:
        for number, pixels, mask, masked_by in _frames(clip, cut.frames):
            region = whole(pixels) if stacked else _region(_finder(), pixels, cut)
            if region is None:
                dropped += 1
                continue
            _save(faces / f"{number:04}.png", cut_out(pixels, region, cut.size))
            if mask is not None:
                if mask.shape != pixels.shape:
                    height, width = pixels.shape[:2]
                    raise MediaError(f"{masked_by}: want {width} × {height} pixels")
                shown = cut_out(mask, region, cut.size).max(-1) > 1
                _save(masks / f"{number:04}.png", shown.astype(np.uint8) * 255)
            frames.append(number)
    except (MediaError, OSError) as error:
        return Done(clip.name, (), error=one_line(error))
    if not frames:
        return Done(clip.name, (), dropped, error=f"{clip.row.path}: no face in {dropped} frames")
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


def _frames(clip: Clip, count: int) -> Iterator[_Frame]:
    """The frames to cut."""
    path, mask = clip.row.path, clip.row.mask
    if path.suffix.lower() in STACKS:
        for number in evenly(count_stack(path), count):
            yield _Frame(number, read_stack(path, number))
        return
    if clip.of_frames:
        frames = clip.numbered
        for number in _paired(clip, [*frames], count):
            picture, beside = read_picture(frames[number].path).pixels, frames[number].mask
            covered = read_picture(beside).pixels if beside else None
            yield _Frame(number, picture, covered, beside)
        return
    length = count_frames(path)
    numbers = _paired(clip, range(min(length, clip.row.first or length)), count)
    found = read_frames(path, numbers)
    if mask is None:
        yield from (_Frame(frame.number, frame.pixels) for frame in found)
        return
    masks = read_frames(mask, numbers)
    for frame in found:
        shown = next(masks, None)  # mask videos can be shorter
        yield _Frame(frame.number, frame.pixels, shown.pixels if shown else None, mask)


def _paired(clip: Clip, there: Sequence[int], count: int) -> list[int]:
    """The numbers to cut of those that are there: the real clip's, if most of those are there."""
    own = [there[index] for index in evenly(len(there), count)]
    partner = clip.row.partner
    if partner is not None and partner.suffix.lower() in VIDEOS:
        wanted = {*evenly(count_frames(partner), count)}
        shared = [number for number in there if number in wanted]
    else:
        chosen = {clip.behind[index] for index in evenly(len(clip.behind), count)}
        shared = [number for number, row in clip.numbered.items() if row.partner in chosen]
    return shared if 2 * len(shared) >= len(own) else own


def evenly(length: int, count: int) -> list[int]:
    """⌊linspace(0, length-1, count)⌋ without repeats."""
    if length < 1:
        return []
    return sorted({i * (length - 1) // max(count - 1, 1) for i in range(count)})


def _save(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG", compress_level=3)

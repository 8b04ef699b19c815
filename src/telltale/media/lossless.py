"""Writes changed copies of pictures and videos without loss, with what the originals say.

A copy is upright and in sRGB, as the readers give pixels. A picture becomes a PNG with the
original's EXIF (its orientation now "as stored") and XMP; a video becomes FFV1 in Matroska with its
time stamps, its sound as it was, and its tags. Files are written beside their place and renamed.
"""

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from telltale.media.files import HEAD, PICTURES, MediaError, format_of, read_bytes, shown
from telltale.media.picture import ORIENTATION, _reader, quiet
from telltale.media.video import _opened, _rgb, _turn, _upright

Pixels = NDArray[np.uint8]
TICK = Fraction(1, 1000)  # seconds; Matroska's clock


def write_png(path: Path, pixels: Pixels, source: Path, says: str) -> None:
    """Write pixels (H, W, 3) as PNG with the metadata of ``source``, and a comment of our own.

    Raises:
        MediaError: If the source cannot be read.
    """
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", says)
    exif, xmp = _metadata(source)
    if xmp:
        text.add_itxt("XML:com.adobe.xmp", xmp)
    part = path.with_name(path.name + ".part")
    kept: dict[str, Any] = {"exif": exif} if exif else {}
    Image.fromarray(pixels).save(part, "PNG", pnginfo=text, **kept)
    os.replace(part, path)


def copy_video(
    source: Path, target: Path, change: Callable[[int, Pixels], Pixels], says: str
) -> int:
    """Write a lossless copy whose frames ``change`` makes of number and pixels; gives their count.

    Memory holds one frame. Sound is copied as it is; subtitles and data are left out.

    Raises:
        MediaError: If the source is no video or damaged.
    """
    import av

    part, count = target.with_name(target.name + ".part"), 0
    first = next(all_frames(source), None)  # its size is wanted before sound is written
    if first is None:
        raise MediaError(f"{shown(source)}: has no frame that can be decoded; get it again")
    with (
        _opened(source, _video_format(source)) as (container, video),
        open(part, "wb") as file,
        # bitexact: no random names of the file, so that the same copy has the same bytes
        av.open(file, "w", format="matroska", options={"fflags": "+bitexact"}) as out,
    ):
        out.metadata.update({**container.metadata, "COMMENT": says})
        made = out.add_stream("ffv1", rate=video.average_rate or 25)
        made.height, made.width = first.shape[:2]
        made.pix_fmt = "bgr0"
        made.codec_context.time_base = TICK  # else stamps are rounded to whole frames
        made.metadata.update(video.metadata)
        sounds = {s.index: out.add_stream_from_template(s) for s in container.streams.audio}
        turn: tuple[bool, bool, bool] | None = None
        rate = float(video.average_rate or 25)
        for packet in container.demux([video, *container.streams.audio]):
            if packet.stream.index in sounds:
                if packet.dts is not None:
                    packet.stream = sounds[packet.stream.index]
                    out.mux(packet)
                continue
            for frame in packet.decode():
                turn = _turn(frame) if turn is None else turn
                time = count / rate if frame.time is None else frame.time
                pixels = change(count, _upright(_rgb(frame), turn))
                coded = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
                coded.pts, coded.time_base = round(time / TICK), TICK
                out.mux(made.encode(coded))
                count += 1
        out.mux(made.encode())
    os.replace(part, target)
    return count


def frame_pairs(one: Path, other: Path) -> Iterator[tuple[Pixels, Pixels]]:
    """The frames of two videos side by side, upright.

    Raises:
        MediaError: If one has more frames than the other.
    """
    first, second = all_frames(one), all_frames(other)
    try:
        yield from zip(first, second, strict=True)
    except ValueError as error:
        if isinstance(error, MediaError):
            raise
        raise MediaError(f"{shown(other)}: has not as many frames as {shown(one)}") from None


def all_frames(path: Path) -> Iterator[Pixels]:
    """Every frame of a video, upright, one at a time."""
    with _opened(path, _video_format(path)) as (container, video):
        turn: tuple[bool, bool, bool] | None = None
        for frame in container.decode(video):
            turn = _turn(frame) if turn is None else turn
            yield _upright(_rgb(frame), turn)


def _metadata(source: Path) -> tuple[bytes, str]:
    """A picture's EXIF, turned to "as stored", and its XMP; empty where there is none."""
    name = format_of(source, read_bytes(source, HEAD))
    with quiet, source.open("rb") as file:
        image = _reader(source, name)(file)  # type: ignore[arg-type]  # any binary file will do
        exif = image.getexif()
        if ORIENTATION in exif:
            exif[ORIENTATION] = 1
        xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    said = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
    return (exif.tobytes() if len(exif) else b""), said


def _video_format(path: Path) -> str:
    name = format_of(path, read_bytes(path, HEAD))
    if name in PICTURES:
        raise MediaError(f"{shown(path)}: is a picture ({name}), want a video")
    return name

"""Reads a video as pictures at even times, upright, one at a time.

The container is opened twice: once for its facts, which are wanted at once, and once by the
iterator, so that nothing stays open if nobody iterates. Reading goes through a Python file, never
a name or an address, so that a crafted file cannot make the demuxer open others.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.media.containers import promised_size
from telltale.media.files import (
    HEAD,
    PICTURES,
    Limits,
    MediaError,
    checked_size,
    format_of,
    lying_name,
    one_line,
    read_bytes,
    reason,
    sha256,
    shown,
    unreadable,
)
from telltale.records import Subject

DEMUXERS = {  # named, so that content which resembles a playlist is never taken for one
    "MP4": "mov",
    "MOV": "mov",
    "Matroska": "matroska",
    "WebM": "matroska",
    "AVI": "avi",
    "MPEG-PS": "mpeg",
    "MPEG-TS": "mpegts",
    "FLV": "flv",
    "WMV": "asf",
    "Ogg": "ogg",
}
HIGH_DEFINITION = 720  # lines from which untagged video is BT.709 and not BT.601, as players guess
FASTEST = 1000  # frames in a second that no camera's file exceeds


class Frame(NamedTuple):
    """A sampled frame: seconds since the first one, and its pixels (H, W, 3) RGB, upright."""

    seconds: float
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Source:
    """What the iterator needs to know to read a file again."""

    path: str | os.PathLike[str]
    format: str
    turn: tuple[bool, bool, bool]  # swap the axes, then mirror x, then mirror y


def read_video(
    path: str | os.PathLike[str], fps: float = 1.0, limits: Limits | None = None
) -> tuple[Subject, Iterator[Frame]]:
    """A video's facts, and an iterator over its frames sampled ``fps`` times a second.

    The first frame at or after each multiple of 1/fps seconds comes out; memory holds one at a
    time. ``Subject.seconds`` is 0 and ``details["duration"]`` "unknown" if the file doesn't say.

    Args:
        path: The file. Nothing is written next to it.
        fps: Frames to look at for each second; more than the video has gives all of them.
        limits: ``Limits()`` by default; ``bytes`` does not apply, since the file is streamed.

    Raises:
        ValueError: If ``fps`` is not above 0.
        MediaError: If the file is missing, unreadable, over a limit, damaged, cut off or no
            video; also while iterating, after the frames before the damage.
    """
    if not (fps > 0 and math.isfinite(fps)):
        raise ValueError(f"want fps above 0, got {fps}")
    limits = limits or Limits()
    size = checked_size(path)
    name = format_of(path, read_bytes(path, min(size, HEAD)))
    if name in PICTURES:
        raise MediaError(
            f"{shown(path)}: is a picture ({name}), want a video; read it as a picture"
        )
    _check_complete(path, name, size)
    with _opened(path, name) as (container, stream):
        _check_pixels(path, stream.width, stream.height, limits)
        seconds = _duration(container, stream)
        _check_length(path, seconds, fps, limits)
        first = next(container.decode(stream), None)
        if first is None:
            raise MediaError(f"{shown(path)}: has no frame that can be decoded; get it again")
        turn = _turn(first)
        details = _facts(container, stream)
        width, height = (first.height, first.width) if turn[0] else (first.width, first.height)
    if not seconds:
        details["duration"] = "unknown"
    if warning := lying_name(path, name):
        details["warning"] = warning
    subject = Subject(
        path=os.fspath(path),
        sha256=sha256(path),
        bytes=size,
        kind="video",
        format=name,
        width=width,
        height=height,
        seconds=seconds,
        details=details,
    )
    return subject, _frames(_Source(path, name, turn), fps, limits)


def _frames(source: _Source, fps: float, limits: Limits) -> Iterator[Frame]:
    path = source.path
    start: float | None = None
    due, taken, idle = 0.0, 0, 0
    with _opened(path, source.format) as (container, stream):
        rate = float(stream.average_rate or 25)  # for streams without time stamps
        for number, frame in enumerate(container.decode(stream)):
            time = number / rate if frame.time is None else frame.time
            start = time if start is None else start
            seconds, idle = time - start, idle + 1
            if idle > max(limits.frames, FASTEST / fps):
                raise MediaError(
                    f"{shown(path)}: its clock stands still at {seconds:.1f} s; convert it first"
                )
            if seconds < due - 1e-6:  # time stamps are rounded to the container's clock
                continue
            if taken >= limits.frames or seconds > limits.seconds:
                raise MediaError(_too_long(path, f"goes on after {seconds:.0f} s", limits))
            _check_pixels(path, frame.width, frame.height, limits)
            due, taken, idle = (math.floor(seconds * fps + 1e-6) + 1) / fps, taken + 1, 0
            yield Frame(seconds, _upright(_rgb(frame), source.turn))


@contextmanager
def _opened(path: str | os.PathLike[str], name: str) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream; what goes wrong inside is a MediaError."""
    try:
        import av
    except ImportError:
        raise MediaError(
            f"{shown(path)}: reading videos needs PyAV: pip install 'telltale-vision[video]'"
        ) from None
    try:
        with (
            open(path, "rb") as file,
            av.open(file, format=DEMUXERS[name], metadata_errors="replace") as container,
        ):
            if not container.streams.video:
                raise MediaError(f"{shown(path)}: has sound but no picture; want a video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except MediaError:
        raise
    except MemoryError:
        raise MediaError(
            f"{shown(path)}: needs more memory than there is; convert it to a smaller size"
        ) from None
    except Exception as error:  # demuxers and decoders fail in their own ways
        raise MediaError(
            f"{shown(path)}: the {name} data are damaged or cut off ({reason(error)}); "
            "get the file again from where it came"
        ) from error


def _check_complete(path: str | os.PathLike[str], name: str, size: int) -> None:
    try:
        promised = promised_size(path, name, size)
    except OSError as error:
        raise unreadable(path, error) from None
    if promised > size:
        raise MediaError(
            f"{shown(path)}: is cut off ({promised - size:,} of {promised:,} bytes are missing); "
            "get the file again from where it came"
        )


def _check_pixels(path: str | os.PathLike[str], width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        raise MediaError(
            f"{shown(path)}: has frames of {width:,} x {height:,} pixels, over the limit of "
            f"{limits.pixels:,}; raise the limit or convert it to a smaller size"
        )


def _check_length(path: str | os.PathLike[str], seconds: float, fps: float, limits: Limits) -> None:
    if seconds > limits.seconds or seconds * fps > limits.frames:
        raise MediaError(_too_long(path, f"lasts {seconds:.0f} s", limits))


def _too_long(path: str | os.PathLike[str], what: str, limits: Limits) -> str:
    return (
        f"{shown(path)}: {what}, over the limit of {limits.seconds:g} s or {limits.frames:,} "
        "sampled frames; sample fewer a second, raise the limit or cut the video"
    )


def _duration(container: Any, stream: Any) -> float:  # noqa: ANN401
    """Seconds that the video track, or else the container, says it lasts; 0 if unknown."""
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    else:
        seconds = (container.duration or 0) / 1e6  # in FFmpeg's microseconds
    return max(0.0, seconds)


def _facts(container: Any, stream: Any) -> dict[str, str]:  # noqa: ANN401
    """What the container says about its origin and coding."""
    said = {**stream.metadata, **container.metadata}
    make, model = (
        said.get(key) or said.get(f"com.apple.quicktime.{key}", "") for key in ("make", "model")
    )
    aspect = stream.sample_aspect_ratio
    facts = {
        "codec": stream.codec_context.name,
        "mode": stream.codec_context.pix_fmt or "",
        "frame_rate": f"{float(stream.average_rate):g}" if stream.average_rate else "",
        "pixel_aspect": f"{aspect.numerator}:{aspect.denominator}"
        if aspect not in (None, 1)
        else "",
        "camera": model if model.startswith(make) else f"{make} {model}".strip(),
        "software": said.get("encoder") or said.get("com.apple.quicktime.software", ""),
        "datetime": said.get("creation_time", ""),
    }
    return {k: one_line(v) for k, v in facts.items() if v}


def _turn(frame: Any) -> tuple[bool, bool, bool]:  # noqa: ANN401
    """How to show a frame, by its display matrix: x' = a·x + c·y and y' = b·x + d·y."""
    for side in frame.side_data:
        if side.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(side, np.int32)[:5].tolist()
            if abs(b) > abs(a):
                return True, c < 0, b < 0
            return False, a < 0, d < 0
    return False, False, False


def _rgb(frame: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    from av.video.reformatter import Colorspace

    tagged = frame.colorspace not in (0, 2)  # RGB or unspecified, as H.273 numbers them
    guess = Colorspace.ITU709 if frame.height >= HIGH_DEFINITION else Colorspace.ITU601
    converted = frame.reformat(format="rgb24", src_colorspace=None if tagged else guess)
    pixels: NDArray[np.uint8] = converted.to_ndarray()
    return pixels


def _upright(pixels: NDArray[np.uint8], turn: tuple[bool, bool, bool]) -> NDArray[np.uint8]:
    swap, mirror_x, mirror_y = turn
    pixels = pixels.transpose(1, 0, 2) if swap else pixels
    pixels = pixels[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1]
    return np.ascontiguousarray(pixels)

"""Reads chosen frames of a video by their numbers, as datasets name them."""

import os
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.media.files import (
    HEAD,
    PICTURES,
    Limits,
    MediaError,
    checked_size,
    format_of,
    read_bytes,
    shown,
)
from telltale.media.video import _check_pixels, _opened, _rgb, _turn, _upright


class NumberedFrame(NamedTuple):
    """A frame and its number in the video, from 0."""

    number: int
    pixels: NDArray[np.uint8]  # (H, W, 3) RGB, upright


def count_frames(path: str | os.PathLike[str]) -> int:
    """How many frames a video has, counted by its packets without decoding them.

    Raises:
        MediaError: As :func:`read_video`.
    """
    with _opened(path, _format(path)) as (container, stream):
        return sum(1 for packet in container.demux(stream) if packet.size)


def read_frames(
    path: str | os.PathLike[str], numbers: Collection[int], limits: Limits | None = None
) -> Iterator[NumberedFrame]:
    """The frames of these numbers, in order; those past the video's end don't come.

    Everything up to the last is decoded, on one thread, and only what is wanted is converted.

    Raises:
        MediaError: As :func:`read_video`, also after frames before the damage.
    """
    limits, wanted = limits or Limits(), set(numbers)
    with _opened(path, _format(path)) as (container, stream):
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        _check_pixels(path, stream.width, stream.height, limits)
        turn: tuple[bool, bool, bool] | None = None
        for number, frame in enumerate(container.decode(stream)):
            turn = _turn(frame) if turn is None else turn
            if number in wanted:
                _check_pixels(path, frame.width, frame.height, limits)
                yield NumberedFrame(number, _upright(_rgb(frame), turn))
            if number >= max(wanted, default=-1):
                return


def _format(path: str | os.PathLike[str]) -> str:
    name = format_of(path, read_bytes(path, min(checked_size(path), HEAD)))
    if name in PICTURES:
        raise MediaError(f"{shown(path)}: is a picture ({name}), want a video")
    return name

"""Real video compression: frames through x264 and back, without a file in between."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from telltale.degrade.pixels import Pixels, checked


def has_h264() -> bool:
    """Whether PyAV is installed and its FFmpeg has the encoder."""
    try:
        import av
    except ImportError:
        return False
    return "libx264" in av.codecs_available


def h264(frames: Iterable[Pixels], crf: int, *, rate: float = 25.0) -> Iterator[Pixels]:
    """Frames after H.264 (x264, preset medium, 4:2:0) at a constant rate factor, one by one.

    Memory holds what the encoder looks ahead, some 50 frames. One thread, so that the same frames
    give the same bytes on every machine.

    Args:
        frames: Of one size; odd sides are coded with their last row or column repeated.
        crf: 0 (nothing lost) to 51.
        rate: Frames a second: the encoder spends less on each frame of a faster video.

    Raises:
        ValueError: If a setting is out of range, sizes differ, or x264 is not there.
    """
    _check(crf, rate)
    return _coded(frames, crf, Fraction(rate).limit_denominator(1001), {})


def h264_still(pixels: Pixels, crf: int) -> Pixels:
    """One picture as a frame of an H.264 video would look; see :func:`h264`.

    Without x264's macroblock tree: it coarsens by 5 steps of the quantiser what it expects to make
    good by what later frames refer to, and here there are none. So a still loses what a frame of a
    moving video does: 33.9, 31.2 and 28.8 dB at a crf of 30, 35 and 40 for photographs, of which
    24 frames panned over them keep 34.2, 31.4 and 28.9.

    Raises:
        ValueError: As :func:`h264`.
    """
    _check(crf, 25)
    return next(_coded([pixels], crf, Fraction(25), {"x264-params": "mbtree=0"}))


def _coded(
    frames: Iterable[Pixels], crf: int, rate: Fraction, options: Mapping[str, str]
) -> Iterator[Pixels]:
    import av

    decoder = av.CodecContext.create("h264", "r")
    encoder, shape = None, (0, 0, 3)
    for number, pixels in enumerate(frames):
        if encoder is None:
            height, width, _ = shape = checked(pixels).shape
            encoder = av.CodecContext.create("libx264", "w")
            encoder.width, encoder.height = width + width % 2, height + height % 2
            encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", 1 / rate, rate
            encoder.thread_count = 1
            encoder.options = {"crf": str(crf), "preset": "medium", **options}
        if checked(pixels).shape != shape:
            raise ValueError(f"want frames of one size, got {pixels.shape} after {shape}")
        even = np.pad(pixels, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), "edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = number, 1 / rate
        for packet in encoder.encode(frame):
            yield from _pictures(decoder.decode(packet), shape)
    for packet in () if encoder is None else encoder.encode(None):
        yield from _pictures(decoder.decode(packet), shape)
    yield from _pictures(decoder.decode(None), shape)


def _pictures(frames: Iterable[Any], shape: tuple[int, ...]) -> Iterator[Pixels]:
    for frame in frames:
        pixels: Pixels = frame.to_ndarray(format="rgb24")[: shape[0], : shape[1]]
        yield np.ascontiguousarray(pixels)


def _check(crf: int, rate: float) -> None:
    if not (0 <= crf <= 51 and 0 < rate < 1000):
        raise ValueError(f"want a crf of 0 to 51 and a rate of 0 to 1000, got {crf} and {rate}")
    if not has_h264():
        raise ValueError("video compression needs x264: pip install 'telltale-vision[video]'")

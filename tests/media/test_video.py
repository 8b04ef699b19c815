"""A video comes out upright, at even times, within limits, and closes what it opened."""

import gc
import io
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from telltale.media import Limits, MediaError, kind_of, read_video

av = pytest.importorskip("av")

WIDTH, HEIGHT = 64, 48
MUXERS = {
    "mp4": ("MP4", "libx264"),
    "mov": ("MOV", "libx264"),
    "matroska": ("Matroska", "libx264"),
    "webm": ("WebM", "libvpx"),
    "avi": ("AVI", "mpeg4"),
    "mpeg": ("MPEG-PS", "mpeg2video"),
    "mpegts": ("MPEG-TS", "mpeg2video"),
    "flv": ("FLV", "flv"),
    "asf": ("WMV", "wmv2"),
}


def encoded(
    muxer: str = "mp4",
    *,
    frames: int = 30,
    rate: int = 10,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    options: dict[str, str] | None = None,
    times: Sequence[int] | None = None,
    path: Path | None = None,
) -> bytes:
    """A clip that brightens by 8 levels a frame, with a red corner at the top left."""
    buffer = io.BytesIO()
    with av.open(path or buffer, "w", format=muxer, options=options or {}) as container:
        stream = container.add_stream(MUXERS[muxer][1], rate=25 if muxer == "mpeg" else rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for k in range(frames):
            pixels = np.full((size[1], size[0], 3), (k * 8) % 256, np.uint8)
            pixels[:16, :16] = 255, 0, 0
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times:
                frame.pts = times[k]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes() if path else buffer.getvalue()


CLIP = encoded()


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(CLIP)
    return path


def message(path: Path, fps: float = 1.0, limits: Limits | None = None) -> str:
    """The one line that a bad file gets, at once or while its frames are read."""
    with pytest.raises(MediaError) as raised:
        list(read_video(path, fps, limits)[1])
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    assert path.name in text
    return text


def brightness(pixels: NDArray[np.uint8]) -> int:
    return round(float(pixels[20:28, 24:40].mean()))


@pytest.mark.parametrize("muxer", MUXERS)
def test_containers(tmp_path: Path, muxer: str) -> None:
    path = tmp_path / "clip"
    path.write_bytes(encoded(muxer))
    assert kind_of(path) == "video"
    subject, frames = read_video(path, fps=2)
    assert (subject.format, subject.kind) == (MUXERS[muxer][0], "video")
    assert (subject.width, subject.height) == (WIDTH, HEIGHT)
    assert subject.bytes == path.stat().st_size
    seen = list(frames)
    assert len(seen) in ((3, 4) if muxer == "mpeg" else (6, 7))  # 1.2 s at 25 frames; 3 s at 10
    for frame in seen:
        assert frame.pixels.shape == (HEIGHT, WIDTH, 3)
        assert frame.pixels.dtype == np.uint8
    assert seen[0].pixels[4, 4].tolist() == pytest.approx([255, 0, 0], abs=12)
    assert list(tmp_path.iterdir()) == [path]


def test_facts(clip: Path) -> None:
    subject, _ = read_video(clip)
    assert subject.seconds == pytest.approx(3.0)
    assert subject.details["codec"] == "h264"
    assert subject.details["frame_rate"] == "10"
    assert "warning" not in subject.details


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (1, [0, 1, 2]),
        (2, [0, 0.5, 1, 1.5, 2, 2.5]),
        (4, [0, 0.3, 0.5, 0.8, 1, 1.3, 1.5, 1.8, 2, 2.3, 2.5, 2.8]),  # the first not before
        (10, [k / 10 for k in range(30)]),
        (1000, [k / 10 for k in range(30)]),
        (0.4, [0, 2.5]),
        (0.01, [0]),
    ],
)
def test_sampled_by_time(clip: Path, fps: float, expected: list[float]) -> None:
    frames = list(read_video(clip, fps)[1])
    assert [frame.seconds for frame in frames] == pytest.approx(expected, abs=1e-6)
    for frame in frames:  # brightness is the frame's number times 8
        assert brightness(frame.pixels) == pytest.approx(frame.seconds * 80, abs=4)


def test_uneven_times(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(encoded("matroska", frames=5, times=[0, 1, 2, 25, 26]))
    seconds = [frame.seconds for frame in read_video(path, fps=1)[1]]
    assert seconds == pytest.approx([0, 2.5], abs=2e-3)


def test_time_starts_with_the_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(encoded("matroska", frames=20, times=range(100, 120)))
    assert [f.seconds for f in read_video(path)[1]] == pytest.approx([0, 1], abs=2e-3)


MATRICES = {  # (a, b, c, d) and what it does to pixels
    "90": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "180": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "270": ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    "mirrored": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
}


@pytest.mark.parametrize("turn", MATRICES)
def test_display_matrix_is_applied(clip: Path, turn: str) -> None:
    plain = next(read_video(clip)[1]).pixels
    matrix, expected = MATRICES[turn]
    a, b, c, d = (65536 * value for value in matrix)
    header = CLIP.index(b"tkhd")
    data = bytearray(CLIP)
    data[header + 44 : header + 80] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    clip.write_bytes(data)
    subject, frames = read_video(clip)
    pixels = next(frames).pixels
    assert np.array_equal(pixels, expected(plain))
    assert pixels.flags.c_contiguous
    assert (subject.height, subject.width) == pixels.shape[:2]


def test_unknown_duration(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(encoded("matroska", options={"live": "1"}))
    subject, frames = read_video(path)
    assert subject.seconds == 0
    assert subject.details["duration"] == "unknown"
    assert len(list(frames)) == 3
    assert "goes on after 2 s" in message(path, 1, Limits(frames=2))


def test_lying_extension(clip: Path) -> None:
    subject, _ = read_video(clip.rename(clip.with_suffix(".avi")))
    assert subject.details["warning"] == "the name ends in .avi, but the content is MP4"


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_closes_what_it_opened(clip: Path) -> None:
    before = open_files()
    _, unused = read_video(clip)
    assert open_files() == before
    _, frames = read_video(clip, fps=10)
    next(frames)
    assert open_files() > before
    frames.close()  # type: ignore[attr-defined]
    list(read_video(clip)[1])
    assert open_files() == before
    assert len(list(unused)) == 3


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_names_the_rate_it_wants(clip: Path, fps: float) -> None:
    with pytest.raises(ValueError, match="want fps above 0"):
        read_video(clip, fps)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(pixels=WIDTH * HEIGHT - 1), "frames of 64 x 48 pixels, over the limit of 3,071"),
        (Limits(seconds=2.9), "lasts 3 s, over the limit of 2.9 s"),
        (Limits(frames=29), "lasts 3 s, over the limit of 14400 s or 29 sampled frames"),
    ],
)
def test_limits_are_checked_at_once(clip: Path, limits: Limits, words: str) -> None:
    with pytest.raises(MediaError) as raised:
        read_video(clip, 10, limits)
    assert words in str(raised.value)


def test_limits_that_just_suffice(clip: Path) -> None:
    limits = Limits(pixels=WIDTH * HEIGHT, seconds=3, frames=30, bytes=1)
    assert len(list(read_video(clip, 10, limits)[1])) == 30


LAYOUTS = {
    "index last": ("mp4", {}),
    "index first": ("mp4", {"movflags": "faststart"}),
    "fragments": ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
    "matroska": ("matroska", {}),
    "webm": ("webm", {}),
    "avi": ("avi", {}),
}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_cut_off(tmp_path: Path, share: float, layout: str) -> None:
    muxer, options = LAYOUTS[layout]
    path = tmp_path / "cut"
    data = encoded(muxer, options=options, path=path)
    list(read_video(path)[1])
    path.write_bytes(data[: int(len(data) * share)])
    assert "is cut off" in message(path)


@pytest.mark.parametrize("muxer", ["mp4", "matroska", "avi", "mpegts"])
def test_what_follows_the_end_decides_nothing(tmp_path: Path, muxer: str) -> None:
    path = tmp_path / "a"
    data = encoded(muxer)
    path.write_bytes(data)
    before = read_video(path)
    path.write_bytes(data + b"tEXtprompt\0x" * 5)
    after = read_video(path)
    assert before[0].details == after[0].details
    for a, b in zip(before[1], after[1], strict=True):
        assert np.array_equal(a.pixels, b.pixels)


@pytest.mark.parametrize("muxer", ["matroska", "avi", "mp4"])
def test_no_frame_survives(tmp_path: Path, muxer: str) -> None:
    data = encoded(muxer)
    path = tmp_path / "broken"
    path.write_bytes(data[:1000] + bytes(len(data) - 1000))
    message(path)


def test_damage_shows_after_the_frames_before_it(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (30, HEIGHT, WIDTH, 3), np.uint8)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="avi") as container:
        stream = container.add_stream("png", rate=10)  # checks itself, unlike video codecs
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "rgb24"
        for pixels in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(buffer.getvalue())
    starts = [k for k in range(len(data)) if data[k : k + 4] == b"\x89PNG"]
    data[starts[20] : starts[20] + 400] = bytes(400)
    path = tmp_path / "a.avi"
    path.write_bytes(data)
    frames = read_video(path, fps=10)[1]
    seen = [next(frames).seconds for _ in range(10)]
    assert seen == pytest.approx([k / 10 for k in range(10)])
    with pytest.raises(MediaError, match=r"a\.avi: the AVI data are damaged"):
        list(frames)


def test_what_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert "no such file" in message(path)
    path.write_bytes(b"")
    assert "is empty" in message(path)
    path.write_bytes(b"hello")
    assert "is no picture or video" in message(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "is a picture (PNG)" in message(path)
    assert "is a folder" in message(tmp_path)


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "has sound but no picture" in message(path)


def test_a_clock_that_stands_still(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(encoded(frames=1010, rate=10_000, size=(16, 16)))
    assert "its clock stands still at 0.1 s" in message(path, 1, Limits(frames=10))
    assert len(list(read_video(path, 1, Limits(frames=1010))[1])) == 1


def test_without_pyav_the_error_names_the_extra(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert "pip install 'telltale-vision[video]'" in message(clip)


SEEDS = [encoded(muxer, frames=4, size=(32, 32)) for muxer in ("mp4", "matroska", "avi", "mpegts")]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=20),
    share=st.floats(0.05, 1),
)
def test_any_bytes_are_frames_or_one_line(
    tmp_path: Path, seed: bytes, edits: list[tuple[int, int]], share: float
) -> None:
    data = bytearray(seed)
    for at, value in edits:
        data[at % len(data)] = value
    path = tmp_path / "any.bin"
    path.write_bytes(data[: int(len(data) * share)])
    text = ""
    try:
        for frame in read_video(path, 1, Limits(pixels=1_000_000, seconds=60))[1]:
            assert frame.pixels.ndim == 3
    except MediaError as error:
        text = str(error)
    assert len(text.splitlines()) <= 1
    assert not text or "any.bin" in text


def test_nothing_is_printed(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(CLIP)
    data[100:600] = bytes(500)
    clip.write_bytes(data)
    try:
        list(read_video(clip, 10)[1])
    except MediaError as error:
        assert error  # noqa: PT017
    assert capfd.readouterr() == ("", "")

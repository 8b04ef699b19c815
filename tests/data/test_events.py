"""Event files byte by byte, frames that lose nothing, and simulated events."""

import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from telltale.data.events import EVENT, frames, held_out, read_events, read_set, write_bin
from telltale.data.events.files import as_events
from telltale.data.events.frames import shrunk
from telltale.data.events.sets import CIFAR10_DVS_SPLIT
from telltale.data.synth.gestures import NAMES, gesture_clips
from telltale.data.synth.saccades import saccade_digits, saccade_events


def some(count: int = 50, side: int = 34, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 300_000, count))
    return as_events(
        rng.integers(0, side, count), rng.integers(0, side, count), t, rng.integers(0, 2, count)
    )


rows = st.lists(
    st.tuples(st.integers(0, 33), st.integers(0, 33), st.integers(0, 2**23 - 1), st.integers(0, 1)),
    max_size=30,
)


@given(rows)
@settings(max_examples=40, deadline=None)
def test_1_bin_comes_back(tmp_path_factory: pytest.TempPathFactory, given_rows: list) -> None:  # type: ignore[type-arg]
    path = tmp_path_factory.mktemp("bin") / "x.bin"
    events = np.array(given_rows, EVENT)
    write_bin(events, path)
    assert path.stat().st_size == 5 * len(events)
    assert np.array_equal(read_events(path), events)


def test_1_the_example_record(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(bytes.fromhex("0507811170"))
    assert read_events(path).tolist() == [(5, 7, 70000, 1)]
    with pytest.raises(ValueError, match="want x < 256"):
        write_bin(as_events([0], [240], [0], [0]), tmp_path / "y.bin")


def test_2_and_3_bad_sizes_and_overflows(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"123456")
    with pytest.raises(ValueError, match=r"x\.bin: 6 bytes; want records of 5"):
        read_events(path)
    path.write_bytes(bytes([1, 2, 0, 0, 9, 0, 240, 0, 0, 0, 3, 4, 128, 0, 10]))
    assert read_events(path).tolist() == [(1, 2, 9, 0), (3, 4, 8192 + 10, 1)]


def packet(kind: int, events: list[tuple[int, int]], overflow: int = 0) -> bytes:
    head = struct.pack("<HHIIIIII", kind, 0, 8, 4, overflow, len(events), len(events), len(events))
    return head + b"".join(struct.pack("<II", *event) for event in events)


def test_4_aedat_3(tmp_path: Path) -> None:
    def word(x: int, y: int, p: int, valid: int = 1) -> int:
        return x << 17 | y << 2 | p << 1 | valid

    path = tmp_path / "user01_led.aedat"
    path.write_bytes(
        b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
        + packet(1, [(word(3, 4, 1), 10), (word(9, 9, 0, 0), 11)])
        + packet(0, [(1, 2)])
        + packet(1, [(word(127, 0, 0), 5)], overflow=1)
    )
    assert read_events(path).tolist() == [(3, 4, 10, 1), (127, 0, 5 + 2**31, 0)]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="packet is cut off"):
        read_events(path)


def test_5_aedat_2(tmp_path: Path) -> None:
    path = tmp_path / "x.aedat"
    path.write_bytes(b"#!AER-DAT2.0\r\n# by hand\r\n" + struct.pack(">II", 0x7F00 | 0xFE | 1, 7))
    assert read_events(path).tolist() == [(0, 0, 7, 0)]


def test_matlab_columns_and_streams(tmp_path: Path) -> None:
    from scipy.io import savemat

    columns = {"x": [1, 34], "y": [2, 3], "ts": [5, 6], "p": [1, 2]}
    savemat(tmp_path / "x.mat", {"TD": {k: np.array(v, float) for k, v in columns.items()}})
    assert read_events(tmp_path / "x.mat").tolist() == [(0, 1, 5, 0), (33, 2, 6, 1)]
    savemat(tmp_path / "y.mat", {"other": 1})
    with pytest.raises(ValueError, match=r"y\.mat: want a MATLAB struct TD"):
        read_events(tmp_path / "y.mat")
    np.save(tmp_path / "x.npy", np.array([[1, 2, 1, 3.5]]))
    assert read_events(tmp_path / "x.npy").tolist() == [(1, 2, 3500, 1)]
    stream = b"Event Stream" + bytes([2, 0, 0, 1]) + struct.pack("<HH", 64, 48)
    stream += bytes([3 << 1 | 1]) + struct.pack("<HH", 5, 6) + b"\xff"
    stream += bytes([2 << 1]) + struct.pack("<HH", 7, 8)
    (tmp_path / "x.es").write_bytes(stream)
    assert read_events(tmp_path / "x.es").tolist() == [(5, 6, 3, 1), (7, 8, 3 + 127 + 2, 0)]
    words = [8 << 28 | 1, 1 << 28 | 5 << 22 | 30 << 11 | 40, 0 << 28 | 6 << 22 | 31 << 11 | 41]
    (tmp_path / "x.raw").write_bytes(b"% evt 2.0\n" + struct.pack("<3I", *words))
    assert read_events(tmp_path / "x.raw").tolist() == [(30, 40, 64 + 5, 1), (31, 41, 64 + 6, 0)]
    np.savez(tmp_path / "x.npz", x=[3], y=[4], t=[77], p=[1])
    assert read_events(tmp_path / "x.npz").tolist() == [(3, 4, 77, 1)]
    np.savez(tmp_path / "y.npz", x=[3])
    with pytest.raises(ValueError, match=r"y\.npz: want arrays x, y, t and p"):
        read_events(tmp_path / "y.npz")
    (tmp_path / "z.npz").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"z\.npz: want arrays"):
        read_events(tmp_path / "z.npz")
    with pytest.raises(ValueError, match="want an event file"):
        read_events(tmp_path / "x.txt")


def recording(name: str) -> Path:
    """A real recording of the research data: TELLTALE_DATA names the folder that they lie in."""
    path = Path(os.environ.get("TELLTALE_DATA", "")) / "events" / name
    if not path.is_file():
        pytest.skip(f"no events/{name} below TELLTALE_DATA")
    return path


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count", "width", "height", "length"),
    [("dvs.es", 473_225, 320, 240, 999_000), ("evt2.raw", 521_252, 640, 480, 95_871)],
)
def test_real_recordings(name: str, count: int, width: int, height: int, length: int) -> None:
    events = read_events(recording(name))
    t = events["t"].astype(np.int64)
    assert len(events) == count
    assert (1 + events["x"].max(), 1 + events["y"].max()) == (width, height)
    assert t[-1] - t[0] == length
    assert (np.diff(t) >= 0).all()
    assert 0.3 < events["p"].mean() < 0.7  # both polarities, as of any scene that moves
    counts = frames(events, 8, (height, width))
    assert counts.sum() == count
    assert (counts.sum((1, 2, 3)) > 0).all()
    # Edges, not noise: an event has another one beside it in its frame far more often than by
    # chance.
    lit = counts.sum(1) > 0
    beside = np.zeros_like(lit)
    for axis in (1, 2):
        for step in (1, -1):
            beside |= np.roll(lit, step, axis)
    assert beside[lit].mean() > 0.6


@pytest.mark.data
def test_real_recordings_come_back_from_bin(tmp_path: Path) -> None:
    events = read_events(recording("dvs.es"))
    small = events[(events["x"] < 34) & (events["y"] < 34)]
    assert len(small) > 1000
    write_bin(small, tmp_path / "x.bin")
    assert np.array_equal(read_events(tmp_path / "x.bin"), small)


@given(st.integers(0, 200), st.integers(1, 9), st.sampled_from(["time", "number"]))
@settings(max_examples=40, deadline=None)
def test_6_no_event_is_lost(count: int, parts: int, split: str) -> None:
    events = some(count)
    found = frames(events, parts, (34, 34), split=split)  # type: ignore[arg-type]
    assert found.sum() == count
    assert shrunk(found, 16).sum() == count


def test_7_and_8_tails_and_gaps() -> None:
    events = some(53)
    whole = frames(events, 10, (34, 34), split="number")
    cut = frames(events, 10, (34, 34), split="number", tail="drop")
    assert np.array_equal(whole[:-1], cut[:-1])
    assert (whole.sum(), cut.sum()) == (53, 50)
    gap = as_events([1, 1], [1, 1], [0, 100], [0, 1])
    assert frames(gap, 4, (4, 4)).sum((1, 2, 3)).tolist() == [1, 0, 0, 1]
    even = some(50)
    backwards = even[::-1].copy()
    backwards["t"] = 300_000 - backwards["t"]
    assert np.array_equal(
        frames(even, 5, (34, 34), split="number")[::-1],
        frames(backwards, 5, (34, 34), split="number"),
    )
    with pytest.raises(ValueError, match="sorted by time"):
        frames(even[::-1], 5, (34, 34))
    with pytest.raises(ValueError, match="within 8 × 8"):
        frames(even, 5, (8, 8))


def test_12_a_camera_that_shakes() -> None:
    rng = np.random.default_rng
    flat = saccade_events(np.full((34, 34), 0.5), rng(0), motion=0.3)
    inner = (flat["x"] > 4) & (flat["x"] < 29) & (flat["y"] > 4) & (flat["y"] < 29)
    assert not inner.any()
    bar = np.zeros((20, 20))
    bar[8:12] = 1.0
    counts = [len(saccade_events(level * bar, rng(0))) for level in (0.1, 0.3, 1.0)]
    assert counts[0] < counts[1] < counts[2]
    events = saccade_events(bar, rng(0), noise=0.0)
    assert (np.diff(events["t"]) >= 0).all()
    ends = (events["x"] < 10) | (events["x"] > 23)  # left and right of the bar's middle
    third = events["t"] > 2 * 105_000
    # The third saccade runs along the bar: but for its ends, nothing fires.
    assert (~ends & third).sum() < 0.2 * (~ends & ~third).sum()
    noisy = saccade_events(bar, rng(0), noise=5.0)
    assert len(noisy) > len(events)
    rested = saccade_events(bar, rng(0), refractory=20_000)
    assert 0 < len(rested) < len(events)
    pixel = rested["y"].astype(np.int64) * 34 + rested["x"]
    for place in np.unique(pixel):
        assert (np.diff(rested["t"][pixel == place]) >= 20_000).all()


def test_statistics_are_those_of_the_protocol() -> None:
    """Digits of 8 pixels on a sensor of 16: about 1,080 events a clip; N-MNIST: 315 ms, 34 pixels,
    a few thousand events, three saccades of 105 ms that see different edges."""
    counts, _ = saccade_digits(200, seed=0)
    events_each = counts.sum((1, 2, 3, 4))
    assert events_each.mean() == pytest.approx(1080, rel=0.1)
    assert counts[:, :, 1].sum() / counts.sum() == pytest.approx(0.5, abs=0.05)
    saccades = counts.reshape(200, 3, 2, 2, 16, 16).sum(2)
    assert (saccades.sum((2, 3, 4)).mean(0) > 0.2 * events_each.mean()).all()
    maps = saccades.sum(2).reshape(200, 3, -1).astype(float)
    same = [np.corrcoef(clip)[0, 2] for clip in maps]  # a clip's first and third saccade
    assert np.mean(same) < 0.9
    scan = Image.fromarray((load_digits().images[0] / 16).astype(np.float32))
    digit = np.asarray(scan.resize((20, 20), Image.Resampling.BILINEAR), np.float64)
    events = saccade_events(digit.clip(0, 1), np.random.default_rng(0), noise=0.5)
    assert 2000 < len(events) < 10_000
    assert 300_000 < events["t"].max() < 315_000
    assert max(events["x"].max(), events["y"].max()) <= 33
    parts = np.bincount(np.minimum(events["t"] // 105_000, 2), minlength=3)
    assert (parts > 0.2 * len(events)).all()


def test_12_reversed_motion_swaps_polarity() -> None:
    events = saccade_events(np.pad(np.ones((8, 4)), 8), np.random.default_rng(0))
    first, second = (events[(events["t"] // 105_000) == k] for k in (0, 1))
    top = [part[(part["y"] < 17)]["p"].mean() for part in (first, second)]
    assert abs(top[0] - top[1]) > 0.2  # down, then up again: what brightened darkens


def test_digits_and_gestures_are_reproducible() -> None:
    events, labels = saccade_digits(12, seed=1)
    again, _ = saccade_digits(12, seed=1)
    other, _ = saccade_digits(12, seed=1, test=True)
    assert events.shape == (12, 6, 2, 16, 16)
    assert np.array_equal(events, again)
    assert not np.array_equal(events, other)
    assert 300 < events.sum((1, 2, 3, 4)).mean() < 3000
    assert set(labels) <= set(range(10))
    clips, kinds = gesture_clips(40, seed=1)
    assert sorted(set(kinds)) == list(range(len(NAMES)))
    ways = [clips[kinds == k].mean(0) for k in (0, 1)]
    apart = np.abs(ways[0] - ways[1]).sum()
    assert np.abs((ways[0] - ways[1]).sum((0, 1))).sum() < apart  # over time they are more alike


def test_sets_in_their_folders(tmp_path: Path) -> None:
    for part, count in (("Train", 3), ("Test", 1)):
        for digit in "01":
            folder = tmp_path / "nmnist" / part / digit
            folder.mkdir(parents=True)
            for number in range(count):
                write_bin(some(40, seed=number), folder / f"{number:05}.bin")
    found = read_set(tmp_path / "nmnist", frames_each=5)
    assert found.events.shape == (8, 5, 2, 34, 34)
    assert found.names == ("0", "1")
    assert found.is_test.sum() == 2
    few = read_set(tmp_path / "nmnist", frames_each=5, size=17, most=1)
    assert few.events.shape == (4, 5, 2, 17, 17)
    gesture = tmp_path / "dvs"
    gesture.mkdir()
    head = b"#!AER-DAT3.1\r\n#!END-HEADER\r\n"
    for user in ("user01_led", "user24_led"):
        events = [(5 << 17 | 6 << 2 | 3, t) for t in range(0, 100, 5)]
        (gesture / f"{user}.aedat").write_bytes(head + packet(1, events))
        table = "class,startTime_usec,endTime_usec\n1,0,50\n2,50,100\n"
        (gesture / f"{user}_labels.csv").write_text(table)
    (gesture / "trials_to_train.txt").write_text("user01_led.aedat\n")
    (gesture / "trials_to_test.txt").write_text("user24_led.aedat\n")
    found = read_set(gesture, frames_each=2, size=16)
    assert found.events.sum((1, 2, 3, 4)).tolist() == [10, 10, 10, 10]
    assert found.is_test.tolist() == [False, False, True, True]
    assert found.split == "published"
    with pytest.raises(ValueError, match="no event data"):
        read_set(tmp_path / "nothing")


def test_the_split_of_cifar10_dvs_is_fixed() -> None:
    animals = ["bird", "cat", "deer", "dog", "frog", "horse"]
    kinds = ["airplane", "automobile", *animals, "ship", "truck"]
    chosen = set()
    for kind in kinds:
        stems = [f"cifar10_{kind}_{number}" for number in range(1000)]
        tests = held_out(stems, "hash")
        assert len(tests) == 100
        assert held_out(stems[::-1][:500], "hash") == tests & {*stems[500:]}  # of a part, too
        assert held_out(stems, "first") == {*stems[:100]}
        chosen |= tests
    text = "\n".join(sorted(chosen))
    assert hashlib.sha256(text.encode()).hexdigest() == CIFAR10_DVS_SPLIT


def test_folders_without_a_split_get_the_same_one_each_time(tmp_path: Path) -> None:
    for kind in ("left", "right"):
        (tmp_path / kind).mkdir()
        for number in range(11):
            write_bin(some(30, seed=number), tmp_path / kind / f"{number}.bin")
    found, again = (read_set(tmp_path, frames_each=2, size=8, seed=k) for k in (0, 1))
    assert found.split == "hash"
    assert found.is_test.sum() == 4  # two of eleven, in each class
    assert np.array_equal(found.is_test, again.is_test)
    first = read_set(tmp_path, frames_each=2, size=8, split="first")
    names = sorted(str(k) for k in range(11))
    assert [names[k] for k in np.flatnonzero(first.is_test[:11])] == ["0", "1"]
    with pytest.raises(ValueError, match="want the split"):
        read_set(tmp_path, split="random")  # type: ignore[arg-type]

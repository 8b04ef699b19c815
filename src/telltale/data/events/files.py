"""Event files: N-MNIST's ``.bin``, AEDAT 2.0, 3.1, MATLAB's ``TD``, Event Stream, EVT2, NumPy.

An event is a row of :data:`EVENT`: column, row, time in microseconds, polarity (1 = brighter).

Source: the formats as inivation, Prophesee, Orchard et al. (N-MNIST, Frontiers in Neuroscience
2015) and the neuromorphic vision toolbox describe them.
"""

import os
import struct
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

EVENT = np.dtype([("x", np.uint16), ("y", np.uint16), ("t", np.int64), ("p", np.uint8)])
Events = NDArray[np.void]  # (N,) of EVENT
OVERFLOW_ROW, OVERFLOW_STEP = 240, 1 << 13  # of .bin: a record that moves all later times on
LARGEST = 1 << 30  # bytes of a file that is read as a whole
AEDAT_HEADER = struct.Struct("<HHIIIIII")  # type, source, size, offset, overflow, capacity, …


def read_events(path: Path) -> Events:
    """The events of a file in the order of the file, by its ending and its first bytes.

    Args:
        path: ``.bin`` (N-MNIST), ``.aedat`` (2.0 with the addresses of a DVS128, as CIFAR10-DVS has
            them, or 3.1), ``.mat`` with a struct ``TD``, ``.es`` (DVS), ``.raw`` (EVT 2.0),
            ``.npy`` with columns x, y, p, t (t in milliseconds, as tonic keeps gestures), ``.npz``
            with x, y, t, p (microseconds, as SpikingJelly keeps what it has read).

    Raises:
        ValueError: That names the file, if it is not of such a format.
    """
    readers = {
        ".bin": _bin,
        ".aedat": _aedat,
        ".mat": _mat,
        ".es": _event_stream,
        ".raw": _evt2,
        ".npy": _npy,
        ".npz": _npz,
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: want an event file, one of {', '.join(readers)}")
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"{path}: larger than {LARGEST >> 20} MB; cut it into parts")
        return readers[path.suffix.lower()](path)
    except (OSError, struct.error) as error:
        raise ValueError(f"{path}: cannot be read as events ({error})") from None


def write_bin(events: Events, path: Path) -> None:
    """Write N-MNIST's 5-byte records; the inverse of reading them.

    Raises:
        ValueError: If a place or a time does not fit: x below 256, y below 240, t below 2²³.
    """
    x, y, t = (events[name].astype(np.int64) for name in "xyt")
    if len(events) and (x.max() > 255 or y.max() >= 240 or t.min() < 0 or t.max() >= 1 << 23):
        raise ValueError(f"{path}: want x < 256, y < 240 and 0 ≤ t < 2²³ µs")
    rows = np.empty((len(events), 5), np.uint8)
    rows[:, 0], rows[:, 1] = x, y
    rows[:, 2] = (events["p"].astype(np.int64) << 7) | (t >> 16)
    rows[:, 3], rows[:, 4] = (t >> 8) & 255, t & 255
    part = path.with_name(path.name + ".part")
    part.write_bytes(rows.tobytes())
    os.replace(part, path)


def as_events(x: object, y: object, t: object, p: object) -> Events:
    """Columns as events."""
    columns = [np.asarray(column) for column in (x, y, t, p)]
    made = np.empty(len(columns[0]), EVENT)
    for name, column in zip(EVENT.names or (), columns, strict=True):
        made[name] = column
    return made


def _bin(path: Path) -> Events:
    data = np.fromfile(path, np.uint8)
    if len(data) % 5:
        raise ValueError(f"{path}: {len(data)} bytes; want records of 5")
    x, y, high, middle, low = data.reshape(-1, 5).astype(np.int64).T
    t = ((high & 127) << 16) | (middle << 8) | low
    over = y == OVERFLOW_ROW
    t = t + OVERFLOW_STEP * np.cumsum(over)
    keep = ~over
    return as_events(x[keep], y[keep], t[keep], (high >> 7)[keep])


def _aedat(path: Path) -> Events:
    data = path.read_bytes()
    if data.startswith(b"#!AER-DAT3"):
        return _aedat3(path, data)
    if not data.startswith(b"#"):
        raise ValueError(f"{path}: no header of AEDAT 2.0 or 3.1; convert newer ones first")
    place = 0
    while data[place : place + 1] == b"#":
        end = data.find(b"\n", place)
        if end < 0:
            raise ValueError(f"{path}: the header has no end")
        place = end + 1
    body = data[place:]
    if len(body) % 8:
        raise ValueError(f"{path}: {len(body)} bytes after the header; want pairs of 4")
    address, t = np.frombuffer(body, ">u4").reshape(-1, 2).astype(np.int64).T
    column, row = (address & 0xFE) >> 1, (address & 0x7F00) >> 8
    # The camera of CIFAR10-DVS stood rotated, and its bit is 1 for darker.
    return as_events(127 - row, 127 - column, t, 1 - (address & 1))


def _aedat3(path: Path, data: bytes) -> Events:
    mark = b"#!END-HEADER\r\n"
    place = data.find(mark)
    if place < 0:
        raise ValueError(f"{path}: the header has no end")
    place += len(mark)
    parts = []
    while place < len(data):
        kind, _, size, _, overflow, capacity, *_ = AEDAT_HEADER.unpack_from(data, place)
        place += AEDAT_HEADER.size
        end = place + capacity * size
        if end > len(data):
            raise ValueError(f"{path}: a packet is cut off")
        if kind == 1:  # polarity
            if size != 8:
                raise ValueError(f"{path}: a polarity event of {size} bytes; want 8")
            word, t = np.frombuffer(data[place:end], "<u4").reshape(-1, 2).astype(np.int64).T
            word, t = word[word & 1 == 1], t[word & 1 == 1]
            t = t | (overflow << 31)
            parts.append(as_events((word >> 17) & 0x7FFF, (word >> 2) & 0x7FFF, t, word >> 1 & 1))
        place = end
    return np.concatenate(parts) if parts else np.empty(0, EVENT)


def _mat(path: Path) -> Events:
    from scipy.io import loadmat

    try:
        table = loadmat(path, squeeze_me=True, struct_as_record=False)["TD"]
        x, y, t, p = (np.atleast_1d(getattr(table, name)) for name in ("x", "y", "ts", "p"))
    except (KeyError, AttributeError, NotImplementedError) as error:
        raise ValueError(f"{path}: want a MATLAB struct TD with x, y, ts, p ({error})") from None
    return as_events(x.astype(int) - 1, y.astype(int) - 1, t, p.astype(int) - 1)  # counted from 1


def _event_stream(path: Path) -> Events:
    data = path.read_bytes()
    if not data.startswith(b"Event Stream") or len(data) < 20:
        raise ValueError(f"{path}: not an Event Stream")
    if data[15] != 1:
        raise ValueError(f"{path}: an Event Stream of type {data[15]}; want 1, of a DVS")
    codes = data[20:]
    rows: list[tuple[int, int, int, int]] = []
    t = place = 0
    while place < len(codes):
        code = codes[place]
        if code == 0xFF:  # an overflow of the time, nothing else
            t += 127
            place += 1
        elif code == 0xFE:  # a reset
            place += 1
        else:
            if place + 5 > len(codes):
                break  # a recording that was stopped inside an event
            t += code >> 1
            x, y = struct.unpack_from("<HH", codes, place + 1)
            rows.append((x, y, t, code & 1))
            place += 5
    return np.array(rows, EVENT)


def _evt2(path: Path) -> Events:
    data, place = path.read_bytes(), 0
    while data[place : place + 1] == b"%":
        end = data.find(b"\n", place)
        line = data[place:end].decode("ascii", "replace").split()
        if len(line) > 2 and line[1] == "evt" and not line[2].startswith("2"):
            raise ValueError(f"{path}: EVT {line[2]}; want 2.0")
        place = end + 1
    words = np.frombuffer(data[place : place + (len(data) - place) // 4 * 4], "<u4")
    if not place:
        raise ValueError(f"{path}: no header of a Prophesee recording")
    kind = words >> 28
    highs = np.where(kind == 8, (words & 0x0FFFFFFF).astype(np.int64) << 6, 0)
    high = np.maximum.accumulate(highs)  # the time's upper bits hold until the next such word
    seen = np.cumsum(kind == 8) > 0
    keep = (kind < 2) & seen
    word = words[keep].astype(np.int64)
    t = high[keep] | (word >> 22 & 63)
    return as_events(word >> 11 & 2047, word & 2047, t, kind[keep])


def _npy(path: Path) -> Events:
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: not a NumPy array ({error})") from None
    if table.dtype.names:
        return as_events(*(table[name] for name in "xytp"))
    if table.ndim != 2 or table.shape[1] != 4:
        raise ValueError(f"{path}: want columns x, y, p, t, got {table.shape}")
    x, y, p, t = table.astype(np.float64).T
    return as_events(x, y, np.round(1000 * t), p)


def _npz(path: Path) -> Events:
    try:
        with np.load(path, allow_pickle=False) as table:
            return as_events(*(table[name] for name in "xytp"))
    except (KeyError, TypeError, ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: want arrays x, y, t and p ({error})") from None

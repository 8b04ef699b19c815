"""Event datasets in the folders that they are published in, as frames with a class each.

N-MNIST: ``Train/<digit>/*.bin`` and ``Test/…``. DVS128-Gesture: ``user*.aedat`` with
``*_labels.csv`` and ``trials_to_train.txt``, ``trials_to_test.txt``. tonic's copy of it:
``ibmGestureTrain/user*/<label>.npy``. CIFAR10-DVS and folders of one's own: ``<class>/*``; these
have no published split.
"""

import csv
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.data.events.files import Events, read_events
from telltale.data.events.frames import frames, shrunk

SUFFIXES = {".bin", ".aedat", ".mat", ".es", ".raw", ".npy"}
SENSORS = {"n-mnist": 34, "gesture": 128, "classes": 128}
TEST_SHARE = 10  # one in ten, where no split is published


class EventSet(NamedTuple):
    """Clips (N, T, 2, H, W) of counts, classes (N,), their names, and which are for tests."""

    events: NDArray[np.uint16]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    is_test: NDArray[np.bool_]


class _Clip(NamedTuple):
    path: Path
    name: str  # of its class
    is_test: bool
    span: tuple[int, int] | None = None  # microseconds, of a recording


def read_set(
    folder: Path, *, frames_each: int = 10, size: int | None = None, most: int = 0, seed: int = 0
) -> EventSet:
    """A dataset's clips as frames.

    Args:
        folder: One of the layouts above.
        frames_each: T.
        size: Side to sum the frames into; None is the sensor's.
        most: Clips of each class and split, drawn at random; 0 is all.
        seed: Of that draw, and of the split where none is published.

    Raises:
        ValueError: If the folder has none of the layouts, or a file is not right.
    """
    layout, clips = _listed(folder, seed)
    if not clips:
        raise ValueError(
            f"{folder}: no event data; want Train/<digit>/*.bin and Test/…, user*.aedat with "
            "trials_to_train.txt, ibmGestureTrain/…, or a subfolder a class"
        )
    if most:
        clips = _drawn(clips, most, seed)
    names = tuple(sorted({clip.name for clip in clips}, key=_natural))
    made: dict[Path, Events] = {}
    found = []
    for clip in clips:
        if clip.path not in made:  # a recording holds several clips: read it once
            made = {clip.path: read_events(clip.path)}
        events = made[clip.path]
        if clip.span is not None:
            events = events[(events["t"] >= clip.span[0]) & (events["t"] < clip.span[1])]
        found.append(_framed(events, clip.path, layout, frames_each, size))
    if len({part.shape for part in found}) > 1:
        raise ValueError(f"{folder}: sensors of different sizes; give a size")
    return EventSet(
        np.stack(found),
        np.array([names.index(clip.name) for clip in clips], np.int64),
        names,
        np.array([clip.is_test for clip in clips]),
    )


def _framed(
    events: Events, path: Path, layout: str, count: int, size: int | None
) -> NDArray[np.uint16]:
    side = SENSORS[layout]
    if layout == "classes" and len(events):
        side = max(side, 1 + int(max(events["x"].max(), events["y"].max())))
    try:
        counts = frames(events[np.argsort(events["t"], kind="stable")], count, (side, side))
        return counts if size is None else shrunk(counts, size)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _listed(folder: Path, seed: int) -> tuple[str, list[_Clip]]:
    if (folder / "Train").is_dir() and (folder / "Test").is_dir():
        parts = ((folder / "Train", False), (folder / "Test", True))
        return "n-mnist", [
            _Clip(file, file.parent.name, is_test)
            for part, is_test in parts
            for file in sorted(part.glob("*/*.bin"))
        ]
    if (folder / "trials_to_train.txt").is_file():
        return "gesture", [*_gestures(folder)]
    if (folder / "ibmGestureTrain").is_dir():
        train = sorted(folder.glob("ibmGestureTrain/*/*.npy"))
        test = sorted(folder.glob("ibmGestureTest/*/*.npy"))
        return "gesture", [_Clip(file, file.stem, file in test) for file in chain(train, test)]
    random = np.random.default_rng(seed)
    clips = []
    for kind in sorted(path for path in folder.glob("*") if path.is_dir()):
        files = sorted(f for f in kind.rglob("*") if f.suffix.lower() in SUFFIXES)
        tests = {*random.permutation(len(files))[: -(-len(files) // TEST_SHARE)].tolist()}
        clips += [_Clip(file, kind.name, number in tests) for number, file in enumerate(files)]
    return "classes", clips


def _gestures(folder: Path) -> Iterable[_Clip]:
    for name, is_test in (("trials_to_train.txt", False), ("trials_to_test.txt", True)):
        for line in (folder / name).read_text("utf-8").split():
            path = folder / line
            table = path.with_name(f"{path.stem}_labels.csv")
            try:
                with table.open(newline="") as file:
                    for row in csv.DictReader(file):
                        span = int(row["startTime_usec"]), int(row["endTime_usec"])
                        yield _Clip(path, str(int(row["class"]) - 1), is_test, span)
            except (OSError, KeyError, ValueError) as error:
                raise ValueError(
                    f"{table}: want columns class, startTime_usec, endTime_usec ({error})"
                ) from None


def _drawn(clips: list[_Clip], most: int, seed: int) -> list[_Clip]:
    random = np.random.default_rng([seed, 1])
    groups: dict[tuple[str, bool], list[_Clip]] = {}
    for clip in clips:
        groups.setdefault((clip.name, clip.is_test), []).append(clip)
    kept = []
    for group in groups.values():
        rows = sorted(random.permutation(len(group))[:most].tolist())
        kept += [group[row] for row in rows]
    return kept


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (1 << 30, name)

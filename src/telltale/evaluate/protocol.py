"""What is measured and at which threshold, fixed before the test data are looked at."""

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from telltale import metrics
from telltale.evaluate.predictions import Predictions

SUITES = ("intra", "cross-manipulation", "leave-one-out", "cross-dataset", "joint", "folds")
UNANSWERED = ("apart", "wrong")


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is measured and how; a flat TOML file of the same keys.

    Args:
        split: Rows to judge, if the data have a column ``split``.
        threshold: Fixed beforehand; overrides ``select``.
        select: How to choose the threshold on ``select_split``: "eer", or "fpr=0.02" for the
            lowest with at most 2 % of genuine items called forged. Empty: do not choose.
        select_split: The validation split.
        slices: Columns to break the figures down by; numbers with many values go in quarters.
        average_by: Column whose items are averaged to one score, e.g. "video"; "folder" takes
            the name of the folder that a frame lies in, as some benchmarks do: forgeries of several
            kinds whose folders have one name then count as one video.
        interval_by: Column whose values the bootstrap draws whole: "source", or "video" for what
            most papers would report.
        frames: Frames of each video to look at, at most, where they were cut to pictures; 0 is
            all. Of video files, ``video_fps`` says which.
        choose: Which ones: "even", or "first" (see :func:`telltale.data.manifest.chosen`).
        suite: "" for figures with slices, or a comparison of :data:`SUITES`, which has frames and
            videos side by side.
        unanswered: How the rates of :mod:`telltale.evaluate.iso` count what got no answer: "apart",
            as APNRR and BPNRR alone, or "wrong", as errors as well.
        learnt: For the suite "joint": kinds or families of attack that the detector learnt from,
            if neither a run's record nor a card says so.
        smallest: Slices of fewer items cannot be the worst; sources of fewer are not shown.
        seed: Of the bootstrap.
        resamples: Draws of the bootstrap.
        survival: Whether a detector asks again after each degradation before its verdict; with a
            suite, whose tables have no verdicts, only if its predictions are kept.
        video_fps: Frames a second of a video that a detector looks at.
        on: "pictures": a detector finds the faces and cuts them by its card's margin; "crops": the
            pictures are faces that were cut already, and it is shown their middle square, as in
            training.
    """

    split: str = "test"
    threshold: float | None = None
    select: str = ""
    select_split: str = "val"
    slices: tuple[str, ...] = ("kind", "source")
    average_by: str = ""
    interval_by: str = "source"
    frames: int = 0
    choose: str = "even"
    suite: str = ""
    unanswered: str = "apart"
    learnt: tuple[str, ...] = ()
    smallest: int = 20
    seed: int = 0
    resamples: int = 1000
    survival: bool = True
    video_fps: float = 1.0
    on: str = "pictures"

    def __post_init__(self) -> None:
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise ValueError(f"want a finite threshold, got {self.threshold}")
        if self.resamples < 1:
            raise ValueError(f"want one resample or more, got {self.resamples}")
        if self.frames < 0 or self.choose not in ("even", "first"):
            raise ValueError(f"want frames ≥ 0, even or first; got {self.frames}, {self.choose!r}")
        if self.suite and self.suite not in SUITES:
            raise ValueError(f"want a suite of {', '.join(SUITES)}, got {self.suite!r}")
        if self.on not in ("pictures", "crops"):
            raise ValueError(f"want to judge on pictures or on crops, got {self.on!r}")
        if self.unanswered not in UNANSWERED:
            raise ValueError(f"want unanswered as apart or wrong, got {self.unanswered!r}")
        if self.select and ("test" in self.select_split.lower() or self.select_split == self.split):
            raise ValueError(
                f"a threshold chosen on split {self.select_split!r} flatters the figures of "
                f'{self.split!r}; choose it on validation data (select_split = "val")'
            )

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a protocol file; raises ValueError that names it."""
        try:
            table = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ValueError(f"{path}: cannot be read as TOML ({error})") from None
        known = [item.name for item in fields(cls)]
        if unknown := sorted(set(table) - set(known)):
            raise ValueError(f"{path}: unknown {', '.join(unknown)}; a protocol has {known}")
        plain = cls()
        for name, value in table.items():
            want: tuple[type, ...] = (type(getattr(plain, name)),)
            if name in ("threshold", "video_fps"):
                want = (float, int)
            elif name in ("slices", "learnt"):
                want = (list,)
            if type(value) not in want:
                raise ValueError(f"{path}: want {name} as {want[0].__name__}, got {value!r}")
        for name in {"slices", "learnt"} & set(table):
            table[name] = tuple(str(word) for word in table[name])
        try:
            return cls(**table)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def choose_threshold(predictions: Predictions, protocol: Protocol) -> float:
    """The threshold by ``protocol.select`` on the rows of ``protocol.select_split``.

    Raises:
        ValueError: If the rule is not known, or the split is missing or lacks a class.
    """
    rows = predictions.of_split(protocol.select_split)
    rows = rows.averaged(protocol.average_by) if protocol.average_by else rows
    rows = rows.take(~np.isnan(rows.scores))
    rule, _, limit = protocol.select.partition("=")
    if rule == "eer" and not limit:
        return metrics.threshold_at_eer(rows.scores, rows.labels)
    try:
        if rule == "fpr":
            return metrics.threshold_at_fpr(rows.scores, rows.labels, float(limit))
    except metrics.OneClassError:
        raise
    except ValueError as error:
        raise ValueError(f"select = {protocol.select!r}: {error}") from None
    raise ValueError(f'want select = "eer" or "fpr=0.02", got {protocol.select!r}')

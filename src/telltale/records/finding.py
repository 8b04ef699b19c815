"""A finding: the answer to one question about one subject."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from telltale.records.form import as_json, from_grey_png, from_null, levels

Verdict = Literal["yes", "no", "can't tell"]
VERDICTS: tuple[Verdict, ...] = ("yes", "no", "can't tell")


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle in a medium's pixels, turned clockwise by ``angle`` degrees about its centre."""

    x: float
    y: float
    width: float
    height: float
    angle: float = 0.0

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.height > 0):
            raise ValueError(f"want a region with an area, got {self.width} x {self.height}")
        if not all(math.isfinite(getattr(self, name)) for name in self.__dataclass_fields__):
            raise ValueError(f"want a region of finite numbers, got {self}")


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """A map of what spoke for a claim, and how it did when maps of its kind were tested.

    Args:
        method: How it was made: "own map" of the network, "occlusion".
        heatmap: As a finding's.
        violation: Share of tests in which what such a map marks most pointed the wrong way, on the
            pictures of the card; NaN if it was not tested.
        interval: Its 95 % interval.
        by_lot: The same share for weights drawn by lot.
        pictures: How many it was tested on.
        trusted: Whether it pointed right clearly more often than the lot.
    """

    method: str
    heatmap: NDArray[np.float32]
    violation: float = math.nan
    interval: tuple[float, float] | None = None
    by_lot: float = math.nan
    pictures: int = 0
    trusted: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "heatmap", _checked(self.heatmap))
        for share in (self.violation, self.by_lot):
            if not (0 <= share <= 1 or math.isnan(share)):
                raise ValueError(f"want a share in [0, 1], got {share}")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        interval = data["interval"]
        made: dict[str, Any] = {
            "heatmap": from_grey_png(data["heatmap"]),
            "violation": from_null(data["violation"]),
            "interval": None if interval is None else tuple(interval),
            "by_lot": from_null(data["by_lot"]),
        }
        return cls(**{**data, **made})


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """The answer to one question about one subject.

    Args:
        slug: Method that answered.
        claim: What ``score`` = 1 asserts, e.g. "the face was digitally forged".
        score: Calibrated probability at even prior odds, in [0, 1]; NaN if nothing was weighed.
        verdict: "yes", "no" or "can't tell".
        about: The subject in words: "face 1", "the whole picture".
        log10_lr: Log10 likelihood ratio of the claim against its opposite; NaN like ``score``.
        interval: 95 % interval of the score from the calibration's own uncertainty.
        region: Where the subject is, in the medium's pixels (width × height of the upright medium);
            of a video, in the frame that scored highest.
        heatmap: (h, w) in [0, 1], a grid laid over ``region``; 1 = speaks most for the claim.
            Kept in 256 steps, as in JSON.
        survival: Degradation to the score when the question is asked again after it; NaN if the
            subject was not found again.
        quality: Measures that the operating range looks at: face pixels, sharpness, …; NaN if
            one could not be measured.
        timeline: (seconds, score) of each sampled frame while the subject was in view, for videos;
            NaN where it was not seen.
        notes: Reasons and limits in words; the first says why for "can't tell".
        threshold: Score between "no" and "yes" that was in force.
        doubt: Half-width of "can't tell" round the threshold that was in force.
        operating_range: Quality measure to the (low, high) that was in force; ±inf is open.
        limits: What the method cannot see or was not trained for, in words.
        explanations: Maps side by side, the one that is ``heatmap`` first; empty if it was not
            asked for more than one.
        aside: Whether, while it cannot tell, a report's verdict rests on the other findings.
    """

    slug: str
    claim: str
    score: float
    verdict: Verdict
    about: str = "the whole picture"
    log10_lr: float = math.nan
    interval: tuple[float, float] | None = None
    region: Region | None = None
    heatmap: NDArray[np.float32] | None = None
    survival: Mapping[str, float] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    timeline: tuple[tuple[float, float], ...] = ()
    notes: tuple[str, ...] = ()
    threshold: float = 0.5
    doubt: float = 0.1
    operating_range: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    explanations: tuple[Explanation, ...] = ()
    aside: bool = False

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ValueError(f"want a verdict of {VERDICTS}, got {self.verdict!r}")
        if math.isnan(self.score) and self.verdict != "can't tell":
            raise ValueError(f"a finding without a score cannot say {self.verdict!r}")
        seconds, scores = zip(*self.timeline, strict=True) if self.timeline else ((), ())
        for score in (self.score, *self.survival.values(), *scores):
            if not (0 <= score <= 1 or math.isnan(score)):
                raise ValueError(f"want a score in [0, 1], got {score}")
        for number in (self.log10_lr, *self.quality.values(), *seconds):
            if math.isinf(number):
                raise ValueError(f"want finite numbers, got {number}; bound the log10 LR")
        if self.interval is not None and not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise ValueError(f"want an interval that ascends in [0, 1], got {self.interval}")
        for name, (low, high) in self.operating_range.items():
            if not low <= high:
                raise ValueError(
                    f"want an operating range that ascends, got {name} {low} to {high}"
                )
        if self.heatmap is not None:
            object.__setattr__(self, "heatmap", _checked(self.heatmap))

    def __eq__(self, other: object) -> bool:
        """Whether both say the same in JSON: arrays and NaN compare by value."""
        return isinstance(other, Finding) and self.to_json() == other.to_json()

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; NaN and open bounds are null, the heat map a grey PNG in base64."""
        return as_json(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        region, heatmap, interval = data["region"], data["heatmap"], data["interval"]
        made: dict[str, Any] = {
            "score": from_null(data["score"]),
            "log10_lr": from_null(data["log10_lr"]),
            "interval": None if interval is None else tuple(interval),
            "region": None if region is None else Region(**region),
            "heatmap": None if heatmap is None else from_grey_png(heatmap),
            "survival": {k: from_null(v) for k, v in data["survival"].items()},
            "quality": {k: from_null(v) for k, v in data["quality"].items()},
            "timeline": tuple((seconds, from_null(score)) for seconds, score in data["timeline"]),
            "notes": tuple(data["notes"]),
            "operating_range": {
                k: (-math.inf if low is None else low, math.inf if high is None else high)
                for k, (low, high) in data["operating_range"].items()
            },
            "limits": tuple(data["limits"]),
            "explanations": tuple(map(Explanation.from_json, data.get("explanations", ()))),
        }
        return cls(**{**data, **made})


def _checked(heatmap: NDArray[np.float32]) -> NDArray[np.float32]:
    """A heat map in 256 steps."""
    if heatmap.ndim != 2 or not heatmap.size:
        raise ValueError(f"want a heatmap (h, w), got {heatmap.shape}")
    if not (heatmap.min() >= 0 and heatmap.max() <= 1):  # NaN fails, too
        raise ValueError("want a heatmap in [0, 1]")
    return np.asarray(levels(heatmap) / np.float32(255), np.float32)

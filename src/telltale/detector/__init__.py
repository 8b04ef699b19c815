"""A detector: pictures and frames in, findings out, on ONNX Runtime and without torch.

Methods speak tensors; this one class speaks media. A looker finds the faces (or the page) and cuts
what the network looks at; the detector asks the same question again after each degradation of the
survival strip, calibrates, and holds the answer against the operating range of the card.
"""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telltale import catalog
from telltale.calibrate import Calibration, decide
from telltale.degrade import SURVIVAL
from telltale.detector import hints
from telltale.detector.lookers import looker
from telltale.detector.maps import OWN, explained
from telltale.detector.quality import MEASURE, Rater, measured
from telltale.detector.subjects import Box, Pixels, Sighting, Subject, sharpness, surroundings
from telltale.detector.tiles import Tiled, Tiles, Whole, relative, shrunk, strongest
from telltale.engine import session, verified
from telltale.media import Frame, read_picture
from telltale.metrics import log_odds
from telltale.records import Card, Finding, Region, Weights

__all__ = ["Detector", "Evidence", "sharpness"]

FOLLOWED = "{}s seen in one frame only, and left out: {}; --video-fps looks at more frames"


class Evidence(NamedTuple):
    """What the network says of crops."""

    logits: NDArray[np.float64]  # (N,) uncalibrated log-odds, nats
    heatmaps: NDArray[np.float32] | None  # (N, h, w) the same for each patch


class Detector:
    """A method of the catalogue on shipped weights.

    Args:
        card: The method.
        weights: One of its weights files.
        folder: Where the file lies; the installed package by default.
        threads: Threads inside a network call; 0 = all cores.

    Raises:
        ValueError: If the file is missing or its hash is not the card's.
    """

    def __init__(
        self, card: Card, weights: Weights, *, folder: Path | None = None, threads: int = 0
    ) -> None:
        self.card = card
        self.weights = weights
        self.explains = True  # off where nobody looks at maps: a second one costs many answers
        self.ranks = False  # on where scores are compared, not read: none is held to the limit
        self.size = int(weights.input["size"])
        self.calibration = Calibration.from_table(weights.calibration)
        self.cells = Calibration.from_table(weights.cells or weights.calibration)
        self.network = session(verified(weights, folder), threads)
        self.slots = hints.slots(self.network)
        self.hints: tuple[Region, ...] = ()
        self.looker = looker(weights, threads)
        self.rater = Rater(threads) if MEASURE in weights.operating_range else None
        # What resizing erases by its nature cannot be asked again after it: such a card names the
        # degradations that its verdicts must stand.
        self.survival = {it: SURVIVAL[it] for it in weights.input.get("survival", SURVIVAL)}

    @property
    def follows(self) -> bool:
        """Whether it may be asked of a video's frames: codecs change whole frames like edits."""
        return not isinstance(self.looker, Tiles | Whole)

    @classmethod
    def load(cls, slug: str, *, threads: int = 0) -> Self:
        """The method's first shipped weights.

        Raises:
            ValueError: If the slug is not known or the method has no weights yet.
        """
        card = catalog.card(slug)
        if not card.weights:
            raise ValueError(
                f"{slug} ships no weights; train it: telltale train {slug} --recipe paper --data …"
            )
        return cls(card, card.weights[0], threads=threads)

    def hinted(self, *places: Region) -> Self:
        """The same detector, told where in one picture to look first.

            >>> telltale.load("runs/rectifier").hinted(Region(120, 80, 200, 150))

        Args:
            places: In the upright picture's pixels; see :mod:`telltale.detector.hints`.

        Raises:
            ValueError: If its method takes no hints, or fewer.
        """
        whole = isinstance(self.looker, Whole)  # hints are in sides of what it shows
        hints.check(places, self.slots if whole else 0, self.card.slug)
        told = copy.copy(self)
        told.hints = places
        return told

    def weigh(self, crops: Iterable[Pixels], boxes: Sequence[Box] = ()) -> Evidence:
        """The network's raw answer for crops, N of (S, S, 3), with hints in sides of a crop.

        One crop a call: an int8 network scales its activations by what lies in the batch, so that
        a face's answer would depend on the faces beside it.
        """
        logits, heatmaps = [], []
        for crop in crops:
            batch = crop[None].transpose(0, 3, 1, 2).astype(np.float32) / 255
            given = {"images": batch} | hints.given(boxes, self.slots, self.size)
            logit, *rest = self.network.run(None, given)
            logits.append(np.asarray(logit, np.float64).reshape(-1))
            heatmaps += rest[:1]
        if not heatmaps:  # a method that does not locate
            return Evidence(np.concatenate(logits), None)
        maps = np.concatenate(heatmaps).reshape(len(heatmaps), *heatmaps[0].shape[-2:])
        return Evidence(np.concatenate(logits), maps)

    def detect(
        self,
        media: Path | Pixels,
        *,
        survival: bool = True,
        details: Mapping[str, str] | None = None,
    ) -> tuple[Finding, ...]:
        """One finding a subject, largest first; without a subject one finding that says so.

        Args:
            media: A picture's path, or its pixels (H, W, 3) in sRGB.
            survival: Ask again after each degradation, and for a second heat map.
            details: ``Subject.details``; its JPEG quality enters the operating range.
        """
        if isinstance(media, Path):
            picture = read_picture(media)
            media, details = picture.pixels, picture.subject.details
        subjects = self.looker.look(media, details or {})
        if not subjects:
            return (self._nothing(f"no {self.looker.noun} found"),)
        boxes = hints.relative(self.hints, media)
        subjects = [subject._replace(hints=boxes) for subject in subjects]
        return tuple(
            self._of_picture(media, subject, number if len(subjects) > 1 else 0, survival)
            for number, subject in enumerate(subjects, 1)
        )

    def _of_picture(self, pixels: Pixels, subject: Subject, number: int, survival: bool) -> Finding:
        """The finding on one subject of a picture, the only one if its number is 0."""
        logit, heatmap = self.answer(subject)
        finding = self._finding(
            logit,
            about=f"{self.looker.noun} {number}" if number else f"the {self.looker.noun}",
            region=subject.region,
            heatmap=heatmap,
            quality=measured(self.rater, pixels, subject),
            again=self._again(pixels, subject) if survival else {},
        )
        return explained(self, subject, finding) if survival and self.explains else finding

    def answer(self, subject: Subject) -> tuple[float, NDArray[np.floating] | None]:
        """The log-odds for a subject, and where: the mean of its crops, or the tiles as one map."""
        evidence = self.weigh(subject.crops, subject.hints)
        if isinstance(subject.crops, Tiled) and evidence.heatmaps is not None:
            whole = subject.crops.stitched(evidence.heatmaps)
            share = float(self.weights.input.get("relative", 0.0))
            return strongest(whole), shrunk(relative(whole, share))
        heatmap = None if evidence.heatmaps is None else evidence.heatmaps[0]
        if subject.grid is not None:
            heatmap = evidence.logits.reshape(subject.grid)
        return float(evidence.logits.mean()), heatmap

    def detect_frames(self, frames: Iterable[Frame]) -> tuple[Finding, ...]:
        """One finding for each subject of a video, the one longest in view first.

        A subject's score is the mean over the frames in which it was seen: the field's protocol, in
        which a video's score is its mean frame score, for each track of a face. What was seen in a
        single frame is left out beside others that were seen in more, and counted in a note.
        """
        if not self.follows:
            return (self._nothing("asked of still pictures only"),)
        join, times = self.looker.joiner(), list[float]()
        seen: dict[int, list[Sighting]] = {}
        for frame in frames:
            times.append(frame.seconds)
            subjects = self.looker.look(frame.pixels, {})
            numbers = join(frame.seconds, frame.pixels, subjects)
            for subject, number in zip(subjects, numbers, strict=True):
                logit = self.answer(subject)[0]
                measures = measured(self.rater, frame.pixels, subject)
                sighting = Sighting(frame.seconds, logit, subject.region, measures)
                seen.setdefault(number, []).append(sighting)
        noun = self.looker.noun
        if not seen:
            return (self._nothing(f"no {noun} found in the frames that were looked at"),)
        longest = sorted(seen.values(), key=len, reverse=True)
        kept = [track for track in longest if len(track) > 1] or longest
        few = len(longest) - len(kept)
        notes = [FOLLOWED.format(noun, few)] if few else []
        names = [f"{noun} {k + 1}" for k in range(len(kept))] if len(kept) > 1 else [f"the {noun}"]
        return tuple(
            self._follow(name, track, times, notes) for name, track in zip(names, kept, strict=True)
        )

    def _follow(
        self, name: str, track: list[Sighting], times: list[float], notes: list[str]
    ) -> Finding:
        """The finding on one subject, seen in some of the frames at ``times``."""
        logits = np.array([sighting.logit for sighting in track])
        scores = dict(
            zip((it.seconds for it in track), self.calibration.score(logits), strict=True)
        )
        first, last = track[0].seconds, track[-1].seconds
        measures = track[0].quality
        return self._finding(
            logits,
            about=f"{name}, {first:.1f} to {last:.1f} s",
            region=track[int(logits.argmax())].region,
            quality={k: float(np.median([it.quality[k] for it in track])) for k in measures},
            timeline=tuple(
                (t, float(scores.get(t, math.nan))) for t in times if first <= t <= last
            ),
            notes=(
                f"seen in {len(track)} of {len(times)} frames; the score is the mean of theirs",
                *notes,
                "the survival strip is measured on pictures only",
            ),
        )

    def _finding(
        self,
        logits: ArrayLike,
        *,
        quality: Mapping[str, float],
        heatmap: NDArray[np.float32] | None = None,
        again: Mapping[str, float] | None = None,
        notes: Sequence[str] = (),
        **rest: Any,
    ) -> Finding:
        """The finding of a logit, or of several frames': the mean of their scores."""
        score = float(np.mean(self.calibration.score(logits)))
        low, high = (float(np.mean(end)) for end in self.calibration.interval(logits))
        survival = {k: float(self.calibration.score(v)) for k, v in (again or {}).items()}
        verdict, reasons = decide(score, self.weights, quality, survival)
        limit = self.calibration.limit
        return Finding(
            slug=self.card.slug,
            claim=self.card.claim,
            score=float(np.mean(self.calibration.ranking(logits))) if self.ranks else score,
            verdict=verdict,
            log10_lr=float(np.clip(log_odds(score) / math.log(10), -limit, limit)),
            interval=(low, high),
            heatmap=None if heatmap is None else self.cells.score(heatmap).astype(np.float32),
            survival=survival,
            quality=quality,
            notes=(*reasons, *notes, *(() if heatmap is None else self.weights.told(OWN))),
            **self._terms(),
            **rest,
        )

    def _nothing(self, why: str) -> Finding:
        return Finding(
            slug=self.card.slug,
            claim=self.card.claim,
            score=math.nan,
            verdict="can't tell",
            notes=(why,),
            **self._terms(),
        )

    def _terms(self) -> dict[str, Any]:
        """What was in force when the verdict was reached."""
        return {"limits": self.card.limits, "aside": self.card.aside} | self.weights.in_force()

    def _again(self, pixels: Pixels, subject: Subject) -> dict[str, float]:
        """The log-odds of a subject after each degradation of its surroundings."""
        patch, inside = surroundings(pixels, subject.region, self.looker.context)
        found = {}
        for name, degrade in self.survival.items():
            moved = degrade(patch)
            place = moved.place(inside)
            crops, told = self.looker.cut(moved.pixels, place), hints.after(moved, self.hints)
            found[name] = self.answer(Subject(place, crops, {}, hints=told))[0]
        return found

"""A detector: pictures and frames in, findings out, on ONNX Runtime and without torch.

Methods speak tensors; this one class speaks media. It finds the faces, cuts what the network
looks at, asks the same question again after each degradation of the survival strip, calibrates,
and holds the answer against the operating range of the card.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telltale import catalog
from telltale.calibrate import Calibration, decide
from telltale.degrade import SURVIVAL
from telltale.engine import session, verified
from telltale.media import Frame, read_picture
from telltale.media.facefinder import Face, FaceFinder, crop_region
from telltale.media.regions import cut
from telltale.media.tracks import Tracks
from telltale.metrics import log_odds
from telltale.records import Card, Finding, Region, Weights

Pixels = NDArray[np.uint8]
FOLLOWED = "faces seen in one frame only, and left out: {}; --video-fps looks at more frames"
CONTEXT = 2.0  # sides of the face's square that a degradation acts on: codecs look round a face


class _Sighting(NamedTuple):
    """A face in one frame of a video."""

    seconds: float
    logit: float
    region: Region
    quality: dict[str, float]


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
        self.size = int(weights.input["size"])
        self.margin = float(weights.input["margin"])
        self.calibration = Calibration.from_table(weights.calibration)
        self.network = session(verified(weights, folder), threads)
        self.finder = FaceFinder(threads=threads)

    @classmethod
    def load(cls, slug: str, *, threads: int = 0) -> Self:
        """The method's first shipped weights.

        Raises:
            ValueError: If the slug is not known or the method has no weights yet.
        """
        card = catalog.card(slug)
        if not card.weights:
            raise ValueError(f"{slug} ships no weights; train it: telltale train {slug} --data …")
        return cls(card, card.weights[0], threads=threads)

    def weigh(self, crops: Pixels) -> Evidence:
        """The network's raw answer for crops (N, S, S, 3).

        One crop a call: an int8 network scales its activations by what lies in the batch, so that
        a face's answer would depend on the faces beside it.
        """
        logits, heatmaps = [], []
        for crop in crops:
            batch = crop[None].transpose(0, 3, 1, 2).astype(np.float32) / 255
            logit, *rest = self.network.run(None, {"images": batch})
            logits.append(np.asarray(logit, np.float64).reshape(-1))
            heatmaps += rest[:1]
        if not heatmaps:  # a method that does not locate
            return Evidence(np.concatenate(logits), None)
        maps = np.concatenate(heatmaps).reshape(len(crops), *heatmaps[0].shape[-2:])
        return Evidence(np.concatenate(logits), maps)

    def detect(
        self,
        media: Path | Pixels,
        *,
        survival: bool = True,
        details: Mapping[str, str] | None = None,
    ) -> tuple[Finding, ...]:
        """One finding a face, largest first; without a face one finding that says so.

        Args:
            media: A picture's path, or its pixels (H, W, 3) in sRGB.
            survival: Ask again after each degradation.
            details: ``Subject.details``; its JPEG quality enters the operating range.
        """
        if isinstance(media, Path):
            picture = read_picture(media)
            media, details = picture.pixels, picture.subject.details
        faces = self.finder.find(media)
        if not faces:
            return (self._nothing("no face found"),)
        regions = [crop_region(face, self.margin) for face in faces]
        crops = [cut(media, region, self.size) for region in regions]
        names = ["as given", *(SURVIVAL if survival else ())]
        for region in regions if survival else ():
            crops += self._degraded(media, region)
        evidence = self.weigh(np.stack(crops))
        again = evidence.logits[len(faces) :].reshape(len(faces), len(names) - 1)
        return tuple(
            self._finding(
                float(evidence.logits[k]),
                about=f"face {k + 1}" if len(faces) > 1 else "the face",
                region=regions[k],
                heatmap=None if evidence.heatmaps is None else evidence.heatmaps[k],
                quality=_quality(faces[k], crops[k], details or {}),
                again=dict(zip(names[1:], again[k].tolist(), strict=True)),
            )
            for k in range(len(faces))
        )

    def detect_frames(self, frames: Iterable[Frame]) -> tuple[Finding, ...]:
        """One finding for each face of a video, the one longest in view first.

        A face's score is the mean over the frames in which it was seen: the field's protocol, in
        which a video's score is its mean frame score, for each :class:`Tracks` of a face. Faces
        seen in a single frame are left out beside others that were seen in more, and counted in a
        note. Memory holds one frame at a time.
        """
        tracks, times = Tracks(), list[float]()
        seen: dict[int, list[_Sighting]] = {}
        for frame in frames:
            times.append(frame.seconds)
            faces = self.finder.find(frame.pixels)
            numbers = tracks.join(frame.seconds, frame.pixels, faces)
            for face, number in zip(faces, numbers, strict=True):
                region = crop_region(face, self.margin)
                crop = cut(frame.pixels, region, self.size)
                logit = float(self.weigh(crop[None]).logits[0])
                sighting = _Sighting(frame.seconds, logit, region, _quality(face, crop, {}))
                seen.setdefault(number, []).append(sighting)
        if not seen:
            return (self._nothing("no face found in the frames that were looked at"),)
        longest = sorted(seen.values(), key=len, reverse=True)
        kept = [track for track in longest if len(track) > 1] or longest
        notes = [FOLLOWED.format(len(longest) - len(kept))] if len(kept) < len(longest) else []
        names = [f"face {k + 1}" for k in range(len(kept))] if len(kept) > 1 else ["the face"]
        return tuple(
            self._follow(name, track, times, notes) for name, track in zip(names, kept, strict=True)
        )

    def _follow(
        self, name: str, track: "list[_Sighting]", times: list[float], notes: list[str]
    ) -> Finding:
        """The finding on one face, seen in some of the frames at ``times``."""
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
            score=score,
            verdict=verdict,
            log10_lr=float(np.clip(log_odds(score) / math.log(10), -limit, limit)),
            interval=(low, high),
            heatmap=None if heatmap is None else self.calibration.score(heatmap).astype(np.float32),
            survival=survival,
            quality=quality,
            notes=(*reasons, *notes),
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
        return {
            "threshold": self.weights.threshold,
            "doubt": self.weights.doubt,
            "operating_range": {
                name: (float(low), float(high))
                for name, (low, high) in self.weights.operating_range.items()
            },
            "limits": self.card.limits,
        }

    def _degraded(self, pixels: Pixels, region: Region) -> list[Pixels]:
        """The region cut again after each degradation of its surroundings."""
        reach = CONTEXT / self.margin * region.width / 2
        x, y = region.x + region.width / 2, region.y + region.height / 2
        height, width = pixels.shape[:2]
        # On the file's own JPEG grid (16 with chroma subsampling), so that re-encoding is tested
        # by itself; a shifted grid is the crop's question.
        left, top = (max(0, math.floor(edge - reach) // 16 * 16) for edge in (x, y))
        right, bottom = min(width, math.ceil(x + reach)), min(height, math.ceil(y + reach))
        patch = pixels[top:bottom, left:right]
        inside = replace(region, x=region.x - left, y=region.y - top)
        crops = []
        for degrade in SURVIVAL.values():
            moved = degrade(patch)
            crops.append(cut(moved.pixels, moved.place(inside), self.size))
        return crops


def _quality(face: Face, crop: Pixels, details: Mapping[str, str]) -> dict[str, float]:
    """What the operating range looks at, measured on one face.

    ``face_pixels`` is the mesh's width in the picture, ``yaw`` in degrees either way.
    """
    measures = {
        "face_pixels": float(face.box[2]),
        "sharpness": sharpness(crop),
        "yaw": abs(face.yaw),
        "presence": face.presence,
    }
    if "jpeg_quality" in details:
        measures["jpeg_quality"] = float(details["jpeg_quality"])
    return measures


def sharpness(crop: Pixels) -> float:
    """Mean absolute Laplacian of a crop's grey levels, 0–255: small and blurred faces lack it."""
    grey = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float(np.abs(4 * grey[1:-1, 1:-1] - around).mean())

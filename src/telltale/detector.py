"""A detector: pictures and frames in, findings out, on ONNX Runtime and without torch.

Methods speak tensors; this one class speaks media. It finds the faces, cuts what the network
looks at, asks the same question again after each degradation of the survival strip, calibrates,
and holds the answer against the operating range of the card.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from telltale import catalog
from telltale.calibrate import Calibration, decide
from telltale.degrade import SURVIVAL
from telltale.engine import session, verified
from telltale.media import Frame, read_picture
from telltale.media.facefinder import Face, FaceFinder, crop_region
from telltale.media.regions import cut
from telltale.records import Card, Finding, Region, Weights

Pixels = NDArray[np.uint8]
CONTEXT = 2.0  # sides of the face's square that a degradation acts on: codecs look round a face


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
        """One finding for a video: its score is the mean over frames of the gravest face.

        Source: the benchmark protocol of the field, video score = mean frame score; the largest
        face score of a frame as in Shiohara & Yamasaki, CVPR 2022. Frames without a face are
        left out. Memory holds one frame at a time.
        """
        logits: list[float] = []
        timeline: list[tuple[float, float]] = []
        qualities: list[dict[str, float]] = []
        for frame in frames:
            faces = self.finder.find(frame.pixels)
            if not faces:
                continue
            crops = [cut(frame.pixels, crop_region(f, self.margin), self.size) for f in faces]
            evidence = self.weigh(np.stack(crops))
            gravest = int(evidence.logits.argmax())
            logits.append(float(evidence.logits[gravest]))
            timeline.append((frame.seconds, float(self.calibration.score(logits[-1]))))
            qualities.append(_quality(faces[gravest], crops[gravest], {}))
        if not logits:
            return (self._nothing("no face found in the frames that were looked at"),)
        quality = {k: float(np.median([q[k] for q in qualities])) for k in qualities[0]}
        finding = self._finding(
            float(np.mean(logits)),
            about=f"the faces of {len(logits)} frames",
            quality=quality,
            timeline=tuple(timeline),
            notes=("the survival strip is measured on pictures only",),
        )
        return (finding,)

    def _finding(
        self,
        logit: float,
        *,
        quality: Mapping[str, float],
        heatmap: NDArray[np.float32] | None = None,
        again: Mapping[str, float] | None = None,
        notes: Sequence[str] = (),
        **rest: Any,
    ) -> Finding:
        score = float(self.calibration.score(logit))
        survival = {k: float(self.calibration.score(v)) for k, v in (again or {}).items()}
        verdict, reasons = decide(score, self.weights, quality, survival)
        low, high = self.calibration.interval(logit)
        return Finding(
            slug=self.card.slug,
            claim=self.card.claim,
            score=score,
            verdict=verdict,
            log10_lr=float(self.calibration.log10_lr(logit)),
            interval=(float(low), float(high)),
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
        crops = []
        for degrade in SURVIVAL.values():
            moved = degrade(patch)
            where = Region(
                (region.x - left) * moved.scale + moved.shift_x,
                (region.y - top) * moved.scale + moved.shift_y,
                region.width * moved.scale,
                region.height * moved.scale,
                region.angle,
            )
            crops.append(cut(moved.pixels, where, self.size))
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

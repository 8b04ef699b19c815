"""Certificates of detectors: up to which size no perturbation changes the verdict of most copies.

    S = P(verdict of x + n is v)          R = σ Φ⁻¹(S)          n ~ N(0, σ²)

A verdict is a feature of length 1, ±1, so that this is the cosine's bound with S taken of votes.
Needs no torch. The score of the card's calibration is held against its threshold; there is no
"can't tell" in between. An int8 network scales its activations by what lies in the batch, so one
copy is seen at a time, and the votes are independent.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from telltale.detector.subjects import Pixels, Subject
from telltale.detector.tiles import Tiled
from telltale.media import read_picture
from telltale.metrics.bounds import clopper_pearson, cosine_bound, cosine_radius
from telltale.records import Region

if TYPE_CHECKING:
    from telltale.certify.run import Certified, Noise
    from telltale.detector import Detector

SELECT = 64  # copies of their own, by which the verdict is chosen that is then certified


class Verdicts:
    """Certifies what a detector says of the largest subject of a picture.

    Args:
        detector: On its weights.
        noise: How to sample.
        on: "pictures", or "crops": the middle square is what the network is shown.
    """

    kind = "verdict"

    def __init__(self, detector: "Detector", noise: "Noise", on: str) -> None:
        self.detector, self.noise, self.on = detector, noise, on
        self.random = np.random.Generator(np.random.SFC64(noise.seed))  # the quickest

    def of(self, path: Path, sizes: Sequence[float]) -> "Certified":
        """Raises ValueError if the picture cannot be read or nothing in it can be certified."""
        from telltale.certify.run import Certified

        subject = self._subject(path)
        verdict = 2 * self._votes(subject, SELECT) >= SELECT
        yes, count = self._votes(subject, self.noise.samples), self.noise.samples
        share = clopper_pearson(yes if verdict else count - yes, count, self.noise.alpha)
        bounds = (1 + cosine_bound(share, np.array(sizes, float), self.noise.sigma)) / 2
        radius = float(cosine_radius(share, self.noise.sigma, 0.0))
        held = tuple(float(b) if b > 0.5 else float("nan") for b in bounds)
        return Certified(path, share, radius, held, verdict)

    def _subject(self, path: Path) -> Subject:
        pixels = read_picture(path).pixels
        if self.on == "crops":
            side, size = min(pixels.shape[:2]), self.detector.size
            top, left = ((length - side) // 2 for length in pixels.shape[:2])
            image = Image.fromarray(pixels[top : top + side, left : left + side])
            crop = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
            return Subject(Region(left, top, side, side), crop[None], {})
        looker = self.detector.looker
        found = looker.look(pixels, {})
        if not found:
            raise ValueError(f"{path}: no {looker.noun} found; --on crops takes the middle square")
        if isinstance(found[0].crops, Tiled):
            raise ValueError(
                f"{self.detector.card.slug}: looks at whole pictures in tiles that overlap; "
                "certify a detector of faces or pages"
            )
        return found[0]

    def _votes(self, subject: Subject, count: int) -> int:
        """How many noisy copies have a score at the threshold or above."""
        crops = np.stack([*subject.crops]).astype(np.float32)
        found, noisy = 0, np.empty_like(crops)
        for _ in range(count):
            self.random.standard_normal(crops.shape, np.float32, out=noisy)
            # the network divides by 255; values are neither rounded nor clipped on the way
            noisy *= 255 * self.noise.sigma
            noisy += crops
            logit = self.detector.answer(subject._replace(crops=cast("Pixels", noisy)))[0]
            score = float(self.detector.calibration.score(logit))
            found += score >= self.detector.weights.threshold
        return found

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from telltale import catalog
from telltale.detector import Detector
from telltale.detector.quality import MEASURE, Rater
from telltale.media import read_picture
from telltale.records import Region

MEDIA = Path(__file__).parents[1] / "examples/media"


def test_what_has_suffered_is_rated_lower() -> None:
    pixels = read_picture(MEDIA / "astronaut.jpg").pixels
    noisy = pixels + np.random.default_rng(0).normal(0, 30, pixels.shape)
    rater = Rater(1)
    worse = rater.rate(np.clip(noisy, 0, 255).astype(np.uint8))
    assert 0 <= worse < rater.rate(pixels) <= 1
    part = Region(10, 20, 200, 180)
    assert rater.rate(pixels, part) == rater.rate(np.ascontiguousarray(pixels[20:200, 10:210]))
    assert 0 <= rater.rate(pixels[:5, :7]) <= 1  # mirrored to a whole crop
    assert 0 <= rater.rate(pixels, Region(-50, -50, 40, 40)) <= 1


@pytest.mark.parametrize(("least", "tells"), [(0.0, True), (1.0, False)])
def test_low_quality_is_cannot_tell(least: float, tells: bool) -> None:
    card = catalog.card("vit_lora_scl")
    weights = dataclasses.replace(
        card.weights[0], operating_range={MEASURE: [least, float("inf")]}, threshold=0.5, doubt=0.0
    )
    found = Detector(card, weights, threads=1).detect(MEDIA / "astronaut.jpg", survival=False)[0]
    assert (found.verdict != "can't tell") == tells
    assert 0 < found.quality[MEASURE] < 1
    if not tells:
        assert "its visual quality, by a proxy, is" in found.notes[0]

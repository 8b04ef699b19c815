"""Made-up reports: every kind of answer, on a drawn picture."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from telltale.records import Finding, Region, Report, Subject

CLAIM = "the face was digitally forged"
RANGE = {"face_pixels": (80.0, math.inf), "yaw": (0.0, 55.0)}


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """A drawn picture, 480 × 320."""
    y, x = np.mgrid[0:320, 0:480]
    return np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)


@pytest.fixture
def found() -> Finding:
    """Evidence, with all that a finding can say."""
    y, x = np.mgrid[0:7, 0:7] / 6
    return Finding(
        slug="vit_lora_scl",
        claim=CLAIM,
        score=0.93,
        verdict="yes",
        about="face 1",
        log10_lr=2.2,
        interval=(0.88, 0.96),
        region=Region(60, 40, 120, 120, 30),
        heatmap=(x * y).astype(np.float32),
        survival={"JPEG 75": 0.91, "half size": 0.72, "crop": math.nan},
        quality={"face_pixels": 112.0, "yaw": 3.0},
        notes=("after crop it was not found again",),
        threshold=0.6,
        operating_range=RANGE,
        limits=("not trained on presentation attacks",),
    )


@pytest.fixture
def unsure() -> Finding:
    return Finding(
        slug="vit_lora_scl",
        claim=CLAIM,
        score=0.71,
        verdict="can't tell",
        about="face 2",
        log10_lr=0.4,
        interval=(0.6, 0.8),
        region=Region(300, 100, 90, 90),
        survival={"JPEG 75": 0.66, "JPEG 50": 0.41},
        quality={"face_pixels": 61.0, "yaw": 70.0},
        notes=("it does not survive JPEG 50", "the face is turned by 70 degrees"),
        threshold=0.6,
        operating_range=RANGE,
        limits=("not trained on presentation attacks",),
    )


@pytest.fixture
def report_of() -> Callable[..., Report]:
    """A report of findings on a path."""

    def make(*findings: Finding, path: str = "desk/selfie.jpg") -> Report:
        return Report(
            Subject(
                path, "ab12" * 16, 1_400_000, "picture", "JPEG", 480, 320, 0.0, {"camera": "X"}
            ),
            findings,
            {"telltale": "0.1.0", "vit_lora_scl.onnx": "cd34" * 16},
            "2026-11-23T04:40:12Z",
        )

    return make


@pytest.fixture
def video_report(found: Finding) -> Report:
    """A video whose third frame could not be weighed."""
    timeline = ((0.0, 0.8), (1.0, 0.9), (2.0, math.nan), (3.0, 0.7))
    finding = Finding(
        found.slug, CLAIM, 0.8, "yes", "the faces of 4 frames", 1.1, (0.7, 0.9), timeline=timeline
    )
    subject = Subject("clip.mp4", "ef56" * 16, 9_000, "video", "MP4", 480, 320, 3.5)
    return Report(subject, (finding,), {"telltale": "0.1.0"}, "2026-11-23T04:41:00Z")


@pytest.fixture
def drawn(pixels: NDArray[np.uint8]) -> Callable[[Report], NDArray[np.uint8]]:
    return lambda report: pixels

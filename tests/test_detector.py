"""Media in, findings out: through the real face finder and a network whose answer is known."""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from telltale.degrade import SURVIVAL
from telltale.detector import Detector, sharpness
from telltale.media import Frame
from telltale.media.facefinder import FaceFinder, crop_region
from telltale.media.regions import cut
from telltale.records import Card, Weights

SIZE, GRID, SLOPE = 56, 4, 8.0
ASTRONAUT = Path(__file__).parents[1] / "examples/media/astronaut.jpg"


def write_network(path: Path, *, locates: bool = True) -> None:
    """An ONNX file whose patch logits are ``SLOPE`` times (brightness - ½), and their mean."""
    kernel = SIZE // GRID
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["grey"], axes=[1], keepdims=1),
        helper.make_node(
            "AveragePool", ["grey"], ["pooled"], kernel_shape=[kernel] * 2, strides=[kernel] * 2
        ),
        helper.make_node("Sub", ["pooled", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "slope"], ["grid"]),
        helper.make_node("ReduceMean", ["grid"], ["logit"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Squeeze", ["grid", "one"], ["heatmap"]),
    ]
    answers = [value("logit", TensorProto.FLOAT, ["B"]), value("heatmap", TensorProto.FLOAT, None)]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [value("images", TensorProto.FLOAT, ["B", 3, SIZE, SIZE])],
        answers if locates else answers[:1],
        [
            helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
            helper.make_tensor("slope", TensorProto.FLOAT, [], [SLOPE]),
            helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))


def make(folder: Path, *, locates: bool = True, **changes: Any) -> Detector:
    path = folder / "brightness.onnx"
    write_network(path, locates=locates)
    settings: dict[str, Any] = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "license": "Apache-2.0",
        "trained_on": "nothing",
        "input": {"size": SIZE, "margin": 1.3},
        "calibration": {
            "slope": 2.0,
            "intercept": 0.5,
            "covariance": [0.01, 0.0, 0.01],
            "limit": 2.0,
        },
        "threshold": 0.5,
        "doubt": 0.0,
    }
    card = Card("brightness", "Brightness", "us", "telltale:none", "detect", "the face is bright")
    return Detector(card, Weights(**(settings | changes)), folder=folder)


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    return make(tmp_path)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    with Image.open(ASTRONAUT) as image:
        return np.asarray(image.convert("RGB"))


def expected_score(crop: np.ndarray) -> float:
    odds = 2.0 * SLOPE * (crop.astype(float).mean() / 255 - 0.5) + 0.5
    bound = 2.0 * math.log(10)
    return 1 / (1 + math.exp(-np.clip(odds, -bound, bound)))


def test_weighs_the_very_crop_of_the_face(detector: Detector, pixels: np.ndarray) -> None:
    (finding,) = detector.detect(pixels)
    face = FaceFinder().find(pixels)[0]
    region = crop_region(face)
    assert finding.score == pytest.approx(expected_score(cut(pixels, region, SIZE)), abs=1e-4)
    assert finding.region == region
    assert finding.about == "the face"
    assert finding.claim == "the face is bright"
    assert finding.interval is not None
    assert finding.interval[0] < finding.score < finding.interval[1]
    odds = finding.score / (1 - finding.score)
    assert finding.log10_lr == pytest.approx(math.log10(odds), abs=1e-6)


def test_the_heat_map_is_calibrated_like_the_score(detector: Detector, pixels: np.ndarray) -> None:
    (finding,) = detector.detect(pixels, survival=False)
    assert finding.heatmap is not None
    assert finding.heatmap.shape == (GRID, GRID)
    crop = cut(pixels, crop_region(FaceFinder().find(pixels)[0]), SIZE)
    side = SIZE // GRID
    assert finding.heatmap[1, 2] == pytest.approx(
        expected_score(crop[side : 2 * side, 2 * side : 3 * side]), abs=1 / 255
    )


def test_a_network_that_does_not_locate_gives_no_heat_map(
    tmp_path: Path, pixels: np.ndarray
) -> None:
    (finding,) = make(tmp_path, locates=False).detect(pixels)
    assert finding.heatmap is None
    assert 0 < finding.score < 1


def test_asks_again_after_each_degradation(detector: Detector, pixels: np.ndarray) -> None:
    (finding,) = detector.detect(pixels)
    assert list(finding.survival) == list(SURVIVAL)
    # Brightness hardly changes by any of them, if the degraded face is cut where it went.
    assert list(finding.survival.values()) == pytest.approx([finding.score] * 6, abs=0.06)
    assert detector.detect(pixels, survival=False)[0].survival == {}


def test_a_path_gives_what_its_pixels_give(detector: Detector, pixels: np.ndarray) -> None:
    from_path, from_pixels = detector.detect(ASTRONAUT)[0], detector.detect(pixels)[0]
    assert from_path.score == pytest.approx(from_pixels.score, abs=1e-6)
    assert 1 <= from_path.quality["jpeg_quality"] <= 100
    assert "jpeg_quality" not in from_pixels.quality


def test_each_face_is_weighed_as_if_alone(detector: Detector, pixels: np.ndarray) -> None:
    alone = detector.detect(pixels)[0]
    both = detector.detect(np.concatenate([pixels, pixels // 2], axis=1))
    assert [finding.about for finding in both] == ["face 1", "face 2"]
    scores = [finding.score for finding in both]
    assert max(scores) == pytest.approx(alone.score, abs=0.02)
    assert min(scores) < max(scores) - 0.1


def test_without_a_face_it_says_so(detector: Detector) -> None:
    (finding,) = detector.detect(np.full((100, 120, 3), 90, np.uint8))
    assert finding.verdict == "can't tell"
    assert math.isnan(finding.score)
    assert "no face found" in finding.notes


@pytest.mark.parametrize(
    ("operating_range", "reason"),
    [({"face_pixels": [5000.0, math.inf]}, "pixels"), ({"sharpness": [1e3, math.inf]}, "sharp")],
)
def test_outside_its_range_it_cannot_tell(
    tmp_path: Path, pixels: np.ndarray, operating_range: Mapping[str, Any], reason: str
) -> None:
    (finding,) = make(tmp_path, operating_range=operating_range).detect(pixels)
    assert finding.verdict == "can't tell"
    assert reason in " ".join(finding.notes)


def test_a_video_is_the_mean_of_its_frames(detector: Detector, pixels: np.ndarray) -> None:
    dark = (pixels * 0.7).astype(np.uint8)
    blank = np.zeros_like(pixels)
    frames = [Frame(0.0, pixels), Frame(1.0, blank), Frame(2.0, dark)]
    (finding,) = detector.detect_frames(frames)
    times, scores = zip(*finding.timeline, strict=True)
    assert times == (0.0, 1.0, 2.0)
    assert math.isnan(scores[1])  # a frame without a face has no score
    singles = [detector.detect(frame, survival=False)[0].score for frame in (pixels, dark)]
    assert [scores[0], scores[2]] == pytest.approx(singles, abs=1e-6)
    assert finding.score == pytest.approx(np.mean(singles), abs=1e-6)
    odds = finding.score / (1 - finding.score)
    assert finding.log10_lr == pytest.approx(math.log10(odds), abs=1e-6)
    assert finding.interval is not None
    assert finding.interval[0] < finding.score < finding.interval[1]
    (nothing,) = detector.detect_frames([Frame(0.0, blank)])
    assert nothing.verdict == "can't tell"


def test_corrupt_weights_are_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(ValueError, match=r"brightness\.onnx.*corrupt"):
        make(tmp_path, sha256="0" * 64)
    with pytest.raises(ValueError, match=r"other\.onnx.*missing"):
        make(tmp_path, file="other.onnx")


def test_sharpness_by_hand() -> None:
    step = np.zeros((5, 5, 3), np.uint8)
    step[:, 3:] = 100  # |Laplacian| is 100 in two of three inner columns
    assert sharpness(step) == pytest.approx(200 / 3, rel=1e-4)
    assert sharpness(np.full((9, 9, 3), 77, np.uint8)) == pytest.approx(0, abs=1e-3)

"""Where a detector is told to look: boxes and points of a user, or another detector's finding."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from redness import redness
from telltale.degrade import Moved
from telltale.detector import Detector, hints
from telltale.loading import load
from telltale.records import Finding, Region
from telltale.scan import scan

SIZE = 16
CARD = """\
title   = "How wide the hinted places are"
source  = "made for tests"
network = "telltale.pictures.told:Told"
verb    = "detect"
claim   = "the hinted places are wide"
task    = "tampering"

[[weights]]
file        = "told.onnx"
sha256      = "{sha256}"
license     = "Apache-2.0"
trained_on  = "nothing"
input       = {{ size = 16, crop = "whole" }}
calibration = {{ slope = 4.0, intercept = 0.0, covariance = [0.01, 0.0, 0.01], limit = 3.0 }}
"""


def write_told(folder: Path) -> Path:
    """A network whose log-odds are the widths of its two hints, together, in sides of the crop."""
    tensors = [
        helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", 3, SIZE, SIZE]),
        helper.make_tensor_value_info("hints", TensorProto.FLOAT, ["B", 2, 4]),
    ]
    outputs = [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["B"])]
    constants = [
        helper.make_tensor("width", TensorProto.FLOAT, [4], [-1 / SIZE, 0, 1 / SIZE, 0]),
        helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0]),
        helper.make_tensor("in_hints", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("in_images", TensorProto.INT64, [3], [1, 2, 3]),
    ]
    nodes = [
        helper.make_node("Mul", ["hints", "width"], ["widths"]),
        helper.make_node("ReduceSum", ["widths", "in_hints"], ["all"], keepdims=0),
        helper.make_node("ReduceMean", ["images", "in_images"], ["grey"], keepdims=0),
        helper.make_node("Mul", ["grey", "nothing"], ["unused"]),
        helper.make_node("Add", ["all", "unused"], ["logit"]),
    ]
    graph = helper.make_graph(nodes, "told", tensors, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = folder / "told.onnx"
    onnx.save(model, str(path))
    text = CARD.format(sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    path.with_suffix(".toml").write_text(text)
    return path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return load(write_told(tmp_path_factory.mktemp("weights")))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (80, 40), "grey").save(path)
    return path


def log_odds(finding: Finding) -> float:
    return math.log(finding.score / (1 - finding.score))


def test_a_hint_reaches_the_network_in_its_own_pixels(told: Detector, photo: Path) -> None:
    (without,) = told.detect(photo, survival=False)
    assert log_odds(without) == pytest.approx(0)
    (one,) = told.hinted(Region(10, 5, 40, 10)).detect(photo, survival=False)
    assert log_odds(one) == pytest.approx(4 * 40 / 80, abs=1e-5)
    both = told.hinted(Region(10, 5, 40, 10), Region(0, 0, 20, 40))
    report = scan(photo, detector=both, survival=False)
    assert log_odds(report.findings[0]) == pytest.approx(4 * 60 / 80, abs=1e-5)
    (again,) = told.detect(photo, survival=False)
    assert again.score == without.score  # whoever was told is another


def test_hints_go_where_a_degradation_moves_the_picture(told: Detector, photo: Path) -> None:
    (finding,) = told.hinted(Region(10, 5, 40, 10)).detect(photo)
    assert log_odds(finding) == pytest.approx(2.0, abs=1e-5)
    odds = {name: math.log(s / (1 - s)) for name, s in finding.survival.items()}
    assert odds["JPEG 75"] == pytest.approx(2.0, abs=1e-5)
    assert odds["crop"] > 2.01  # the same box is wider beside what is left
    shifted = Moved(np.zeros((40, 40, 3), np.uint8), shift_x=-20, shift_y=0)
    assert hints.after(shifted, [Region(10, 5, 20, 10)]) == ((0.0, 0.125, 0.25, 0.375),)
    assert hints.after(shifted, [Region(0, 0, 15, 40)]) == ()


def test_a_point_stands_for_a_box_that_stays_in_the_picture() -> None:
    assert hints.placed(hints.parse("40, 20"), 80, 40) == Region(30, 15, 20, 10)
    assert hints.placed(hints.parse("0,0"), 80, 40) == Region(0, 0, 10, 5)
    assert hints.placed(hints.parse("1,2,3,4"), 80, 40) == Region(1, 2, 3, 4)


@pytest.mark.parametrize(
    "text", ["", "1", "1,2,3", "1,2,3,4,5", "1,x", "1,2,0,4", "1,2,3,-4", "nan,1"]
)
def test_what_is_no_hint_is_said_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"want a hint x,y,w,h or x,y in pixels, got"):
        hints.parse(text)


@pytest.mark.parametrize(
    "numbers", [(80, 1), (-1, 3), (70, 30, 11, 5), (0, 0, 5, 41), (-2, 0, 5, 5)]
)
def test_a_hint_outside_is_refused(numbers: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"the hint .* out.* of the picture, 80 x 40"):
        hints.placed(numbers, 80, 40)


def test_who_takes_no_hints_or_fewer_says_so(told: Detector, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="redness takes no hints; a run of propose_rectify does"):
        redness(tmp_path).hinted(Region(0, 0, 5, 5))
    with pytest.raises(ValueError, match="told takes 2 hints at most, got 3"):
        told.hinted(*[Region(0, 0, 5, 5)] * 3)
    with pytest.raises(ValueError, match="reaches out of the picture, 80 x 40 pixels"):
        told.hinted(Region(0, 0, 81, 5)).detect(photo)


def test_a_findings_hot_parts_become_hints_the_largest_first() -> None:
    heat = np.zeros((4, 8), np.float32)
    heat[0, 0] = heat[2:4, 4:7] = 0.9
    heat[0, 3] = 0.4
    region = Region(10, 20, 80, 40)
    finding = Finding("a", "b", 0.5, "yes", region=region, heatmap=heat)
    assert hints.of_finding(finding, 4) == [Region(50, 40, 30, 20), Region(10, 20, 10, 10)]
    assert hints.of_finding(finding, 1) == [Region(50, 40, 30, 20)]
    turned = Finding("a", "b", 0.5, "yes", region=Region(0, 0, 4, 2, 90))
    (box,) = hints.of_finding(turned, 4)
    assert (box.x, box.y, box.width, box.height) == pytest.approx((1, -1, 2, 4))
    assert hints.of_finding(Finding("a", "b", 0.5, "yes"), 4) == []


def test_from_the_command_line(
    run: Callable[..., tuple[int, str, str]], photo: Path, tmp_path: Path
) -> None:
    path = write_told(tmp_path)
    scanned = ("scan", photo, "--method", path, "--no-survival")
    code, out, _ = run(*scanned, "--hint", "10,5,40,10")
    assert code == 1
    assert "0.88" in out
    code, out, _ = run(*scanned, "--hint", "40,20")
    assert "0.73" in out
    for words, why in (
        (("--hint", "10,5,400,10"), "the hint 10,5,400,10 reaches out of the picture, 80 x 40"),
        (("--hint", "10,5,4"), "want a hint x,y,w,h or x,y in pixels, got '10,5,4'"),
        (("--hint", "nobody"), "or a method that ships weights, got 'nobody'"),
        (("--hint", "pim"), "photo.png: pim sees no place to take as a hint; give x,y,w,h"),
    ):
        code, _, err = run(*scanned, *words)
        assert code == 2
        assert err.startswith("telltale: ")
        assert why in err
        assert err.count("\n") == 1
    code, _, err = run("scan", photo, photo.parent, "--method", path, "--hint", "1,2")
    assert code == 2
    assert "--hint is about one picture" in err
    code, _, err = run("scan", photo, "--hint", "1,2")
    assert code == 2
    assert "--hint wants --method" in err

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from telltale import catalog, detector
from telltale.detector import Detector
from telltale.detector.quality import MEASURE, Rater
from telltale.engine import sha256
from telltale.records import Region

onnx = pytest.importorskip("onnx")

MEDIA = Path(__file__).parents[1] / "examples/media"


@pytest.fixture
def rater(tmp_path: Path) -> Rater:
    """A network that takes brightness for impairment: 100 times the mean of a crop."""
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        make.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
        make.make_node("Mul", ["mean", "hundred"], ["score"]),
    ]
    graph = make.make_graph(
        nodes,
        "brightness",
        [make.make_tensor_value_info("images", kind, ["n", 3, 32, 32])],
        [make.make_tensor_value_info("score", kind, ["n"])],
        [make.make_tensor("hundred", kind, [], [100.0])],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "brightness.onnx")
    digest = sha256(tmp_path / "brightness.onnx")
    card = tmp_path / "card.toml"
    card.write_text(
        f'[[weights]]\nfile = "brightness.onnx"\nsha256 = "{digest}"\n'
        'license = "CC0-1.0"\ntrained_on = "nothing"\ninput = { size = 32 }\n'
    )
    return Rater(1, card=card, folder=tmp_path)


def test_a_rate_is_the_mean_over_crops_of_a_region(rater: Rater) -> None:
    pixels = np.full((100, 120, 3), 51, np.uint8)  # 0.2 of white
    pixels[:, 60:] = 255
    assert rater.rate(pixels, Region(0, 0, 60, 100)) == pytest.approx(0.8)
    assert rater.rate(pixels, Region(60, 0, 60, 100)) == pytest.approx(0.0)
    # Crops of 32 from 0, 44 and 88: dark, half dark at 60 (16 of 32 columns), bright.
    assert rater.rate(pixels) == pytest.approx(1 - (0.2 + 0.6 + 1.0) / 3)
    assert rater.rate(pixels[:5, :7]) == pytest.approx(0.8)  # mirrored to a whole crop
    assert rater.rate(pixels, Region(-50, -50, 40, 40)) == pytest.approx(0.8)


def test_it_says_that_there_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.toml: there are no weights"):
        Rater(card=tmp_path / "none.toml")


@pytest.mark.parametrize(("least", "tells"), [(0.0, True), (1.0, False)])
def test_low_quality_is_cannot_tell(
    rater: Rater, least: float, tells: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "Rater", lambda threads: rater)
    card = catalog.card("vit_lora_scl")
    weights = dataclasses.replace(
        card.weights[0], operating_range={MEASURE: [least, float("inf")]}, threshold=0.5, doubt=0.0
    )
    found = Detector(card, weights, threads=1).detect(MEDIA / "astronaut.jpg", survival=False)[0]
    assert (found.verdict != "can't tell") == tells
    assert 0 < found.quality[MEASURE] < 1
    if not tells:
        assert "its visual quality, by a proxy, is" in found.notes[0]

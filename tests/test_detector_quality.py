import dataclasses
from pathlib import Path

import numpy as np
import pytest

from telltale import catalog, detector
from telltale.detector import Detector, quality
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
    middle = np.zeros((96, 96, 3), np.uint8)
    middle[32:64, 32:64] = 255  # one of the five black fields of a 3 × 3 board
    assert rater.rate(middle) == pytest.approx(0.8)
    middle[:32, 32:64] = 255  # a white field
    assert rater.rate(middle) == pytest.approx(0.8)
    assert rater.rate(middle[:32]) == pytest.approx(1 - 1 / 3)  # a single row, all of it
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


def test_the_shipped_rater_sees_what_pictures_suffer() -> None:
    cv2 = pytest.importorskip("cv2")
    assert cv2
    from telltale.data.synth.distortions import distort
    from telltale.media import read_picture

    rater = Rater(1)
    pixels = read_picture(MEDIA / "astronaut.jpg").pixels
    untouched = rater.rate(pixels)
    assert 0.95 < untouched <= 1
    for kind in ("gaussian_blur", "white_noise", "jpeg", "impulse_noise", "pixelate"):
        rng = np.random.default_rng(0)
        rates = [rater.rate(distort(kind, pixels, level, rng)) for level in (1, 3, 5)]
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] < untouched - 0.1
    rng = np.random.default_rng(1)
    dark = [rater.rate(np.full((40, 50, 3), value, np.uint8)) for value in (0, 128, 255)]
    noise = rater.rate(rng.integers(0, 256, (130, 140, 3), dtype=np.uint8))
    assert all(0 <= rate <= 1 for rate in (*dark, noise))


def test_a_forgery_under_noise_is_cannot_tell() -> None:
    pytest.importorskip("cv2")
    from telltale.data.synth.distortions import distort
    from telltale.media import read_picture

    pixels = read_picture(MEDIA / "forged_swap.jpg").pixels
    detector = Detector.load("vit_lora_scl", threads=1)
    (clear,) = detector.detect(pixels, survival=False)
    noisy = distort("white_noise", pixels, 4, np.random.default_rng([0, 0, 0]))
    (hidden,) = detector.detect(noisy, survival=False)
    assert clear.verdict == "yes"
    assert hidden.score < detector.weights.threshold - detector.weights.doubt  # would be a "no"
    assert hidden.verdict == "can't tell"
    assert any("visual quality" in note for note in hidden.notes)


def test_the_network_waits_for_the_first_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality, "session", lambda path, threads: pytest.fail("too early"))
    assert Rater(1).side == 128

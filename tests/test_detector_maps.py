"""Heat maps side by side: made of answers, with what the card found of their kind."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from redness import redness, save_face
from telltale.detector import Detector
from telltale.detector.maps import REMOVALS, as_heat, occlusion, without
from telltale.detector.subjects import Subject
from telltale.records import Finding, Region


def told(violation: float, *, trusted: bool) -> dict[str, Any]:
    share = [violation, 0.0, 0.6]
    return {"violation": share, "by_lot": 0.4, "pictures": 100, "trusted": trusted}


OCCLUDED = told(0.1, trusted=True) | {"grid": 4}


def asked(tmp_path: Path, maps: dict[str, Any], *, blue: bool = False, **how: Any) -> Finding:
    made = redness(tmp_path)
    weights = dataclasses.replace(made.weights, maps=maps)
    detector = Detector(made.card, weights, folder=tmp_path, threads=1)
    (finding,) = detector.detect(save_face(tmp_path / "face.png", blue=blue), **how)
    return finding


def test_the_most_faithful_map_is_shown_first(tmp_path: Path) -> None:
    finding = asked(tmp_path, {"own map": told(0.3, trusted=False), "occlusion": OCCLUDED})
    first, second = finding.explanations
    assert (first.method, second.method) == ("occlusion", "own map")
    assert finding.heatmap is not None
    assert np.array_equal(finding.heatmap, first.heatmap)
    assert first.heatmap.shape == (4, 4)
    assert (first.violation, first.by_lot, first.pictures) == (0.1, 0.4, 100)
    assert first.trusted
    assert not second.trusted
    (note,) = [note for note in finding.notes if "heat map" in note]
    assert note.startswith(
        "the heat map (occlusion) was tested: what it marks most pointed the wro"
    )
    assert "10% of tests on 100 pictures" in note


def test_an_own_map_that_did_better_stays(tmp_path: Path) -> None:
    finding = asked(tmp_path, {"own map": told(0.05, trusted=True), "occlusion": OCCLUDED})
    assert [it.method for it in finding.explanations] == ["own map", "occlusion"]
    assert "(own map)" in " ".join(finding.notes)


def test_a_map_that_cannot_be_trusted_says_so(tmp_path: Path) -> None:
    finding = asked(tmp_path, {"own map": told(0.5, trusted=False)})
    assert finding.explanations == ()
    assert finding.heatmap is not None
    assert finding.notes[-1].endswith("don't trust this map")


@pytest.mark.parametrize("how", [{"survival": False}, {"blue": True}])
def test_it_is_not_asked_where_it_is_not_wanted(tmp_path: Path, how: dict[str, Any]) -> None:
    finding = asked(tmp_path, {"occlusion": OCCLUDED}, **how)
    assert finding.explanations == ()
    assert finding.verdict == ("no" if "blue" in how else "yes")


def test_nobody_looks_at_the_maps_of_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from telltale import detector as room
    from telltale.evaluate.protocol import Protocol
    from telltale.evaluate.run import predict

    def fail(*given: object) -> None:
        raise AssertionError("an evaluation asked for a map")

    monkeypatch.setattr(room.maps, "occlusion", fail)
    made = redness(tmp_path)
    weights = dataclasses.replace(made.weights, maps={"occlusion": OCCLUDED})
    asked_of = Detector(made.card, weights, folder=tmp_path, threads=1)
    for label in ("real", "fake"):
        (tmp_path / "data" / label).mkdir(parents=True)
        save_face(tmp_path / "data" / label / "face.png", blue=label == "real")
    protocol = Protocol(split="train", survival=True)
    assert len(predict(asked_of, tmp_path / "data", protocol).scores) == 2
    assert asked_of.explains  # it is the caller's, and stays as it was
    with pytest.raises(AssertionError, match="asked for a map"):
        asked_of.detect(tmp_path / "data/fake/face.png")


def test_a_map_that_is_the_only_one_and_cannot_be_trusted_is_not_made(tmp_path: Path) -> None:
    from telltale.detector.maps import explained

    made = redness(tmp_path)
    poor = told(0.5, trusted=False) | {"grid": 4}
    weights = dataclasses.replace(made.weights, maps={"occlusion": poor})
    detector = Detector(made.card, weights, folder=tmp_path, threads=1)
    subject = Subject(Region(0, 0, 9, 9), np.zeros((1, 32, 32, 3), np.uint8), {})
    without_map = Finding("a", "b", 0.9, "yes")
    assert explained(detector, subject, without_map) is without_map
    own = dataclasses.replace(without_map, heatmap=np.zeros((2, 2), np.float32))
    assert [it.method for it in explained(detector, subject, own).explanations] == [
        "occlusion",
        "own map",
    ]


def test_a_card_without_tests_is_as_before(tmp_path: Path) -> None:
    finding = asked(tmp_path, {})
    assert finding.explanations == ()
    assert not any("heat map" in note for note in finding.notes)


@given(st.integers(2, 7), st.sampled_from(REMOVALS), st.integers(0, 2**32 - 1))
def test_nothing_but_the_dropped_blocks_changes(grid: int, how: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    crop = rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    dropped = rng.random((grid, grid)) < 0.4
    made = without(crop, dropped, how)
    edges = np.rint(np.linspace(0, 30, grid + 1)).astype(int)
    inside = np.repeat(np.repeat(dropped, np.diff(edges), 0), np.diff(edges), 1)
    assert np.array_equal(made[~inside], crop[~inside])
    if how == "black":
        assert not made[inside].any()
    assert np.array_equal(without(crop, np.zeros((grid, grid), bool), how), crop)


def test_occlusion_of_a_sum_is_what_each_block_adds() -> None:
    crop = np.zeros((8, 8, 3), np.uint8)
    crop[:4, 4:] = 200
    lost = occlusion(lambda it: float(it.sum()) / 1000, crop, 2, "black")
    np.testing.assert_allclose(lost, [[0, 9.6], [0, 0]])
    np.testing.assert_allclose(as_heat(lost), [[0, 1], [0, 0]])
    np.testing.assert_allclose(as_heat(np.array([[0.5, -3.0]])), [[1 / 6, 0]], atol=1e-6)
    np.testing.assert_allclose(as_heat(np.array([[0.1, 0.0]])), [[0.4, 0.0]])  # pale
    with pytest.raises(ValueError, match="want a removal of black, mean, flat, blurred"):
        without(crop, np.ones((2, 2), bool), "zero")


@pytest.mark.parametrize("trusted", [True, False])
def test_a_no_keeps_its_own_map_only_if_that_can_be_trusted(tmp_path: Path, trusted: bool) -> None:
    tests = {"occlusion": OCCLUDED, "own map": told(0.1 if trusted else 0.4, trusted=trusted)}
    finding = asked(tmp_path, tests, blue=True)
    assert finding.verdict == "no"
    assert (finding.heatmap is not None) == trusted
    assert any("heat map" in note for note in finding.notes) == trusted

"""``telltale explain`` and ``telltale stress --faithfulness``, on runs and on exported files."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from telltale.explaining import explain, faithfulness, to_json
from telltale.explaining.opening import blocks, square
from telltale.explaining.page import coloured
from telltale.explaining.verdicts import measured, wilson
from telltale.records import Weights

pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., tuple[int, str, str]]
MEDIA = Path(__file__).parents[1] / "examples/media"
ASTRONAUT = MEDIA / "astronaut.jpg"
SHORT = ("--set", "fit.steps=2", "--set", "fit.every=1", "--set", "data.scenes=16")
SHORT += ("--set", "fit.schedule=constant", "--set", "fit.warmup=0")


def trained(slug: str, folder: Path, run: Run) -> Path:
    words = ("train", slug, "--recipe", "toy", "--run", folder, *SHORT)
    code, _, err = run(*words, "--set", "data.validation=4", "--quiet")
    assert code == 0, err
    return folder


def test_a_run_is_explained_on_one_page(tmp_path: Path, run: Run) -> None:
    folder, out = trained("vit_lora_scl", tmp_path / "run", run), tmp_path / "e.html"
    words = ("explain", ASTRONAUT, "--detector", folder, "--on", "crops", "--count", 2)
    code, text, err = run(*words, "--out", out)
    assert code == 0, err
    for name in ("raw attention", "transformer attribution", "partial LRP", "rollout", "grad-cam"):
        assert name in text
    page = out.read_text()
    assert page.count("<figure") == 1 + 10  # as given, and all maps but the random one
    assert "http" not in page.replace("http-equiv", "")
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', page))
    assert "2 pictures of the run&#x27;s validation data" in page


def test_maps_and_figures_from_python(tmp_path: Path, run: Run) -> None:
    folder = trained("faithfulness", tmp_path / "run", run)
    made, found = explain([ASTRONAUT], folder, on="crops", pictures=2)
    assert found.pictures == 2
    assert [row.violation for row in found.rows] == sorted(row.violation for row in found.rows)
    assert found.best().method != "random"
    assert found.of("rollout").by_removal.keys() == {"zero", "slice", "attention"}
    assert set(made[0].maps) == {row.method for row in found.rows}
    for name, weights in made[0].maps.items():
        assert weights.shape == (10, 10)
        assert name not in ("rollout", "raw attention") or weights.min() >= 0
    assert np.isnan(found.rows[0].sufficiency)
    again = faithfulness(folder, pictures=2)
    assert [row.violation for row in again.rows] == [row.violation for row in found.rows]
    assert not np.isnan(again.rows[0].sufficiency)
    assert "NaN" not in to_json(found)
    assert json.loads(to_json(found))["rows"][0]["sufficiency"] is None


def test_a_network_without_attention(tmp_path: Path, run: Run) -> None:
    folder = trained("recapture", tmp_path / "run", run)
    found = faithfulness(folder, pictures=2)
    methods = {row.method for row in found.rows}
    assert {"input × gradient", "integrated gradients", "occlusion"} <= methods
    assert found.of("occlusion").by_removal.keys() == {"zero", "flat"}  # not the one it is made by
    assert "blocks of pixels" in found.notes[0]


def test_an_exported_file_is_occluded(method: Path, tmp_path: Path, run: Run) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("astronaut", "commodore"):
        (pictures / f"{name}.jpg").write_bytes((MEDIA / f"{name}.jpg").read_bytes())
    out = tmp_path / "out"
    words = ("stress", method, "--faithfulness", "--data", pictures, "--on", "crops", "--out", out)
    code, text, err = run(*words)
    assert code == 0, err
    assert "occlusion" in text
    assert "no gradients" in text
    assert "own map" in text
    (path,) = out.glob("faithfulness_*.json")
    figures = json.loads(path.read_text())
    assert figures["pictures"] == 2
    assert {row["method"] for row in figures["rows"]} >= {"occlusion", "random"}
    assert all(0 <= row["low"] <= row["violation"] <= row["high"] <= 1 for row in figures["rows"])


def test_what_is_wrong_is_named(tmp_path: Path, run: Run, method: Path) -> None:
    code, _, err = run("explain", tmp_path / "none.jpg", "--detector", method)
    assert code == 2
    assert "none.jpg" in err
    grey = tmp_path / "grey.png"
    Image.fromarray(np.full((64, 64, 3), 128, np.uint8)).save(grey)
    code, _, err = run("explain", grey, "--detector", method, "--out", tmp_path / "e.html")
    assert code == 2
    assert "grey.png: no face found; --on crops" in err
    with pytest.raises(ValueError, match="want one picture or more"):
        faithfulness(method, [grey], pictures=0)
    with pytest.raises(ValueError, match="brings no data"):
        faithfulness(method)
    code, _, err = run("explain", grey, "--detector", tmp_path)
    assert code == 2
    assert "run.json" in err


def test_the_interval_and_the_pieces() -> None:
    low, high = wilson(0.5, 100)
    assert (low, high) == pytest.approx((0.4038, 0.5962), abs=1e-4)  # by hand
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert [blocks(side) for side in (224, 126, 40, 35)] == [8, 7, 8, 7]
    with pytest.raises(ValueError, match="no 4 to 8 blocks"):
        blocks(11)
    assert square(np.zeros((10, 20, 3), np.uint8), 6).shape == (6, 6, 3)
    assert coloured(np.zeros((3, 3), np.float32)).startswith("data:image/png;base64,")


def told(violation: float = 0.04, *, trusted: bool = True) -> dict[str, Any]:
    share = [violation, 0.0, 0.5]
    return {"violation": share, "by_lot": 0.4, "pictures": 100, "trusted": trusted}


def test_a_card_says_how_often_its_map_is_wrong() -> None:
    maps = {"own map": told(), "occlusion": told(0.45, trusted=False) | {"grid": 5}}
    weights = Weights("a.onnx", "0" * 64, "MIT", "toys", maps=maps)
    (note,) = weights.told("own map")
    assert "own map" in note
    assert "4% of tests on 100 pictures, 40% for a map drawn by lot" in note
    assert "trust" not in note
    assert weights.told("occlusion")[0].endswith("don't trust this map")
    assert weights.told("rollout") == ()
    with pytest.raises(ValueError, match=r"'own map' lacks \['by_lot', 'pictures', 'trusted'\]"):
        Weights("a.onnx", "0" * 64, "MIT", "toys", maps={"own map": {"violation": [0.1, 0, 1]}})


def test_a_linear_detector_is_explained_without_a_violation(method: Path, tmp_path: Path) -> None:
    """Redness is a sum over blocks: what a block is worth is what its removal costs, to a sign."""
    from telltale.explaining.files import Shown

    shown = Shown.of(method, 4)
    assert shown.methods() == ("own map", "occlusion", "random")
    rng = np.random.default_rng(0)
    crop = rng.integers(0, 256, (4, 4, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    tests = shown.tested([crop, crop[::-1]])
    assert not tests["own map"].violated[:, 0].any()  # black takes all that a block says
    assert tests["own map"].still[:, 2].all()  # a block of one colour is its own mean
    assert tests["random"].violated.any()
    assert tests["occlusion"].removals == ("black", "mean", "flat")
    maps, score, called = shown.explain(crop)
    assert score >= 0.5
    side = 1 if called else -1
    red = (crop[::8, ::8, 0].astype(float) - crop[::8, ::8, 2]) / 255 * 8
    np.testing.assert_allclose(side * maps["own map"], red, atol=1e-4)


def test_better_than_by_lot_is_settled_by_pairs() -> None:
    lot = {"black": np.array([True] * 30 + [False] * 30), "flat": np.ones(60, bool)}
    worse = {"black": np.ones(60, bool)}
    good = {"black": np.array([True] * 3 + [False] * 57)}
    row = measured("a", good, lot, 0.0, 0.1, 0.1)
    assert row.better
    assert (row.trust, row.violation) == ("yes", 0.05)
    assert row.low < 0.05 < row.high < 0.25
    assert measured("a", good, lot, 0.6, 0.1, 0.1).trust == "not settled"
    assert not measured("a", worse, lot, 0.0, 0.1, 0.1).better
    same = measured("a", {"flat": np.ones(60, bool)}, lot, 0.0, 0.1, 0.1)
    assert (same.better, same.trust) == (False, "no")
    one = {"black": np.zeros(1, bool)}
    assert not measured("a", one, {"black": np.ones(1, bool)}, 0.0, 0.1, 0.1).better

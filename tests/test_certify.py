"""Certificates from the command line, of a trunk and of runs."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from telltale.certify import certify

pytestmark = pytest.mark.usefixtures("one_thread")
Run = Callable[..., tuple[int, str, str]]
MEDIA = Path(__file__).parents[1] / "examples/media"


def test_a_trunk_by_its_name(tmp_path: Path, run: Run) -> None:
    out = tmp_path / "c.csv"
    words = ("certify", "vit_toy", MEDIA / "astronaut.jpg", MEDIA / "commodore.jpg")
    code, text, err = run(*words, "--samples", 200, "--sigma", 0.1, "--out", out)
    assert code == 0, err
    assert "astronaut.jpg" in text
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [Path(row["path"]).name for row in rows] == ["astronaut.jpg", "commodore.jpg"]
    for row in rows:
        assert 0 <= float(row["score"]) <= 1
        known = [float(row[f"cosine at {s}"] or 0) for s in ("0.05", "0.1", "0.25", "0.5")]
        assert known == sorted(known, reverse=True)


def test_a_run_and_its_sigma(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "run"
    settings = ("--set", "fit.steps=2", "--set", "fit.every=1", "--set", "data.scenes=16")
    train = ("train", "feature_smoothing", "--recipe", "toy", "--run", folder, *settings, "--quiet")
    code, _, err = run(*train)
    assert code == 0, err
    picture = [MEDIA / "astronaut.jpg"]
    (one,) = certify(str(folder), picture, samples=100)
    (again,) = certify(str(folder), picture, samples=100)
    (other,) = certify(str(folder), picture, samples=100, sigma=0.05)
    assert (one.score, one.radius) == (again.score, again.radius)
    assert other.score > one.score  # less noise, nearer features


def test_what_is_wrong_is_named(tmp_path: Path, run: Run) -> None:
    code, _, err = run("certify", "vit_toyy", MEDIA / "astronaut.jpg")
    assert code == 2
    assert "vit_toyy" in err
    code, _, err = run("certify", "vit_toy", tmp_path / "none.jpg")
    assert code == 2
    assert "none.jpg" in err
    code, _, err = run("certify", tmp_path, MEDIA / "astronaut.jpg")
    assert code == 2
    assert "run.json" in err

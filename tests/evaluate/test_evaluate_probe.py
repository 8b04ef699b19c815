"""What else than the forgery predicts the label is found, and chance is not taken for it."""

import csv
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from telltale import evaluate as verb
from telltale.evaluate import Predictions, Protocol

QUICK = Protocol(resamples=60)
Run = Callable[..., tuple[int, str, str]]


def told(predictions: Predictions) -> dict[str, verb.Probe]:
    return {probe.what: probe for probe in verb.probes(predictions, QUICK)}


@pytest.fixture
def leaky(data: Predictions) -> Predictions:
    rng = np.random.default_rng(1)
    paths = [f"{k}.{'png' if label else 'jpg'}" for k, label in enumerate(data.labels)]
    odd = np.where(data.labels == 1, 256, rng.choice([64, 1024], 400))  # neither larger nor smaller
    columns = {
        "jpeg_quality": np.array(
            [str(q) for q in 70 + 20 * data.labels + rng.integers(5, size=400)]
        ),
        "side": np.array([str(side) for side in odd]),
        "room": rng.choice(["kitchen", "hall"], 400),
        "width": np.array([str(width) for width in rng.integers(100, 2000, size=400)]),
        "kind": data.columns["kind"],
        "mask": np.where(data.labels == 1, "m.png", ""),
        "serial": np.array([f"no {k}" for k in range(400)]),
    }
    return Predictions("leaky", np.array(paths), data.labels, data.scores, data.sources, columns)


def test_a_leak_is_named_and_an_innocent_column_is_not(leaky: Predictions) -> None:
    found = told(leaky)
    assert found["jpeg_quality"].auc == pytest.approx(1, abs=0.01)
    assert found["side"].tells  # though neither large nor small values speak for a forgery
    assert found["file type"].tells
    assert found["all of these together"].auc > 0.99
    assert found["jpeg_quality"].items == 400
    assert not found["room"].tells
    assert not found["width"].tells
    assert not found["identity (source)"].tells
    assert {"kind", "mask", "serial"}.isdisjoint(found)  # follow from the label, or are names
    said = "\n".join(verb.leaks(tuple(found.values())))
    assert "by jpeg_quality (AUC 1.00)" in said
    assert "by file type (AUC 1.00)" in said
    assert verb.leaks((found["room"],)) == []
    assert "room" not in said
    assert "together" not in said


def test_few_items_or_sources_say_nothing(leaky: Predictions) -> None:
    assert verb.probes(leaky.take(np.arange(30)), QUICK) == ()
    one = replace(leaky, sources=np.where(leaky.labels == 1, "a", "b"))
    assert {*told(one)} <= {"identity (source)"}  # two people do not make five folds


def test_identity_alone_is_asked_of_other_items_and_not_of_the_same_video() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 5)
    labels = (people % 2).astype(np.int64)  # each person is always forged or never
    names = np.array([f"{k}.png" for k in range(200)])
    sources = np.array([f"person {who}" for who in people])
    rows = Predictions("people", names, labels, rng.random(200), sources)
    assert told(rows)["identity (source)"].auc == 1
    one_video = replace(rows, columns={"video": sources})
    assert "identity (source)" not in told(one_video)  # frames of one video share its label


def test_probing_again_gives_the_same(leaky: Predictions) -> None:
    assert verb.probes(leaky, QUICK) == verb.probes(leaky, QUICK)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Forged pictures are PNG or of quality 60, genuine ones of quality 95; scores are noise."""
    rng = np.random.default_rng(2)
    (tmp_path / "files").mkdir()
    lines = [["path", "label", "source", "split", "score"]]
    for number in range(120):
        label = number % 2
        name = f"{number}.{'png' if number % 4 == 1 else 'jpg'}"
        side = int(rng.integers(8, 16))
        image = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        image.save(tmp_path / "files" / name, quality=60 if label else 95)
        split = "val" if number % 3 == 0 else "test"
        lines.append([name, str(label), f"p{number // 4}", split, f"{rng.random():.3f}"])
    path = tmp_path / "predictions.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return path


def test_headers_of_the_files_are_probed(table: Path, tmp_path: Path, run: Run) -> None:
    found = verb.evaluate(table, protocol=QUICK, files=tmp_path / "files")
    by_name = {probe.what: probe for probe in found.probes}
    assert by_name["jpeg quality"].auc == 1
    assert by_name["jpeg quality"].items < by_name["container"].items
    assert by_name["container"].tells
    assert not by_name["width x height"].tells
    assert any("by jpeg quality (AUC 1.00)" in note for note in found.notes)
    assert "file type" not in by_name  # the container says it better
    blind = verb.evaluate(table, protocol=QUICK)
    assert any("name their folder with --files" in note for note in blind.notes)
    kept, out = tmp_path / "kept.csv", tmp_path / "out.md"
    words = ("--files", tmp_path / "files", "--keep", kept, "--out", out, "--select", "eer")
    code, told_, _ = run("evaluate", table, *words)
    assert code == 0
    assert "gives the label" in told_
    assert {"60", "95"} < set(verb.read_predictions(kept).columns["jpeg quality"].tolist())
    text = out.read_text()
    assert "## What else predicts the label" in text
    assert "## Risk and coverage" in text
    code, _, err = run("evaluate", "vit_lora_scl", "--data", table, "--files", tmp_path)
    assert code == 2
    assert "--files is for tables of predictions" in err


def test_only_some_of_many_files_are_read(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telltale.evaluate.probe.MOST", 12)
    rows = verb.with_facts(verb.read_predictions(table), tmp_path / "files")
    assert (rows.columns["container"] != "").sum() == 12
    assert verb.with_facts(rows, tmp_path / "nowhere").columns.keys() == rows.columns.keys()


def test_a_file_that_is_no_picture_has_its_size_alone(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no picture")
    rows = Predictions("x", np.array(["a.mp4"]), np.array([1]), np.array([0.5]), np.array(["a"]))
    assert dict(verb.with_facts(rows, tmp_path).columns) == {"file bytes": np.array(["10"])}


def test_what_is_no_file_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    names = np.array(["pipe.png", "", "a\0b", "https://example.org/a.png"])
    rows = Predictions("x", names, np.array([1, 0, 1, 0]), np.full(4, 0.5), names)
    assert verb.with_facts(rows, tmp_path).columns == {}

"""What raters of quality learn from: tables, databases and drawn pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from telltale.data.manifest import Manifest, Row, read_manifest
from telltale.data.quality.source import DistortedSource, QualitySource, pristine
from telltale.data.sources import Data, open_source
from telltale.data.synth.toyquality import toy_quality

FIELDS = ("images", "partners", "scores")


def put(path: Path, value: int) -> Path:
    Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(path)
    return path


def manifest(tmp_path: Path, dataset: str = "", references: int = 10) -> Manifest:
    """Two pictures of each reference; a picture's value is 10 times its reference and its level."""
    rows = []
    for number in range(references):
        clean = put(tmp_path / f"{number}.png", 20 * number)
        for level in (1, 2):
            path = put(tmp_path / f"{number}_{level}.png", 20 * number + level)
            split = "train" if number < 6 else "val" if number < 8 else "test"
            row = Row(path, 1, f"r{number}", split, f"k{level}", None, clean, str(path))
            rows.append(row._replace(score=40.0 * level, dataset=dataset))
    return Manifest("rows", tuple(rows), ("k1", "k2"))


def source(made: Manifest, seed: int = 0, **settings: Any) -> QualitySource:
    return QualitySource(Data(manifest="x", batch=4, **settings), made, FIELDS, 8, seed)


def test_batches_are_pairs_with_their_score(tmp_path: Path) -> None:
    made = source(manifest(tmp_path))
    seen = set()
    for number in range(6):
        batch = made[number]
        assert batch["images"].shape == batch["partners"].shape == (4, 3, 8, 8)
        steps = np.rint((batch["images"] - batch["partners"])[:, 0, 0, 0] * 255)
        np.testing.assert_array_equal(steps * 40, batch["scores"])
        seen |= {*batch["scores"].tolist()}
        np.testing.assert_array_equal(batch["images"], made[number]["images"])
    assert seen == {0.0, 40.0, 80.0}  # pristine ones, too


def test_every_fifth_is_pristine(tmp_path: Path) -> None:
    made = source(manifest(tmp_path))
    assert made.about["train"] == 12 + 2
    rows = pristine(manifest(tmp_path).rows, 0)
    assert len(rows) == 4
    assert all(row.score == 0 and row.partner is None and "_" not in row.path.stem for row in rows)


def test_a_table_keeps_its_splits_and_a_databases_references_are_divided(tmp_path: Path) -> None:
    made = source(manifest(tmp_path))
    assert {row.source for row in made.check} == {"r6", "r7"}
    checks = []
    for seed in (0, 0, 1):
        divided = source(manifest(tmp_path, "kadid10k"), seed)
        check = {row.source for row in divided.check}
        assert len(check) == 2
        assert not check & {row.source for row in divided.learn}
        checks.append(check)
    assert checks[0] == checks[1] != checks[2]


def test_validation_is_the_same_each_time(tmp_path: Path) -> None:
    made = source(manifest(tmp_path), validation=3)
    first, again = ([*made.validation()] for _ in range(2))
    assert sum(len(batch["scores"]) for batch in first) == 3
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one["images"], other["images"])


def test_kinds_can_be_held_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="want several scores in split 'train'"):
        source(manifest(tmp_path), leave_out=["k2"])
    made = DistortedSource(
        Data(manifest="synth:distorted", batch=4, scenes=2, leave_out=["jpeg"]), FIELDS, 48, 0
    )
    assert made.about["kinds"] == ["gaussian_blur", "white_noise", "contrast"]
    assert len(made.learn.scores) == 2 * 3 * 5 + 6


def test_pictures_want_scores(tmp_path: Path) -> None:
    rows = manifest(tmp_path).rows
    unscored = Manifest("rows", (*rows, rows[0]._replace(score=float("nan"))), ())
    with pytest.raises(ValueError, match=r"0_1\.png: want a score"):
        source(unscored)
    with pytest.raises(ValueError, match="cannot give \\['labels'\\]"):
        QualitySource(Data(manifest="x"), manifest(tmp_path), ("labels",), 8, 0)


def test_a_table_may_have_scores_in_place_of_labels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / f"{name}.png", 9)
    table = tmp_path / "table.csv"
    table.write_text("path,score,kind,partner,split\na.png,12.5,jpeg,b.png,train\n")
    (row,) = read_manifest(table).rows
    assert (row.score, row.kind, row.partner) == (12.5, "jpeg", tmp_path / "b.png")
    table.write_text("path,score\na.png,good\n")
    with pytest.raises(ValueError, match="line 2: want a number as score, got 'good'"):
        read_manifest(table)
    table.write_text("path\na.png\n")
    with pytest.raises(ValueError, match="want the columns label"):
        read_manifest(table)


def test_drawn_pictures_by_hand(tmp_path: Path) -> None:
    made = toy_quality(range(2), seed=0, size=48, kinds=("jpeg", "contrast"))
    assert made.images.shape == (20, 48, 48, 3)
    assert made.reference.tolist() == [0] * 10 + [1] * 10
    assert np.abs(made.scores.reshape(4, 5) - 20 * np.arange(1, 6)).max() < 15
    assert made.kinds[4] == "jpeg"
    again = toy_quality([1], seed=0, size=48, kinds=("jpeg", "contrast"))
    np.testing.assert_array_equal(again.images, made.images[10:])
    data = Data(manifest="synth:distorted", batch=6, scenes=3, validation=10)
    drawn = open_source(data, fields=FIELDS, size=48, seed=0, cache=tmp_path)
    batch = drawn[0]
    assert batch["images"].shape == (6, 3, 48, 48)
    assert batch["images"].dtype == batch["scores"].dtype == np.float32
    assert sum(len(b["scores"]) for b in drawn.validation()) == 10
    with pytest.raises(ValueError, match="no kind 'jpg'"):
        DistortedSource(Data(manifest="synth:distorted", forge=["jpg"]), FIELDS, 48, 0)
    with pytest.raises(ValueError, match="there is synth:toyfaces and synth:distorted"):
        open_source(Data(manifest="synth:x"), fields=FIELDS, size=48, seed=0, cache=tmp_path)

"""``telltale synth`` of local changes, and a run that is asked where a picture was changed."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from telltale import synth
from telltale.data.manifest import read_manifest
from telltale.data.synth import distortions, splicing
from telltale.detector.tiles import Whole

Run = Callable[..., tuple[int, str, str]]


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("kind", ["splice", "copy_move", "removal"])
def test_changes_come_with_masks_and_a_manifest(kind: str, tmp_path: Path, run: Run) -> None:
    given = pictures(tmp_path / "in", 3)
    code, out, _ = run("synth", kind, given, "--out", tmp_path / "out")
    assert code == 0
    assert "3 forgeries" in out
    with (tmp_path / "out/manifest.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["label"] for row in rows] == ["0", "1"] * 3
    for real, fake in zip(rows[::2], rows[1::2], strict=True):
        assert (real["partner"], fake["partner"]) == ("", real["path"])
        before, after, mask = (
            np.asarray(Image.open(tmp_path / "out" / name))
            for name in (real["path"], fake["path"], fake["mask"])
        )
        assert np.array_equal(before[mask == 0], after[mask == 0])
        assert not np.array_equal(before, after)
    assert read_manifest(tmp_path / "out/manifest.csv").kinds == (kind,)


def test_the_verb_knows_the_kinds_that_there_are() -> None:
    assert synth.CHANGES == splicing.KINDS


def test_a_splice_wants_two_pictures(tmp_path: Path, run: Run) -> None:
    code, _, err = run("synth", "splice", pictures(tmp_path / "in", 1), "--out", tmp_path / "out")
    assert code == 2
    assert "two pictures or more, found 1" in err


def test_a_whole_picture_is_one_square() -> None:
    (subject,) = Whole(32).look(np.zeros((40, 60, 3), np.uint8), {})
    assert np.shape(subject.crops) == (1, 32, 32, 3)
    assert (subject.region.width, subject.region.height) == (60, 40)


@pytest.mark.parametrize("slug", ["pim", "forensics_sam"])
def test_a_trained_run_is_exported_and_scans(slug: str, tmp_path: Path, run: Run) -> None:
    small = ("fit.steps=2", "fit.warmup=1", "data.scenes=20", "data.batch=4", "data.validation=8")
    words = [word for setting in small for word in ("--set", setting)]
    out = tmp_path / "run"
    code, _, err = run("train", slug, "--recipe", "toy", *words, "--run", out)
    assert code == 0, err
    given = pictures(tmp_path / "in", 1)
    code, said, err = run("scan", given / "0.png", "--method", out)
    assert code in (0, 1), err
    assert "the picture" in said
    assert "as given" in said, "the same question after each degradation, on the whole picture"


def test_distort_makes_a_database_of_quality(tmp_path: Path, run: Run) -> None:
    given = pictures(tmp_path / "in", 2)
    words = ("synth", "distort", given, "--only", "jpeg", "--only", "contrast", "--seed", 3)
    code, out, _ = run(*words, "--out", tmp_path / "out")
    assert code == 0
    assert "20 distorted pictures, each with a proxy score" in out
    found = read_manifest(tmp_path / "out/manifest.csv")
    assert found.kinds == ("contrast", "jpeg")
    for row in found.rows:
        level = int(row.path.stem[-1])
        assert row.score == 20 * level
        kind = row.kind
        clean = np.asarray(Image.open(row.partner or ""))
        place = ("jpeg", "contrast").index(kind)
        number = int(row.path.stem[:5])
        wanted = distortions.distort(kind, clean, level, np.random.default_rng([3, number, place]))
        with Image.open(row.path) as image:
            assert np.array_equal(np.asarray(image), wanted)
            assert (
                f"DISTORTED by telltale synth: {kind}, level {level}" in image.text["Description"]
            )
    assert run(*words, "--out", tmp_path / "out")[0] == 2  # is there already


def test_distort_may_score_by_fsim(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("piq")
    words = ("synth", "distort", pictures(tmp_path / "in", 1), "--only", "white_noise")
    assert run(*words, "--proxy", "fsim", "--out", tmp_path / "out")[0] == 0
    scores = [row.score for row in read_manifest(tmp_path / "out/manifest.csv").rows]
    assert 0 < scores[0] < scores[2] < scores[4] < 100


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["distort", "--only", "jpg"], "no distortion 'jpg'"),
        (["distort", "--proxy", "vmaf"], "no proxy 'vmaf'"),
        (["splice", "--only", "jpeg"], "are for telltale synth distort"),
    ],
)
def test_distort_says_what_it_wants(words: list[str], says: str, tmp_path: Path, run: Run) -> None:
    code, _, err = run("synth", *words, pictures(tmp_path / "in", 2), "--out", tmp_path / "out")
    assert code == 2
    assert says in err

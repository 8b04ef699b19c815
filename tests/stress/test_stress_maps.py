"""Pixel figures under degradations: figures known beforehand, masks that go with their pictures."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from redness import redness, write_redness
from telltale import stress as verb
from telltale.degrade import Moved
from telltale.detector import Detector
from telltale.loading import load
from telltale.stress import Plan
from telltale.stress.maps import carried

RED, BLUE = (200, 50, 50), (50, 50, 200)


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    """Redness of whole pictures, cell by cell."""
    path = write_redness(tmp_path)
    card = path.with_suffix(".toml")
    card.write_text(card.read_text().replace("margin = 1.3", 'crop = "whole"'))
    return load(path)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Blue pictures; the left half of two is red, which their masks say."""
    lines = ["path,label,source,split,mask"]
    for number in range(4):
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[:] = BLUE
        mask = ""
        if number < 2:
            pixels[:, :32] = RED
            where = np.zeros((64, 64), np.uint8)
            where[:, :32] = 255
            mask = f"{number}_mask.png"
            Image.fromarray(where).save(tmp_path / mask)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number < 2:d},photo {number},test,{mask}")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_figures_by_hand(tmp_path: Path, detector: Detector, manifest: Path) -> None:
    plan = Plan(kinds=("CS", "RESIZE"), resamples=20)
    found = verb.stress_maps({"red": detector}, manifest, plan, out=tmp_path / "out")
    assert (found.changed, found.pristine) == (2, 2)
    spots = {(spot.kind, spot.level): spot for spot in found.spots}
    assert spots["", 0].f1.value == pytest.approx(1, abs=0.02)
    assert spots["", 0].auc.value == pytest.approx(1, abs=0.01)
    assert spots["", 0].area.value == 0
    assert spots["CS", 1].f1.value == pytest.approx(1, abs=0.02)
    # without colour nothing is redder than blue: half of the pixels tie, all are called
    assert spots["CS", 5].auc.value == pytest.approx(0.5, abs=0.05)
    assert spots["RESIZE", 4].f1.value > 0.9  # a quarter of the size, and so is the mask
    again = verb.stress_maps({"red": detector}, manifest, plan, out=tmp_path / "out")
    assert again.spots == found.spots
    assert len((tmp_path / "out/maps.jsonl").read_text().splitlines()) == 5


def test_a_mask_goes_where_its_picture_goes() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 20:40] = True
    pixels = np.zeros((20, 30, 3), np.uint8)
    half = carried(mask, Moved(pixels, scale=0.5))
    assert half.shape == (20, 30)
    assert half[5:10, 10:20].all()
    assert half.sum() == 50
    cut = carried(mask, Moved(pixels, shift_x=-25, shift_y=-5))
    assert cut[5:15, :15].all()
    assert cut.sum() == 150
    assert carried(mask, Moved(np.zeros((40, 60, 3), np.uint8))) is mask


def test_from_the_command_line(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, detector: Detector, manifest: Path
) -> None:
    method = tmp_path / "redness.onnx"
    options = ("--data", manifest, "--kinds", "CS", "--pixels", "--resamples", "20")
    code, out, _ = run("stress", method, *options, "--out", tmp_path / "out")
    assert code == 0
    assert "F1 at 0.5" in out
    assert "CS: colour saturation" in out
    assert "## redness.onnx: pixel AUC" in (tmp_path / "out/maps.md").read_text()
    rows = [*csv.DictReader((tmp_path / "out/maps.csv").read_text().splitlines())]
    assert [row["level"] for row in rows] == ["0", "1", "2", "3", "4", "5"]


def test_what_gives_no_map_of_pictures_or_has_no_masks(
    tmp_path: Path, detector: Detector, manifest: Path
) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    with pytest.raises(ValueError, match="red: gives no map of whole pictures"):
        verb.stress_maps({"red": redness(faces)}, manifest)
    bare = [line.rpartition(",")[0] for line in manifest.read_text().splitlines()]
    manifest.write_text("\n".join(bare) + "\n")
    with pytest.raises(ValueError, match="no changed picture with a mask"):
        verb.stress_maps({"red": detector}, manifest)

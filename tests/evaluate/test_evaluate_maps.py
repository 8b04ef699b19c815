"""Pixel figures of anyone's maps and of a detector's, over a miniature set with masks."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from telltale.evaluate import judge_maps

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two changed pictures, the left half and a quarter of them, and a pristine one."""
    rng = np.random.default_rng(0)
    lines = ["path,label,source,mask"]
    for name, columns, rows in (("one", 40, 60), ("two", 40, 30), ("none", 0, 0)):
        pixels = rng.integers(0, 256, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        mask = np.zeros((60, 80), np.uint8)
        mask[:rows, :columns] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
        lines.append(
            f"{name}.png,{int(columns > 0)},{name},{name}_mask.png"
            if columns
            else f"{name}.png,0,{name},"
        )
    path = tmp_path / "data.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Right for the first at half its size; half right for the second; a third called in vain."""
    folder = tmp_path / "maps"
    folder.mkdir()
    one = np.zeros((30, 40), np.uint8)
    one[:, :20] = 255
    two = np.zeros((60, 80), np.uint8)
    two[:60, :40] = 200
    none = np.zeros((60, 80), np.uint8)
    none[:20] = 255
    for name, found in (("one", one), ("two", two), ("none", none)):
        Image.fromarray(found).save(folder / f"{name}.png")
    return folder


def test_figures_by_hand(data: Path, maps: Path) -> None:
    found = judge_maps(str(maps), data)
    assert found["pixel F1 at 0.5"][0] == pytest.approx((1 + 2 / 3) / 2, abs=0.01)
    assert found["pixel IoU"][0] == pytest.approx(0.75, abs=0.01)
    assert found["area called in pristine pictures"][0] == pytest.approx(1 / 3)
    assert found["pixel F1, all pixels pooled"][0] == pytest.approx(
        2 * 3600 / (2 * 3600 + 1200), abs=0.01
    )
    # 1, half of the picture called for a quarter, a third called for nothing
    pbca = (1 + 3 / 4 + 2 / 3) / 3
    assert found["pixel accuracy at 0.5 (PBCA)"][0] == pytest.approx(pbca, abs=0.01)
    iinc = (0 + (2 - 1 / 2 - 1) / (3 - 1 / 2) + 1 / (3 - 1 / 3)) / 3
    assert found["IINC at 0.5"][0] == pytest.approx(iinc, abs=0.01)
    low, high = found["pixel F1 at 0.5"][1:]
    assert 0.66 <= low <= high <= 1


def test_from_the_command_line(data: Path, maps: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "f.json"
    code, text, err = run("evaluate", maps, "--data", data, "--pixels", "--out", out)
    assert code == 0, err
    assert "| pixel F1 at 0.5 | 0.8" in text
    assert "| IINC at 0.5 | 0.19" in text
    assert json.loads(out.read_text())["pixel IoU"][0] == pytest.approx(0.75, abs=0.01)
    (maps / "one.png").unlink()
    code, _, err = run("evaluate", maps, "--data", data, "--pixels")
    assert code == 2
    assert "no map called one" in err
    code, _, err = run("evaluate", maps, "--pixels")
    assert code == 2
    assert "--data" in err


def test_a_detector_that_localises(data: Path) -> None:
    found = judge_maps("pim", data)
    assert 0 <= found["pixel F1 at 0.5"][0] <= 1
    with pytest.raises(ValueError, match="name a method that localises"):
        judge_maps("recapture", data)

"""The doctor: it sees what is there, what is broken, and scans a drawing."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from redness import redness, write_redness
from telltale import cli, doctor, engine
from telltale.loading import load
from telltale.media.facefinder import FaceFinder


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose only method measures redness; its folder of weights."""
    folder = tmp_path / "weights"
    shutil.copytree(engine.weights_folder(), folder)
    card = load(write_redness(folder)).card
    monkeypatch.setattr("telltale.catalog.cards", lambda: {"redness": card})
    monkeypatch.setattr("telltale.engine.weights_folder", lambda: folder)
    return folder


def test_all_is_well(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor"]) == 0
    out = capsys.readouterr().out
    for what in ("python", "onnxruntime", "extra provenance", "weights redness.onnx"):
        assert what in out
    assert re.search(r"^ok +self-test +a drawn face found and weighed, [1-9]", out, re.M)
    assert "failed" not in out


def test_weights_that_were_changed_fail(
    installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = installed / "redness.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    assert cli.run(["doctor"]) == 2
    out = capsys.readouterr().out
    assert re.search(r"^failed +weights redness\.onnx +.*redness\.onnx: SHA-256", out, re.M)
    assert re.search(r"^ok +weights face_mesh\.onnx", out, re.M)


def test_an_extra_that_is_not_here_says_what_is_lost(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "EXTRAS", {"video": (("no_such_module",), "no videos")})
    (check,) = (check for check in doctor.examine() if check.what == "extra video")
    assert check.state == "not here"
    assert "no videos" in check.detail
    assert "pip install 'telltale-vision[video]'" in check.detail


def test_a_core_package_that_is_not_here_fails(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "CORE", ("no-such-package",))
    (check,) = (check for check in doctor.examine() if check.what == "no-such-package")
    assert check.state == "failed"


def test_the_drawing_is_a_face_to_the_finder() -> None:
    (face,) = FaceFinder(threads=1).find(doctor.draw_face())
    x, y, width, height = face.box
    middle = np.array([x + width / 2, y + height / 2]) / doctor.SIDE
    np.testing.assert_allclose(middle, [0.5, 0.52], atol=0.06)


def test_the_self_test_fails_when_no_face_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = redness(tmp_path)
    assert "6 times again" in doctor.self_test(detector)
    blank = np.zeros((64, 64, 3), np.uint8)
    monkeypatch.setattr(doctor, "draw_face", lambda: blank)
    with pytest.raises(ValueError, match="no face found"):
        doctor.self_test(detector)

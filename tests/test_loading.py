"""A detector by a slug, an exported file, or the folder of a run; each wrong name is told."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from redness import save_face, write_redness
from telltale.loading import load

Run = Callable[..., tuple[int, str, str]]

TINY = {
    "backbone.name": "vit_toy",
    "backbone.depth": 1,
    "method.rank": 2,
    "data.manifest": "synth:toyfaces",
    "data.batch": 4,
    "data.scenes": 6,
    "data.validation": 8,
    "fit.lr": 1e-3,
    "fit.steps": 2,
    "fit.every": 2,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from telltale.train import train

    folder = tmp_path_factory.mktemp("runs") / "mine"
    return train("vit_lora_scl", settings=TINY, run=folder)


@pytest.mark.usefixtures("one_thread")
def test_a_run_is_exported_unless_it_was_since_its_weights(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from telltale.export import export_run

    run = shutil.copytree(trained, tmp_path / "mine")
    card = (run / "card.toml").rename(tmp_path / "card.toml")
    with pytest.raises(ValueError, match="is not over; telltale train vit_lora_scl --run"):
        export_run(run)
    assert not (run / "vit_lora_scl.onnx").exists()
    card.rename(run / "card.toml")
    path = export_run(run)
    written = path.with_suffix(".toml").read_text().splitlines()
    (line,) = [number for number, text in enumerate(written) if text.startswith("input = ")]
    assert "margin = 1.3" in written[line]
    assert written[line - 1] == "# with `telltale evaluate --on crops`."
    asked = []

    def export_again(folder: Path, out: Path) -> Path:
        asked.append(out)
        shutil.copy(tmp_path / "made.toml", out.with_suffix(".toml"))
        return Path(shutil.copy(tmp_path / "made.onnx", out))

    monkeypatch.setattr("telltale.export.export_run", export_again)
    detector = load(run, threads=1)
    assert detector.card.slug == "vit_lora_scl"
    assert not asked
    for made in (path, path.with_suffix(".toml")):
        shutil.move(made, tmp_path / f"made{made.suffix}")
    again = load(run, threads=1)  # not exported
    shutil.copy(tmp_path / "made.toml", path.with_suffix(".toml"))
    path.write_bytes(b"of older weights")
    os.utime(path, (1, 1))
    older = load(run, threads=1)
    assert [out.name for out in asked] == ["vit_lora_scl.onnx"] * 2
    assert not any(out.is_relative_to(run) or out.exists() for out in asked)
    assert detector.weights == again.weights == older.weights
    crop = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), np.uint8)
    assert again.weigh(crop).logits == detector.weigh(crop).logits


def test_a_folder_with_an_exported_method_is_enough(tmp_path: Path) -> None:
    write_redness(tmp_path)
    assert load(tmp_path, threads=1).card.title == "How red a face is"
    write_redness(tmp_path, "again")
    with pytest.raises(ValueError, match=r"several exported .* again\.onnx, redness\.onnx"):
        load(tmp_path)


def test_a_scan_takes_a_folder(tmp_path: Path, run: Run) -> None:
    write_redness(tmp_path)
    face = save_face(tmp_path / "face.png")
    code, told, _ = run("scan", face, "--method", tmp_path, "--no-survival")
    assert (code, "redder than blue" in told) == (1, True)


def test_a_slug_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vit_lora_scl").mkdir()
    assert load("vit_lora_scl", threads=1).weights.file == "vit_lora_scl.onnx"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_lora_slc", "did you mean 'vit_lora_scl'"),
        ("runs/none", r"runs/none: no such exported \.onnx file or folder of a run"),
        ("none.onnx", r"none\.toml: wanted as the card of none\.onnx"),
        ("mine/weights.safetensors", "give the folder of the run that it belongs to: mine"),
        ("empty", r"empty/run\.json: not the record of a run"),
    ],
)
def test_a_wrong_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, name: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    face = save_face(tmp_path / "face.png")
    with pytest.raises(ValueError, match=message):
        load(name)
    code, _, err = run("scan", face, "--method", name)
    assert (code, err.count("\n")) == (2, 1)


def test_without_torch_an_unexported_run_says_what_to_install(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(run: Path, out: Path) -> Path:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("telltale.export.export_run", missing)
    with pytest.raises(ValueError, match=r"is not exported, which needs torch: pip install"):
        load(trained)

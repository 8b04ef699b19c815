"""A face hidden in a picture, sent, and judged there: train, protect, export, scan."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import telltale
from telltale.data.synth.textures import textures
from telltale.data.synth.toyfaces import toy_faces
from telltale.export import export_run
from telltale.faces.stega_ffd import StegaFFD
from telltale.judging import shown, validate
from telltale.runs import read_run
from telltale.train import data_of, network_of, train

Run = Callable[..., tuple[int, str, str]]
TINY: dict[str, Any] = {
    "data.manifest": "synth:toyfaces",
    "data.size": 40,
    "data.batch": 4,
    "data.scenes": 6,
    "data.validation": 8,
    "method.hider": "mix",
    "method.width": 8,
    "method.teacher_steps": 3,
    "fit.lr": 1e-3,
    "fit.schedule": "cosine",
    "fit.steps": 6,
    "fit.every": 1,
}


def pictures(folder: Path, arrays: Any) -> Path:  # noqa: ANN401  # (N, H, W, 3) of bytes
    folder.mkdir()
    for number, pixels in enumerate(arrays):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train("stega_ffd", settings=TINY, run=tmp_path_factory.mktemp("runs") / "stega")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in") / "faces"
    return pictures(folder, toy_faces(3, seed=0).images["real"])


@pytest.fixture(scope="module")
def covers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = 255 * textures(4, 64, np.random.default_rng(1)).transpose(0, 2, 3, 1)
    return pictures(tmp_path_factory.mktemp("in") / "covers", drawn.astype(np.uint8))


def test_no_weights_are_the_best_before_the_detector_learns(trained: Path) -> None:
    steps = [json.loads(line) for line in (trained / "steps.jsonl").read_text().splitlines()]
    assert ["val_auc" in step for step in steps] == [False] * 3 + [True] * 3
    assert int(load_file(trained / "weights.safetensors")["done"]) > 3
    assert [step["lr"] for step in steps[:3]] == [step["lr"] for step in steps[3:]]  # anew


def test_it_is_judged_by_what_it_will_be_shown(trained: Path) -> None:
    network = network_of(trained)
    assert isinstance(network, StegaFFD)
    batch = next(data_of(trained).validation())
    given = (torch.from_numpy(batch[word]) for word in ("images", "covers"))
    assert np.array_equal(shown(network, batch), network.hide(*given).numpy())
    del batch["covers"]
    assert shown(network, batch) is batch["images"]
    seen = []
    network.detector.register_forward_pre_hook(lambda _, given: seen.append(given[0].numpy()))
    validate(network, data_of(trained))
    wanted = [shown(network, batch) for batch in data_of(trained).validation()]
    assert np.array_equal(np.concatenate(seen), np.concatenate(wanted))


def test_covers_are_found_from_another_folder(
    covers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(covers.parent)
    run = train("stega_ffd", settings=TINY | {"data.covers": "covers"}, run=tmp_path / "run")
    assert read_run(run).data.covers == str(covers)


def test_from_hiding_to_a_verdict(
    trained: Path, faces: Path, covers: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "sent"
    words = ["protect", faces, "--method", "stega_ffd", "--run", trained, "--covers", covers]
    code, said, errors = run(*words, "--out", out)
    assert (code, said) == (0, f"3 protected copies; report in {out / 'report.md'}\n")
    assert "hiding 3 faces in pictures of 40 pixels" in errors
    assert "each hidden in another picture" in (out / "report.md").read_text()
    sent = {path.name: np.asarray(Image.open(path)) for path in sorted(out.glob("*.png"))}
    assert [*sent] == ["0.png", "1.png", "2.png"]
    assert all(pixels.shape == (40, 40, 3) for pixels in sent.values())

    path = export_run(trained)
    pixels = torch.from_numpy(np.stack([*sent.values()])).permute(0, 3, 1, 2)
    network = network_of(trained)
    assert isinstance(network, StegaFFD)
    p_forged = network.score(pixels).numpy()
    detector = telltale.load(path)
    findings = [
        telltale.scan(out / name, detector=detector, survival=False).findings[0] for name in sent
    ]
    want = detector.calibration.score(np.log(p_forged / (1 - p_forged)))
    np.testing.assert_allclose([finding.score for finding in findings], want, atol=1e-3)
    assert "face hidden in the picture" in findings[0].claim

    kept = (out / "1.png").read_bytes()
    (out / "1.png").unlink()
    assert run(*words, "--out", out)[0] == 2  # a run is there already
    assert run(*words, "--out", out, "--resume")[0] == 0
    assert (out / "1.png").read_bytes() == kept


def test_each_face_has_a_cover_of_its_own(
    trained: Path, faces: Path, covers: Path, tmp_path: Path, run: Run
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(covers / "0.png", few)
    words = ["protect", faces, "--method", "stega_ffd", "--run", trained, "--out", tmp_path / "o"]
    code, _, errors = run(*words, "--covers", few)
    assert code == 2
    assert "want a cover for each face, got 1 for 3" in errors
    assert not (tmp_path / "o").exists()
    assert "--run and --covers" in run(*words[:4], "--out", tmp_path / "o")[2]
    code, _, errors = run("protect", faces, "--method", "mtl_ue", "--run", trained, *words[-2:])
    assert (code, "mtl_ue takes no --run" in errors) == (2, True)


def test_a_face_that_would_show_is_not_sent(
    faces: Path, covers: Path, tmp_path: Path, run: Run
) -> None:
    trained = train("stega_ffd", settings=TINY | {"method.strength": 0.9}, run=tmp_path / "run")
    words = ["protect", faces, "--method", "stega_ffd", "--run", trained, "--covers", covers]
    code, _, errors = run(*words, "--out", tmp_path / "out")
    assert code == 2
    assert f"{faces / '0.png'}: a hidden face would show: PSNR" in errors
    assert not [*(tmp_path / "out").glob("*.png*")]

"""Echoes of a manifest: recordings and spectrograms, missing ones, and M3FAS trained on them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from telltale.cli import run
from telltale.data.echoes import read_echo
from telltale.data.manifest import read_manifest
from telltale.data.pictures import read
from telltale.data.synth.echo import Setting, recording
from telltale.media.sound import echo_spectrogram, read_wav, write_wav

PEOPLE = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A live face and a sheet of eight people, each heard; the last one's sheet is silent."""
    root = tmp_path_factory.mktemp("echoes")
    rng = np.random.default_rng(0)
    lines = ["path,label,source,split,kind,sound"]
    for person in range(PEOPLE):
        for label, kind in enumerate(("live", "paper")):
            name = f"{person}_{kind}"
            level = 90 + 80 * label  # a sheet is brighter: the picture tells them apart, too
            noise = rng.integers(-20, 20, (128, 128, 3))
            Image.fromarray((level + noise).astype(np.uint8)).save(root / f"{name}.png")
            heard = recording(kind, Setting(), rng)
            sound = f"{name}.wav"
            if person == 0:  # as the data of M3FAS have it
                sound = f"{name}.npy"
                np.save(root / sound, echo_spectrogram(heard).transpose(1, 2, 0))
            else:
                write_wav(root / sound, 0.5 * heard / np.abs(heard).max())
            if (person, label) == (PEOPLE - 1, 1):
                sound = ""
            split = "train" if person < 6 else "val"
            lines.append(f"{name}.png,{label},p{person},{split},{kind if label else ''},{sound}")
    (root / "faces.csv").write_text("\n".join(lines) + "\n")
    return root


def test_a_column_of_sounds_becomes_echoes(folder: Path) -> None:
    manifest = read_manifest(folder / "faces.csv")
    data = read(manifest, ("images", "echoes"), size=128)
    batch = data.batch(range(len(data)))
    assert batch["echoes"].shape == (2 * PEOPLE, 2, 33, 61)
    assert batch["echoes"].dtype == np.float32
    assert np.isnan(batch["echoes"][-1]).all()
    assert np.isfinite(batch["echoes"][:-1]).all()
    samples, rate = read_wav(folder / "1_live.wav")
    assert (batch["echoes"][2] == echo_spectrogram(samples, rate)).all()
    assert (data[0]["echoes"] == np.load(folder / "0_live.npy").transpose(2, 0, 1)).all()


def test_broken_sounds_are_named(folder: Path, tmp_path: Path) -> None:
    cases = {
        "no.wav": (b"RIFF", "cannot be read as a WAV recording"),
        "no.npy": (b"", "cannot be read as a NumPy array"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            read_echo(tmp_path / name)
    write_wav(tmp_path / "short.wav", np.zeros(100))
    with pytest.raises(ValueError, match=r"short\.wav: want 36[0-9]{3} samples or more|35"):
        read_echo(tmp_path / "short.wav")
    write_wav(tmp_path / "slow.wav", np.zeros(100), rate=8000)
    with pytest.raises(ValueError, match=r"slow\.wav: want a recording at 44100"):
        read_echo(tmp_path / "slow.wav")
    np.save(tmp_path / "odd.npy", np.zeros((33, 60, 2)))
    with pytest.raises(ValueError, match=r"odd\.npy: want finite numbers \(33, 61, 2\)"):
        read_echo(tmp_path / "odd.npy")
    (tmp_path / "a.csv").write_text(f"path,label,sound\n{folder}/0_live.png,0,none.wav\n")
    with pytest.raises(ValueError, match=r"line 2: no sound .*none\.wav"):
        read_manifest(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text(f"path,label\n{folder}/0_live.png,0\n")
    with pytest.raises(ValueError, match=r"b\.csv: want a column 'sound'"):
        read(read_manifest(tmp_path / "b.csv"), ("images", "echoes"), size=128)


def test_m3fas_trains_and_is_exported_from_a_manifest(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = ("method.width=4", "data.size=128", "data.batch=4", "fit.steps=2", "fit.every=1")
    words = [word for setting in settings for word in ("--set", setting)]
    code = run(["train", "m3fas", "--data", str(folder / "faces.csv"), "--run", str(out), *words])
    assert code == 0
    steps = [json.loads(line) for line in (out / "steps.jsonl").read_text().splitlines()]
    assert {"fusion", "vision", "sound", "val_auc"} <= steps[-1].keys()
    assert all(np.isfinite(steps[-1][name]) for name in ("fusion", "vision", "sound"))
    kept = tmp_path / "kept.csv"
    words = ["--data", str(folder / "faces.csv"), "--keep", str(kept), "--out", f"{out}/eval.json"]
    protocol = tmp_path / "joint.toml"
    protocol.write_text('suite = "joint"\nsplit = "val"\nresamples = 5\n')
    assert run(["evaluate", str(out), "--protocol", str(protocol), *words]) == 0
    rows = list(csv.DictReader(kept.read_text().splitlines()))
    assert [row["head"] for row in rows] == ["fusion", "fusion", "fusion", "vision"]
    made = json.loads((out / "eval.json").read_text())
    assert made["cells"][0]["test"] == "physical, learnt"
    assert run(["export", str(out)]) == 0  # for scans, which hear nothing: the picture alone
    assert (out / "m3fas.onnx").is_file()

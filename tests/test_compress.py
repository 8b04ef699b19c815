"""``telltale compress`` from the command line, on a few drawn clips, and on a folder."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from telltale.compress.distilling import chosen
from telltale.compress.sets import Given
from telltale.data.events import write_bin
from telltale.data.synth.saccades import saccade_events
from telltale.metrics.spikes import energy
from telltale.nn.snn import spiking, work
from telltale.spiking.blocks import prunable, violations
from telltale.spiking.packing import unpack_state

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small tensors."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in N-MNIST's layout: bars that lie and bars that stand."""
    root = tmp_path_factory.mktemp("events")
    rng = np.random.default_rng(0)
    for part, count in (("Train", 8), ("Test", 3)):
        for label in range(2):
            place = root / part / str(label)
            place.mkdir(parents=True)
            for number in range(count):
                bar = np.zeros((14, 14))
                bar[4:8] = 1.0
                picture = bar if label else bar.T
                write_bin(saccade_events(picture, rng, step=6000), place / f"{number:05}.bin")
    return root


def test_spike_nm_makes_sparse_networks(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, says, error = run(
        "compress", "spike-nm", "--data", folder, "--out", out, "--pattern", "1:4", "--compare",
        "--frames", 4, "--size", 17, "--set", "fit.steps=5",
    )  # fmt: skip
    assert code == 0, error
    assert "1:4 spike-nm" in says
    rows = {row["name"]: row for row in json.loads((out / "report.json").read_text())["rows"]}
    assert set(rows) == {
        "dense",
        *(f"1:4 {arm}" for arm in ("spike-nm", "random", "sr-ste", "magnitude", "unstructured")),
        "1:4 no distillation",
    }
    assert rows["1:4 spike-nm"]["inner_sparsity"] == pytest.approx(0.75, abs=0.01)
    assert rows["1:4 spike-nm"]["violations"] == 0
    network = spiking("snn_toy", out / "1-4.safetensors", size=17, classes=2)
    assert all(violations(layer.weight, 1, 4) == 0 for layer in prunable(network))
    packed = unpack_state(load_file(out / "1-4.packed.safetensors"))
    assert all(torch.equal(packed[k], v) for k, v in network.state_dict().items())
    log = [json.loads(line) for line in (out / "1-4.log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 5
    assert {"task", "entropy", "changed"} <= set(log[-1])
    assert "split: published" in (out / "report.md").read_text()
    small, large = (out / f"1-4{end}.safetensors" for end in (".packed", ""))
    assert small.stat().st_size < large.stat().st_size


def test_pace_makes_small_sets(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TEACHING", "STUDY"):
        monkeypatch.setattr(f"telltale.compress.distilling.{name}", 5)
    out = tmp_path / "out"
    code, says, error = run(
        "compress", "pace", "--data", folder, "--out", out, "--ipc", 2, "--compare",
        "--frames", 4, "--size", 17, "--set", "fit.steps=3",
    )  # fmt: skip
    assert code == 0, error
    assert "pace, 2 a class" in says
    made = load_file(out / "ipc2.safetensors")
    assert made["events"].shape == (4, 4, 2, 17, 17)
    assert made["events"].dtype == torch.uint8
    assert made["labels"].tolist() == [0, 0, 1, 1]
    assert (out / "ipc2.png").read_bytes().startswith(b"\x89PNG")
    rows = {row["name"]: row for row in json.loads((out / "report.json").read_text())["rows"]}
    assert rows["pace, 2 a class"]["times_smaller"] == 4
    assert rows["random, 2 a class"]["apart"] == 0  # real clips, every one
    assert rows["herding, 2 a class"]["events_a_clip"] > 100
    assert {"all clips", "random, 2 a class", "herding, 2 a class"} <= set(rows)


def test_a_teacher_of_ones_own(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telltale.compress.distilling.STUDY", 2)
    torch.manual_seed(0)
    teacher = spiking("snn_toy", size=17, classes=2)
    save_file(teacher.state_dict(), tmp_path / "teacher.safetensors")
    started = []
    monkeypatch.setattr(
        "telltale.compress.distilling.learn",
        lambda whole, *_, **__: started.append(whole.network.state_dict()),
    )
    code, _, error = run(
        "compress", "pace", "--data", folder, "--out", tmp_path / "out", "--frames", 4,
        "--size", 17, "--set", "fit.steps=2",
        "--set", f'teacher.weights="{tmp_path / "teacher.safetensors"}"',
    )  # fmt: skip
    assert code == 0, error
    assert len(started) == 1  # the teacher had learnt already; the one that studies starts anew
    own = teacher.state_dict()
    assert not torch.equal(started[0]["classifier.weight"], own["classifier.weight"])


def test_clips_may_start_as_those_of_herding() -> None:
    torch.manual_seed(0)
    events = torch.poisson(torch.rand(12, 3, 2, 16, 16)).to(torch.uint8)
    labels = torch.arange(12) % 2
    given = Given(events, labels, events, labels, ("a", "b"), "noise")
    teachers = nn.ModuleList([spiking("snn_toy", size=16, classes=2)])
    plan = {"method": {}, "batch": 3, "fit": {"seed": 0, "steps": 1}}
    wanted, _ = chosen("herding", 2, teachers, given, plan, 0.0)
    random, _ = chosen("pace", 2, teachers, given, plan, 0.0)
    found, kinds = chosen("pace", 2, teachers, given, plan | {"start": "herding"}, 0.0)
    assert torch.equal(found, wanted)
    assert kinds.tolist() == [0, 0, 1, 1]
    assert not torch.equal(found, random)


def test_wrong_words_say_what_is_wanted(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for words, wanted in (
        (("spike-nm", "--data", tmp_path / "none"), "no such folder"),
        (("spike-nm", "--data", folder, "--pattern", "5:4"), "want --pattern N:M"),
        (("spike-nm", "--data", folder, "--ipc", "1"), "--pattern, not --ipc"),
        (("pace", "--data", folder, "--pattern", "2:4"), "--ipc, not --pattern"),
        (("pace", "--data", folder, "--set", "method.rnak=1"), "has no setting 'rnak'"),
        (("pace", "--data", folder, "--ipc", "9", "--frames", "2"), "want 1 to 8 clips a class"),
        (("pace", "--data", folder, "--set", "fit.clip=1"), "heeds fit.lr, fit.steps, fit.seed"),
        (("spike-nm", "--data", folder, "--set", 'method.skip=["a"]'), "no layer a; it has"),
        (("spike-nm", "--data", folder, "--set", "method.credit=loss"), "a credit of"),
    ):
        code, _, error = run("compress", *words, "--out", out)
        assert code == 2
        assert wanted in error
    assert not out.exists()


def test_work_is_counted_by_hand() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0]]))
    cost = work(network, torch.tensor([[1.0, 0, 0, 1], [1, 1, 1, 1]]))
    assert cost.macs == {"0": 8}
    assert cost.kept == {"0": 0.5}
    assert cost.sops == {"0": 8 * 0.75 * 0.5}
    assert energy(cost.macs, cost.sops) == pytest.approx(3 * 0.9 / 1000)
    assert energy(cost.macs, cost.sops, analogue=("0",)) == pytest.approx(8 * 4.6 / 1000)
    with pytest.raises(ValueError, match="same layers"):
        energy({"a": 1.0}, {})

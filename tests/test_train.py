"""Training by a recipe: what a run's folder holds, how it resumes, what a recipe may say."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from telltale import recipe as recipes
from telltale.data.crops import Crop, save_crops
from telltale.data.sources import Data, open_source
from telltale.judging import validate
from telltale.records import Card
from telltale.runs import read_run
from telltale.train import network_of, train
from together import together

ROOT = Path(__file__).parents[1]
TINY: dict[str, Any] = {
    "backbone.name": "vit_toy",
    "backbone.depth": 1,
    "method.rank": 2,
    "data.manifest": "synth:toyfaces",
    "data.batch": 4,
    "data.scenes": 6,
    "data.validation": 8,
    "fit.lr": 1e-3,
    "fit.steps": 4,
    "fit.every": 2,
}
KILLED = """
import os, signal, sys, json
from pathlib import Path
from telltale.train import train
def watch(record):
    if record["step"] == 5:
        os.kill(os.getpid(), signal.SIGKILL)
train("vit_lora_scl", settings=json.loads(sys.argv[1]), run=Path(sys.argv[2]), watch=watch)
"""


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    seen: list[int] = []
    made = train(
        "vit_lora_scl",
        settings=TINY,
        run=folder,
        watch=lambda record: seen.append(record["step"]),
    )
    assert made == folder
    assert seen == [1, 2, 3, 4]
    return folder


def test_the_folder_says_all_about_the_run(run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    assert about["slug"] == "vit_lora_scl"
    assert about["recipe"]["method"] == {
        "rank": 2,
        "targets": "qkv",
        "margin": 0.01,
        "scl_weight": 0.01,
        "readout": "cls",
        "mask_weight": 1.0,
    }
    assert about["recipe"]["backbone"]["depth"] == 1
    assert about["recipe"]["backbone"]["norm"] is None
    assert about["recipe"]["fit"]["clip"] == 1.0
    assert about["recipe"]["data"]["workers"] == 0
    assert about["trained_weights"] == 2 * 96 * 4 + 2 * 96 + 2 + 96  # LoRA, head, centre
    assert torch.__version__.startswith(about["versions"]["torch"].partition("+")[0])
    log = log_of(run)
    assert [record["step"] for record in log] == [1, 2, 3, 4]
    assert ["val_auc" in record for record in log] == [False, True, False, True]
    assert {"lr", "norm", "ce", "scl"} <= set(log[0])


def test_the_card_vouches_for_the_weights(run: Path) -> None:
    card = Card.from_toml("vit_lora_scl", tomllib.loads((run / "card.toml").read_text()))
    (weights,) = card.weights
    assert weights.file == "weights.safetensors"
    assert "synth:toyfaces, seed 0" in weights.trained_on
    assert weights.input["size"] == 40


def test_the_best_weights_come_back(run: Path) -> None:
    plan = read_run(run)
    source = open_source(
        plan.data, fields=("images", "labels"), size=40, seed=plan.fit.seed, cache=run
    )
    best = max(record["val_auc"] for record in log_of(run) if "val_auc" in record)
    assert validate(network_of(run), source) == pytest.approx(best)


def test_a_finished_run_stays_as_it_is(run: Path) -> None:
    before = (run / "steps.jsonl").read_text()
    train("vit_lora_scl", run=run, resume=True)
    assert (run / "steps.jsonl").read_text() == before


def test_a_run_is_not_overwritten(run: Path) -> None:
    with pytest.raises(ValueError, match="there is a run already"):
        train("vit_lora_scl", settings=TINY, run=run)


def test_a_killed_run_resumes_exactly(tmp_path: Path) -> None:
    settings = TINY | {"fit.steps": 6, "fit.schedule": "cosine", "fit.warmup": 2}
    whole = train("vit_lora_scl", settings=settings, run=tmp_path / "whole")
    killed = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED, json.dumps(settings), str(killed)]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [record["step"] for record in log_of(killed)] == [1, 2, 3, 4, 5]
    with (killed / "steps.jsonl").open("a") as file:
        file.write('{"step": 6, "l')  # a line cut short by the kill
    train("vit_lora_scl", run=killed, resume=True)
    for name in ("weights.safetensors", "progress.safetensors"):
        first, second = load_file(whole / name), load_file(killed / name)
        assert first.keys() == second.keys()
        for key in first:
            if not key.startswith("random"):
                assert torch.equal(first[key], second[key]), key
    assert log_of(whole) == log_of(killed)


def test_it_stops_when_nothing_gets_better(tmp_path: Path) -> None:
    settings = TINY | {"fit.lr": 1e-12, "fit.lrs": {"center": 1e-12}, "fit.steps": 40}
    settings |= {"fit.every": 1, "fit.patience": 3}
    run = train("vit_lora_scl", settings=settings, run=tmp_path / "run")
    assert len(log_of(run)) == 4  # the first is the best; three more are not better


def test_another_seed_trains_other_weights(run: Path, tmp_path: Path) -> None:
    other = train("vit_lora_scl", settings=TINY | {"fit.seed": 1}, run=tmp_path / "other")
    name = "weights.safetensors"
    assert not torch.equal(
        load_file(run / name)["head.weight"], load_file(other / name)["head.weight"]
    )


def test_workers_make_the_same_batches(run: Path, tmp_path: Path) -> None:
    other = train("vit_lora_scl", settings=TINY | {"data.workers": 1}, run=tmp_path / "run")
    assert log_of(other) == log_of(run)


def test_tensorboard_gets_the_log(tmp_path: Path) -> None:
    settings = TINY | {"fit.tensorboard": True, "fit.steps": 2}
    run = train("vit_lora_scl", settings=settings, run=tmp_path / "run")
    (events,) = (run / "tensorboard").iterdir()
    assert b"val_auc" in events.read_bytes()


def test_from_a_table_of_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with (tmp_path / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "source", "split"])
        for split in ("train", "val"):
            for number in range(8):
                name = f"{split}{number}.png"
                pixels = rng.integers(0, 90, (40, 40, 3), np.uint8) + 120 * (number % 2)
                Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name)
                writer.writerow([name, number % 2, name, split])
    settings = TINY | {"fit.steps": 30, "fit.every": 10, "fit.lr": 3e-3}
    run = train("vit_lora_scl", data=tmp_path / "data.csv", settings=settings, run=tmp_path / "r")
    assert log_of(run)[-1]["val_auc"] == 1.0  # bright is fake
    assert json.loads((run / "run.json").read_text())["data"]["train"] == 8
    learnt = (run / "sources.txt").read_text().splitlines()
    assert learnt == [f"train{number}.png" for number in range(8)]


def test_a_split_with_one_label_is_refused(tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for number, (label, split) in enumerate([(0, "train"), (1, "train"), (0, "val")]):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{label},{split}")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"data\.csv: want both labels in split 'val'"):
        train("vit_lora_scl", data=tmp_path / "data.csv", settings=TINY, run=tmp_path / "run")


def test_from_faces_that_are_forged_on_the_way(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 468)
    points = 60 + np.stack([22 * np.cos(angle), 28 * np.sin(angle)], -1) * np.sqrt(
        rng.random((468, 1))
    )
    crops = [
        Crop(rng.integers(0, 256, (120, 120, 3), np.uint8), points.astype(np.float32), who, "x.png")
        for who in map(str, range(40))
    ]
    save_crops(tmp_path / "faces.crops", crops)
    data = Data(manifest=str(tmp_path / "faces.crops"), forge={"regenerate": 1}, batch=4)
    source = open_source(data, fields=("images", "labels"), size=28, seed=0, cache=tmp_path)
    assert source[3]["images"].shape == (4, 3, 28, 28)
    assert source[3]["labels"].tolist() == [0, 0, 1, 1]
    assert np.array_equal(source[3]["images"], source[3]["images"])
    assert not np.array_equal(source[3]["images"], source[4]["images"])
    assert len([*source.validation()]) == 128


# ── what a recipe may say ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fit.stps": 5}, r"table 'fit' has no key 'stps', did you mean 'steps'\?"),
        ({"method.rnak": 5}, r"vit_lora_scl has no setting 'rnak', did you mean 'rank'\?"),
        ({"backbone.dept": 5}, r"backbone has no setting 'dept', did you mean 'depth'\?"),
        ({"fits.steps": 5}, r"a recipe has no table 'fits', did you mean 'fit'\?"),
        ({"steps": 5}, r"as table\.key"),
        ({"fit.lr": "fast"}, r"fit\.lr: want float, got 'fast'"),
        ({"fit.steps": 2.5}, r"fit\.steps: want int, got 2\.5"),
        ({"fit.steps": True}, r"fit\.steps: want int, got True"),
        ({"fit.schedule": "cosin"}, r"fit\.schedule: want constant or cosine"),
        ({"fit.warmup": 2}, r"fit\.warmup"),
        ({"fit.every": 0}, r"every ≥ 1"),
        ({"data.batch": 5}, r"data\.batch: want an even number"),
        ({"data.manifest": "gone.csv"}, r"no file or folder gone\.csv"),
        ({"data.manifest": "synth:faces"}, r"no synth:faces; there is synth:toyfaces"),
        ({"data.forge": ["DFF"]}, r"data\.forge: no kind 'DFF'; want some of DF, FS"),
        ({"method.rank": 0}, r"rank must lie in 1\.\.96"),
        ({"data.size": 80}, r"toy faces have 40 pixels, the backbone wants 80"),
    ],
)
def test_mistakes_are_said_before_a_folder_is_made(
    settings: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        train("vit_lora_scl", settings=TINY | settings, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("slug", ["fa_vit", "cfm"])
def test_methods_that_compare_pairs_take_no_others(slug: str, tmp_path: Path) -> None:
    name = "vit_toy" if slug == "fa_vit" else "conv_toy"
    own = {"backbone.name": name, "data.manifest": str(tmp_path), "fit.steps": 1}
    with pytest.raises(ValueError, match=r"each genuine frame .* --set data\.balance=pairs"):
        next(train(slug, settings=own, run=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"vit_lora_scl wants a backbone: set backbone\.name"):
        train("vit_lora_scl", data="synth:toyfaces")
    with pytest.raises(ValueError, match=r"want data\.manifest"):
        train("vit_lora_scl", settings={"backbone.name": "vit_toy"})
    with pytest.raises(ValueError, match=r"no recipe 'toi'.*did you mean 'toy'\?"):
        train("vit_lora_scl", recipe="toi")
    with pytest.raises(ValueError, match="to resume, name the run's folder only"):
        train("vit_lora_scl", run=tmp_path, resume=True, settings=TINY)
    with pytest.raises(ValueError, match=r"run\.json: not the record of a run"):
        train("vit_lora_scl", run=tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"gone\.toml: cannot be read as a recipe"):
        train("vit_lora_scl", recipe=tmp_path / "gone.toml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("fit.lr=1e-3", ("fit.lr", 1e-3)),
        ('data.forge=["DF", "NT"]', ("data.forge", ["DF", "NT"])),
        ("method.readout=patches", ("method.readout", "patches")),
        ("fit.bfloat16 = true", ("fit.bfloat16", True)),
        ("data.manifest=a=b.csv", ("data.manifest", "a=b.csv")),
    ],
)
def test_settings_of_a_command_line(text: str, value: tuple[str, Any]) -> None:
    assert recipes.setting(text) == value


def test_a_setting_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match=r"want table\.key=value"):
        recipes.setting("fit.lr")


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_is_in_force_without_a_mistake(path: Path) -> None:
    slug = path.parent.name
    plan = recipes.in_force(slug, recipes.read_recipe(path, slug))
    again = recipes.in_force(slug, json.loads(json.dumps(plan.tables())))
    assert again.tables() == plan.tables()


@pytest.mark.slow
def test_two_processes_draw_the_same_loss_curve(tmp_path: Path) -> None:
    """Through the command line, over gloo; without SCL, whose centre is each process's own."""
    settings = TINY | {"method.scl_weight": 0.0, "fit.steps": 6, "fit.every": 3}
    words = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    curves = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        launch = [*together(count), "-m", "--", "telltale", "train", "vit_lora_scl", *words]
        launch += ["--run", str(folder)]
        done = subprocess.run(launch, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        curves.append([[it["ce"], it["norm"], it.get("val_auc", 0)] for it in log_of(folder)])
        assert (folder / "card.toml").exists()
    assert len(curves[0]) == 6  # one log, written by the first process
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("slug", "settings"),
    [
        ("moe_ffd", {"backbone.name": "vit_toy", "backbone.depth": 2}),
        (
            "stega_ffd",
            {"data.size": 40, "method.hider": "mix", "method.width": 8, "method.teacher_steps": 3},
        ),
    ],
)
def test_two_processes_do_without_what_a_step_does_not_use(
    slug: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Experts that nobody chose, parts that are another stage's: they have no gradients."""
    own = {key: value for key, value in TINY.items() if key.startswith(("data.", "fit."))}
    words = [
        f"--set={key}={json.dumps(v)}" for key, v in (own | settings | {"fit.steps": 6}).items()
    ]
    launch = [
        *together(2),
        "-m",
        "--",
        "telltale",
        "train",
        slug,
        *words,
        "--run",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [record["step"] for record in log_of(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


def test_a_later_stage_begins_with_an_earlier_run_and_keeps_it(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="needs the extra language")
    small = {"fit.steps": 2, "fit.every": 1, "fit.warmup": 0, "data.batch": 4, "data.scenes": 6}
    small |= {"data.validation": 8, "sam.name": "sam_tiny", "method.rank": 2}
    small |= {"sam.size": 40, "method.adversary_rank": 4}
    first, second, third = (tmp_path / name for name in ("one", "two", "three"))
    train("forensics_sam", recipe="toy", settings=small, run=first)
    later = [(second, first, 2), (third, second, 3)]
    for folder, start, stage in later:
        stages = {**small, "method.stage": stage}
        train("forensics_sam", recipe="toy", settings=stages, run=folder, start=start)
        assert all("val_gain" in record for record in log_of(folder))
        assert "gain" in (folder / "card.toml").read_text()
    shutil.rmtree(first)
    shutil.rmtree(second)  # the last folder is enough
    whole = network_of(third).state_dict()
    parts = load_file(third / "start.safetensors") | load_file(third / "weights.safetensors")
    assert {"detector.0.weight", "adversary.out.weight"} <= set(parts)
    assert any(".adversary.up" in name for name in parts)
    for name, value in parts.items():
        torch.testing.assert_close(whole[name], value, msg=name)


def test_what_cannot_be_begun_with_is_said(tmp_path: Path, run: Path) -> None:
    with pytest.raises(ValueError, match="is a run of vit_lora_scl, not of forensics_sam"):
        train("forensics_sam", recipe="toy", run=tmp_path / "z", start=run)
    with pytest.raises(ValueError, match="give both the same settings but for the stage"):
        train("vit_lora_scl", settings=TINY | {"method.rank": 3}, run=tmp_path / "a", start=run)
    with pytest.raises(ValueError, match="not the record of a run"):
        train("vit_lora_scl", settings=TINY, run=tmp_path / "b", start=tmp_path)
    begun = train("vit_lora_scl", settings=TINY, run=tmp_path / "c", start=run)
    assert json.loads((begun / "run.json").read_text())["start"] == str(run)

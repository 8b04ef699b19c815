"""The other verbs, what they say when a library is not here, and how quickly all begin."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from redness import save_empty, save_face

Run = Callable[..., tuple[int, str, str]]


def python(code: str, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_methods_lists_the_cards_and_shows_one(run: Run) -> None:
    code, out, _ = run("methods")
    assert code == 0
    assert "vit_lora_scl" in out
    code, out, _ = run("methods", "vit_lora_scl")
    assert code == 0
    told = ("2303.00917", "the face was digitally forged", "limits", "telltale train", "heat maps")
    for wanted in told:
        assert wanted in out


def test_no_words_show_the_help(run: Run) -> None:
    code, out, _ = run()
    assert code == 0
    assert "scan" in out


@pytest.mark.parametrize("verb", ["train vit_lora_scl --recipe toy", "export ."])
def test_a_missing_library_names_what_to_install(verb: str, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from telltale.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    done = python(code, *verb.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"telltale: .*torch.*pip install 'telltale-vision\[train\]'\n", done.stderr)


def test_evaluate_prints_and_writes_figures(tmp_path: Path, run: Run) -> None:
    rows = [f"{k}.jpg,{k % 2},{0.9 * (k % 2) + k / 1000},{k // 4}" for k in range(40)]
    table, out = tmp_path / "answers.csv", tmp_path / "figures.md"
    table.write_text("\n".join(["path,label,score,source", *rows]) + "\n")
    code, told, _ = run("evaluate", table, "--out", out)
    assert code == 0
    assert "AUC" in told
    assert "| AUC | 1.000 |" in out.read_text()


@pytest.mark.parametrize(
    ("option", "name", "message"),
    [
        ("--out", "x.doc", "x.doc: want a name that ends in .md, .csv, .tex or .json"),
        ("--out", "nowhere/x.md", "does not exist; make it first"),
        ("--keep", "nowhere/k.csv", "does not exist; make it first"),
        ("--out", "folder.md", "folder.md: is a folder; name a file to write"),
    ],
)
def test_evaluate_says_at_once_where_it_could_not_write(
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    option: str,
    name: str,
    message: str,
) -> None:
    from telltale import evaluate as judge

    (tmp_path / "folder.md").mkdir()
    begun: list[object] = []
    monkeypatch.setattr(judge, "evaluate", lambda *given, **named: begun.append(given))
    code, _, err = run("evaluate", "vit_lora_scl", "--data", tmp_path, option, tmp_path / name)
    assert (code, begun, err.count("\n")) == (2, [], 1)
    assert message in err


def test_evaluate_shows_figures_that_it_could_not_write(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from telltale import evaluate as judge

    def fail(*given: object) -> None:
        raise ValueError("x.md: cannot be written (the disk is full)")

    monkeypatch.setattr(judge, "write", fail)
    table = tmp_path / "answers.csv"
    table.write_text("path,label,score\na,0,0.1\nb,1,0.9\n")
    code, told, err = run("evaluate", table, "--out", tmp_path / "x.md")
    assert (code, "AUC" in told, "disk is full" in err) == (2, True, True)


def test_synth_forges_the_same_for_the_same_seed(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("cv2", reason="needs the extra train")
    picture = save_face(tmp_path / "it.png", side=640)
    empty = save_empty(tmp_path / "empty.png")
    for name in ("one", "two"):
        code, _, err = run("synth", "self_blend", picture, empty, "--out", tmp_path / name)
        assert code == 0
        assert "empty.png: no face" in err
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two
    assert sorted(one) == [
        "00000_it_fake.png", "00000_it_mask.png", "00000_it_real.png", "manifest.csv",
    ]  # fmt: skip
    with Image.open(tmp_path / "one/00000_it_fake.png") as fake:
        assert fake.text["Description"].startswith("FORGED")
    assert run("synth", "self_blend", picture, "--out", tmp_path / "one")[0] == 2


@pytest.mark.parametrize("kind", ["display", "mask"])
def test_synth_presents_faces_before_the_same_camera(kind: str, tmp_path: Path, run: Run) -> None:
    pytest.importorskip("cv2", reason="needs the extra train")
    picture = save_face(tmp_path / "it.png", side=640)
    assert run("synth", kind, picture, "--out", tmp_path / "out", "--seed", 3)[0] == 0
    table = (tmp_path / "out/manifest.csv").read_text()
    assert f",1,{picture},{kind},00000_it_mask.png" in table
    with (
        Image.open(tmp_path / "out/00000_it_fake.png") as fake,
        Image.open(tmp_path / "out/00000_it_real.png") as real,
    ):
        assert fake.size == real.size
        assert fake.tobytes() != real.tobytes()
        assert fake.text["Description"].startswith("FORGED")


@pytest.mark.parametrize(
    ("code", "most"),
    [("import telltale", 0.3), ("from telltale.cli import run; run(['--help'])", 0.5)],
)
def test_starting_is_quick(code: str, most: float) -> None:
    """In seconds of the processor, which a busy machine does not lengthen."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    python(code)  # compiles what is new
    before = spent()
    assert python(code, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}).returncode == 0
    assert spent() - before <= most

"""The command line: exit codes, one line an error, clean JSON, Ctrl-C and going on from it."""

import json
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

from redness import save_empty, save_face, write_redness
from telltale import __version__, report

SCHEMA = json.loads((Path(report.__file__).with_name("report.schema.json")).read_text())
Run = Callable[..., tuple[int, str, str]]


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def broken(path: Path) -> Path:
    whole = save_empty(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path


def test_nothing_found_is_0(tmp_path: Path, method: Path, run: Run) -> None:
    blue = save_face(tmp_path / "blue.png", blue=True)
    code, out, _ = run("scan", blue, save_empty(tmp_path / "empty.png"), "--method", method)
    assert code == 0
    assert "blue.png" in out
    assert "no face found" in out


def test_evidence_is_1_and_no_face_is_no_error(tmp_path: Path, method: Path, run: Run) -> None:
    save_face(tmp_path / "red.png")
    save_empty(tmp_path / "empty.png")
    code, out, _ = run("scan", tmp_path, "--method", method, "--no-survival")
    assert code == 1
    assert "Evidence that the face is redder than blue" in out
    assert "no face found" in out


def test_a_broken_file_of_a_folder_is_listed_and_changes_no_code(
    tmp_path: Path, method: Path, run: Run
) -> None:
    broken(tmp_path / "broken.png")
    save_empty(tmp_path / "empty.png")
    code, out, _ = run("scan", tmp_path, "--method", method)
    assert code == 0
    assert re.search(r"broken\.png: .*damaged|broken\.png: .*cut off", out)


def test_a_named_file_that_fails_is_2(tmp_path: Path, method: Path, run: Run) -> None:
    empty, bad = save_empty(tmp_path / "empty.png"), broken(tmp_path / "broken.png")
    assert run("scan", empty, bad, "--method", method)[0] == 2
    code, out, err = run("scan", bad, "--method", method)
    assert (code, out) == (2, "")
    assert err.startswith("telltale: ")
    assert err.count("\n") == 1
    assert "broken.png" in err


def test_only_broken_files_are_2(tmp_path: Path, method: Path, run: Run) -> None:
    broken(tmp_path / "broken.png")
    assert run("scan", tmp_path, "--method", method)[0] == 2


def test_json_on_stdout_is_nothing_but_json(tmp_path: Path, method: Path, run: Run) -> None:
    save_face(tmp_path / "a.png")
    broken(tmp_path / "b.png")
    code, out, err = run("scan", tmp_path, "nowhere.jpg", "--method", method, "--json", "-")
    assert code == 2
    records = lines_of(out)
    for record in records:
        jsonschema.validate(record, SCHEMA)
    assert [("error" in record) for record in records] == [False, True, True]
    assert records[0]["findings"][0]["survival"]
    assert "nowhere.jpg" in err


def test_files_of_both_kinds_are_written(tmp_path: Path, method: Path, run: Run) -> None:
    picture = save_face(tmp_path / "it.png")
    page, lines = tmp_path / "out.html", tmp_path / "out.jsonl"
    code, out, err = run("scan", picture, "--method", method, "--report", page, "--json", lines)
    assert code == 1
    assert "redder than blue" in out
    assert str(page) in err
    (record,) = lines_of(lines.read_text())
    jsonschema.validate(record, SCHEMA)
    assert record["subject"]["path"] == str(picture)
    assert record["subject"]["sha256"] in page.read_text()


def test_quiet_prints_errors_only(tmp_path: Path, method: Path, run: Run) -> None:
    save_empty(tmp_path / "empty.png")
    assert run("scan", tmp_path, "--method", method, "--quiet") == (0, "", "")
    broken(tmp_path / "broken.png")
    _, out, err = run("scan", tmp_path, "--method", method, "-q")
    assert out == ""
    assert re.fullmatch(r"telltale: .*broken\.png: .*\n", err)


def test_the_survival_strip_is_off_for_many_and_says_so(
    tmp_path: Path, method: Path, run: Run
) -> None:
    save_face(tmp_path / "00.png", side=400)
    for number in range(1, 21):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{number:02}.png")
    words = ("scan", tmp_path, "--method", method, "--json", "-")
    _, out, err = run(*words)
    assert "--survival turns it on" in err
    assert not lines_of(out)[0]["findings"][0]["survival"]
    _, out, err = run(*words, "--survival")
    assert "turns it on" not in err
    assert lines_of(out)[0]["findings"][0]["survival"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["scna", "x"], "No such command 'scna'. Did you mean 'scan'"),
        (["scan", "x", "--reprot", "y"], "--report"),
        (["scan", "x", "--workers", "many"], "--workers"),
        (["scan", "x", "--method", "vit_lora_slc"], "did you mean 'vit_lora_scl'"),
        (["scan", "x", "--method", "vit_lora_scl", "--task", "faces"], "got both"),
        (["methods", "vit_lora"], "did you mean 'vit_lora_scl'"),
        (["scan", "x", "--resume"], "--json"),
        (["scan", "x", "--report", "nowhere/out.html"], "nowhere does not exist"),
        (["scan", "x", "--json", "."], "is a folder"),
        (["evaluate", "nowhere.csv"], "nowhere.csv"),
        (["synth", "self_blendd", "x", "--out", "y"], "did you mean 'self_blend'"),
        (["train", "vit_lora_scl", "--recipe", "tony"], "did you mean 'toy'"),
        (["train", "vit_lora_scl", "--set", "steps"], "fit.steps"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_2(words: list[str], says: str, run: Run) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert err.startswith("telltale: ")
    assert err.count("\n") == 1
    assert says in err


def test_a_folder_without_media_is_2(tmp_path: Path, method: Path, run: Run) -> None:
    code, _, err = run("scan", tmp_path, "--method", method)
    assert code == 2
    assert "no pictures or videos" in err


def test_debug_shows_the_traceback(run: Run) -> None:
    with pytest.raises(ValueError, match="no method"):
        run("scan", "x", "--method", "none", "--debug")


def test_resume_refuses_answers_of_other_weights(tmp_path: Path, method: Path, run: Run) -> None:
    media = tmp_path / "media"
    media.mkdir()
    save_empty(media / "a.png")
    lines = tmp_path / "out.jsonl"
    run("scan", media, "--method", method, "--json", lines)
    before = lines.read_bytes()
    other = write_redness(tmp_path, "other")
    code, _, err = run("scan", media, "--method", other, "--json", lines, "--resume")
    assert code == 2
    assert "scan anew" in err
    assert lines.read_bytes() == before


def test_resuming_what_is_complete_tells_it_again(tmp_path: Path, method: Path, run: Run) -> None:
    picture, lines = save_face(tmp_path / "a.png"), tmp_path / "out.jsonl"
    words = ("scan", picture, "--method", method, "--json", lines)
    first = run(*words)
    before = lines.read_bytes()
    assert run(*words, "--resume") == first
    assert lines.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT as a terminal does")
def test_ctrl_c_leaves_whole_lines_and_resume_does_the_rest(tmp_path: Path, method: Path) -> None:
    media, lines, page = tmp_path / "media", tmp_path / "out.jsonl", tmp_path / "out.html"
    media.mkdir()
    one = save_face(media / "000.png", side=400).read_bytes()
    for number in range(1, 30):
        (media / f"{number:03}.png").write_bytes(one)
    words = ["scan", media, "--method", method, "--json", lines, "--report", page, "--workers", "1"]
    command = [sys.executable, "-m", "telltale", *map(str, words)]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Whoever runs the tests in the background may have it ignored, and a child inherits that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        while process.poll() is None and (not lines.exists() or not lines.stat().st_size):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err.decode()
    assert b"--resume goes on" in err
    assert b"Traceback" not in err
    records = lines_of(lines.read_text())
    assert 1 <= len(records) < 30
    assert f"{len(records)} file" in out.decode()
    assert page.read_text().count(records[0]["subject"]["sha256"]) >= len(records)
    with lines.open("ab") as file:  # as a kill in the middle of a line would leave it
        file.write(b'{"schema":"1","verd')
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert again.returncode == 1, again.stderr
    assert "30 files" in again.stdout
    after = lines_of(lines.read_text())
    assert after[: len(records)] == records
    assert [Path(record["subject"]["path"]).name for record in after] == [
        f"{number:03}.png" for number in range(30)
    ]


def test_without_a_browser_a_pdf_is_refused_before_the_scan(
    tmp_path: Path, method: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("telltale.report.pdf.browser", lambda: None)
    picture, lines = save_empty(tmp_path / "a.png"), tmp_path / "out.jsonl"
    pdf = tmp_path / "out.pdf"
    code, _, err = run("scan", picture, "--method", method, "--json", lines, "--pdf", pdf)
    assert code == 2
    assert "out.pdf: printing a PDF wants Chromium" in err
    assert "apt install chromium" in err
    assert not lines.exists()
    code, _, err = run("scan", picture, "--engine", "ray", "--json", lines, "--report", "x.html")
    assert code == 2
    assert "writes --json only" in err


def test_a_closed_pipe_is_no_error(tmp_path: Path, method: Path) -> None:
    for number in range(30):
        Image.new("RGB", (40, 40)).save(tmp_path / f"{number}.png")
    words = ["scan", tmp_path, "--method", method, "--json", "-"]
    command = [sys.executable, "-m", "telltale", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141
    assert b"Traceback" not in err
    assert b"BrokenPipe" not in err


def test_a_full_disk_leaves_the_old_page(tmp_path: Path, method: Path, run: Run) -> None:
    page = tmp_path / "out.html"
    page.write_text("the old report")
    picture = save_face(tmp_path / "it.png")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        code, _, err = run("scan", picture, "--method", method, "--report", page)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert code == 2
    assert "out.html" in err
    assert page.read_text() == "the old report"


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_version_is_said_alone(run: Run, word: str) -> None:
    assert run(word) == (0, f"telltale {__version__}\n", "")


def test_every_verb_stands_in_a_panel_of_the_help(run: Run) -> None:
    _, out, _ = run("--help")
    assert "─ Commands ─" not in out  # where a verb without a panel would be shown
    for verb in ("scan", "serve", "train", "evaluate", "stress", "protect", "compress", "explain"):
        assert f"│ {verb} " in out

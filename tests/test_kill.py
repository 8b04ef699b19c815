"""``kill -9`` in the middle of a folder scan or of its report loses nothing, and resuming ends it.

Training is killed in test_train.py, preparing in test_prepare.py, the server in serve/test_api.py,
protecting in test_protect.py.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from redness import save_face
from telltale.report import read_jsonl

if not hasattr(signal, "SIGKILL"):
    pytest.skip("this system has no SIGKILL", allow_module_level=True)

FILES = 6
# The command line, that kills itself when a function is called for the n-th time.
KILLED = """
import os, signal, sys
import telltale.report.drawing, telltale.report.jsonl
from telltale import cli

def fatal(owner, name, count):
    real, calls = getattr(owner, name), [0]
    def wrapped(*args, **options):
        calls[0] += 1
        if calls[0] == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **options)
    setattr(owner, name, wrapped)

if sys.argv[1] == "scan":
    fatal(telltale.report.jsonl.JsonLines, "write", 4)
else:
    fatal(telltale.report.drawing, "thumbnail", 5)
cli.run(sys.argv[2:])
"""


@pytest.mark.parametrize("when", ["scan", "report"])
def test_nothing_is_lost(tmp_path: Path, method: Path, when: str) -> None:
    media, lines, page = tmp_path / "media", tmp_path / "out.jsonl", tmp_path / "out.html"
    media.mkdir()
    for number in range(FILES):
        save_face(media / f"{number}.png", blue=number % 2 == 0)
    page.write_text("the old report")
    words = ["scan", media, "--method", method, "--json", lines, "--report", page, "--no-survival"]
    done = subprocess.run([sys.executable, "-c", KILLED, when, *map(str, words)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert page.read_text() == "the old report"
    before = lines.read_bytes()
    kept = [json.loads(line) for line in before.splitlines()]  # whole lines, each a report
    assert len(kept) == (3 if when == "scan" else FILES)
    if when == "report":
        assert list(tmp_path.glob(".out.html.*.part"))  # half a page, beside the old one
    command = [sys.executable, "-m", "telltale", *map(str, words), "--resume"]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 1, again.stderr
    assert lines.read_bytes().startswith(before)
    names = [Path(report.subject.path).name for report in read_jsonl(lines)]
    assert names == [f"{number}.png" for number in range(FILES)]
    text = page.read_text()
    assert all(f"{number}.png" in text for number in range(FILES))
    assert text.rstrip().endswith("</html>")
    assert sorted(os.listdir(tmp_path)) == ["media", "out.html", "out.jsonl"]

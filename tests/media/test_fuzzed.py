"""Mutated files of every format: refused or read, nothing else; the long run is tools/fuzz.py."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools/fuzz.py"


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_nothing_crashes_hangs_or_surprises(count: int) -> None:
    pytest.importorskip("av")
    done = subprocess.run(
        [sys.executable, TOOL, "--files", str(count), "--seed", "20"],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert " 0 finds" in done.stdout

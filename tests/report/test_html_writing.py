"""A page is written whole or not at all."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from telltale.records import Finding, Report
from telltale.report import write_html

Make = Callable[..., Report]
Pixels = NDArray[np.uint8]


def ends_with_the_old_report(path: Path) -> None:
    assert path.read_text() == "the old report"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_full_disk_leaves_the_old_report(
    tmp_path: Path,
    found: Finding,
    report_of: Make,
    drawn: Callable[[Report], Pixels],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old report")

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device; no report was written to .*html"):
        write_html(path, [report_of(found)], pictures=drawn)
    ends_with_the_old_report(path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits on file sizes")
@pytest.mark.parametrize("limit", [500, 30_000])
def test_a_limit_on_the_file_size_leaves_the_old_report(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old report")
    code = f"""
import resource
from pathlib import Path
from telltale.records import Failure
from telltale.report import write_html
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
write_html(Path({str(path)!r}), [], [Failure("a" * 60, "b")] * 500)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "File too large; no report was written to" in ended.stderr
    ends_with_the_old_report(path)


def test_a_scan_that_breaks_off_leaves_the_old_report(
    tmp_path: Path, found: Finding, report_of: Make, drawn: Callable[[Report], Pixels]
) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old report")

    def stopped() -> Iterator[Report]:
        yield report_of(found)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_html(path, stopped(), pictures=drawn)
    ends_with_the_old_report(path)


def test_refuses_where_no_page_can_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder; name a file"):
        write_html(tmp_path, [])
    with pytest.raises(ValueError, match=r"gone does not exist; make this folder"):
        write_html(tmp_path / "gone" / "report.html", [])


def test_a_link_goes_on_pointing_to_the_report(
    tmp_path: Path, found: Finding, report_of: Make, drawn: Callable[[Report], Pixels]
) -> None:
    link = tmp_path / "latest.html"
    link.symlink_to(tmp_path / "report.html")
    write_html(link, [report_of(found)], pictures=drawn)
    assert link.is_symlink()
    assert "selfie.jpg" in (tmp_path / "report.html").read_text("utf-8")

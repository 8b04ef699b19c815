"""JSON lines: whole lines or none, whatever happens; and a scan can go on from them."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from telltale.records import Failure, Finding, Report
from telltale.report import JsonLines, done, read_jsonl

Make = Callable[..., Report]


@pytest.fixture
def records(found: Finding, unsure: Finding, report_of: Make) -> list[Report | Failure]:
    return [
        report_of(found, unsure, path="a.jpg"),
        Failure("b.jpg", "b.jpg: it is empty"),
        report_of(unsure, path="käse \udcff \u2028.jpg"),  # \udcff: a byte that is no UTF-8
    ]


def write(path: Path, records: list[Report | Failure], resume: bool = False) -> None:
    with JsonLines(path, resume=resume) as lines:
        for record in records:
            lines.write(record)


def test_what_is_written_is_read(tmp_path: Path, records: list[Report | Failure]) -> None:
    path = tmp_path / "out.jsonl"
    write(path, records)
    assert list(read_jsonl(path)) == records
    assert len(path.read_bytes().splitlines()) == len(records)
    assert done(path) == {"a.jpg", "b.jpg", "käse \udcff \u2028.jpg"}
    assert done(tmp_path / "none.jsonl") == set()


def test_each_line_is_there_at_once(tmp_path: Path, records: list[Report | Failure]) -> None:
    path = tmp_path / "out.jsonl"
    with JsonLines(path) as lines:
        for count, record in enumerate(records, 1):
            lines.write(record)
            assert len(list(read_jsonl(path))) == count
        lines.close()  # closing twice is harmless


@pytest.mark.parametrize("cut", [1, 30, 400])
def test_goes_on_after_a_line_that_a_kill_cut_off(
    tmp_path: Path, records: list[Report | Failure], cut: int
) -> None:
    path = tmp_path / "out.jsonl"
    write(path, records)
    path.write_bytes(path.read_bytes()[:-cut])
    whole = records if cut == 1 else records[:-1]  # only the line's end is missing: it is whole
    assert list(read_jsonl(path)) == whole
    write(path, records[len(whole) :] + records[:1], resume=True)
    assert list(read_jsonl(path)) == [*records, records[0]]


def test_a_cut_first_line_is_dropped(tmp_path: Path, records: list[Report | Failure]) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"sche')
    assert list(read_jsonl(path)) == []
    write(path, records, resume=True)
    assert list(read_jsonl(path)) == records


def test_starts_anew_without_resume(tmp_path: Path, records: list[Report | Failure]) -> None:
    path = tmp_path / "out.jsonl"
    write(path, records)
    write(path, records[:1])
    assert list(read_jsonl(path)) == records[:1]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0 a photo", b"notes\nof mine\n", b"[1]\n"])
def test_leaves_foreign_files_alone(tmp_path: Path, content: bytes, resume: bool) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"photo\.jpg exists and Telltale did not write it"):
        JsonLines(path, resume=resume)
    assert path.read_bytes() == content


def test_a_broken_line_in_the_middle_is_named(
    tmp_path: Path, records: list[Report | Failure]
) -> None:
    path = tmp_path / "out.jsonl"
    write(path, records)
    lines = path.read_bytes().splitlines(keepends=True)
    for broken in (b'{"schema":"1","pa\n', b"3\n", b'{"schema":"0"}\n'):
        path.write_bytes(lines[0] + broken + lines[2])
        with pytest.raises(ValueError, match=r"out\.jsonl, line 2: "):
            list(read_jsonl(path))


def test_a_full_disk_leaves_whole_lines(
    tmp_path: Path, records: list[Report | Failure], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    real = os.write

    def half_then_full(file: int, data: bytes) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, bytes(data)[: len(data) - 50])

    with JsonLines(path) as lines:
        lines.write(records[0])
        monkeypatch.setattr(os, "write", half_then_full)
        with pytest.raises(OSError, match=r"No space left on device: .*out\.jsonl"):
            lines.write(records[2])
        monkeypatch.undo()
        assert list(read_jsonl(path)) == records[:1]
        lines.write(records[1])
    assert list(read_jsonl(path)) == records[:2]
    assert path.read_bytes().endswith(b"\n")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits on file sizes")
def test_a_limit_on_the_file_size_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    code = f"""
import resource
from pathlib import Path
from telltale.records import Failure
from telltale.report import JsonLines
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
with JsonLines(Path({str(path)!r})) as lines:
    for number in range(9):
        lines.write(Failure(f"{{number}}.jpg", "x" * 60))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    content = path.read_bytes()
    assert content.endswith(b"\n")
    assert [json.loads(line)["path"] for line in content.splitlines()] == ["0.jpg", "1.jpg"]

"""Reports and failures as JSON lines: one file a line, safe to stop and to go on from."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from telltale.records import Failure, Report
from telltale.records.report import READABLE

_HEAD = b'{"schema":'  # how each line begins


class JsonLines:
    """A JSON-lines file that grows by whole lines: a line is written at once or not at all.

    Args:
        path: The file. What is there is replaced, unless ``resume``.
        resume: Go on after the last whole line; a line that a kill cut off is dropped.

    Raises:
        ValueError: If the file exists and Telltale did not write it: it is left as it is.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        end = _end_of_whole_lines(path) if path.exists() else 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        os.ftruncate(self._file, end if resume else 0)
        self._size = os.lseek(self._file, 0, os.SEEK_END)
        if self._size and os.lseek(self._file, -1, os.SEEK_END) and os.read(self._file, 1) != b"\n":
            self._write(b"\n")  # an editor took the last line's end away

    def write(self, record: Report | Failure) -> None:
        """Append one line.

        Raises:
            OSError: If it could not be written whole, e.g. on a full disk; the file then ends
                with the line before.
        """
        line = json.dumps(record.to_json(), allow_nan=False, separators=(",", ":"))
        self._write(line.encode("ascii") + b"\n")

    def close(self) -> None:
        """Bring what was written to the disk and close the file; harmless when closed already."""
        if self._file >= 0:
            file, self._file = self._file, -1
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except BaseException as error:  # Ctrl-C, too, must not leave half a line
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            if isinstance(error, OSError):
                raise OSError(error.errno, f"{error.strerror}: {self.path}") from error
            raise
        self._size += len(line)


def read_jsonl(path: Path) -> Iterator[Report | Failure]:
    """The records of a file, one at a time; a last line that a kill cut off is left out.

    Raises:
        ValueError: If another line is no report or failure of this schema; it names file and line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                data = json.loads(line)
            except ValueError as error:
                if not line.endswith(b"\n"):
                    return
                raise ValueError(f"{path}, line {number}: not JSON ({error})") from None
            try:
                yield _record(data)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None


def done(path: Path) -> set[str]:
    """Paths of the files that a JSON-lines file already speaks of; empty if there is no such file.

    Raises:
        ValueError: Like :func:`read_jsonl`.
    """
    if not path.exists():
        return set()
    return {
        record.path if isinstance(record, Failure) else record.subject.path
        for record in read_jsonl(path)
    }


def _record(data: Any) -> Report | Failure:  # noqa: ANN401  # whatever a line holds
    if isinstance(data, dict) and data.get("schema") in READABLE and "error" in data:
        return Failure(str(data.get("path", "")), str(data["error"]))
    if not isinstance(data, dict):
        raise ValueError("want a report or a failure, got something else")
    return Report.from_json(data)


def _end_of_whole_lines(path: Path) -> int:
    """Bytes up to the end of the last whole line; raises ValueError if the file is not ours."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            head = line[: len(_HEAD) + 1].replace(b" ", b"")[: len(_HEAD)]
            if not end and not (head and _HEAD.startswith(head)):
                raise ValueError(f"{path} exists and Telltale did not write it; name another file")
            if not line.endswith(b"\n") and not _is_json(line):
                return end
            end += len(line)
    return end


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True

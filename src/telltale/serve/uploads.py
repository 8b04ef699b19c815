"""Receives files as they stream in: to the disk at once, counted, hashed, under names of ours."""

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from telltale.media.files import SUFFIXES, one_line

FIELD = 10_000  # bytes of a field that is no file
NAMES = 200  # characters of a file's name that are kept


class RefusedError(ValueError):
    """What was sent cannot be taken; ``status`` is HTTP's word for why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file on the disk, not yet a job."""

    path: Path
    name: str
    bytes: int
    sha256: str


@dataclass(slots=True)
class Received:
    """What one request held."""

    files: list[Incoming] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)

    def drop(self) -> None:
        for file in self.files:
            file.path.unlink(missing_ok=True)


async def receive(request: Request, folder: Path, *, most: int, files: int) -> Received:
    """The files and fields of a multipart form, or the one file that is the whole body.

    Args:
        request: With ``multipart/form-data``, or any other type: then the body is a file, and the
            header ``X-Filename`` may name it.
        folder: Where files go; on any error nothing of the request is left in it.
        most: Bytes that the request may have.
        files: Files that it may have.

    Raises:
        RefusedError: 400 for a broken form, 413 beyond a limit, 507 if the disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise RefusedError(413, f"want at most {most:,} bytes, got {int(declared):,}")
    if kind in (b"application/x-www-form-urlencoded", b"application/json"):
        raise RefusedError(400, "want multipart/form-data with a file, or the file as the body")
    sink = _Sink(folder, files)
    feed: Callable[[bytes], Any]
    parser: MultipartParser | None = None
    if kind == b"multipart/form-data":
        if not options.get(b"boundary"):
            raise RefusedError(400, "the form names no boundary")
        parser = MultipartParser(options[b"boundary"], sink.callbacks())  # type: ignore[arg-type]
        feed = parser.write
    else:
        sink.open(request.headers.get("x-filename", ""))
        feed = sink.write
    seen = 0
    try:
        async for chunk in request.stream():
            seen += len(chunk)
            if seen > most:
                raise RefusedError(413, f"want at most {most:,} bytes, got more")
            feed(chunk)
        if parser is not None:
            parser.finalize()
        sink.end_of_file()
        if parser is not None and not sink.is_whole:
            raise RefusedError(400, "the form ends before its last boundary; send it again")
    except BaseException as error:  # a client that goes away, too, leaves nothing behind
        sink.drop()
        if isinstance(error, FormParserError):
            raise RefusedError(400, f"not a form that can be read ({one_line(error)})") from error
        if isinstance(error, OSError):
            raise RefusedError(507, f"cannot be kept ({one_line(error.strerror)})") from error
        raise
    received = sink.received
    empty = [file.name for file in received.files if not file.bytes]
    if empty or not received.files:
        sink.drop()
        what = f"{empty[0]} is empty" if empty else "there is no file in the request"
        raise RefusedError(400, what)
    return received


def plain_name(name: str) -> str:
    """The last part of a sender's name for a file, as one printable line."""
    last = PurePosixPath(PureWindowsPath(name).name or "x").name
    return one_line(last, NAMES) or "unnamed"


class _Sink:
    """Where a form's parts go."""

    def __init__(self, folder: Path, most: int) -> None:
        self.received, self.is_whole = Received(), False
        self._folder, self._most = folder, most
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._name = ""  # of the field
        self._text: bytearray | None = None
        self._file: IO[bytes] | None = None
        self._called, self._size, self._digest = "", 0, hashlib.sha256()

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._field,
            "on_header_value": self._more,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": lambda data, start, end: self.write(data[start:end]),
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def open(self, name: str) -> None:
        if len(self.received.files) >= self._most:
            raise RefusedError(413, f"want at most {self._most} files, got more")
        self._called = plain_name(name) if name else "unnamed"
        suffix = Path(self._called).suffix.lower()
        path = self._folder / (secrets.token_hex(12) + (suffix if suffix in SUFFIXES else ""))
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._size, self._digest = 0, hashlib.sha256()
        self.received.files.append(Incoming(path, self._called, 0, ""))

    def write(self, data: bytes) -> None:
        if self._file is not None:
            self._file.write(data)
            self._digest.update(data)
            self._size += len(data)
        elif self._text is not None:
            self._text += data
            if len(self._text) > FIELD:
                raise RefusedError(413, f"want fields of at most {FIELD:,} bytes, got more")

    def end_of_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            path = self.received.files[-1].path
            told = Incoming(path, self._called, self._size, self._digest.hexdigest())
            self.received.files[-1] = told

    def drop(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        self.received.drop()

    def _begin(self) -> None:
        self._headers, self._header, self._value = {}, b"", b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._bounded()

    def _more(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bounded()

    def _bounded(self) -> None:
        if len(self._header) + len(self._value) > FIELD or len(self._headers) > 20:
            raise RefusedError(413, "the headers of a part are too long")

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            self.open(options[b"filename"].decode("utf-8", "replace"))
        else:
            self._text = bytearray()

    def _part_end(self) -> None:
        self.end_of_file()
        if self._text is not None:
            if len(self.received.fields) >= 20:
                raise RefusedError(413, "want at most 20 fields, got more")
            self.received.fields[self._name] = self._text.decode("utf-8", "replace")
            self._text = None

    def _end(self) -> None:
        self.is_whole = True

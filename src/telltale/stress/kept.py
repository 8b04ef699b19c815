"""What a run keeps as it goes, so that a stopped one goes on, with the very same data."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from telltale.data.manifest import Manifest
from telltale.runs import replace_text

HEAD = 2**16  # bytes of a file that are hashed: all of most crops, and a video's headers


def names(manifest: Manifest) -> dict[Path, str]:
    """A name for each file that does not depend on where the data lie."""
    paths = [row.path for row in manifest.rows]
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    return {path: path.relative_to(shared).as_posix() for path in paths}


def identity(manifest: Manifest) -> str:
    """The data's name, and a hash of what its rows say and of its files.

    It does not depend on where the data lie. Of each file its size and its beginning count: to read
    videos whole would take as long as to judge them.
    """
    called, found = names(manifest), hashlib.sha256()
    for row in manifest.rows:
        video = (row.dataset, row.kind, row.video)
        found.update(repr((called[row.path], row.label, row.source, video)).encode())
        for path in (row.path, row.mask):
            found.update(b"-" if path is None else _beginning(path))
    return f"{manifest.name}, SHA-256 {found.hexdigest()}"


def _beginning(path: Path) -> bytes:
    """A hash of a file's size and its beginning; of one that cannot be read nothing."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            return hashlib.sha256(b"%d " % size + file.read(HEAD)).digest()
    except OSError:
        return b""


def earlier(out: Path, made_with: Mapping[str, str], kept: str) -> dict[str, dict[str, Any]]:
    """Records that a stopped run of the same settings kept; makes the file if there is none.

    Raises:
        ValueError: If it was another run, or the folder cannot be made.
    """
    path = out / kept
    try:
        out.mkdir(parents=True, exist_ok=True)
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
    except OSError as error:
        raise ValueError(f"{out}: is no folder to write to ({error.strerror})") from None
    records = [*_whole(lines)]
    if not records:
        replace_text(path, json.dumps({"made_with": made_with}) + "\n")
        return {}
    if (before := records[0].get("made_with")) != made_with:
        other = [k for k in made_with if not before or before.get(k) != made_with[k]]
        raise ValueError(
            f"{path}: was made with another {', '.join(other) or 'set of detectors'}; "
            "name another folder"
        )
    replace_text(path, "".join(json.dumps(record) + "\n" for record in records))
    return {record["path"]: record for record in records[1:]}


def _whole(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The lines up to one that was cut off when the run was stopped."""
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            return

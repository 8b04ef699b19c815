"""Shipped networks: find the file, check its hash before it is opened, run it on ONNX Runtime."""

import hashlib
import os
import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from telltale.records import Weights

if TYPE_CHECKING:
    import onnxruntime


def weights_folder() -> Path:
    """The folder of shipped weights; ``TELLTALE`` is installed as files, so this is a real path."""
    return Path(str(files("telltale"))) / "weights"


def read_weights(card: Path) -> tuple[Weights, ...]:
    """The ``[[weights]]`` tables of a card's TOML file.

    Raises:
        ValueError: If a table lacks a field or has one that is not known.
    """
    tables = tomllib.loads(card.read_text("utf-8")).get("weights", [])
    try:
        return tuple(Weights(**table) for table in tables)
    except TypeError as error:
        raise ValueError(f"{card.name}: {error}") from None


def verified(weights: Weights, folder: Path | None = None) -> Path:
    """The path of a weights file whose bytes have the hash that the card gives.

    Raises:
        ValueError: If the file is missing or its hash differs; the text names the file.
    """
    path = (folder or weights_folder()) / weights.file
    if not path.is_file():
        raise ValueError(f"{path}: the weights file is missing; reinstall telltale-vision")
    digest = sha256(path)
    if digest != weights.sha256:
        raise ValueError(
            f"{path}: SHA-256 is {digest[:12]}…, the card says {weights.sha256[:12]}…; "
            "the file is corrupt or was replaced: reinstall telltale-vision"
        )
    return path


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def session(path: Path, threads: int = 0) -> "onnxruntime.InferenceSession":
    """An ONNX Runtime session on the CPU, made once for each file, as it now is, and thread count.

    Args:
        path: A file that :func:`verified` returned.
        threads: Threads inside one call; 0 = all cores. Folder scans use 1 and run calls side
            by side, which wastes less than splitting each small layer over the cores.
    """
    state = path.stat()
    return _session(path, state.st_mtime_ns, state.st_size, threads)


@cache
def _session(path: Path, changed: int, size: int, threads: int) -> "onnxruntime.InferenceSession":
    import onnxruntime  # 0.1 s that `telltale --help` need not pay

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or os.cpu_count() or 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

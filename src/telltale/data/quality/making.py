"""A database of quality out of pictures of one's own: every kind of distortion at every level.

The score of a distorted picture is a **proxy**, no person was asked: its level, or what a
full-reference measure says of it beside the picture as it was.
"""

import csv
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from telltale.data.synth.distortions import KINDS, LEVELS, distort
from telltale.media import read_picture
from telltale.records import Failure

Pixels = NDArray[np.uint8]

PROXIES = ("level", "fsim")
COLUMNS = ("path", "score", "source", "kind", "level", "partner")


class Distorted(NamedTuple):
    """One picture that was written, the undistorted one, and the score that it got."""

    path: Path
    reference: Path
    score: float  # 0 is perfect, 100 the worst; a proxy


def distorted(
    files: Sequence[Path],
    out: Path,
    *,
    manifest: str,
    kinds: Sequence[str] = (),
    proxy: str = "level",
    seed: int = 0,
) -> Iterator[Distorted | Failure]:
    """Distort each picture in each kind at five levels, and write a manifest when all are done.

    Args:
        files: Pictures.
        out: Folder to write to; made if need be.
        manifest: The manifest's name in it.
        kinds: Some of the 24 of :mod:`telltale.data.synth.distortions`; all by default.
        proxy: What the score is: "level", 20 times the level; or "fsim", 100 · (1 - FSIM) by piq.
        seed: The same seed and pictures give the same distortions.

    Yields:
        What was written, or why a picture gave nothing.

    Raises:
        ValueError: If a kind or the proxy is not known, or the library for it is not installed.
    """
    kinds = kinds or [*KINDS]
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"no distortion {unknown[0]!r}; there is {', '.join(KINDS)}")
    if proxy not in PROXIES:
        raise ValueError(f"no proxy {proxy!r}; there is {', '.join(PROXIES)}")
    if proxy == "fsim":
        _fsim(np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3), np.uint8))
    out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, str, str, str, int, str]] = []
    for number, file in enumerate(files):
        stem = f"{number:05}_{file.stem}"
        try:
            clean = read_picture(file).pixels
            reference = _save(out / f"{stem}.png", clean, "")
            for place, kind in enumerate(kinds):
                for level in range(1, LEVELS + 1):
                    made = distort(kind, clean, level, np.random.default_rng([seed, number, place]))
                    score = 20.0 * level if proxy == "level" else 100 * (1 - _fsim(made, clean))
                    says = f"DISTORTED by telltale synth: {kind}, level {level}, of {file.name}"
                    path = _save(out / f"{stem}_{kind}_{level}.png", made, says)
                    rows.append((path.name, f"{score:.3f}", stem, kind, level, reference.name))
                    yield Distorted(path, reference, score)
        except ValueError as error:
            text = str(error)
            yield Failure(str(file), text if str(file) in text else f"{file}: {text}")
    part = out / f"{manifest}.part"
    with part.open("w", encoding="utf-8", newline="") as table:
        csv.writer(table, lineterminator="\n").writerows([COLUMNS, *rows])
    part.replace(out / manifest)


def _fsim(one: Pixels, other: Pixels) -> float:
    """FSIM with colour (Zhang et al., IEEE TIP 2011) of two pictures of one size."""
    try:
        piq = import_module("piq")  # it has no types
    except ModuleNotFoundError:
        raise ValueError("the proxy fsim needs piq: pip install piq") from None
    import torch

    pair = (
        torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1)[None]) / np.float32(255))
        for p in (one, other)
    )
    return float(piq.fsim(*pair, data_range=1.0))


def _save(path: Path, pixels: Pixels, says: str) -> Path:
    text = PngImagePlugin.PngInfo()
    if says:
        text.add_text("Description", says)
    part = path.with_name(path.name + ".part")
    Image.fromarray(pixels).save(part, "PNG", pnginfo=text)
    part.replace(path)
    return path

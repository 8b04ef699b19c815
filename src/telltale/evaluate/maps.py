"""How well maps localise: a detector's, or a folder of pictures that anyone's method wrote.

A folder holds a grey picture for each of the set's, with the same stem, bright where the method
sees a change: what IMDLBenCo's ``test_save_images.py`` writes, or any other tool. Maps are brought
to the masks' size, never the masks to theirs.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale import metrics
from telltale.data.manifest import Row, read_manifest
from telltale.data.pictures import mask_of
from telltale.detector.located import localises, map_of
from telltale.evaluate.tables import write_text
from telltale.media import read_picture

if TYPE_CHECKING:
    from telltale.detector import Detector

Map = NDArray[np.float64]
Figures = Mapping[str, tuple[float, float, float]]
Track = Callable[[Iterable[Any], int], Iterable[Any]]
EACH: Mapping[str, Callable[[list[tuple[Map, Any]]], float]] = {
    "pixel F1 at 0.5": metrics.pixel_f1,
    "pixel F1, best threshold of each": metrics.best_pixel_f1,
    "pixel F1, map or complement": metrics.permuted_pixel_f1,
    "pixel IoU": metrics.pixel_iou,
    "pixel MCC": metrics.pixel_mcc,
    "pixel AUC": metrics.pixel_auc,
}
# Of all pictures, pristine ones with an empty mask among them.
OF_ALL: Mapping[str, Callable[[Map, Any], float]] = {
    "pixel accuracy at 0.5 (PBCA)": metrics.accuracy,
    "IINC at 0.5": metrics.iinc,
}


def judge_maps(
    what: str, data: Path, *, track: Track = lambda items, count: items
) -> dict[str, tuple[float, float, float]]:
    """Pixel figures of maps over a set with masks, each with its 95 % interval by source.

    Args:
        what: A folder of maps, or what :func:`telltale.load` takes.
        data: Manifest, or a set such as ``columbia:FOLDER``.
        track: Shows progress.

    Raises:
        ValueError: If a map or a mask is missing, or the detector does not localise.
    """
    rows = [row for row in read_manifest(data).rows if not row.label or row.mask is not None]
    if not any(row.label for row in rows):
        raise ValueError(f"{data}: no changed picture with a mask to compare with")
    look = _looking(what)
    changed: list[tuple[Map, Any]] = []
    of_all: dict[str, list[float]] = {name: [] for name in OF_ALL}
    everywhere, sources, alarms, clean = [], [], [], []
    for row in track(rows, len(rows)):
        mask = _mask(row)
        found = _resized(look(row), mask.shape)
        everywhere.append(row.source)
        for name, decide in OF_ALL.items():
            of_all[name].append(decide(found.ravel(), mask.ravel()))
        if mask.any():
            changed.append((found, mask))
            sources.append(row.source)
        else:
            alarms.append(float((found >= 0.5).mean()))
            clean.append(row.source)
    figures = {}
    for name, measure in EACH.items():
        figures[name] = _interval([measure([pair]) for pair in changed], sources)
    pooled = metrics.pooled_pixel_f1(changed)
    figures["pixel F1, all pixels pooled"] = (pooled, math.nan, math.nan)
    for name, values in of_all.items():
        figures[name] = _interval(values, everywhere)
    if alarms:
        figures["area called in pristine pictures"] = _interval(alarms, clean)
    return figures


def maps_markdown(figures: Figures) -> list[str]:
    """The figures as a Markdown table."""
    lines = ["| figure | value | 95 % interval |", "|---|---|---|"]
    for name, (value, low, high) in figures.items():
        span = "–" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
        lines.append(f"| {name} | {value:.3f} | {span} |")
    return lines


def write_maps(figures: Figures, path: Path) -> None:
    """Write the figures as ``.md`` or ``.json``; raises ValueError for another suffix."""
    if path.suffix == ".md":
        write_text(path, "\n".join(maps_markdown(figures)) + "\n")
    elif path.suffix == ".json":
        plain = {k: [None if math.isnan(x) else x for x in v] for k, v in figures.items()}
        write_text(path, json.dumps(plain, indent=1) + "\n")
    else:
        raise ValueError(f"{path}: want a name that ends in .md or .json for pixel figures")


def _interval(values: list[float], sources: list[str]) -> tuple[float, float, float]:
    """Mean and 95 % interval, drawing whole sources with replacement."""
    value, low, high = metrics.mean(values, sources, resamples=500)
    return (value, value, value) if low is None or high is None else (value, low, high)


def _looking(what: str) -> Callable[[Row], Map]:
    folder = Path(what)
    if folder.is_dir() and not (folder / "run.json").exists():
        stems: dict[str, Path] = {}
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"):
                if path.stem in stems:
                    raise ValueError(f"{path}: two maps are called {path.stem}; keep one")
                stems[path.stem] = path

        def read(row: Row) -> Map:
            if row.path.stem not in stems:
                raise ValueError(f"{folder}: no map called {row.path.stem} for {row.path}")
            grey = read_picture(stems[row.path.stem]).pixels.max(-1)
            return np.asarray(grey / 255.0, np.float64)

        return read
    from telltale.loading import load

    detector: Detector = load(what)
    if not localises(detector):
        raise ValueError(f"{what}: gives no map of a picture; name a method that localises")
    # A finding's heat map has 256 steps; this one has all of them.
    return lambda row: np.asarray(map_of(detector, read_picture(row.path).pixels), np.float64)


def _mask(row: Row) -> NDArray[np.bool_]:
    subject = read_picture(row.path).subject
    size = subject.height, subject.width
    return mask_of(row, size) if row.label else np.zeros(size, bool)


def _resized(found: Map, shape: tuple[int, ...]) -> Map:
    if found.shape == shape:
        return found
    image = Image.fromarray(found.astype(np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR), np.float64)

"""The verb: find out what is to be judged, run it if need be, measure it."""

import csv
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from telltale.evaluate.measures import Evaluation, measure
from telltale.evaluate.predictions import (
    Predictions,
    answered,
    folder_of,
    predictions_csv,
    read_predictions,
    unanswered,
)
from telltale.evaluate.protocol import Protocol, choose_threshold
from telltale.evaluate.tables import write_text

if TYPE_CHECKING:
    from telltale.detector import Detector

Track = Callable[[Iterable[Any], int], Iterable[Any]]  # items and their number -> the items


def evaluate(
    what: str | Path,
    data: Path | None = None,
    protocol: Protocol | None = None,
    *,
    keep: Path | None = None,
    track: Track = lambda items, count: items,
) -> Evaluation:
    """Judge predictions, a shipped detector or an exported one.

    Args:
        what: A CSV of predictions, a method's slug, an ``.onnx`` file whose card, a ``.toml`` of
            the same stem, lies beside it, or the folder of a training run.
        data: For a detector, a manifest or a folder for each class.
        protocol: Default: ``Protocol()``.
        keep: CSV to write a detector's predictions to, for other figures later.
        track: Shows progress, as :func:`rich.progress.track` does.

    Raises:
        ValueError: That names the file and says what is wrong with it.
    """
    protocol = protocol or Protocol()
    path = Path(what)
    if path.suffix.lower() == ".csv":
        if data is not None:
            raise ValueError(f"{path}: predictions bring their own data; leave out {data}")
        return _judged(read_predictions(path), protocol, protocol.threshold, _identity(path))
    if data is None:
        raise ValueError(f"{what}: a detector needs data: a manifest, CSV with path, label, …")
    return evaluate_detector(load(what), data, protocol, keep=keep, track=track)


def evaluate_detector(
    detector: "Detector",
    data: Path,
    protocol: Protocol,
    *,
    keep: Path | None = None,
    track: Track = lambda items, count: items,
) -> Evaluation:
    """Run a detector over a manifest's split (and the one to select on), and judge it.

    Unless the protocol says otherwise, the threshold is the one in the detector's card.
    """
    manifest = unanswered(data)
    parts = {protocol.split, *((protocol.select_split,) if protocol.select else ())}
    for part in sorted(parts):
        manifest.of_split(part)  # says which splits there are before the long run, not after
    manifest = manifest.take(np.isin(manifest.columns["split"], sorted(parts)))
    from telltale.scan import scan_many

    folder = folder_of(data)
    files = [folder / path for path in dict.fromkeys(manifest.paths.tolist())]
    reports = scan_many(
        files, survival=protocol.survival, video_fps=protocol.video_fps, detector=detector
    )
    predictions = answered(manifest, folder, track(reports, len(files)))
    if keep is not None:
        write_predictions(predictions, keep)
    fixed = protocol.threshold
    if fixed is None and not protocol.select:
        fixed = detector.weights.threshold
    identity = _identity(data) | {
        "method": detector.card.slug,
        detector.weights.file: f"SHA-256 {detector.weights.sha256}",
    }
    return _judged(predictions, protocol, fixed, identity)


def load(what: str | Path) -> "Detector":
    """A detector by its slug, from an ``.onnx`` file with its card beside it, or of a run.

    A run is the folder that ``telltale train`` writes; it is exported first, elsewhere.
    """
    from telltale.scan import load as ready  # of one row with this file; a CSV needs no network

    path = Path(what)
    if path.suffix.lower() in {".safetensors", ".pt", ".pth", ".ckpt"}:
        raise ValueError(f"{path}: give the folder of the run that it belongs to: {path.parent}")
    if not path.is_dir():
        return ready(what, threads=1)
    from telltale.export import export_run
    from telltale.runs import read_run

    with tempfile.TemporaryDirectory() as folder:
        return ready(export_run(path, Path(folder) / f"{read_run(path).slug}.onnx"), threads=1)


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write a CSV that :func:`read_predictions` reads."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(predictions_csv(predictions))
    write_text(path, text.getvalue())


def _judged(
    predictions: Predictions,
    protocol: Protocol,
    threshold: float | None,
    identity: dict[str, str],
) -> Evaluation:
    from telltale import __version__  # the top of the package is above this row

    notes = []
    judged = predictions
    if "split" in predictions.columns:
        judged = predictions.of_split(protocol.split)
    if threshold is None and protocol.select:
        threshold = choose_threshold(predictions, protocol)
        notes += _shared(judged, predictions.of_split(protocol.select_split), protocol)
    found = measure(judged, protocol, threshold)
    settings = hashlib.sha256(repr(sorted(asdict(protocol).items())).encode()).hexdigest()
    made_with = {
        "telltale": __version__,
        **identity,
        "protocol": f"SHA-256 {settings}",
        "split": protocol.split if "split" in predictions.columns else "(none)",
        "seed": str(protocol.seed),
    }
    return found._replace(notes=(*notes, *found.notes), made_with=made_with)


def _shared(judged: Predictions, chosen: Predictions, protocol: Protocol) -> list[str]:
    """What the two splits have in common, which flatters: an error for items, else a note."""
    both = set(judged.paths.tolist()) & set(chosen.paths.tolist())
    if both:
        raise ValueError(
            f"{judged.name}: {len(both)} paths are in {protocol.split!r} and in "
            f"{protocol.select_split!r}, e.g. {min(both)}"
        )
    sources = set(judged.sources.tolist()) & set(chosen.sources.tolist())
    count = f"{len(sources)} sources are" if len(sources) > 1 else "1 source is"
    return [f"{count} in {protocol.split!r} and in {protocol.select_split!r}"] if sources else []


def _identity(path: Path) -> dict[str, str]:
    """The data's name and hash; of a folder, whose files are many, the name alone."""
    if path.is_dir():
        return {"data": path.name}
    with path.open("rb") as file:
        return {path.name: f"SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"}

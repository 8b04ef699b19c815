"""The verb: find out what is to be judged, run it if need be, measure it."""

import csv
import io
from collections.abc import Callable, Iterable
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from telltale.data.layout import STACKS
from telltale.detector.crops import of_crops
from telltale.evaluate.answers import answered
from telltale.evaluate.formats import is_table, read_any
from telltale.evaluate.learnt import learnt_too
from telltale.evaluate.measures import Evaluation, measure
from telltale.evaluate.origin import data_of, joined, made_with, weights_of
from telltale.evaluate.predictions import (
    Predictions,
    folder_of,
    predictions_csv,
    unanswered,
)
from telltale.evaluate.probe import with_facts
from telltale.evaluate.protocol import Protocol, choose_threshold
from telltale.evaluate.senses import heard, hears
from telltale.evaluate.tables import write_text
from telltale.loading import load

if TYPE_CHECKING:
    from telltale.detector import Detector

Track = Callable[[Iterable[Any], int], Iterable[Any]]  # items and their number -> the items


def evaluate(
    what: str | Path,
    data: Path | None = None,
    protocol: Protocol | None = None,
    *,
    keep: Path | None = None,
    files: Path | None = None,
    track: Track = lambda items, count: items,
) -> Evaluation:
    """Judge predictions, a shipped detector or an exported one.

    Args:
        what: A table of predictions (see :mod:`telltale.evaluate.formats`), a method's slug, an
            ``.onnx`` file whose card, a ``.toml`` of the same stem, lies beside it, or the folder
            of a training run.
        data: For a detector, or a table without labels: a manifest or a folder for each class.
        protocol: Default: ``Protocol()``.
        keep: CSV to write the predictions to, with what was found out about their files.
        files: Folder that a table's paths are relative to; by default the table's own.
        track: Shows progress, as :func:`rich.progress.track` does.

    Raises:
        ValueError: That names the file and says what is wrong with it.
    """
    protocol = protocol or Protocol()
    if is_table(what):
        path = Path(what)
        check_on(what, protocol)
        given = read_any(path, data)
        identity = data_of(path)
        if data is not None:
            identity = joined(identity, data_of(data), data)
        folder = files or (path.parent if data is None else folder_of(data))
        return _judged(given, protocol, protocol.threshold, identity, folder=folder, keep=keep)
    if files is not None:
        raise ValueError(f"--files is for tables of predictions; {what} reads what --data names")
    if data is None:
        raise ValueError(f"{what}: a detector needs data: a manifest, CSV with path, label, …")
    if hears(Path(what)):
        answers = heard(Path(what), data, protocol, track)
        if keep is not None:
            write_predictions(answers.rows, keep)
        fixed = answers.threshold if not protocol.select else None
        fixed = protocol.threshold if protocol.threshold is not None else fixed
        identity = data_of(data) | {"run": Path(what).name}
        found = _judged(answers.rows, protocol, fixed, identity, folder=folder_of(data))
        judged = answers.rows.of_split(protocol.split)
    else:
        found, judged = _ran(load(what, threads=1), data, protocol, keep, track)
    return found._replace(notes=(*learnt_too(what, judged), *found.notes))


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
    return _ran(detector, data, protocol, keep, track)[0]


def _ran(
    detector: "Detector", data: Path, protocol: Protocol, keep: Path | None, track: Track
) -> tuple[Evaluation, Predictions]:
    predictions = predict(detector, data, protocol, keep=keep, track=track)
    fixed = protocol.threshold
    if fixed is None and not protocol.select:
        fixed = detector.weights.threshold
    identity = data_of(data) | weights_of(detector)
    found = _judged(predictions, protocol, fixed, identity, folder=folder_of(data))
    return found, predictions.of_split(protocol.split)


def predict(
    detector: "Detector",
    data: Path,
    protocol: Protocol,
    *,
    keep: Path | None = None,
    track: Track = lambda items, count: items,
) -> Predictions:
    """A detector's answers for a manifest's split, and for the one to select on.

    Args:
        detector: What to run.
        data: A manifest, a folder for each class, or a dataset of the field.
        protocol: Says which splits and which frames.
        keep: CSV to write the answers to.
        track: Shows progress.

    Raises:
        ValueError: That names the file and says what is wrong with it.
    """
    manifest = unanswered(data)
    if stacked := next((it for it in manifest.paths if Path(it).suffix in STACKS), None):
        raise ValueError(f"{stacked}: holds cut faces; unpack them first: telltale prepare {data}")
    parts = {protocol.split, *((protocol.select_split,) if protocol.select else ())}
    for part in sorted(parts):
        manifest.of_split(part)  # says which splits there are before the long run, not after
    manifest = manifest.take(np.isin(manifest.columns["split"], sorted(parts)))
    manifest = manifest.thinned(protocol.frames, protocol.choose)
    from telltale.scan import scan_many

    folder = folder_of(data)
    files = [folder / path for path in dict.fromkeys(manifest.paths.tolist())]
    asked = copy(detector) if protocol.on == "pictures" else of_crops(detector)
    asked.explains, asked.ranks = False, True
    reports = scan_many(
        files, survival=protocol.survival, video_fps=protocol.video_fps, detector=asked
    )
    predictions = answered(manifest, folder, track(reports, len(files)))
    if keep is not None:
        write_predictions(predictions, keep)
    return predictions


def of_data(protocol: Protocol) -> list[str]:
    """A sentence if pictures were taken as faces that were cut already, else nothing."""
    crops = protocol.on == "crops"
    return ["pictures were taken as faces that were cut already"] if crops else []


def check_on(table: str | Path, protocol: Protocol) -> None:
    """ValueError if a table of predictions is to be shown crops."""
    if protocol.on != "pictures":
        raise ValueError(f"{table}: has its scores; on = {protocol.on!r} is for detectors")


def write_predictions(predictions: Predictions, path: Path) -> None:
    """Write a CSV that :func:`read_predictions` reads; with videos, another of their means."""
    tables = {path: predictions}
    if "video" in predictions.columns:
        tables[path.with_stem(f"{path.stem}-videos")] = predictions.averaged("video")
    for name, table in tables.items():
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(predictions_csv(table))
        write_text(name, text.getvalue())


def _judged(
    predictions: Predictions,
    protocol: Protocol,
    threshold: float | None,
    identity: dict[str, str],
    *,
    folder: Path,
    keep: Path | None = None,
) -> Evaluation:
    """The split's figures, at a threshold that is given or chosen on the split to select on."""
    notes = of_data(protocol)
    judged = predictions
    if "split" in predictions.columns:
        judged = predictions.of_split(protocol.split)
    if threshold is None and protocol.select:
        threshold = choose_threshold(predictions, protocol)
        notes += _shared(judged, predictions.of_split(protocol.select_split), protocol)
    judged = with_facts(judged.thinned(protocol.frames, protocol.choose), folder)
    if keep is not None:
        write_predictions(judged, keep)
    found = measure(judged, protocol, threshold)
    if "file bytes" not in judged.columns:
        notes.append(
            f"size, container and JPEG quality were not probed: the files are not in {folder}; "
            "name their folder with --files"
        )
    split = protocol.split if "split" in predictions.columns else "(none)"
    used = made_with(protocol, identity | {"split": split})
    return found._replace(notes=(*notes, *found.notes), made_with=used)


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

"""The verb: find out what is to be judged, run it if need be, measure it."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from telltale.data.forgery import located
from telltale.data.layout import STACKS
from telltale.evaluate.formats import is_table, read_any
from telltale.evaluate.grids import Grid
from telltale.evaluate.learnt import learnt_too
from telltale.evaluate.measures import Evaluation, measure
from telltale.evaluate.predictions import (
    Predictions,
    answered,
    folder_of,
    predictions_csv,
    unanswered,
)
from telltale.evaluate.probe import with_facts
from telltale.evaluate.protocol import SUITES, Protocol, choose_threshold
from telltale.evaluate.suites import Answers, suite
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
        given = read_any(path, data)
        identity = _identity(path) | ({} if data is None else _identity(data))
        folder = files or (path.parent if data is None else folder_of(data))
        return _judged(given, protocol, protocol.threshold, identity, folder=folder, keep=keep)
    if files is not None:
        raise ValueError(f"--files is for tables of predictions; {what} reads what --data names")
    if data is None:
        raise ValueError(f"{what}: a detector needs data: a manifest, CSV with path, label, …")
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
    identity = _identity(data) | _which(detector)
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
    asked = copy(detector)
    asked.explains = False
    reports = scan_many(
        files, survival=protocol.survival, video_fps=protocol.video_fps, detector=asked
    )
    predictions = answered(manifest, folder, track(reports, len(files)))
    if keep is not None:
        write_predictions(predictions, keep)
    return predictions


def compare(
    whats: Mapping[str, str | Path],
    datas: Sequence[Path],
    protocol: Protocol,
    *,
    keep: Path | None = None,
    files: Path | None = None,
    track: Track = lambda items, count: items,
) -> Grid:
    """A comparison of :data:`~telltale.evaluate.protocol.SUITES`: frames and videos, test by test.

    Args:
        whats: Detectors or tables of predictions by name. "leave-one-out" wants one for each kind
            of forgery, by that kind's name, which has not learned from it, and "folds" one for
            each fold; the others want one, but "cross-dataset" takes a table of each dataset, too.
        datas: Data for detectors: one, or several to go across datasets, or one for each fold in
            the detectors' order.
        protocol: With a suite.
        keep: CSV to write the predictions to, where one detector runs over one dataset; the scores
            of its videos go to a file beside it whose name ends in ``-videos``.
        files: Folder that the tables' paths are relative to; by default each table's own.
        track: Shows progress.

    Raises:
        ValueError: That says what is missing or too much, or names the file that is at fault.
    """
    if protocol.suite not in SUITES:
        raise ValueError(f"want a suite of {', '.join(SUITES)}, got {protocol.suite!r}")
    tables = all(is_table(what) for what in whats.values())
    own = protocol.suite in ("leave-one-out", "folds")  # a detector for each test
    several = own or (protocol.suite == "cross-dataset" and tables)
    if not whats or (len(whats) > 1 and not several):
        raise ValueError(f"{protocol.suite} judges one detector, got {', '.join(whats)}")
    if keep is not None and len(whats) * len(datas) != 1:
        raise ValueError(f"{keep}: keeps the predictions of one detector on one dataset")
    found: dict[str, Answers] = {}
    notes: list[str] = []
    made_with: dict[str, str] = {}
    for number, (name, what) in enumerate(whats.items()):
        if protocol.suite == "leave-one-out" and Path(what).is_dir():
            check_left_out(Path(what), name)
        if is_table(what):
            if len(datas) > 1:
                raise ValueError(f"{what}: a table of predictions wants one --data at most")
            folder = files or (folder_of(datas[0]) if datas else Path(what).parent)
            found[name] = Answers(with_facts(read_any(Path(what), *datas), folder))
            made_with |= _identity(Path(what))
            continue
        detector = load(what, threads=1)
        made_with |= _which(detector)
        for data in _datas(datas, protocol.suite, number, len(whats), what):
            answers = predict(detector, data, protocol, keep=keep, track=track)
            notes += learnt_too(what, answers.of_split(protocol.split))
            named = name if own else _named(answers)
            answers = with_facts(answers, folder_of(data))
            fixed, learnt = detector.weights.threshold, detector.weights.learnt or None
            named = f"{named} ({data})" if named in found else named
            found[named] = Answers(answers, fixed, learnt)
            made_with |= _identity(data)
    made = suite(found, protocol)
    made_with = _made_with(protocol, made_with)
    return made._replace(notes=(*notes, *made.notes), made_with=made_with)


def _datas(
    datas: Sequence[Path], suite: str, number: int, count: int, what: str | Path
) -> Sequence[Path]:
    """What the ``number``-th of so many detectors is judged on."""
    if suite == "folds" and len(datas) == count:
        return datas[number : number + 1]
    if suite == "folds":
        raise ValueError(f"folds want --data for each of {count} detectors, got {len(datas)}")
    if not datas or (len(datas) > 1 and suite != "cross-dataset"):
        raise ValueError(f"{what}: {suite} needs data: one manifest; got {len(datas)}")
    return datas


def check_left_out(run: Path, kind: str) -> None:
    """ValueError if a training run's record does not say that it left a kind of forgery out."""
    from telltale.runs import read_run

    left = list(read_run(run).data.leave_out)
    if kind not in left:
        raise ValueError(
            f"{run}: is no run to judge on {kind}: it left out {left or 'nothing'}; "
            f"train it with --set 'data.leave_out=[\"{kind}\"]'"
        )


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
    notes: list[str] = []
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
    made_with = _made_with(protocol, identity | {"split": split})
    return found._replace(notes=(*notes, *found.notes), made_with=made_with)


def _named(rows: Predictions) -> str:
    """What the data are called: their dataset, if all rows are of one, or the file's name."""
    datasets = set(rows.columns["dataset"].tolist()) if "dataset" in rows.columns else set()
    return str(min(datasets)) if len(datasets) == 1 else rows.name


def _made_with(protocol: Protocol, identity: dict[str, str]) -> dict[str, str]:
    """What a figure depends on: version, data, detector, protocol, seed."""
    from telltale import __version__  # the top of the package is above this row

    settings = hashlib.sha256(repr(sorted(asdict(protocol).items())).encode()).hexdigest()
    split = {"split": identity["split"]} if "split" in identity else {}
    rest = {name: value for name, value in identity.items() if name != "split"}
    tail = {"protocol": f"SHA-256 {settings}", **split, "seed": str(protocol.seed)}
    return {"telltale": __version__, **rest, **tail}


def _which(detector: "Detector") -> dict[str, str]:
    return {
        "method": detector.card.slug,
        detector.weights.file: f"SHA-256 {detector.weights.sha256}",
    }


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
    name, path = located(path)
    if path.is_dir():
        return {"data": f"{name}:{path.name}" if name else path.name}
    with path.open("rb") as file:
        return {path.name: f"SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"}

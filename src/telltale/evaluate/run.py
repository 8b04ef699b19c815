"""The verb: find out what is to be judged, run it if need be, measure it."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from telltale.data.forgery import located
from telltale.data.layout import STACKS
from telltale.evaluate.grids import Grid
from telltale.evaluate.measures import Evaluation, measure
from telltale.evaluate.predictions import (
    Predictions,
    answered,
    folder_of,
    predictions_csv,
    read_predictions,
    unanswered,
)
from telltale.evaluate.protocol import SUITES, Protocol, choose_threshold
from telltale.evaluate.senses import heard, hears
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
    if hears(path):
        answers = heard(path, data, protocol, track)
        if keep is not None:
            write_predictions(answers.rows, keep)
        fixed = answers.threshold if not protocol.select else None
        fixed = protocol.threshold if protocol.threshold is not None else fixed
        return _judged(answers.rows, protocol, fixed, _identity(data) | {"run": path.name})
    return evaluate_detector(load(what, threads=1), data, protocol, keep=keep, track=track)


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
    predictions = predict(detector, data, protocol, keep=keep, track=track)
    fixed = protocol.threshold
    if fixed is None and not protocol.select:
        fixed = detector.weights.threshold
    return _judged(predictions, protocol, fixed, _identity(data) | _which(detector))


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
    reports = scan_many(
        files, survival=protocol.survival, video_fps=protocol.video_fps, detector=detector
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
        track: Shows progress.

    Raises:
        ValueError: That says what is missing or too much, or names the file that is at fault.
    """
    if protocol.suite not in SUITES:
        raise ValueError(f"want a suite of {', '.join(SUITES)}, got {protocol.suite!r}")
    tables = all(Path(what).suffix.lower() == ".csv" for what in whats.values())
    own = protocol.suite in ("leave-one-out", "folds")  # a detector for each test
    several = own or (protocol.suite == "cross-dataset" and tables)
    if not whats or (len(whats) > 1 and not several):
        raise ValueError(f"{protocol.suite} judges one detector, got {', '.join(whats)}")
    if keep is not None and len(whats) * len(datas) != 1:
        raise ValueError(f"{keep}: keeps the predictions of one detector on one dataset")
    found: dict[str, Answers] = {}
    made_with: dict[str, str] = {}
    for number, (name, what) in enumerate(whats.items()):
        if protocol.suite == "leave-one-out" and Path(what).is_dir():
            check_left_out(Path(what), name)
        if Path(what).suffix.lower() == ".csv":
            if datas:
                raise ValueError(f"{what}: predictions bring their own data; leave out {datas[0]}")
            found[name] = Answers(read_predictions(Path(what)))
            made_with |= _identity(Path(what))
            continue
        detector = None if hears(Path(what)) else load(what, threads=1)
        made_with |= {"run": Path(what).name} if detector is None else _which(detector)
        for data in _datas(datas, protocol.suite, number, len(whats), what):
            if detector is None:
                answers = heard(Path(what), data, protocol, track)
                if keep is not None:
                    write_predictions(answers.rows, keep)
            else:
                rows = predict(detector, data, protocol, keep=keep, track=track)
                learnt = detector.weights.learnt or None
                answers = Answers(rows, detector.weights.threshold, learnt)
            named = name if own else _named(answers.rows)
            found[f"{named} ({data})" if named in found else named] = answers
            made_with |= _identity(data)
    made = suite(found, protocol)
    return made._replace(made_with=_made_with(protocol, made_with))


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
) -> Evaluation:
    notes: list[str] = []
    judged = predictions
    if "split" in predictions.columns:
        judged = predictions.of_split(protocol.split)
    if threshold is None and protocol.select:
        threshold = choose_threshold(predictions, protocol)
        notes += _shared(judged, predictions.of_split(protocol.select_split), protocol)
    found = measure(judged.thinned(protocol.frames, protocol.choose), protocol, threshold)
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

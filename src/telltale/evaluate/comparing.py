"""The field's comparisons, run: each detector over its data, then test by test."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from telltale import taxonomy
from telltale.evaluate.formats import is_table, read_any
from telltale.evaluate.grids import Grid
from telltale.evaluate.learnt import learnt_too
from telltale.evaluate.origin import data_of, joined, made_with, weights_of
from telltale.evaluate.predictions import Predictions, folder_of
from telltale.evaluate.probe import with_facts
from telltale.evaluate.protocol import SUITES, Protocol
from telltale.evaluate.run import Track, check_on, of_data, predict, write_predictions
from telltale.evaluate.senses import heard, hears
from telltale.evaluate.suites import Answers, suite
from telltale.loading import load

if TYPE_CHECKING:
    from telltale.detector import Detector


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
    notes = of_data(protocol)
    used: dict[str, str] = {}
    loaded: dict[str, Detector | None] = {}
    for name, what in whats.items():  # all are checked before the first of them runs for long
        if protocol.suite == "leave-one-out" and Path(what).is_dir():
            check_left_out(Path(what), name)
        judges = not is_table(what) and not hears(Path(what))
        loaded[name] = detector = load(what, threads=1) if judges else None
        if protocol.suite == "leave-one-out" and detector is not None and not Path(what).is_dir():
            notes += check_unlearnt(detector, what, name)
    # What a verdict survives is in no table of a comparison, and asks a network seven times.
    asked = replace(protocol, survival=protocol.survival and keep is not None)
    for number, (name, what) in enumerate(whats.items()):
        if is_table(what):
            check_on(what, protocol)
            if len(datas) > 1:
                raise ValueError(f"{what}: a table of predictions wants one --data at most")
            folder = files or (folder_of(datas[0]) if datas else Path(what).parent)
            found[name] = Answers(with_facts(read_any(Path(what), *datas), folder))
            used = joined(used, data_of(Path(what)), what)
            continue
        detector = loaded[name]
        judge = {"run": Path(what).name} if detector is None else weights_of(detector)
        used = joined(used, judge, what)
        for data in _datas(datas, protocol.suite, number, len(whats), what):
            if detector is None:
                answers = heard(Path(what), data, protocol, track)
                if keep is not None:
                    write_predictions(answers.rows, keep)
            else:
                rows = predict(detector, data, asked, keep=keep, track=track)
                learnt = detector.weights.learnt or None
                answers = Answers(rows, detector.weights.threshold, learnt)
            notes += learnt_too(what, answers.rows.of_split(protocol.split))
            answers = answers._replace(rows=with_facts(answers.rows, folder_of(data)))
            named = name if own else _named(answers.rows)
            found[f"{named} ({data})" if named in found else named] = answers
            used = joined(used, data_of(data), data)
    made = suite(found, protocol)
    told = (*notes, *made.notes)
    return made._replace(notes=told, made_with=made_with(protocol, used))


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


def _named(rows: Predictions) -> str:
    """What the data are called: their dataset, if all rows are of one, or the file's name."""
    datasets = set(rows.columns["dataset"].tolist()) if "dataset" in rows.columns else set()
    return str(min(datasets)) if len(datasets) == 1 else rows.name


def check_left_out(run: Path, kind: str) -> None:
    """ValueError if a training run's record does not say that it left a kind of forgery out."""
    from telltale.runs import read_run

    left = list(read_run(run).data.leave_out)
    if kind not in left:
        raise ValueError(
            f"{run}: is no run to judge on {kind}: it left out {left or 'nothing'}; "
            f"train it with --set 'data.leave_out=[\"{kind}\"]'"
        )


def check_unlearnt(detector: "Detector", what: str | Path, kind: str) -> list[str]:
    """ValueError if a detector's card says that it learnt a kind; a note if it says nothing."""
    learnt = detector.weights.learnt
    try:
        family = taxonomy.family_of(kind)
    except ValueError:  # a kind of which nothing is known
        family = ""
    if {kind, family} & {*learnt}:
        raise ValueError(
            f"{what}: is no detector to judge on {kind}: its card says that it learnt from "
            f"{', '.join(learnt)}"
        )
    return [] if learnt else [f"nothing says whether {what} learnt from {kind}"]

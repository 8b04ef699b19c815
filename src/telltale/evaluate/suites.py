"""The field's comparisons: within a dataset, across manipulations, across datasets.

intra                the test split of the data that were learned from
cross-manipulation   each kind of forgery against all genuine items
leave-one-out        likewise, each kind judged by the detector that never saw it
cross-dataset        each dataset by itself
joint                physical and digital attacks, each family against all live faces, and both
folds                each fold by its own detector, then mean and deviation over the folds
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from telltale import taxonomy
from telltale.evaluate.grids import Grid, Test, grid
from telltale.evaluate.predictions import Predictions
from telltale.evaluate.protocol import Protocol

ALL = "all families"


class Answers(NamedTuple):
    """A detector's answers, and what is known of the detector.

    Args:
        rows: Of all splits.
        threshold: That its card fixed on validation data.
        learnt: Kinds or families of attack that it learnt from; None where nothing says so.
    """

    rows: Predictions
    threshold: float | None = None
    learnt: tuple[str, ...] | None = None


def suite(found: Mapping[str, Predictions | Answers], protocol: Protocol) -> Grid:
    """The comparison that ``protocol.suite`` names.

    Args:
        found: Predictions by what they are called: the dataset or, for "leave-one-out", the kind;
            for "folds" the fold.
        protocol: With a suite.

    Raises:
        ValueError: If a split, column or kind that it needs is missing.
    """
    known = {name: _answers(it) for name, it in found.items()}
    if protocol.suite == "leave-one-out":
        return leave_one_out(known, protocol)
    if protocol.suite == "cross-dataset":
        return cross_dataset(known, protocol)
    if protocol.suite == "folds":
        return folds(known, protocol)
    (only,) = known.values()
    if protocol.suite == "joint":
        return joint(only, protocol)
    return (intra if protocol.suite == "intra" else cross_manipulation)(only, protocol)


def intra(predictions: Predictions | Answers, protocol: Protocol) -> Grid:
    """All forgeries of one table against its genuine items."""
    rows, fixed, _ = _answers(predictions)
    return grid("intra", {rows.name: Test(rows, rows, fixed)}, protocol)


def cross_manipulation(predictions: Predictions | Answers, protocol: Protocol) -> Grid:
    """Each kind of forgery against all genuine items, by one detector.

    Raises:
        ValueError: If the table has no column ``kind``.
    """
    rows, fixed, _ = _answers(predictions)
    kinds = rows.column("kind")
    names = np.unique(kinds[rows.labels == 1]).tolist()
    tests = {it: Test(of_kind(rows, it), rows, fixed) for it in names}
    return grid("cross-manipulation", tests, protocol)


def leave_one_out(by_kind: Mapping[str, Predictions | Answers], protocol: Protocol) -> Grid:
    """Each kind against all genuine items, by the detector that did not learn from it.

    The kind is left out of what its threshold is chosen on, too.

    Args:
        by_kind: Kind to the answers of the detector from whose training it was left out.
        protocol: For frames, intervals and the split.

    Raises:
        ValueError: If a table has no such kind.
    """
    tests: dict[str, Test] = {}
    for kind, given in by_kind.items():
        rows, fixed, _ = _answers(given)
        own = of_kind(rows, kind)
        others = (rows.labels == 0) | (rows.column("kind") != kind)
        tests[kind] = Test(own, rows.take(others), fixed)
    return grid("leave-one-out", tests, protocol)


def cross_dataset(by_name: Mapping[str, Predictions | Answers], protocol: Protocol) -> Grid:
    """Each dataset by itself; one table with a column ``dataset`` is taken apart by it."""
    known = {name: _answers(it) for name, it in by_name.items()}
    if len(known) == 1:
        ((rows, fixed, learnt),) = known.values()
        if "dataset" in rows.columns:
            sets = rows.columns["dataset"]
            names = np.unique(sets).tolist()
            known = {it: Answers(rows.take(sets == it), fixed, learnt) for it in names}
    tests = {name: Test(it.rows, it.rows, it.threshold) for name, it in known.items()}
    return grid("cross-dataset", tests, protocol)


def folds(by_fold: Mapping[str, Predictions | Answers], protocol: Protocol) -> Grid:
    """Each fold by the detector that learnt from its training part, and their mean ± deviation.

    Args:
        by_fold: Fold to its answers.
        protocol: As above.

    Raises:
        ValueError: If there is one fold only.
    """
    if len(by_fold) < 2:
        raise ValueError(f"want two folds or more, got {', '.join(by_fold)}")
    known = {name: _answers(it) for name, it in by_fold.items()}
    tests = {name: Test(it.rows, it.rows, it.threshold) for name, it in known.items()}
    return grid("folds", tests, protocol)


def joint(predictions: Predictions | Answers, protocol: Protocol) -> Grid:
    """Each family of attacks against all genuine items, and all of them; seen or unseen by it.

    What was learnt (``protocol.learnt``, else a run's record or a card) says which families the
    detector saw. A threshold is chosen on learnt attacks alone.

    Raises:
        ValueError: If the table has no column ``kind``, or a kind belongs to no family that is
            known (:func:`telltale.taxonomy.kind_of`).
    """
    rows, fixed, known = _answers(predictions)
    learnt = protocol.learnt or known
    forged, kinds = rows.labels == 1, rows.column("kind")
    families = {kind: taxonomy.family_of(kind) for kind in np.unique(kinds[forged]).tolist()}
    family = np.array([families.get(kind, "") for kind in kinds.tolist()])
    seen = None if learnt is None else {_family(word) for word in learnt}
    develop = rows if seen is None else rows.take(~forged | np.isin(family, sorted(seen)))
    tests: dict[str, Test] = {}
    for name in np.unique(family[forged]).tolist():
        word = "" if seen is None else ", learnt" if name in seen else ", never learnt"
        tests[name + word] = Test(rows.take(~forged | (family == name)), develop, fixed)
    if len(tests) > 1:
        tests[ALL] = Test(rows, develop, fixed)
    made = grid("joint", tests, protocol, mean=False)
    notes = [*made.notes, _said(families)]
    if seen is None:
        notes.append("nothing says which families the detector learnt from: learnt = [...] does")
    return made._replace(notes=tuple(notes))


def of_kind(predictions: Predictions, kind: str) -> Predictions:
    """A kind's forgeries and all genuine items; ValueError if there are none of the kind."""
    own = (predictions.column("kind") == kind) & (predictions.labels == 1)
    if not own.any():
        raise ValueError(f"{predictions.name}: no forgery is of kind {kind!r}")
    return predictions.take(own | (predictions.labels == 0))


def _answers(given: Predictions | Answers) -> Answers:
    return given if isinstance(given, Answers) else Answers(given)


def _family(word: str) -> str:
    return word if word in taxonomy.FAMILIES else taxonomy.family_of(word)


def _said(families: Mapping[str, str]) -> str:
    """Which kinds were counted to which family."""
    by = {name: [k for k, it in families.items() if it == name] for name in taxonomy.FAMILIES}
    return "; ".join(f"{name}: {', '.join(kinds)}" for name, kinds in by.items() if kinds)

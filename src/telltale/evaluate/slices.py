"""Predictions broken down by their columns, and columns that give the answer away."""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale import metrics
from telltale.evaluate.predictions import Predictions, Strings
from telltale.evaluate.protocol import Protocol


class Slice(NamedTuple):
    """The rows of one value of a column."""

    name: str
    own: int  # rows that have the value
    mask: NDArray[np.bool_]  # (N,) those, and the other class if they are all of one


def slices(rows: Predictions, protocol: Protocol) -> Iterator[Slice]:
    """The slices that the protocol asks for, but for sources of few items: they are noise.

    A value that only one class has (a kind of forgery) is set against all of the other class.
    """
    for column in protocol.slices:
        values = rows.sources if column == "source" else rows.columns.get(column)
        for name, own in () if values is None else _values(column, values):
            size, inside = int(own.sum()), rows.labels[own]
            alone = (inside == inside[0]).all()
            mask = own | (rows.labels != inside[0]) if alone else own
            if not mask.all() and (column != "source" or size >= protocol.smallest):
                yield Slice(name, size, mask)


def _values(column: str, values: Strings) -> Iterator[tuple[str, NDArray[Any]]]:
    distinct = np.unique(values[values != ""])
    numbers = _numbers(values)
    if numbers is None or distinct.size <= 12:
        if distinct.size <= 50:  # more are names of people, and each row would be noise
            yield from ((f"{column} = {value}", values == value) for value in distinct)
        return
    edges = np.unique(np.nanquantile(numbers, (0, 0.25, 0.5, 0.75, 1)))
    for low, high in pairwise(edges):
        mask = (numbers >= low) & ((numbers < high) | (high == edges[-1]) & (numbers == high))
        yield f"{column} {low:.4g} to {high:.4g}", mask


def _numbers(column: Strings) -> NDArray[np.float64] | None:
    """The column as numbers (N,), empty as NaN; None if it holds words."""
    try:
        numbers = np.array([float(value) if value else math.nan for value in column])
    except ValueError:
        return None
    return None if np.isnan(numbers).all() else numbers


def leaks(predictions: Predictions, protocol: Protocol) -> list[str]:
    """A sentence for each column that by itself tells forged from genuine.

    Data in which the forgeries are, say, all PNG or all small measure who notices that. A column
    is reported when the interval of its AUC lies above 0.6; a word counts by its presence. Of
    fewer than ``protocol.smallest`` items a class nothing is said: chance does as well.
    """
    if np.bincount(predictions.labels, minlength=2).min() < protocol.smallest:
        return []
    columns = {
        name: column
        for name, column in predictions.columns.items()
        if name not in {"kind", "split", "verdict", "error", "video"}
    }
    suffixes = [Path(str(path)).suffix.lower() for path in predictions.paths]
    columns["file type"] = np.array(suffixes, np.str_)
    said = []
    for name, column in columns.items():
        for what, values in _clues(name, column):
            known = ~np.isnan(values)
            args = (values[known], predictions.labels[known], predictions.sources[known])
            try:
                found = metrics.bootstrap(
                    metrics.auc, *args, seed=protocol.seed, resamples=min(200, protocol.resamples)
                )
            except ValueError:  # one class or one source has this column: it proves nothing
                continue
            low, high = found[1:]
            if low > 0.6 or high < 0.4:
                strength = max(found[0], 1 - found[0])
                said.append(f"{what} alone tells forged from genuine (AUC {strength:.2f})")
    return said


def _clues(name: str, column: Strings) -> Iterator[tuple[str, NDArray[Any]]]:
    """What a column could give away, as numbers (N,)."""
    numbers = _numbers(column)
    if numbers is not None:
        yield name, numbers
        return
    values, counts = np.unique(column, return_counts=True)
    if values.size <= 20:  # more, and it is a name, not a property
        for value in values[counts >= 2]:
            yield f"{name} {str(value)!r}", (column == value).astype(np.float64)

"""Predictions broken down by their columns, and columns that give the answer away."""

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale import metrics
from telltale.evaluate.predictions import Predictions, Strings
from telltale.evaluate.protocol import Protocol


def slices(rows: Predictions, column: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and mask of each value of a column.

    A value that only one class has (a kind of forgery) is set against all of the other class.
    """
    values = rows.sources if column == "source" else rows.columns.get(column)
    if values is None:
        return
    names, masks = list(_values(column, values)), []
    for name, mask in names:
        inside = rows.labels[mask]
        if (inside == inside[0]).all():
            mask = mask | (rows.labels != inside[0])
        masks.append((name, mask))
    yield from ((name, mask) for name, mask in masks if not mask.all())


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
    is reported when the interval of its AUC lies above 0.6; a word counts by its presence.
    """
    columns = {
        name: column
        for name, column in predictions.columns.items()
        if name not in {"kind", "split", "verdict", "error"}
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

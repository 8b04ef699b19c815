"""Predictions broken down by their columns."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.evaluate.predictions import Predictions, Strings, as_numbers
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
    numbers = as_numbers(values)
    if numbers is None or distinct.size <= 12:
        if distinct.size <= 50:  # more are names of people, and each row would be noise
            yield from ((f"{column} = {value}", values == value) for value in distinct)
        return
    edges = np.unique(np.nanquantile(numbers, (0, 0.25, 0.5, 0.75, 1)))
    for low, high in pairwise(edges):
        mask = (numbers >= low) & ((numbers < high) | (high == edges[-1]) & (numbers == high))
        yield f"{column} {low:.4g} to {high:.4g}", mask

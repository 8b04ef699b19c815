"""A figure and its interval, which draws whole sources."""

from collections.abc import Callable
from typing import NamedTuple

from telltale import metrics
from telltale.evaluate.predictions import Predictions, Strings
from telltale.evaluate.protocol import Protocol

Metric = Callable[..., float]


class Measure(NamedTuple):
    """A figure with its 95 % interval; None where the sources are too few for one."""

    value: float
    low: float | None = None
    high: float | None = None


def with_interval(
    metric: Metric, rows: Predictions, protocol: Protocol, columns: tuple[Strings, ...] = ()
) -> Measure | None:
    """A measure with its interval; None if the rows lack a class that it needs.

    Args:
        metric: Of scores, labels and the columns.
        rows: With a score each.
        protocol: For the bootstrap.
        columns: Further columns (N,) that the metric takes.
    """
    try:
        value = metric(rows.scores, rows.labels, *columns)
    except metrics.OneClassError:
        return None
    groups = rows.column(protocol.interval_by)
    try:
        found = metrics.bootstrap(
            metric,
            rows.scores,
            rows.labels,
            groups,
            seed=protocol.seed,
            resamples=protocol.resamples,
            columns=columns,
        )
    except ValueError:  # fewer than two sources, or most draws of one class
        return Measure(value)
    return Measure(*found)

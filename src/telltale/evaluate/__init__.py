"""How good a detector is, by figures that can be repeated: ``telltale evaluate``.

Takes a table of predictions by anyone's detector, or runs one of ours over a manifest. Every
figure has an interval that resamples whole sources, the worst slice is named, and the threshold
comes from validation data, never from the split that it is judged on.
"""

from telltale.evaluate.measures import Evaluation, Measure, Row, measure
from telltale.evaluate.predictions import (
    Predictions,
    answered,
    predictions_csv,
    read_predictions,
    unanswered,
)
from telltale.evaluate.protocol import Protocol, choose_threshold
from telltale.evaluate.run import evaluate, evaluate_detector
from telltale.evaluate.slices import leaks
from telltale.evaluate.tables import to_csv, to_json, to_markdown, to_tables, write

__all__ = [
    "Evaluation",
    "Measure",
    "Predictions",
    "Protocol",
    "Row",
    "answered",
    "choose_threshold",
    "evaluate",
    "evaluate_detector",
    "leaks",
    "measure",
    "predictions_csv",
    "read_predictions",
    "to_csv",
    "to_json",
    "to_markdown",
    "to_tables",
    "unanswered",
    "write",
]

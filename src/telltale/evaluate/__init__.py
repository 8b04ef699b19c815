"""How good a detector is, by figures that can be repeated: ``telltale evaluate``.

Takes a table of predictions by anyone's detector, or runs one of ours over a manifest. Every
figure has an interval that resamples whole sources, the worst slice is named, the threshold
comes from validation data, never from the split that it is judged on, and a probe says what else
than the forgery would predict the label.
"""

from telltale.evaluate.answers import answered
from telltale.evaluate.comparing import compare
from telltale.evaluate.formats import read_any
from telltale.evaluate.forms import grid_csv, grid_json, grid_latex, grid_markdown, grid_tables
from telltale.evaluate.grids import Cell, Grid
from telltale.evaluate.intervals import Measure
from telltale.evaluate.iso import iso
from telltale.evaluate.maps import judge_maps, maps_markdown, write_maps
from telltale.evaluate.measures import Evaluation, Row, measure
from telltale.evaluate.predictions import (
    Predictions,
    predictions_csv,
    read_predictions,
    unanswered,
)
from telltale.evaluate.probe import Probe, leaks, probes, with_facts
from telltale.evaluate.protocol import SUITES, Protocol, choose_threshold
from telltale.evaluate.run import evaluate, evaluate_detector, predict
from telltale.evaluate.suites import (
    Answers,
    cross_dataset,
    cross_manipulation,
    folds,
    intra,
    joint,
    leave_one_out,
    suite,
)
from telltale.evaluate.tables import (
    FORMS,
    check_form,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
    to_tables,
    write,
)

__all__ = [
    "FORMS",
    "SUITES",
    "Answers",
    "Cell",
    "Evaluation",
    "Grid",
    "Measure",
    "Predictions",
    "Probe",
    "Protocol",
    "Row",
    "answered",
    "check_form",
    "choose_threshold",
    "compare",
    "cross_dataset",
    "cross_manipulation",
    "evaluate",
    "evaluate_detector",
    "folds",
    "grid_csv",
    "grid_json",
    "grid_latex",
    "grid_markdown",
    "grid_tables",
    "intra",
    "iso",
    "joint",
    "judge_maps",
    "leaks",
    "leave_one_out",
    "maps_markdown",
    "measure",
    "predict",
    "predictions_csv",
    "probes",
    "read_any",
    "read_predictions",
    "suite",
    "to_csv",
    "to_json",
    "to_latex",
    "to_markdown",
    "to_tables",
    "unanswered",
    "with_facts",
    "write",
    "write_maps",
]

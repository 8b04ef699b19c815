"""What Telltale says, as plain records: a card, a finding, a report.

A *card* describes a method and its weights. A *finding* answers one question about one subject.
A *report* is one file's findings and its identity; a *failure* a file that could not be read. All
are frozen and check themselves when made. Findings, reports and failures turn into JSON and back
without loss; ``report/report.schema.json`` describes version ``SCHEMA_VERSION`` of that form.
"""

from telltale.records.card import Card, Weights
from telltale.records.finding import VERDICTS, Explanation, Finding, Region, Verdict
from telltale.records.form import grey_png
from telltale.records.observation import Observation
from telltale.records.report import SCHEMA_VERSION, Failure, Report, Subject

__all__ = [
    "SCHEMA_VERSION",
    "VERDICTS",
    "Card",
    "Explanation",
    "Failure",
    "Finding",
    "Observation",
    "Region",
    "Report",
    "Subject",
    "Verdict",
    "Weights",
    "grey_png",
]

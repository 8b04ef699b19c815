"""What a scan answered, as predictions."""

import math
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from telltale.evaluate.predictions import CALIBRATED, Predictions
from telltale.records import Failure, Report


def answered(
    manifest: Predictions, folder: Path, reports: Iterable[Report | Failure]
) -> Predictions:
    """The manifest with the scan's answers: scores, and columns verdict, error and quality.

    A file's score is that of its gravest finding; ``calibrated`` is the same as a user would be
    told it, held to the calibration's limit. A file that cannot be read or holds no face has no
    score; the reason is in ``error``.

    Args:
        manifest: Rows without scores.
        folder: That their paths are relative to.
        reports: Of the same files, in any order; a file that several rows mean comes once.
    """
    answers = {os.path.abspath(_path(report)): _answer(report) for report in reports}
    missing = {"error": "it was not scanned"}
    rows = [answers.get(os.path.abspath(folder / str(path)), missing) for path in manifest.paths]
    names = dict.fromkeys(name for row in rows for name in row if name != "score")
    added = {name: np.array([row.get(name, "") for row in rows], np.str_) for name in names}
    scores = np.array([float(row.get("score", "nan")) for row in rows])
    return replace(manifest, scores=scores, columns=dict(manifest.columns) | added)


def _path(report: Report | Failure) -> str:
    return report.subject.path if isinstance(report, Report) else report.path


def _answer(report: Report | Failure) -> dict[str, str]:
    """One file's scores, verdict and quality, or why there is none, as text."""
    if isinstance(report, Failure):
        return {"error": report.error}
    weighed = [finding for finding in report.findings if not math.isnan(finding.score)]
    if not weighed:
        return {"error": next((note for it in report.findings for note in it.notes), "no answer")}
    gravest = max(weighed, key=lambda finding: finding.score)
    quality = {measure: f"{value:.6g}" for measure, value in gravest.quality.items()}
    told = {"score": repr(float(gravest.score)), "verdict": gravest.verdict}
    if not math.isnan(gravest.log10_lr):  # which is held to the calibration's limit
        told[CALIBRATED] = repr(0.5 + 0.5 * math.tanh(gravest.log10_lr * math.log(10) / 2))
    return quality | told

"""The case: all that a report knows, in the order in which it should be asked.

Provenance, file history, quality, recapture, forgery, localisation, explanation: each line with
what it rests on. What a detector says is inferred; a measure of quality is derived.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from telltale.catalog import cards
from telltale.loading import task_of
from telltale.records import Finding, Report
from telltale.records.observation import STAGES, Basis, Stage
from telltale.report import words

TITLES: Mapping[Stage, str] = {
    "provenance": "Where does the file say it comes from?",
    "history": "What happened to the file?",
    "quality": "Is it good enough to ask?",
    "recapture": "Is it a picture of a picture?",
    "forgery": "Was a face forged?",
    "localisation": "Was a part of it changed?",
    "explanation": "What do the maps rest on?",
}
_STAGE_OF: Mapping[str, Stage] = {
    "spoof": "recapture",
    "documents": "recapture",
    "faces": "forgery",
    "tampering": "localisation",
    "quality": "quality",
}


class Line(NamedTuple):
    """One line of the case."""

    stage: Stage
    basis: Basis
    says: str


def by_stage(report: Report) -> list[tuple[str, list[Line]]]:
    """A report's case: each question that something is known of, and its lines."""
    lines = case(report)
    asked = [stage for stage in STAGES if any(line.stage == stage for line in lines)]
    return [(TITLES[stage], [line for line in lines if line.stage == stage]) for stage in asked]


def case(report: Report) -> list[Line]:
    """A report's lines in the order of the stages."""
    tasks = {card.slug: task_of(card) for card in cards().values()}
    lines = [Line(it.stage, it.basis, it.says) for it in report.observations]
    for finding in report.findings:
        lines += _outside(finding)
        stage = _STAGE_OF.get(tasks.get(finding.slug, ""), "forgery")
        lines.append(Line(stage, "inferred", _answer(finding)))
    return sorted(lines, key=lambda line: STAGES.index(line.stage))


def _outside(finding: Finding) -> Iterator[Line]:
    for name in finding.operating_range:
        if name in finding.quality and words.inside(finding, name) is False:
            measured = words.number(finding.quality[name])
            wanted = words.operating_range(*finding.operating_range[name])
            text = f"{words.measure(name)} of {finding.about} is {measured}, want {wanted}"
            yield Line("quality", "derived", f"{text} ({finding.slug})")


def _answer(finding: Finding) -> str:
    head = words.headline(finding.verdict, finding.claim)
    head = head[:1].lower() + head[1:]
    score = "" if finding.score != finding.score else f", score {words.score(finding.score)}"
    why = f": {finding.notes[0]}" if finding.verdict == "can't tell" and finding.notes else ""
    return f"{finding.about}: {head}{score} ({finding.slug}){why}"

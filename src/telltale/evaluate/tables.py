"""An evaluation as Markdown, CSV, LaTeX, JSON or a table for the terminal."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telltale.evaluate.forms import (
    ISO_TITLES,
    cell,
    comma,
    grid_csv,
    grid_json,
    grid_latex,
    grid_markdown,
    latex,
    markdown,
)
from telltale.evaluate.grids import Grid
from telltale.evaluate.intervals import Measure
from telltale.evaluate.measures import Evaluation, Row

if TYPE_CHECKING:
    from rich.table import Table

FORMS = (".md", ".csv", ".tex", ".json")
TITLES = {
    "auc": "AUC",
    "eer": "EER",
    "average_precision": "AP",
    "tpr_at_fpr_01": "TPR at FPR 0.1 %",
    "tpr_at_fpr_1": "TPR at FPR 1 %",
    "tpr_at_fpr_10": "TPR at FPR 10 %",
    **ISO_TITLES,
    "min_cllr": "min Cllr",
    "accuracy": "accuracy",
    "aurc": "AURC",
    "risk_at_80": "risk at coverage 80 %",
    "risk_at_50": "risk at coverage 50 %",
    "brier": "Brier",
    "ece": "ECE",
    "cllr": "Cllr",
    "unanswered": "no answer",
    "undecided": "can't tell",
    "genuine_called_forged": "genuine called forged",
    "forged_called_genuine": "forged called genuine",
}
RISK_HEAD = ("answered", "wrong among them", "95 % interval")
PROBE_HEAD = ("property", "AUC alone", "95 % interval", "items", "gives the label away")
SHORT = ("auc", "eer", "tpr_at_fpr_1", "accuracy", "apcer", "bpcer", "ece")  # columns by slice


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """A JSON-ready dict; an infinite figure becomes the text "inf"."""
    return {
        "name": evaluation.name,
        "threshold": evaluation.threshold,
        "rows": [
            {
                "slice": row.slice,
                "genuine": row.genuine,
                "forged": row.forged,
                "sources": row.sources,
                "measures": {k: [_plain(end) for end in v] for k, v in row.measures.items()},
            }
            for row in evaluation.rows
        ],
        "worst": {k: [name, _plain(value)] for k, (name, value) in evaluation.worst.items()},
        "notes": list(evaluation.notes),
        "probes": [
            {"property": it.what, "auc": [it.auc, it.low, it.high], "items": it.items}
            for it in evaluation.probes
        ],
        "risk_coverage": [[coverage, *map(_plain, risk)] for coverage, risk in evaluation.risks],
        "made_with": dict(evaluation.made_with),
    }


def to_csv(evaluation: Evaluation) -> str:
    """A line a figure: slice, counts, measure, value, low, high."""
    head = ("slice", "genuine", "forged", "sources", "measure", "value", "low", "high")
    rows: list[tuple[object, ...]] = []
    for row in evaluation.rows:
        for name, figure in row.measures.items():
            ends = ("" if end is None else repr(float(end)) for end in figure)
            rows.append((row.slice, row.genuine, row.forged, row.sources, name, *ends))
    return comma(head, rows)


def to_latex(evaluation: Evaluation) -> str:
    """The main figures by slice as a ``tabular`` for booktabs, notes as comments above it."""
    told = [evaluation.name, _lead(evaluation), *evaluation.notes]
    told += [f"{name} {value}" for name, value in evaluation.made_with.items()]
    names = _shown(evaluation)
    head = ("slice", "genuine", "forged", *(TITLES[name] for name in names))
    rows = [_by_slice(row, names) for row in evaluation.rows]
    return "".join(f"% {' '.join(line.split())}\n" for line in told) + latex(head, rows)


def to_markdown(evaluation: Evaluation) -> str:
    """All figures of the whole with the worst slice of each, then the main ones by slice."""
    parts = [f"# {cell(evaluation.name)}", _lead(evaluation)]
    parts.append(markdown(("measure", "value", "95 % interval", "worst slice"), _whole(evaluation)))
    if len(evaluation.rows) > 1:
        shown = _shown(evaluation)
        head = ("slice", "genuine", "forged", *(TITLES[name] for name in shown))
        parts.append(markdown(head, [_by_slice(row, shown) for row in evaluation.rows]))
    if evaluation.risks:
        parts += ["## Risk and coverage", markdown(RISK_HEAD, _risks(evaluation))]
    if evaluation.probes:
        parts += ["## What else predicts the label", markdown(PROBE_HEAD, _probes(evaluation))]
    if evaluation.notes:
        parts.append("\n".join(f"- {cell(note)}" for note in evaluation.notes))
    if evaluation.made_with:
        made = (f"{name} {value}" for name, value in evaluation.made_with.items())
        parts.append(cell("Made with " + ", ".join(made) + "."))
    return "\n\n".join(parts) + "\n"


def to_tables(evaluation: Evaluation) -> list["Table"]:
    """The same as two tables for a rich console; the second only if there are slices."""
    from rich.markup import escape  # `import telltale` need not pay for it
    from rich.table import Table

    def table(head: tuple[str, ...], rows: list[tuple[str, ...]], title: str | None) -> Table:
        made = Table(title=title)
        for number, name in enumerate(head):
            made.add_column(name, justify="left" if number == 0 else "right")
        for row in rows:
            made.add_row(*map(escape, row))
        return made

    head: tuple[str, ...] = ("measure", "value", "95 % interval", "worst slice")
    tables = [table(head, _whole(evaluation), f"{escape(evaluation.name)}: {_lead(evaluation)}")]
    if len(evaluation.rows) > 1:
        shown = _shown(evaluation)
        head = ("slice", "genuine", "forged", *(TITLES[name] for name in shown))
        tables.append(table(head, [_by_slice(row, shown) for row in evaluation.rows], None))
    if evaluation.risks:
        tables.append(table(RISK_HEAD, _risks(evaluation), "Risk and coverage"))
    if evaluation.probes:
        title = "What else predicts the label (0.5 or less: nothing)"
        tables.append(table(PROBE_HEAD, _probes(evaluation), title))
    return tables


def check_form(path: Path, forms: tuple[str, ...]) -> None:
    """ValueError if a file's name ends in none of the forms."""
    if path.suffix not in forms:
        raise ValueError(f"{path}: want a name that ends in {', '.join(forms[:-1])} or {forms[-1]}")


def write(record: Evaluation | Grid, path: Path) -> None:
    """Write ``.md``, ``.csv``, ``.tex`` or ``.json`` by the suffix; an old file stays till the end.

    Raises:
        ValueError: For another suffix, or where the file cannot be written; it names the file.
    """
    check_form(path, FORMS)
    if isinstance(record, Grid):
        whole = {".md": grid_markdown, ".csv": grid_csv, ".tex": grid_latex, ".json": grid_json}
        write_text(path, whole[path.suffix](record))
        return
    forms: dict[str, Callable[[Evaluation], str]] = {
        ".md": to_markdown,
        ".csv": to_csv,
        ".tex": to_latex,
        ".json": lambda it: json.dumps(to_json(it), indent=1, ensure_ascii=False) + "\n",
    }
    write_text(path, forms[path.suffix](record))


def write_text(path: Path, text: str) -> None:
    """Replace a file's text at once, or leave it as it was and raise ValueError that names it."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ValueError(f"{path}: cannot be written ({error.strerror})") from None


def _lead(evaluation: Evaluation) -> str:
    row = evaluation.rows[0]
    fixed = "" if evaluation.threshold is None else f", threshold {evaluation.threshold:.4g}"
    return f"{row.genuine} genuine, {row.forged} forged, {row.sources} sources{fixed}"


def _whole(evaluation: Evaluation) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, figure in evaluation.rows[0].measures.items():
        worst, value = evaluation.worst.get(name, ("", math.nan))
        where = f"{_number(value)} ({worst})" if worst else ""
        rows.append((TITLES[name], _number(figure.value), _interval(figure), where))
    return rows


def _risks(evaluation: Evaluation) -> list[tuple[str, ...]]:
    return [
        (f"surest {coverage:.0%}", _number(risk.value), _interval(risk))
        for coverage, risk in evaluation.risks
    ]


def _probes(evaluation: Evaluation) -> list[tuple[str, ...]]:
    return [
        (
            it.what,
            _number(it.auc),
            _interval(Measure(it.auc, it.low, it.high)),
            str(it.items),
            "yes" if it.tells else "",
        )
        for it in evaluation.probes
    ]


def _shown(evaluation: Evaluation) -> list[str]:
    return [name for name in SHORT if any(name in row.measures for row in evaluation.rows)]


def _by_slice(row: Row, shown: list[str]) -> tuple[str, ...]:
    cells = []
    for name in shown:
        figure = row.measures.get(name)
        cells.append("" if figure is None else f"{_number(figure.value)} {_interval(figure)}")
    return (row.slice, str(row.genuine), str(row.forged), *(cell.strip() for cell in cells))


def _interval(figure: Measure) -> str:
    if figure.low is None or figure.high is None:
        return ""
    return f"[{_number(figure.low)}, {_number(figure.high)}]"


def _number(value: float) -> str:
    return f"{value:.3f}"


def _plain(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)

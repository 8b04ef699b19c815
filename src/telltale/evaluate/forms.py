"""A comparison as Markdown, CSV, LaTeX, JSON or a table for the terminal; and rows as each form."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from telltale.evaluate.grids import COLUMNS, Cell, Grid
from telltale.evaluate.intervals import Measure
from telltale.evaluate.iso import COLUMNS as ISO
from telltale.evaluate.iso import LIMITS, OF

if TYPE_CHECKING:
    from rich.table import Table

TITLES = {"auc": "AUC", "eer": "EER", "average_precision": "AP", "accuracy": "accuracy"}
HEAD = ("test", "scores of", "genuine", "forged", *(TITLES[name] for name in COLUMNS))
ISO_TITLES = {
    **{name: name.upper() for name in ("apcer", "bpcer", "acer", "hter", "apnrr", "bpnrr")},
    **{f"bpcer_at_apcer_{limit}": f"BPCER at APCER {limit} %" for limit in LIMITS},
}
ISO_NAME = "ISO/IEC 30107-3; APCER, ACER, BPCER at APCER and APNRR of the worst kind"
KINDS_NAME = "APCER by kind"
_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


class Part(NamedTuple):
    """One table of a comparison."""

    name: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def parts(grid: Grid) -> list[Part]:
    """The comparison's tables: ranking; the ISO rates; APCER kind by kind, if there are several."""
    made = [Part(grid.name, HEAD, [_row(it, COLUMNS) for it in grid.cells])]
    there = [name for name in ISO if any(name in it.measures for it in grid.cells)]
    if there:
        titles = (ISO_TITLES[name] for name in there)
        head: tuple[str, ...] = ("test", "scores of", "genuine", "forged", *titles)
        rows = [_row(it, there) for it in grid.cells]
        if any(it.threshold is not None for it in grid.cells):
            head = (*head[:4], "threshold", *head[4:])
            rows = [(*r[:4], _limit(it), *r[4:]) for r, it in zip(rows, grid.cells, strict=True)]
        made.append(Part(ISO_NAME, head, rows))
    kinds = [
        (it.test, f"{it.level}s", name.removeprefix(OF), shown(figure))
        for it in grid.cells
        for name, figure in it.measures.items()
        if name.startswith(OF)
    ]
    if kinds:
        made.append(Part(KINDS_NAME, ("test", "scores of", "kind", "APCER"), kinds))
    return made


def grid_markdown(grid: Grid) -> str:
    """A heading, the tables, and what a reader must know."""
    first, *others = parts(grid)
    told = [f"# {cell(grid.name)}", markdown(first.head, first.rows)]
    for it in others:
        told += [f"## {it.name}", markdown(it.head, it.rows)]
    if grid.notes:
        told.append("\n".join(f"- {cell(note)}" for note in grid.notes))
    if grid.made_with:
        made = (f"{name} {value}" for name, value in grid.made_with.items())
        told.append(cell("Made with " + ", ".join(made) + "."))
    return "\n\n".join(told) + "\n"


def grid_csv(grid: Grid) -> str:
    """A line a figure: test, level, counts, measure, value, low, high, deviation."""
    ends = ("value", "low", "high", "deviation")
    head = ("test", "level", "genuine", "forged", "measure", *ends)
    rows = [
        (
            *(it.test, it.level, it.genuine, it.forged, name),
            *map(_text, (*figure, it.deviations.get(name))),
        )
        for it in grid.cells
        for name, figure in it.measures.items()
    ]
    return comma(head, rows)


def grid_latex(grid: Grid) -> str:
    """A booktabs ``tabular`` for each table, the notes and versions as comments above them."""
    told = [*grid.notes, *(f"{name} {value}" for name, value in grid.made_with.items())]
    comments = "".join(f"% {' '.join(line.split())}\n" for line in (grid.name, *told))
    tables = [f"% {it.name}\n" + latex(it.head, it.rows) for it in parts(grid)]
    return comments + "\n".join(tables)


def grid_json(grid: Grid) -> str:
    """All figures, with intervals as [value, low, high]; deviations of means apart."""
    record: dict[str, Any] = {
        "name": grid.name,
        "cells": [
            it._asdict() | {"measures": {key: list(value) for key, value in it.measures.items()}}
            for it in grid.cells
        ],
        "notes": list(grid.notes),
        "made_with": dict(grid.made_with),
    }
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def grid_tables(grid: Grid) -> list["Table"]:
    """The same for a rich console; what is too wide for it has a line a figure."""
    from rich.markup import escape
    from rich.table import Table

    tables = []
    for it in map(_narrow, parts(grid)):
        made = Table(title=escape(it.name))
        for number, name in enumerate(it.head):
            made.add_column(name, justify="left" if number < 2 else "right")
        for row in it.rows:
            made.add_row(*map(escape, row))
        tables.append(made)
    return tables


def _narrow(part: Part) -> Part:
    """A table of many columns with a line a figure instead."""
    if len(part.head) <= len(HEAD):
        return part
    rows = [
        (row[0], row[1], name, value)
        for row in part.rows
        for name, value in zip(part.head[4:], row[4:], strict=True)
        if value
    ]
    return Part(part.name, (*part.head[:2], "figure", "value"), rows)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown, without a last line break."""
    lines = [tuple(head), tuple("---" for _ in head), *map(tuple, rows)]
    return "\n".join("| " + " | ".join(cell(it) for it in line) + " |" for line in lines)


def comma(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Comma-separated values with a header."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([head, *rows])
    return text.getvalue()


def latex(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A ``tabular`` with the rules of the package booktabs; the first column is text."""

    def line(cells: Sequence[str]) -> str:
        texts = ("".join(_LATEX.get(letter, letter) for letter in it) for it in cells)
        return " & ".join(texts) + r" \\"

    body = "\n".join(line(row) for row in rows)
    columns = "l" + "r" * (len(head) - 1)
    return (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{line(head)}\n\\midrule\n{body}\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


def shown(figure: Measure) -> str:
    """A figure with its interval as text: "0.912 [0.901, 0.923]"."""
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def cell(text: str) -> str:
    """Text that a Markdown table takes as it is."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def _row(it: Cell, columns: Sequence[str]) -> tuple[str, ...]:
    told = []
    for name in columns:
        figure, spread = it.measures.get(name), it.deviations.get(name)
        text = "" if figure is None else shown(figure)
        told.append(text if spread is None else f"{text} ± {spread:.3f}")
    return (it.test, f"{it.level}s", str(it.genuine), str(it.forged), *told)


def _limit(it: Cell) -> str:
    return "" if it.threshold is None else f"{it.threshold:.4g}"


def _text(end: float | None) -> str:
    return "" if end is None else repr(float(end))

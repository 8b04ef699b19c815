"""A comparison as Markdown, CSV, LaTeX, JSON or a table for the terminal; and rows as each form."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from telltale.evaluate.grids import COLUMNS, Cell, Grid
from telltale.evaluate.measures import Measure

if TYPE_CHECKING:
    from rich.table import Table

TITLES = {"auc": "AUC", "eer": "EER", "average_precision": "AP", "accuracy": "accuracy"}
HEAD = ("test", "scores of", "genuine", "forged", *(TITLES[name] for name in COLUMNS))
_LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def grid_markdown(grid: Grid) -> str:
    """A heading, the table, and what a reader must know."""
    parts = [f"# {cell(grid.name)}", markdown(HEAD, [_row(it) for it in grid.cells])]
    if grid.notes:
        parts.append("\n".join(f"- {cell(note)}" for note in grid.notes))
    if grid.made_with:
        made = (f"{name} {value}" for name, value in grid.made_with.items())
        parts.append(cell("Made with " + ", ".join(made) + "."))
    return "\n\n".join(parts) + "\n"


def grid_csv(grid: Grid) -> str:
    """A line a figure: test, level, counts, measure, value, low, high."""
    head = ("test", "level", "genuine", "forged", "measure", "value", "low", "high")
    rows = [
        (it.test, it.level, it.genuine, it.forged, name, *_ends(figure))
        for it in grid.cells
        for name, figure in it.measures.items()
    ]
    return comma(head, rows)


def grid_latex(grid: Grid) -> str:
    """A ``tabular`` in the style of booktabs, the notes and versions as comments above it."""
    told = [*grid.notes, *(f"{name} {value}" for name, value in grid.made_with.items())]
    comments = "".join(f"% {' '.join(line.split())}\n" for line in (grid.name, *told))
    return comments + latex(HEAD, [_row(it) for it in grid.cells])


def grid_json(grid: Grid) -> str:
    """All figures, with intervals as [value, low, high]."""
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


def grid_table(grid: Grid) -> "Table":
    """The same for a rich console."""
    from rich.markup import escape
    from rich.table import Table

    made = Table(title=escape(grid.name))
    for number, name in enumerate(HEAD):
        made.add_column(name, justify="left" if number < 2 else "right")
    for it in grid.cells:
        made.add_row(*map(escape, _row(it)))
    return made


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


def _row(it: Cell) -> tuple[str, ...]:
    figures = (it.measures.get(name) for name in COLUMNS)
    told = ("" if figure is None else shown(figure) for figure in figures)
    return (it.test, f"{it.level}s", str(it.genuine), str(it.forged), *told)


def _ends(figure: Measure) -> tuple[str, ...]:
    return tuple("" if end is None else repr(float(end)) for end in figure)

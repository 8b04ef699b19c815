"""A stress test as Markdown, CSV, or tables for the terminal; and the folder with all of it."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from telltale.stress.curves import to_svg
from telltale.stress.degradations import LEVELS
from telltale.stress.figures import Figure, Stress

if TYPE_CHECKING:
    from rich.table import Table


def to_csv(found: Stress) -> str:
    """A line a detector, kind and level, and one a detector for the pictures as given (level 0)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("detector", "kind", "level", "auc", "low", "high", "drop", "drop_low", "drop_high")
    )
    for detector, figure in found.clean.items():
        writer.writerow((detector, "", 0, *_cells(figure), *_cells(Figure(0.0))))
    for point in found.points:
        cells = (*_cells(point.auc), *_cells(point.drop))
        writer.writerow((point.detector, point.kind, point.level, *cells))
    return text.getvalue()


def to_markdown(found: Stress) -> str:
    """AUC by kind and level of each detector, what is lost with intervals, and the notes."""
    lines = [f"# What verdicts on {plain(found.data)} survive", "", _lead(found), ""]
    for detector, given in found.clean.items():
        lines += [f"## {plain(detector)}", "", f"As given: AUC {_with_interval(given)}.", ""]
        lines += grid(("AUC at level", *map(str, LEVELS), "mean"), _aucs(found, detector))
        lines += ["", "What is lost to the pictures as given, with 95 % intervals:", ""]
        lines += [*grid(("drop at level", *map(str, LEVELS)), _drops(found, detector)), ""]
    lines += [f"- {plain(note)}" for note in found.notes]
    lines += ["", *(f"- {plain(name)}: {plain(v)}" for name, v in found.made_with.items())]
    return "\n".join(lines) + "\n"


def to_tables(found: Stress) -> "list[Table]":
    """A table a detector for the terminal."""
    from rich.table import Table

    tables = []
    for detector, given in found.clean.items():
        title = f"{detector}: AUC {_with_interval(given)} as given; {_lead(found)}"
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        table.add_column("AUC at level")
        for name in (*map(str, LEVELS), "mean"):
            table.add_column(name, justify="right")
        for row in _aucs(found, detector):
            table.add_row(*row)
        tables.append(table)
    return tables


def write(found: Stress, folder: Path) -> list[Path]:
    """Write ``stress.svg``, ``stress.md`` and ``stress.csv``; returns their paths.

    Raises:
        ValueError: That names the file that cannot be written.
    """
    made = []
    for suffix, form in ((".svg", to_svg), (".md", to_markdown), (".csv", to_csv)):
        path = folder / f"stress{suffix}"
        part = path.with_name(path.name + ".part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_text(form(found), encoding="utf-8", newline="")
            part.replace(path)
        except OSError as error:
            raise ValueError(f"{path}: cannot be written ({error.strerror})") from None
        made.append(path)
    return made


def _lead(found: Stress) -> str:
    return f"{found.genuine} genuine, {found.forged} forged, {found.sources} sources"


def _aucs(found: Stress, detector: str) -> list[tuple[str, ...]]:
    rows = []
    for kind, title in found.titles.items():
        values = (f"{point.auc.value:.3f}" for point in found.of(detector, kind))
        rows.append((f"{kind}: {title}", *values, f"{found.mean(detector, kind):.3f}"))
    return [*rows, ("all", *_by_level(found, detector), f"{found.mean(detector):.3f}")]


def _by_level(found: Stress, detector: str) -> list[str]:
    means = []
    for level in LEVELS:
        values = [p.auc.value for p in found.points if (p.detector, p.level) == (detector, level)]
        means.append(f"{sum(values) / len(values):.3f}")
    return means


def _drops(found: Stress, detector: str) -> list[tuple[str, ...]]:
    return [
        (kind, *(_with_interval(point.drop, "+") for point in found.of(detector, kind)))
        for kind in found.titles
    ]


def _with_interval(figure: Figure, sign: str = "") -> str:
    value = f"{figure.value:{sign}.3f}"
    if figure.low is None or figure.high is None:
        return value
    return f"{value} [{figure.low:{sign}.3f}, {figure.high:{sign}.3f}]"


def _cells(figure: Figure) -> tuple[str, ...]:
    return tuple("" if end is None else repr(float(end)) for end in figure)


def grid(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table's lines."""
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return ["| " + " | ".join(map(plain, line)) + " |" for line in lines]


def plain(text: str) -> str:
    """Text that Markdown takes as it is."""
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")

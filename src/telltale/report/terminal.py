"""Reports in a terminal: aligned, plain when piped, harmless whatever a file is called."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from telltale.calibrate import in_words
from telltale.records import Failure, Finding, Report, Verdict
from telltale.report import words

_STYLES: Mapping[str, str] = {"yes": "bold red", "can't tell": "yellow", "no": "cyan"}
_ORDER: tuple[Verdict, ...] = ("yes", "can't tell", "no")
_BAR = 12  # cells of a survival bar
_EIGHTHS = " ▏▎▍▌▋▊▉█"
# What a terminal without Unicode gets for what this module and the words write.
_ASCII = str.maketrans({"−": "-", "–": "-", "×": "x", "…": ".", "█": "#", "’": "'"})
_LISTED = 20  # files of one verdict that a summary names


def print_report(report: Report, console: Console) -> None:
    """Print one file's findings: verdict, score, likelihood ratio, survival strip, reasons."""
    subject = report.subject
    style = _STYLES[report.verdict]
    _line(console, (words.visible(subject.path), "bold"))
    _line(console, (words.report_headline(report), style))
    facts = f"{subject.format} {subject.width} × {subject.height}, {words.file_size(subject.bytes)}"
    if subject.seconds:
        facts += f", {words.duration(subject.seconds)}"
    _line(console, (f"{facts}, SHA-256 {subject.sha256[:16]}…", "dim"))
    for finding in report.findings:
        console.line()
        _print_finding(finding, console)
    for it in report.observations:
        if it.value != "none":
            _line(console, (f"{it.stage}, {it.basis}: ", "dim"), (words.visible(it.says), ""))
    for name, value in subject.details.items():
        if "warning" in name:
            _line(console, ("warning: ", "yellow"), (words.visible(value), ""))


def print_summary(reports: Iterable[Report], failures: Iterable[Failure], console: Console) -> None:
    """Print what a folder's scan came to: counts, the files that matter, what failed.

    Names up to 20 files with evidence and as many with "can't tell"; of each report it keeps a
    line, so that reports may come one at a time.
    """
    told: dict[Verdict, list[tuple[str, str, str, str]]] = {verdict: [] for verdict in _ORDER}
    counts = dict.fromkeys(_ORDER, 0)
    says: dict[Verdict, set[str]] = {verdict: set() for verdict in _ORDER}
    for report in reports:
        verdict, gravest = report.verdict, report.gravest
        counts[verdict] += 1
        says[verdict].add(words.report_headline(report))
        if verdict != "no" and len(told[verdict]) < _LISTED and gravest is not None:
            why = gravest.notes[0] if verdict == "can't tell" and gravest.notes else ""
            told[verdict].append(
                (
                    words.visible(report.subject.path),
                    words.score(gravest.score),
                    words.log10_lr(gravest.log10_lr),
                    words.visible(why),
                )
            )
    failed = list(failures)
    _line(console, (words.count(sum(counts.values()) + len(failed), "file"), "bold"))
    plain: Mapping[Verdict, str] = {"yes": "Evidence found", "no": "No evidence found"}
    for verdict in _ORDER:
        if counts[verdict]:
            name = says[verdict].pop() if len(says[verdict]) == 1 else ""
            name = name or plain.get(verdict, "Can't tell")
            _line(console, (f"{counts[verdict]:>7,}  ", "bold"), (name, _STYLES[verdict]))
    if failed:
        _line(console, (f"{len(failed):>7,}  ", "bold"), ("Could not be read", "magenta"))
    for verdict, title in (("yes", "Evidence"), ("can't tell", "Can't tell")):
        if told[verdict]:
            _print_files(title, told[verdict], counts[verdict], _STYLES[verdict], console)
    if failed:
        console.line()
        _line(console, ("Could not be read", "magenta"))
        for failure in failed:
            error = failure.error
            error = error if failure.path in error else f"{failure.path}: {error}"
            _line(console, (f"  {words.visible(error)}", ""))


def bar(value: float, cells: int = _BAR) -> str:
    """A value in [0, 1] as a bar of ``cells`` cells, to an eighth of one; blank for NaN."""
    if math.isnan(value):
        return " " * cells
    eighths = round(min(max(value, 0.0), 1.0) * cells * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(cells)


def spark(values: Sequence[float], cells: int = 40, *, unicode: bool = True) -> str:
    """Values in [0, 1] over time as a row of at most ``cells`` marks, each the mean of its share.

    Eighths of a block, or the digits 0 to 9; a dot where nothing is known.
    """
    marks = "▁▂▃▄▅▆▇█" if unicode else "0123456789"
    count = min(cells, len(values))
    row = []
    for k in range(count):
        share = values[k * len(values) // count : (k + 1) * len(values) // count]
        known = [value for value in share if not math.isnan(value)]
        mean = sum(known) / len(known) if known else math.nan
        row.append(marks[min(int(mean * len(marks)), len(marks) - 1)] if known else ".")
    return "".join(row)


def _print_finding(finding: Finding, console: Console) -> None:
    _line(
        console,
        (f"  {words.visible(finding.about)}: ", "bold"),
        (words.headline(finding.verdict, finding.claim), _STYLES[finding.verdict]),
    )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    if finding.verdict == "can't tell":
        _row(grid, console, "asked", words.visible(f"whether {finding.claim}"))
    if not math.isnan(finding.score):
        _row(grid, console, "score", words.score_with_interval(finding))
    if not math.isnan(finding.log10_lr):
        ratio = f"{words.log10_lr(finding.log10_lr)}, {words.support(finding)}"
        _row(grid, console, "log10 LR", ratio)
    for name, line in _strip(finding, console):
        _row(grid, console, name, line)
    if known := [point for point in finding.timeline if not math.isnan(point[1])]:
        moment, most = max(known, key=lambda point: point[1])
        drawn = spark([score for _, score in finding.timeline], unicode=_is_unicode(console))
        told = f"{drawn}  highest {words.score(most)} at {words.duration(moment)}"
        _row(grid, console, "over time", told)
    unsure = finding.verdict == "can't tell"
    notes = words.reasons(finding) if unsure else (in_words(finding), *words.reasons(finding))
    for place, note in enumerate(notes):
        first = "why" if unsure else "that is"
        _row(grid, console, "" if place else first, words.visible(note))
    for note in words.on_map(finding):
        _row(grid, console, "where", words.visible(note))
    console.print(Padding(grid, (0, 0, 0, 4), expand=False))


def _strip(finding: Finding, console: Console) -> Iterator[tuple[str, Text]]:
    if not finding.survival:
        return
    yield "as given", _bar_and_score(finding.score, "", console)
    for name, value in finding.survival.items():
        remark = "  flips" if words.crosses(finding, value) else ""
        remark = "  not found again" if math.isnan(value) else remark
        yield words.visible(name), _bar_and_score(value, remark, console)


def _bar_and_score(value: float, remark: str, console: Console) -> Text:
    drawn = bar(value) if _is_unicode(console) else "#" * round(_BAR * _or_zero(value))
    told = _encodable(f" {words.score(value):>5}", console)
    return Text.assemble((f"{drawn:<{_BAR}}", "dim"), told, (remark, "bold yellow"))


def _print_files(
    title: str, rows: list[tuple[str, str, str, str]], count: int, style: str, console: Console
) -> None:
    """Files of one verdict, the path last, so that none is broken to fit a column."""
    console.line()
    _line(console, (f"  score  log10 LR  {title}", "dim"))
    for path, score, ratio, why in rows:
        note = f"  ({why})" if why else ""
        _line(console, (f"  {score:>5}  {ratio:>8}  ", ""), (path, style), (note, "dim"))
    if count > len(rows):
        _line(console, (f"  and {count - len(rows):,} more", "dim"))


def _row(grid: Table, console: Console, name: str, value: str | Text) -> None:
    told = value if isinstance(value, Text) else _text(value, "", console)
    grid.add_row(_text(name, "dim", console), told)


def _line(console: Console, *parts: tuple[str, str]) -> None:
    """One line of styled text; piped, a long name is not broken, so that grep finds it."""
    text = Text.assemble(*((_encodable(part, console), style) for part, style in parts))
    if console.is_terminal:
        console.print(text, overflow="fold", highlight=False)
    else:
        console.print(text, soft_wrap=True, highlight=False)


def _text(text: str, style: str, console: Console) -> Text:
    return Text(_encodable(text, console), style, overflow="fold")


def _encodable(text: str, console: Console) -> str:
    """Text that the console's encoding can carry: what it cannot is spelt out."""
    if _is_unicode(console):
        return text
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def _is_unicode(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value

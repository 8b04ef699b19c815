"""The terminal says the same as the page, fits its width, and obeys no file's name."""

import dataclasses
import io
import math
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from telltale.records import Failure, Finding, Report
from telltale.report import print_report, print_summary, words
from telltale.report.terminal import bar, spark

Make = Callable[..., Report]


def told(
    show: Callable[[Console], None],
    *,
    width: int = 80,
    terminal: bool = False,
    encoding: str = "utf-8",
) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    show(Console(file=file, width=width, force_terminal=terminal, legacy_windows=False))
    return raw.getvalue().decode(encoding)


def test_a_report_says_verdict_score_ratio_survival_and_reasons(
    found: Finding, unsure: Finding, report_of: Make
) -> None:
    text = told(lambda console: print_report(report_of(found, unsure), console))
    lines = text.splitlines()
    assert lines[:2] == ["desk/selfie.jpg", "Evidence of forgery"]
    assert "JPEG 480 × 320, 1.4 MB, SHA-256 ab12ab12ab12ab12…" in lines[2]
    assert "  face 1: Evidence of forgery" in lines
    assert "  face 2: Can't tell" in lines
    assert re.search(r"score +0\.93 \(0\.88 to 0\.96\)", text)
    assert re.search(r"log10 LR +\+2\.2, moderately strong support for the claim", text)
    assert re.search(r"half size +█+\S? +0\.72 *$", text, re.M)  # 0.72 is above 0.6: no flip
    assert re.search(r"JPEG 50 +█+\S? +0\.41  flips *$", text, re.M)
    assert re.search(r"crop +–  not found again", text)
    assert re.search(r"why +it does not survive JPEG 50", text)
    assert "not proof" in text


def test_a_video_and_a_picture_without_a_face(video_report: Report, report_of: Make) -> None:
    text = told(lambda console: print_report(video_report, console))
    assert "3.5 s" in text
    assert re.search(r"over time +▇█\.▆  highest 0\.90 at 1\.0 s", text)
    nothing = Finding(
        "m", "the face was digitally forged", math.nan, "can't tell", notes=("no face",)
    )
    text = told(lambda console: print_report(report_of(nothing), console))
    assert re.search(r"why +no face", text)
    assert "score" not in text


def test_survival_bars_stand_in_line(found: Finding, report_of: Make) -> None:
    text = told(lambda console: print_report(report_of(found), console))
    ends = [re.search(r" (0\.\d\d|–)(  |$)", line) for line in text.splitlines() if "█" in line]
    assert len(ends) == 3
    assert len({match.end(1) for match in ends if match}) == 1


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_fits_the_width_of_a_terminal(
    found: Finding, unsure: Finding, report_of: Make, width: int
) -> None:
    report = report_of(found, unsure, path="a_long_name/" * 12 + "selfie.jpg")

    def show(console: Console) -> None:
        print_report(report, console)
        print_summary([report], [Failure("b" * 90, "it is empty")], console)

    text = re.sub(r"\x1b\[[\d;]*m", "", told(show, width=width, terminal=True))
    assert max(len(line) for line in text.splitlines()) <= width


def test_is_plain_and_unbroken_when_piped(found: Finding, report_of: Make) -> None:
    path = "a_long_name/" * 12 + "selfie.jpg"
    report = report_of(found, path=path)

    def show(console: Console) -> None:
        print_report(report, console)
        print_summary([report], [], console)

    text = told(show, width=40)
    assert "\x1b" not in text
    assert sum(path in line for line in text.splitlines()) == 2  # grep finds it in each
    assert "\x1b[" in told(show, width=40, terminal=True)


def test_no_name_moves_the_cursor_or_is_markup(found: Finding, report_of: Make) -> None:
    path = "[bold]x[/bold]\x1b[2J\r\u202egpj.exe"
    report = report_of(dataclasses.replace(found, notes=("\x1b]0;owned\x07",)), path=path)

    def show(console: Console) -> None:
        print_report(report, console)
        print_summary([report], [Failure("\x1b[1A", "[red]bad[/red]")], console)

    text = told(show, width=120)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"[bold]x[/bold]\x1b[2J\r\u202egpj.exe" in text
    assert r"\x1b[1A: [red]bad[/red]" in text


def test_an_ascii_terminal_gets_ascii(found: Finding, report_of: Make) -> None:
    report = report_of(found, path="käse.jpg")

    def show(console: Console) -> None:
        print_report(report, console)
        print_summary([report], [], console)

    text = told(show, encoding="ascii")
    assert r"k\xe4se.jpg" in text
    assert re.search(r"as given +#{11} +0\.93", text)


def test_a_summary_counts_and_names_what_matters(
    found: Finding, unsure: Finding, report_of: Make
) -> None:
    no = Finding("m", found.claim, 0.02, "no", log10_lr=-1.7)
    reports = [report_of(found, path=f"yes{k}.jpg") for k in range(23)]
    reports += [report_of(unsure, path="unsure.jpg"), report_of(no, path="no.jpg")]
    failures = [Failure("c.jpg", "c.jpg: it is empty"), Failure("d.jpg", "not a picture")]
    text = told(lambda console: print_summary(iter(reports), iter(failures), console))
    lines = text.splitlines()
    assert lines[0] == "27 files"
    assert "     23  Evidence of forgery" in lines
    assert "      1  Can't tell" in lines
    assert "      1  No evidence of forgery found" in lines
    assert "      2  Could not be read" in lines
    assert sum("yes" in line for line in lines) == 20
    assert "  and 3 more" in lines
    assert any("unsure.jpg  (it does not survive JPEG 50)" in line for line in lines)
    assert "no.jpg" not in text
    assert "  c.jpg: it is empty" in lines  # the error names the file already
    assert "  d.jpg: not a picture" in lines


def test_claims_of_several_kinds_share_plain_words(found: Finding, report_of: Make) -> None:
    page = Finding("m", "the page was recaptured", 0.9, "yes")
    other = Finding("m", "the sky is blue", 0.9, "yes")
    show = told(lambda console: print_report(report_of(page), console))
    assert "Evidence of recapture" in show
    show = told(lambda console: print_report(report_of(other), console))
    assert "Evidence that the sky is blue" in show
    both = [report_of(found), report_of(page)]
    assert "2  Evidence found" in told(lambda console: print_summary(both, [], console))


def test_bars() -> None:
    assert bar(0.0) == bar(math.nan) == " " * 12
    assert bar(1.0) == "█" * 12
    assert bar(0.5, 4) == "██  "
    assert bar(0.3125, 4) == "█▎  "  # 1.25 cells


def test_a_row_of_marks_shows_scores_over_time() -> None:
    values = [0.0, 0.49, 0.5, 1.0, math.nan]
    assert spark(values) == "▁▄▅█."
    assert spark(values, unicode=False) == "0459."
    assert spark([0.0, 1.0, 0.25, math.nan], 2) == "▅▃"  # means of what is known
    assert spark([]) == ""


def test_a_note_on_the_heat_map_is_no_reason() -> None:
    finding = Finding(
        "a", "the face was forged", 0.5, "can't tell", notes=("too near", "the heat map (x) was …")
    )
    assert words.reasons(finding) == ("too near",)
    assert words.on_map(finding) == ("the heat map (x) was …",)

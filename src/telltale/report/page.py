"""The report as one HTML file that asks the network for nothing and reads without a script."""

import glob
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from telltale.records import Failure, Finding, Report, Verdict
from telltale.report import case, drawing, layout, words

_ORDER: tuple[Verdict, ...] = ("no", "can't tell", "yes")
# Up to this many files: long side of the thumbnail and of a close-up, in pixels. A page of 500
# stays below 50 MB.
_SIZES = ((50, 1000, 240), (500, 480, 144), (math.inf, 320, 96))
_UNFOLDED = 10  # files up to which hashes and limits stand open


def write_html(
    path: Path,
    reports: Iterable[Report],
    failures: Iterable[Failure] = (),
    *,
    pictures: Callable[[Report], NDArray[np.uint8]] | None = None,
    file: Path | None = None,
) -> None:
    """Write one self-contained page on all reports.

    Reports are taken one at a time and only a line of each is kept, so that they may come from a
    running scan; ``failures`` are read after the last one. The page replaces ``path`` when it is
    whole: whatever happens before, an old report stays as it is.

    Args:
        path: The page; its folder must exist.
        reports: In the order of the page. If it has a length, it decides on the thumbnails' size.
        failures: Files that could not be read.
        pictures: A report's picture (H, W, 3) in sRGB; of a video, the frame that scored highest.
            By default it is read again from the report's path, and of a video with each finding's
            own frame for its close-up. If that raises ValueError or OSError, the page says why
            there is no picture.
        file: Of one report alone: where its file lies now, if not at the report's path. What
            keeps that from being read is raised.

    Raises:
        ValueError: If ``path`` is a folder or its folder does not exist.
        OSError: If the page cannot be written, e.g. on a full disk.
    """
    total = len(reports) if isinstance(reports, Sized) else 0
    template = layout.templates().get_template
    rows: list[dict[str, Any]] = []
    with _replacing(path) as page, _spool(path) as body:
        for number, report in enumerate(reports, 1):
            rows.append(_row(number, report))
            parts = _article(number, report, pictures, total or number, file)
            body.writelines(template("file.html").generate(parts, many=total != 1))
        _bind(page, body, rows, tuple(failures))


def bind_articles(path: Path, parts: Iterable[tuple[Report, str]]) -> None:
    """Write one page on several files, with its summary, from articles that are there already.

    Args:
        path: The page, as for :func:`write_html`.
        parts: Each report with what :func:`write_article` wrote of it.
    """
    rows: list[dict[str, Any]] = []
    with _replacing(path) as page, _spool(path) as body:
        for number, (report, article) in enumerate(parts, 1):
            rows.append(_row(number, report))
            body.write(renumbered(article, number))
        _bind(page, body, rows, ())


def renumbered(article: str, number: int) -> str:
    """An article with ids of its own, for several on one page."""
    for old in ('id="f1"', 'id="h1"', 'aria-labelledby="h1"'):
        article = article.replace(old, old.replace("1", str(number)), 1)
    return article


def _bind(
    page: IO[str], body: IO[str], rows: list[dict[str, Any]], failed: tuple[Failure, ...]
) -> None:
    """Write the table, the articles and what comes after them."""
    template = layout.templates().get_template
    css, js = layout.text("page.css"), layout.text("page.js")
    head = {
        "rows": rows,
        "failures": failed,
        "counts": _counts(rows),
        "title": _title(rows, failed),
        "folder": _shared_folder(rows),
        "when": _when(rows),
        "css": css,
        "policy": layout.policy(css, js),
    }
    page.writelines(template("head.html").generate(head))
    body.seek(0)
    shutil.copyfileobj(body, page)
    page.writelines(template("tail.html").generate(failures=failed, js=js))


def write_article(path: Path, report: Report, *, file: Path | None = None) -> None:
    """Write what a page says of one file, without the page: HTML for inside another's ``main``.

    It wants the page's style sheet and script, ``page.css`` and ``page.js`` beside the templates.
    Arguments and errors are those of :func:`write_html`.
    """
    parts = _article(1, report, None, 1, file)
    with _replacing(path) as page:
        page.writelines(layout.templates().get_template("file.html").generate(parts, many=False))


def _row(number: int, report: Report) -> dict[str, Any]:
    """What the table on top says of a report: small, for it is kept until the end."""
    gravest, unsure = report.gravest, report.verdict == "can't tell"
    return {
        "number": number,
        "path": report.subject.path,
        "verdict": report.verdict,
        "rank": f"{2 - _ORDER.index(report.verdict)}{report.subject.path}",
        "says": words.report_headline(report),
        "score": gravest.score if gravest else math.nan,
        "log10_lr": gravest.log10_lr if gravest else math.nan,
        "range": words.survival_range(gravest) if gravest else None,
        "why": gravest.notes[0] if gravest and unsure and gravest.notes else "",
        "made_at": report.made_at,
    }


def _article(
    number: int,
    report: Report,
    pictures: Callable[[Report], NDArray[np.uint8]] | None,
    files: int,
    file: Path | None = None,
) -> dict[str, Any]:
    """What the template needs for one file, of ``files`` known so far."""
    subject, shown = report.subject, drawing.shown_at(report)
    picture, missing = "", ""
    near: dict[int, str] = {}  # finding -> its close-up, of a video in its own frame
    under: dict[int, str] = {}  # finding -> what its maps side by side are laid over
    size, close = next((size, close) for most, size, close in _SIZES if files <= most)
    try:
        for seconds, pixels in (
            drawing.stills(report, file) if pictures is None else [(shown, pictures(report))]
        ):
            picture = drawing.thumbnail(pixels, size) if seconds == shown else picture
            for place, finding in enumerate(report.findings, 1):
                if finding.region is not None and drawing.peak(finding) == seconds:
                    near[place] = drawing.closeup(pixels, finding.region, close)
                    if finding.explanations:
                        under[place] = drawing.upright(pixels, finding.region, close)
    except (ValueError, OSError) as error:
        if file is not None and not picture:
            raise
        missing = "" if picture else str(error)
    marked = [
        {
            "number": place,
            "finding": finding,
            "heat": "" if finding.heatmap is None else drawing.heat(finding.heatmap),
            "closeup": near.get(place, ""),
            "corner": drawing.corner(finding.region, subject.width, subject.height),
        }
        for place, finding in enumerate(report.findings, 1)
        if finding.region is not None
    ]
    here = {place for place, finding in _outlined(report) if drawing.peak(finding) == shown}
    limits: dict[str, dict[str, None]] = {}
    for finding in report.findings:
        if finding.limits:
            limits.setdefault(finding.slug, {}).update(dict.fromkeys(finding.limits))
    seen = [
        f"{k}: {f.about}, {words.headline(f.verdict, f.claim)}"
        for k, f in _outlined(report)
        if k in here
    ]
    return {
        "number": number,
        "report": report,
        "picture": picture,
        "missing": missing,
        "marked": [item for item in marked if item["number"] in here],
        "closeups": {item["number"]: item for item in marked if item["closeup"]},
        "under": under,
        "limits": limits,
        "alt": "; ".join([f"The {subject.kind} that was scanned", *seen]),
        "legend": drawing.heat_legend(),
        "shown": shown,
        "peaks": [drawing.peak(finding) for finding in report.findings],
        "timelines": [drawing.timeline(f, subject.seconds) for f in report.findings],
        "unfolded": files <= _UNFOLDED,
        "case": case.by_stage(report),
    }


def _outlined(report: Report) -> Iterator[tuple[int, Finding]]:
    return ((k, f) for k, f in enumerate(report.findings, 1) if f.region is not None)


def _counts(rows: list[dict[str, Any]]) -> list[tuple[Verdict, int, str]]:
    """Verdict, number of files and words for those that occur, the gravest first."""
    counts = []
    for verdict in reversed(_ORDER):
        says = [row["says"] for row in rows if row["verdict"] == verdict]
        if says:  # files of different claims share a count: then the plain words
            plain = {"yes": "Evidence found", "no": "No evidence found"}.get(verdict, "Can't tell")
            counts.append((verdict, len(says), says[0] if len(set(says)) == 1 else plain))
    return counts


def _title(rows: list[dict[str, Any]], failures: tuple[Failure, ...]) -> str:
    if len(rows) == 1 and not failures:
        return PurePath(rows[0]["path"]).name
    return words.count(len(rows) + len(failures), "file")


def _shared_folder(rows: list[dict[str, Any]]) -> str:
    """The folder that all files lie in, with its last separator; empty if there is none."""
    folders = {os.path.dirname(row["path"]) for row in rows}
    with suppress(ValueError):  # absolute beside relative paths, or two drives: nothing is shared
        if shared := os.path.commonpath(folders):
            return os.path.join(shared, "")
    return ""


def _when(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    first, last = min(row["made_at"] for row in rows), max(row["made_at"] for row in rows)
    return f"Scanned {first}" if first == last else f"Scanned {first} to {last}"


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """A text file that takes the place of ``path`` when its block ends well, and only then."""
    path = Path(os.path.realpath(path))  # a link goes on pointing to the report
    if path.is_dir():
        raise ValueError(f"{path} is a folder; name a file for the report")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} does not exist; make this folder for the report first")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    _drop_orphans(path)
    try:
        with part.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror or error}; no report was written to {path}"
        ) from error
    finally:
        with suppress(OSError):  # gone when all went well; else the first error is the one to show
            part.unlink(missing_ok=True)


def _drop_orphans(path: Path) -> None:
    """Remove what writers of this page left that were killed in the middle."""
    if os.name != "posix":  # elsewhere signal 0 is no question, but an end
        return
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        writer = part.name.split(".")[-2]
        try:
            if writer.isdecimal():
                os.kill(int(writer), 0)
        except ProcessLookupError:
            part.unlink(missing_ok=True)
        except OSError:  # another user's process: it lives
            continue


def _spool(path: Path) -> IO[str]:
    """A nameless file beside the page for what comes after its table."""
    folder = os.path.dirname(os.path.realpath(path))
    return tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n", dir=folder)

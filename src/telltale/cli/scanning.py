"""``telltale scan``: files in; a summary, JSON lines and an HTML page out.

Records go to a JSON-lines file as they come, the user's or a temporary one, and summary and page
are made from it afterwards: memory does not grow with the number of files, and a scan that was
stopped leaves the same things, only shorter.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from telltale.cli import hinting, outputs
from telltale.cli.outputs import check_place, interrupts, note

if TYPE_CHECKING:
    from telltale.records import Failure, Report

FEW = 20  # files up to which the survival strip is on unless said otherwise
TOLD = 5  # files up to which each one's findings are printed in full
STDOUT = Path("-")
NOTHING, EVIDENCE, ERROR, STOPPED = 0, 1, 2, 130  # exit codes; the last is 128 + SIGINT


def scan(  # noqa: PLR0913  # an option each
    paths: Annotated[
        list[Path], typer.Argument(help="Pictures, videos, and folders to walk.", metavar="PATH")
    ],
    report: Annotated[
        Path | None, typer.Option(help="Write one HTML page about all files.", metavar="FILE.html")
    ] = None,
    json_lines: Annotated[
        Path | None,
        typer.Option("--json", help="Write a JSON line a file; - is stdout.", metavar="FILE.jsonl"),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="What to ask: faces, tampering, spoof, documents; or all.",
            show_default="faces and tampering",
        ),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(help="How it was taken: selfie or document; asks what that calls for, too."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="A slug (see: telltale methods), an exported .onnx, or a run's folder."),
    ] = None,
    hint: Annotated[
        list[str] | None, typer.Option(help=hinting.HELP, metavar="X,Y,W,H|METHOD")
    ] = None,
    video_fps: Annotated[float, typer.Option(help="Frames to look at for each second.")] = 1.0,
    workers: Annotated[
        int | None, typer.Option(help="Files to work on at once.", show_default="the cores")
    ] = None,
    survival: Annotated[
        bool | None,
        typer.Option(
            "--survival/--no-survival",
            help="Ask again after recompression, resizing, a screenshot, a crop.",
            show_default=f"on up to {FEW} files",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the scan that wrote --json.")
    ] = False,
    pdf: Annotated[
        Path | None, typer.Option(help="The page as a PDF; wants a browser.", metavar="FILE.pdf")
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--sign", help="Ed25519 key to sign what is written.", metavar="KEY.pem"),
    ] = None,
    anchors: Annotated[
        Path | None,
        typer.Option(
            "--trust-anchors", help="Whose content credentials to trust.", metavar="CERTS.pem"
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="threads, or ray for a corpus; ray wants --json.")
    ] = "threads",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Ask of pictures, videos and folders of them whether they can be believed.

    Exit codes:
    0 nothing found
    1 evidence found
    2 an error: a named file could not be read, or nothing could
    130 stopped by Ctrl-C: what was finished is written, --resume goes on

    Files of a folder that could not be read are listed and change no code.
    """
    from telltale.loading import detectors
    from telltale.report import done as done_in
    from telltale.scan import cores, files_in, made_with, scan_many

    lines = None if json_lines == STDOUT else json_lines
    if engine != "threads" and any((report, pdf, key, resume)):
        raise ValueError(
            f"--engine {engine} writes --json only, and always resumes; leave out --report, --pdf, "
            "--sign and --resume, which are for the scan of a folder"
        )
    if engine != "threads" and context is not None:
        raise ValueError("--context goes with --engine threads; --task with either")
    if engine != "threads":
        outputs.scan_corpus(paths, lines, engine, workers, survival, video_fps, task)
    if resume and lines is None:
        raise ValueError("--resume wants --json FILE.jsonl, the file of the scan to go on with")
    for out in (report, lines, pdf):
        check_place(out)
    outputs.check_printer(pdf)
    signer = outputs.signer(key, (report, lines, pdf))
    done = done_in(lines) if resume and lines else set()
    total, left = (sum(1 for _ in files_in(paths, passed)) for passed in ((), done))
    if not total:
        raise ValueError(f"no pictures or videos in {', '.join(map(str, paths))}")
    asked = detectors(method, task=task, context=context, threads=1 if left > 1 else 0)
    asked = hinting.hinted(asked, hint or (), paths)
    if done and lines:
        _check_same(lines, made_with(asked))
    if survival is None and total > FEW and not quiet:
        note(f"{total:,} files: the survival strip is off; --survival turns it on")
    began = time.perf_counter()
    with _kept(lines) as path:
        with interrupts() as stop:
            results = scan_many(
                paths,
                survival=total <= FEW if survival is None else survival,
                workers=min(cores(), max(left, 1)) if workers is None else workers,
                video_fps=video_fps,
                done=done,
                detector=asked,
                stop=stop,
                anchors=anchors,
            )
            results = results if quiet else _progress(results, left)
            _write(results, path, resume=resume, echo=json_lines == STDOUT)
            stopped = stop.is_set()
        seconds = time.perf_counter() - began
        records = _Records.of(path)
        if not quiet and json_lines != STDOUT:
            _tell(records)
        if quiet or json_lines == STDOUT or total == 1:
            for failure in records.failures:
                note(failure.error)
        if report is not None:
            _write_page(report, records, quiet)
        if pdf is not None:
            outputs.write_pdf(pdf, records, report)
        outputs.sign_all(signer, (report, lines, pdf), quiet)
    if stopped:
        rest = "--resume goes on from there" if lines else "with --json FILE it could be resumed"
        note(f"stopped after {len(records) + len(records.failures):,} of {total:,} files; {rest}")
        raise typer.Exit(STOPPED)
    if left > TOLD and not quiet:
        note(f"{left:,} files in {seconds:.1f} s, {left / seconds:.1f} a second")
    raise typer.Exit(_exit_code(records, paths))


@dataclass(frozen=True, slots=True)
class _Records:
    """The reports of a JSON-lines file, read anew whenever they are wanted."""

    path: Path
    count: int
    evidence: bool
    failures: "tuple[Failure, ...]"

    @classmethod
    def of(cls, path: Path) -> "_Records":
        from telltale.records import Failure
        from telltale.report import read_jsonl

        failures, count, evidence = [], 0, False
        for record in read_jsonl(path):
            if isinstance(record, Failure):
                failures.append(record)
            else:
                count += 1
                evidence = evidence or record.verdict == "yes"
        return cls(path, count, evidence, tuple(failures))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> "Iterator[Report]":
        from telltale.records import Report
        from telltale.report import read_jsonl

        return (record for record in read_jsonl(self.path) if isinstance(record, Report))


def _write(results: "Iterable[Report | Failure]", path: Path, *, resume: bool, echo: bool) -> None:
    from telltale.report import JsonLines

    with JsonLines(path, resume=resume) as lines:
        for record in results:
            lines.write(record)
            if echo:
                typer.echo(json.dumps(record.to_json(), allow_nan=False, separators=(",", ":")))


def _tell(records: _Records) -> None:
    from rich.console import Console

    from telltale.report import print_report, print_summary

    console = Console()
    total = len(records) + len(records.failures)
    if total <= TOLD:
        for report in records:
            print_report(report, console)
            console.line()
    if total > 1:
        print_summary(records, records.failures, console)


def _write_page(report: Path, records: _Records, quiet: bool) -> None:
    from rich.console import Console

    from telltale.report import write_html

    console = Console(stderr=True)
    with nullcontext() if quiet or not console.is_terminal else console.status(f"writing {report}"):
        write_html(report, records, records.failures)
    if not quiet:
        note(f"report in {report}")


def _exit_code(records: _Records, paths: Sequence[Path]) -> int:
    named = {os.path.abspath(path) for path in paths}
    failed = {os.path.abspath(failure.path) for failure in records.failures}
    if named & failed or not len(records):
        return ERROR
    return EVIDENCE if records.evidence else NOTHING


def _progress(results: "Iterator[Report | Failure]", total: int) -> "Iterator[Report | Failure]":
    """Results as they come, with a bar, the rate and the time left if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield from results
        return
    columns = (
        TextColumn("scanning"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total, rate="")
        began = time.perf_counter()
        for number, record in enumerate(results, 1):
            yield record
            rate = number / (time.perf_counter() - began)
            progress.update(task, completed=number, rate=f"{rate:.1f} files/s")


@contextmanager
def _kept(lines: Path | None) -> Iterator[Path]:
    """Where records go: the user's file, or one that is gone afterwards."""
    if lines is not None:
        yield lines
        return
    with tempfile.TemporaryDirectory(prefix="telltale-") as folder:
        yield Path(folder, "scan.jsonl")


def _check_same(lines: Path, now: Mapping[str, str]) -> None:
    """Refuse to mix answers of two detectors in one file."""
    for earlier in _Records.of(lines):
        keys = [k for k in {**now, **earlier.made_with} if k == "method" or k.startswith("weights")]
        if any(earlier.made_with.get(k) != now.get(k) for k in keys):
            made = f"{earlier.made_with.get('method')} of telltale {earlier.made_with['telltale']}"
            raise ValueError(
                f"{lines}: was made by {made} with other weights than these; scan anew without "
                "--resume, or name another file"
            )
        return  # the first speaks for all

"""Files that a scan writes: where they may go, the PDF, signatures."""

import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from telltale.records import Report


def signer(key: Path | None, outs: Iterable[Path | None]) -> Any:  # noqa: ANN401  # a key, or None
    """The key to sign with, looked at before a long scan; None without ``--sign``."""
    if key is None:
        return None
    if not any(outs):
        raise ValueError("--sign wants something to sign: --json, --report or --pdf FILE")
    from telltale.report.signing import private_key

    return private_key(key)


def sign_all(key: Any, outs: Iterable[Path | None], quiet: bool) -> None:  # noqa: ANN401
    """Sign what was written."""
    if key is None:
        return
    from telltale.report.signing import sign

    for out in outs:
        if out is not None:
            beside = sign(out, key)
            if not quiet:
                note(f"signature in {beside}; check it with: telltale verify {out}")


def write_pdf(path: Path, records: "Iterable[Report]", page: Path | None) -> None:
    """Print the page, which is made for it where the user wants none."""
    from telltale.report import write_html
    from telltale.report.pdf import write_pdf as printed

    if page is not None:
        printed(page, path)
        return
    with tempfile.TemporaryDirectory(prefix="telltale-") as folder:
        made = Path(folder, "report.html")
        write_html(made, records, getattr(records, "failures", ()))
        printed(made, path)


def check_place(out: Path | None) -> None:
    """Refuse before a long scan what could not be written after it."""
    if out is None:
        return
    folder = Path(os.path.realpath(out)).parent
    if out.is_dir():
        raise ValueError(f"{out}: is a folder; name a file to write")
    if not folder.is_dir():
        raise ValueError(f"{out}: the folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{out}: the folder {folder} may not be written to; name another place")


def check_printer(pdf: Path | None) -> None:
    """Refuse before a long scan what no browser is there to print."""
    if pdf is not None:
        from telltale.report.pdf import check_browser

        check_browser(pdf)


def scan_corpus(
    paths: Sequence[Path],
    out: Path | None,
    engine: str,
    workers: int | None,
    survival: bool | None,
    video_fps: float,
    task: str | None,
) -> NoReturn:
    """The scan with ``--engine ray``, and its exit code."""
    if engine != "ray":
        raise ValueError(f"no engine {engine!r}; there is threads, ray")
    if out is None:
        raise ValueError("--engine ray wants --json: FILE.jsonl, or a folder for Parquet files")
    from telltale.scale import scan_corpus as spread
    from telltale.scan import cores

    # A URI's two slashes do not survive a Path.
    names = [re.sub(r"^([a-z0-9]+):/(?!/)", r"\1://", str(path)) for path in paths]
    tally = spread(
        names,
        out,
        workers=cores() if workers is None else workers,
        survival=bool(survival),
        video_fps=video_fps,
        task=task,
    )
    note(
        f"{tally.scanned:,} scanned, {tally.failed:,} could not be read, {tally.passed:,} were "
        f"done before; {tally.rate:.1f} files a second; results in {out}"
    )
    raise typer.Exit(int(tally.evidence > 0))


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one acts as ever."""
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or before in (signal.SIG_IGN, None):  # e.g. under nohup: let it be
        yield stop
        return

    def first(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def note(text: str) -> None:
    """One line on stderr."""
    typer.echo(f"telltale: {text}", err=True)

"""Files that a scan writes: where they may go, the PDF, signatures."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def note(text: str) -> None:
    """One line on stderr."""
    typer.echo(f"telltale: {text}", err=True)

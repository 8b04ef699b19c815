"""``telltale verify``: whether a signed report is as it was, and speaks of these files."""

from pathlib import Path
from typing import Annotated

import typer


def verify(
    path: Annotated[
        Path,
        typer.Argument(help="What telltale scan --sign wrote and signed.", metavar="FILE"),
    ],
    key: Annotated[
        Path | None,
        typer.Option(help="Public key of the one who must have signed.", metavar="PUBLIC.pem"),
    ] = None,
) -> None:
    """Check a signed report: its signature, its inputs by their SHA-256, its weights.

    Exit codes: 0 what could be checked holds, 1 something does not, 2 it cannot be read.
    """
    from telltale.report.signing import public_key
    from telltale.report.signing import verify as checks

    failed = False
    marks = {True: "ok ", False: "NO ", None: "?  "}
    for check in checks(path, None if key is None else public_key(key)):
        typer.echo(f"{marks[check.holds]} {check.what}: {check.says}")
        failed = failed or check.holds is False
    raise typer.Exit(int(failed))

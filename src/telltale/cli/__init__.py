"""The command line: what to run, with what, and which exit code comes out. No logic of its own.

Exit codes: 0 nothing found, 1 evidence found, 2 an error, 130 stopped by Ctrl-C.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from telltale.cli.acoustics import m3fas_signal
from telltale.cli.attacks import catalogue
from telltale.cli.auditing import audit_injection
from telltale.cli.certifying import certify
from telltale.cli.compressing import compress
from telltale.cli.describing import answer, describe
from telltale.cli.evaluating import evaluate
from telltale.cli.explaining import explain
from telltale.cli.finding import find
from telltale.cli.hallucinating import hallucination
from telltale.cli.listing import doctor, methods
from telltale.cli.moments import moments
from telltale.cli.protecting import protect
from telltale.cli.research import export, prepare, synth, train
from telltale.cli.scanning import scan
from telltale.cli.selecting import demonstrations
from telltale.cli.serving import serve
from telltale.cli.stressing import stress
from telltale.cli.transferring import transfer
from telltale.cli.verifying import verify

ERROR, STOPPED, CLOSED = 2, 130, 141  # the last two: 128 + the number of the signal

# What wrong words on the command line raise. Typer brings its own copy of click or imports the
# installed one, depending on its version; its public BadParameter leads to the right one.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="telltale",
    help="Tells whether a picture can be believed, where not, how sure it is, and what survives.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from telltale import __version__

        print(f"telltale {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; at any place.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Only for ``--help``: ``run`` takes ``--debug`` out, wherever it stands."""


LISTS = (serve, methods, catalogue, doctor)  # these do something without arguments
PANELS = {
    "Look at media": (scan, serve, explain, find, verify, doctor),
    "What there is": (methods, catalogue),
    "Train and measure": (prepare, synth, train, evaluate, stress, export, compress, m3fas_signal),
    "Protect and audit what is yours": (protect, certify, transfer, audit_injection),
    "Language models": (describe, answer, hallucination, demonstrations),
}
for panel, commands in PANELS.items():
    for command in commands:
        app.command(no_args_is_help=command not in LISTS, rich_help_panel=panel)(command)
app.add_typer(moments, name="moments", no_args_is_help=True, rich_help_panel="Look at media")


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; errors are one line on stderr."""
    debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"] or ["--help"]
    try:
        code = app(words, prog_name="telltale", standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        return _say("stopped", STOPPED)
    except (BrokenPipeError, SystemExit):  # the reader of a pipe has seen enough
        # click makes an exit with 1 of it, which would mean "evidence found"; it exits for
        # nothing else when it is not to stand alone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except _UsageError as error:
        return _say(_usage(error, words), ERROR)
    except (ValueError, OSError) as error:
        if debug:
            raise
        return _say(_one_line(error), ERROR)
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point of ``telltale`` and ``python -m telltale``."""
    sys.exit(run(sys.argv[1:]))


def _say(text: str, code: int) -> int:
    print(f"telltale: {text}", file=sys.stderr)  # noqa: T201
    return code


def _usage(error: Exception, words: Sequence[str]) -> str:
    context = getattr(error, "ctx", None)
    message = getattr(error, "format_message", lambda: str(error))()
    if not message or type(error).__name__ == "NoArgsIsHelpError":
        message = f"{words[0]} wants arguments"
    where = context.command_path if context else "telltale"
    return f"{' '.join(message.split()).rstrip('.')}; see: {where} --help"


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if error.filename else ""
        return " ".join(f"{error.strerror}{name}".split())
    return " ".join(str(error).split())

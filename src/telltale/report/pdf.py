"""The HTML report as a PDF, printed by a browser that is there: what is read is what is printed."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from telltale.media.files import one_line

_NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("microsoft-edge", "msedge", "brave-browser"),
)
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-pdf-header-footer",
)


@cache
def browser() -> str | None:
    """A browser that prints without a window; None if there is none."""
    found = (shutil.which(name) for name in _NAMES)
    return next((path for path in (*found, *_PLACES) if path and os.path.exists(path)), None)


def check_browser(path: Path) -> str:
    """The browser that prints a PDF.

    Raises:
        ValueError: If there is none; the text names the PDF and says what to install.
    """
    program = browser()
    if program is None:
        raise ValueError(
            f"{path}: printing a PDF wants Chromium, Chrome or Edge on this machine; install one "
            "(apt install chromium, brew install --cask chromium, winget install Google.Chrome), "
            "or write the report as HTML and print it from any browser"
        )
    return program


def write_pdf(page: Path, path: Path, *, seconds: float = 120.0) -> None:
    """Print a report that :func:`telltale.report.write_html` wrote.

    Args:
        page: The HTML report.
        path: The PDF; replaced when it is whole.
        seconds: How long the browser may take.

    Raises:
        ValueError: If there is no browser, or it does not print; the text says what to do.
    """
    program = check_browser(path)
    # Root, as in containers, has no sandbox to use; the page is our own and runs no foreign script.
    flags = [*_FLAGS, "--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else [*_FLAGS]
    with tempfile.TemporaryDirectory(prefix="telltale-", dir=path.absolute().parent) as folder:
        part = Path(folder, "report.pdf")
        profile = f"--user-data-dir={Path(folder, 'profile')}"
        command = [program, *flags, profile, f"--print-to-pdf={part}", page.absolute().as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ValueError(f"{path}: {program} did not print ({one_line(error)})") from error
        if not part.exists() or part.stat().st_size == 0:
            told = one_line(done.stderr.decode("utf-8", "replace")[-300:])
            raise ValueError(f"{path}: {program} did not print ({told or done.returncode})")
        part.replace(path)

"""What tests of several folders share."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from redness import write_redness
from telltale import cli

Run = Callable[..., tuple[int, str, str]]

settings.register_profile("patient", deadline=None)  # the machine may be busy
settings.load_profile("patient")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread and a fixed seed: small tensors, and the machine may be busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def method(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_redness(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line; gives exit code, stdout and stderr."""

    def it(*words: object) -> tuple[int, str, str]:
        code = cli.run([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return it


FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium through Playwright; skips where either is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no chromium on this machine")
    flags = [*FLAGS, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()

"""A real server in a process of its own, on a free port of the loopback."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

httpx = pytest.importorskip("httpx")
for needed in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed)

MEDIA = Path(__file__).parents[1] / "examples/media"


@dataclass
class Server:
    url: str
    process: "subprocess.Popen[str]"
    folder: Path

    def client(self, **options: object) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, **options)

    def stop(self, how: int = signal.SIGINT) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout=40)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "telltale", "serve", "--port", "0", "--folder", str(folder)]
    log = folder.parent / f"{folder.name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    try:
        line = (process.stdout or iter([])).readline()  # type: ignore[union-attr]
        found = re.search(r"http://\S+?(?=/ )", line)
        assert found, (line, log.read_text()[-500:])
        yield Server(found[0], process, folder)
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()

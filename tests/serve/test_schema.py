"""The API keeps what its schema promises, whatever it is sent: schemathesis makes the requests."""

import pytest

from serving import Server

schemathesis = pytest.importorskip("schemathesis")


@pytest.mark.slow
def test_the_server_keeps_its_word(server: Server) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/v1/openapi.json"),
            *("--checks", "all", "--max-examples", "25", "--seed", "1", "--no-color"),
            *("--exclude-checks", "unsupported_method,missing_required_header"),
        ],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

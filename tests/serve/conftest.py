"""A server that tests share, and small files to send."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from serving import MEDIA, Server, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that many tests share; each looks at its own jobs only."""
    folder = tmp_path_factory.mktemp("server") / "shared"
    with running(folder, "--workers", "2", "--no-survival", "--upload-mb", "5") as server:
        yield server


@pytest.fixture
def selfie() -> bytes:
    return (MEDIA / "astronaut.jpg").read_bytes()


@pytest.fixture(scope="session")
def noise() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    path = tmp_path / "grey.png"
    Image.new("RGB", (64, 64), (90, 90, 90)).save(path)
    return path

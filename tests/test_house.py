"""What lies in the repository: weights that a card vouches for, nothing huge, nothing unsafe."""

import ast
import hashlib
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src/telltale"
SHIPPED = sorted(path for path in (SRC / "weights").iterdir() if not path.name.startswith("."))
CARDS = sorted(SRC.rglob("*.toml"))
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib", ".npy", ".h5"}
PERMISSIVE = {"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0"}


def described() -> dict[str, dict[str, str]]:
    """Weights tables of all cards, by file name."""
    tables = [t for card in CARDS for t in tomllib.loads(card.read_text()).get("weights", [])]
    return {table["file"]: table for table in tables}


def kept_files() -> list[Path]:
    """Files that git keeps or would keep; all sources where there is no git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return [path for path in SRC.rglob("*") if path.is_file()]
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_card_vouches_for_the_weights(path: Path) -> None:
    table = described().get(path.name)
    assert table, f"no card names {path.name}"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == table["sha256"]
    assert table["license"] in PERMISSIVE
    assert table["trained_on"]


def test_every_described_file_is_there() -> None:
    assert set(described()) == {path.name for path in SHIPPED}


def test_the_notice_names_foreign_weights() -> None:
    notice = (ROOT / "NOTICE").read_text()
    for name in (
        "centerface.onnx",
        "face_mesh.onnx",
        "StarClouds",
        "MediaPipe",
        "DINOv2",
        "EfficientNet",
    ):
        assert name in notice


def test_no_file_is_too_large() -> None:
    large = {str(p.relative_to(ROOT)): p.stat().st_size for p in kept_files()}
    assert not {name: size for name, size in large.items() if size > 30_000_000}


def test_no_pickles() -> None:
    assert not [str(p.relative_to(ROOT)) for p in kept_files() if p.suffix.lower() in PICKLES]


def test_nothing_loads_pickles() -> None:
    unsafe = re.compile(
        r"\bimport pickle\b|\bpickle\.loads?\(|weights_only=False|allow_pickle=True"
    )
    assert not [str(path) for path in SRC.rglob("*.py") if unsafe.search(path.read_text())]


def test_files_stay_short() -> None:
    long = {str(p.relative_to(SRC)): len(p.read_text().splitlines()) for p in SRC.rglob("*.py")}
    assert not {name: lines for name, lines in long.items() if lines > 300}


def test_no_assert_outside_tests() -> None:
    """`python -O` removes assertions, and their text rarely says what was wanted."""
    found = [
        f"{path.relative_to(SRC)}:{node.lineno}"
        for path in SRC.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assert)
    ]
    assert not found


def test_example_media_are_small_and_listed() -> None:
    folder = ROOT / "examples/media"
    media = [path for path in folder.iterdir() if path.suffix != ".md"]
    licences = (folder / "LICENSES.md").read_text()
    assert len(media) >= 6
    assert not [path.name for path in media if f"`{path.name}`" not in licences]
    assert sum(path.stat().st_size for path in media) <= 3_000_000

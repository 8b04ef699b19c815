"""The surface that users hold: it imports light, has its names, and its command line lists them."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import telltale
from telltale import records

SRC = Path(__file__).parents[1] / "src/telltale"
TORCH_ROOMS = (
    "nn",
    "faces",
    "pictures",
    "robustness",
    "language",
    "spiking",
    "explain",
    "data",
    "attacks",
)
TORCH_FILES = ("losses.py", "fit.py", "train.py", "moments.py")
HEAVY = ("torch", "torchvision", "cv2", "timm", "scipy", "sklearn", "transformers", "accelerate")
ABOVE_THE_LINE = sorted(
    path
    for path in SRC.rglob("*.py")
    if path.relative_to(SRC).parts[0] not in (*TORCH_ROOMS, *TORCH_FILES)
)


def python(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_public_names() -> None:
    wanted = {"Card", "Finding", "Report", "__version__", "cards", "load", "scan"}
    assert wanted <= set(telltale.__all__)
    assert all(hasattr(telltale, name) for name in telltale.__all__)
    assert telltale.Finding is records.Finding
    assert re.fullmatch(r"\d+\.\d+\.\d+", telltale.__version__)


def test_load_builds_a_network_on_a_backbone() -> None:
    from torch import nn

    network = telltale.load("moe_ffd", backbone={"name": "vit_toy", "depth": 2})
    assert isinstance(network, nn.Module)
    assert type(network).__name__ == "MoEFFD"
    assert len(network.backbone.blocks) == 2
    with pytest.raises(ValueError, match="no method 'moe_fdd', did you mean 'moe_ffd'"):
        telltale.load("moe_fdd", backbone="vit_toy")
    with pytest.raises(ValueError, match="want a method to build on the backbone"):
        telltale.load(backbone="vit_toy")


def test_import_loads_nothing_heavy() -> None:
    loaded = python(f"import telltale, sys; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded.strip() == "[]"


def test_scan_and_command_line_import_without_torch() -> None:
    code = (
        "import sys\n"
        f"for name in {HEAVY}: sys.modules[name] = None\n"  # an import now raises ImportError
        "import telltale.cli, telltale.scan, telltale.report, telltale.catalog, telltale.detector\n"
        "print(len(telltale.cards()) > 0)"
    )
    assert python(code).strip() == "True"


@pytest.mark.parametrize("path", ABOVE_THE_LINE, ids=lambda p: str(p.relative_to(SRC)))
def test_nothing_heavy_at_the_top(path: Path) -> None:
    heavy = []
    for node in ast.walk(ast.parse(path.read_text())):
        at_top = isinstance(node, ast.Import | ast.ImportFrom) and node.col_offset == 0
        if at_top and isinstance(node, ast.Import):
            heavy += [a.name for a in node.names if a.name.partition(".")[0] in HEAVY]
        elif at_top and node.module and node.module.partition(".")[0] in HEAVY:
            heavy.append(node.module)
    assert not heavy


def test_help_lists_the_verbs() -> None:
    text = python("import sys; sys.argv[1:] = ['--help']; from telltale.cli import main; main()")
    for verb in ("scan", "doctor", "methods", "train", "evaluate", "export"):
        assert re.search(rf"\b{verb}\b", text), f"--help does not list {verb}"

"""Sphinx configuration; writes a page for each method before Sphinx reads the folder."""

import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from method_pages import write_pages  # noqa: E402  # beside this file
from sphinx.application import Sphinx  # noqa: E402

release = next(
    line.split('"')[1]
    for line in (HERE.parent / "src/telltale/__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)
version = release
project = "Telltale"
author = "The Telltale authors"
project_copyright = "2026, The Telltale authors"
description = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["description"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False
myst_enable_extensions = ["colon_fence", "dollarmath", "deflist"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
# Real ones where they are: the API under "With torch" cannot be read with a mock in its place.
WANTED = ("torch", "cv2", "timm", "accelerate", "av")
autodoc_mock_imports = [name for name in WANTED if find_spec(name) is None]
html_theme = "furo"
html_title = "Telltale"
html_static_path: list[str] = []

write_pages(HERE.parent / "src/telltale", HERE / "methods")


def escape_bars(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """|x| in a docstring is an absolute value, not a substitution of reStructuredText."""
    lines[:] = [line.replace("|", r"\|") for line in lines]


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", escape_bars)

"""A page for each method, from its card and its module's docstring; nothing is imported."""

import ast
import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any

SETTINGS = "**Settings** (of the constructor; Assumed says which defaults are not the paper's)"


def write_pages(source: Path, target: Path) -> None:
    """Write ``target/<slug>.md`` for each card under ``source`` and an index; stale pages go."""
    target.mkdir(exist_ok=True)
    pages = {path.stem: page(path, source) for path in cards(source)}
    pages["index"] = index(sorted(pages))
    for old in target.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for slug, text in pages.items():
        path = target / f"{slug}.md"
        if not path.is_file() or path.read_text() != text:  # unchanged pages are not built again
            path.write_text(text)


def cards(source: Path) -> list[Path]:
    """The cards of methods: TOML files with a network, beside a module of the same name."""
    found = sorted(source.glob("*/*.toml"))
    return [path for path in found if "network" in tomllib.loads(path.read_text("utf-8"))]


def index(slugs: list[str]) -> str:
    listed = "\n".join(slugs)
    return (
        "# Methods\n\nEach page comes from the method's card and from the docstring of its module. "
        "On the command line: `telltale methods` and `telltale methods SLUG`.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )


def page(path: Path, source: Path) -> str:
    """The Markdown of one method."""
    card = tomllib.loads(path.read_text("utf-8"))
    module = ast.parse(path.with_suffix(".py").read_text("utf-8"))
    parts = [
        f"# {card['title']}",
        f"`{path.stem}` · `{card['network'].replace(':', '.')}`",
        facts(card),
        prose(ast.get_docstring(module) or ""),
    ]
    if settings := constructor(module, card["network"].partition(":")[2]):
        parts += [SETTINGS, f"```python\n{settings}\n```"]
    if card.get("assumed"):
        parts += ["## Assumed", bullets(card["assumed"])]
    if card.get("limits"):
        parts += ["## Limits", bullets(card["limits"])]
    parts += ["## Weights", *(weights(w) for w in card.get("weights", []))]
    if not card.get("weights"):
        parts.append(f"None shipped; train it: `telltale train {path.stem} --data …`.")
    where = path.with_suffix(".py").relative_to(source.parent.parent).as_posix()
    parts.append(f"Source: `{where}`")
    return "\n\n".join(parts) + "\n"


def facts(card: dict[str, Any]) -> str:
    rows = {
        "Claim": card["claim"],
        "Verb": card["verb"],
        "Paper": card["source"],
        "Authors' code": card.get("code", "not published"),
        "Takes": ", ".join(card.get("takes", [])),
        "Learns from": ", ".join(card.get("learns_from", [])),
    }
    return table(("", ""), [(f"**{name}**", text) for name, text in rows.items() if text])


def weights(entry: dict[str, Any]) -> str:
    rows = {
        "SHA-256": f"`{entry['sha256']}`",
        "Licence": entry["license"],
        "Trained on": entry["trained_on"],
        "Source": entry.get("source", ""),
        "Input": pairs(entry.get("input", {})),
        "Operating range": pairs(entry.get("operating_range", {})),
        "Threshold": f"{entry.get('threshold', 0.5):g}",
        "Doubt": f"within {entry.get('doubt', 0.1):g} of the threshold",
    }
    text = f"### `{entry['file']}`\n\n"
    text += table(("", ""), [(f"**{name}**", value) for name, value in rows.items() if value])
    if maps := flat(entry.get("maps", {})):
        text += "\n\n" + table(
            ("heat maps tested (docs: Explanations)", "value", "95 % interval"), maps
        )
    if metrics := flat(entry.get("metrics", {})):
        text += "\n\n" + table(("measured", "value", "95 % interval"), metrics)
    return text


def flat(metrics: dict[str, Any], prefix: str = "") -> list[tuple[str, str, str]]:
    """Rows of a metrics table, whose values are ``[value, low, high]``, numbers or tables."""
    rows = []
    for name, value in metrics.items():
        label = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            rows += flat(value, f"{label}, ")
        elif isinstance(value, list) and len(value) == 3:
            rows.append((label, f"{value[0]:.3f}", f"{value[1]:.3f} – {value[2]:.3f}"))
        else:
            rows.append((label, f"{value:.3f}" if isinstance(value, float) else str(value), ""))
    return rows


def prose(docstring: str) -> str:
    """A docstring as Markdown: indented blocks are equations, * and _ are no markup."""
    blocks = []
    for block in re.split(r"\n\s*\n", docstring):
        if all(line.startswith("    ") for line in block.splitlines()):
            blocks.append(f"```text\n{textwrap.dedent(block)}\n```")
            continue
        text = re.sub(r":\w+:`~?([^`]+)`", r"``\1``", block)
        text = re.sub(r"^(Source|Assumed|Departures):", r"\n**\1:**", text, flags=re.MULTILINE)
        pieces = re.split(r"(``.+?``|\*\*\w+:\*\*)", text)
        blocks.append("".join(p if k % 2 else escape(p) for k, p in enumerate(pieces)))
    return "\n\n".join(blocks)


def constructor(module: ast.Module, name: str) -> str:
    """The signature of a class's ``__init__`` as it stands in the source, or nothing."""
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    words = ast.unparse(part.args).removeprefix("self").removeprefix(", ")
                    return f"{name}({words})"
    return ""


def bullets(items: list[str]) -> str:
    return "\n".join(f"- {escape(item)}" for item in items)


def pairs(values: dict[str, Any]) -> str:
    return "; ".join(f"{name} {_value(value)}" for name, value in values.items())


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    cells = ([cell.replace("|", "\\|") for cell in row] for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def escape(text: str) -> str:
    return re.sub(r"([*_<$\[\]])", r"\\\1", text)


def _value(value: Any) -> str:  # noqa: ANN401  # whatever TOML holds
    return " – ".join(map(str, value)) if isinstance(value, list) else str(value)

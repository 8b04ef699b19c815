"""Tables of what a compression is worth, as JSON and as Markdown."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# What figures are, below a table that has them.
LEGEND = {
    "accuracy": "share of the test clips that are put into their class",
    "inner_sparsity": "share of zeros among the weights of the layers that are pruned",
    "sparsity": "share of zeros among all weights",
    "weights_kept": "weights that are not zero",
    "macs": "multiply-accumulates of a clip over all its frames, of dense layers; two FLOPs each",
    "sops": "synaptic operations of a clip: macs times the share of inputs that are not "
    "zero times the share of weights that are not",
    "nanojoule": "0.9 pJ for each synaptic operation, 45 nm; counts and pooled spikes count as "
    "one operation each, as the field does",
    "violations": "blocks of M with more than N weights",
    "seconds_to_train": "processor seconds of the network that learns",
    "seconds_to_make": "processor seconds of making the set, teachers apart",
    "bytes": "of the set's frames, a byte a count",
    "times_smaller": "bytes of all clips' frames over the set's",
    "events_a_clip": "sum of a clip's counts",
    "apart": "counts that a clip and the nearest real one of its class do not share, over its own; "
    "0 is a copy",
}


class Row(NamedTuple):
    """One network or set: what it is, and its figures by name."""

    name: str
    figures: Mapping[str, float]


def write_table(out: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> Path:
    """Write ``report.json`` and ``report.md`` into a folder; returns the latter's path."""
    out.mkdir(parents=True, exist_ok=True)
    table = [{"name": row.name, **row.figures} for row in rows]
    write_text(out / "report.json", json.dumps({**about, "rows": table}, indent=1) + "\n")
    columns = [*dict.fromkeys(key for row in rows for key in row.figures)]
    lines = [f"{key}: {value}" for key, value in about.items() if isinstance(value, str)]
    lines += ["", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        cells = [said(row.figures[key]) if key in row.figures else "" for key in columns]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    lines += ["", *(f"- {key}: {LEGEND[key]}" for key in columns if key in LEGEND)]
    write_text(out / "report.md", "\n".join(lines) + "\n")
    return out / "report.md"


def said(value: float) -> str:
    """A figure in words: whole numbers whole, others to four digits."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def write_text(path: Path, text: str) -> None:
    """Write a file by a rename."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    os.replace(part, path)

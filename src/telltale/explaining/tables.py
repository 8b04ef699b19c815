"""What the test found, as a table and as JSON."""

import json
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from telltale.detector.maps import LOT, OCCLUSION, OWN
from telltale.explaining.verdicts import Faithfulness, Measured

if TYPE_CHECKING:
    from rich.table import Table


def to_json(found: Faithfulness) -> str:
    """All figures as JSON; what was not measured is null."""
    table = asdict(found)
    for row in table["rows"]:
        row |= {k: None for k, v in row.items() if isinstance(v, float) and math.isnan(v)}
    return json.dumps(table, indent=2, ensure_ascii=False) + "\n"


def card_maps(found: Faithfulness) -> dict[str, dict[str, Any]]:
    """What a card of weights carries as ``[weights.maps]`` on the maps that a scan can show.

    "deletion" and "insertion" are comprehensiveness and sufficiency of the map and of the lot.
    Empty of a run, whose other explanations no scan can make.
    """
    if not {row.method for row in found.rows} <= {OWN, OCCLUSION, LOT}:
        return {}
    by_lot = found.of(LOT)
    kept: dict[str, dict[str, Any]] = {}
    for row in found.rows:
        if row.method != LOT:
            share = (row.violation, row.low, row.high)
            kept[row.method] = {
                "violation": [round(v, 3) for v in share],
                "by_lot": round(by_lot.violation, 3),
                "pictures": found.pictures,
                "trusted": row.better,
                "deletion": [round(it.comprehensiveness, 3) for it in (row, by_lot)],
                "insertion": [round(it.sufficiency, 3) for it in (row, by_lot)],
            }
    if OCCLUSION in kept:
        kept[OCCLUSION]["grid"] = found.grid
    return dict(sorted(kept.items()))


def to_table(found: Faithfulness) -> "Table":
    """The figures for a terminal."""
    from rich.table import Table

    table = Table(title=f"{found.model} on {found.pictures} pictures of {found.data}")
    for name, justify in zip(columns(found), ("left", *["right"] * 6), strict=False):
        table.add_column(name, justify=justify, no_wrap=justify == "left")  # type: ignore[arg-type]
    for row in found.rows:
        table.add_row(*cells(found, row))
    return table


def columns(found: Faithfulness) -> tuple[str, ...]:
    """Names of the columns that were measured."""
    names = ("explanation", "violates", "95 %", "still", "trust")
    return names if _brief(found) else (*names[:4], "compr.", "suff.", "trust")


def cells(found: Faithfulness, it: Measured) -> tuple[str, ...]:
    """A row in words, in the order of the columns."""
    numbers = [it.still] if _brief(found) else [it.still, it.comprehensiveness, it.sufficiency]
    shown = [f"{n:.2f}" for n in numbers]
    return (it.method, f"{it.violation:.2f}", f"{it.low:.2f}–{it.high:.2f}", *shown, it.trust)


def _brief(found: Faithfulness) -> bool:
    return all(math.isnan(row.sufficiency) for row in found.rows)

"""How a run's experts are used: a line a validation in ``experts.jsonl``, drawn in ``experts.svg``.

A network that has experts says by ``usage()`` what share of its last batch each took, block by
block. The picture shows the shares of the last line as a table of cells, and above it how the mean
over the blocks went from step to step. Even use is a table of one tone; a collapse is one column.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from telltale.runs import replace_text

LOG, PICTURE = "experts.jsonl", "experts.svg"
WIDE, HIGH, CELL = 320, 90, 14  # of a panel's curves, and of a block's row, in pixels
LEFT, TOP, GAP = 56, 40, 46
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1d1c1a; }
.soft { fill: #5c5952; font-size: 11px; }
.paper { fill: #ffffff; }
.line { stroke: #5c5952; }
.cell { fill: #0072b2; }
@media (prefers-color-scheme: dark) {
  text { fill: #eceae4; }
  .soft { fill: #aaa69c; }
  .paper { fill: #171614; }
  .line { stroke: #aaa69c; }
  .cell { fill: #56b4e9; }
}
"""
Record = Mapping[str, Any]  # "step", and kind of expert to shares (blocks, E)


def used(network: object, step: int) -> Record | None:
    """What a network with experts says of its last batch; None if it has none."""
    usage: Callable[[], Mapping[str, Any]] | None = getattr(network, "usage", None)
    if usage is None:
        return None
    shares = {
        kind: [[round(float(share), 4) for share in block] for block in blocks]
        for kind, blocks in usage().items()
    }
    return {"step": step, **shares} if shares else None


def keep(run: Path, record: Record) -> None:
    """Put a line into the run's log, and draw it anew.

    Lines of this step or later ones are of a run that was killed after its last state: they go.
    """
    records = [line for line in read(run) if line["step"] < record["step"]]
    replace_text(run / LOG, "".join(json.dumps(line) + "\n" for line in [*records, record]))
    replace_text(run / PICTURE, to_svg([*records, record]))


def read(run: Path) -> list[Record]:
    """A run's lines so far."""
    log = run / LOG
    lines = log.read_text("utf-8").splitlines() if log.exists() else []
    return [json.loads(line) for line in lines]


def to_svg(records: Sequence[Record]) -> str:
    """The picture of a run's lines, the last of which has the cells.

    Raises:
        ValueError: If there are none.
    """
    if not records:
        raise ValueError("want a line of use or more, got none")
    kinds = [kind for kind in records[-1] if kind != "step"]
    rows = max(len(records[-1][kind]) for kind in kinds)
    width = LEFT + len(kinds) * (WIDE + GAP)
    height = TOP + HIGH + GAP + rows * CELL + 34
    says = "; ".join(
        f"{kind}: largest mean share {_largest(records[-1][kind]):.2f}" for kind in kinds
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="title says">',
        f'<title id="title">Use of the experts up to step {records[-1]["step"]}</title>',
        f'<desc id="says">{says}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
    ]
    for place, kind in enumerate(kinds):
        parts.append(f'<g transform="translate({LEFT + place * (WIDE + GAP)} {TOP})">')
        parts.append(f'<text y="-16">{kind} experts: mean share, step by step</text>')
        parts += _curves(records, kind)
        parts.append(f'<g transform="translate(0 {HIGH + GAP})">')
        parts += _cells(records[-1][kind])
        parts.append("</g></g>")
    return "\n".join([*parts, "</svg>"]) + "\n"


def _curves(records: Sequence[Record], kind: str) -> Iterator[str]:
    """The mean share over blocks of each expert, 0 at the bottom and 1 at the top."""
    first, last = records[0]["step"], records[-1]["step"]
    yield f'<path class="line" fill="none" d="M0 0V{HIGH}H{WIDE}"/>'
    for share, y in ((0, HIGH + 4), (1, 4)):
        yield f'<text class="soft" x="-8" y="{y}" text-anchor="end">{share}</text>'
    yield f'<text class="soft" x="0" y="{HIGH + 16}">step {first}</text>'
    yield f'<text class="soft" x="{WIDE}" y="{HIGH + 16}" text-anchor="end">step {last}</text>'
    for expert in range(len(records[-1][kind][0])):
        points = " ".join(
            f"{WIDE * (line['step'] - first) / max(1, last - first):.1f},"
            f"{HIGH * (1 - _mean(line[kind])[expert]):.1f}"
            for line in records
        )
        color = COLORS[expert % len(COLORS)]
        dash = ' stroke-dasharray="5 3"' if expert >= len(COLORS) else ""
        yield f'<polyline fill="none" stroke="{color}" stroke-width="2"{dash} points="{points}"/>'


def _cells(blocks: Sequence[Sequence[float]]) -> Iterator[str]:
    """A row for each block, a column for each expert; the darker, the larger its share."""
    wide = WIDE / len(blocks[0])
    for row, shares in enumerate(blocks):
        middle = row * CELL + CELL - 3
        yield f'<text class="soft" x="-8" y="{middle}" text-anchor="end">block {row}</text>'
        for column, share in enumerate(shares):
            place = f'x="{column * wide:.1f}" y="{row * CELL}" width="{wide - 1:.1f}"'
            tone = f'opacity="{max(share, 0.03):.2f}"'
            yield f'<rect class="cell" {place} height="{CELL - 1}" {tone}>'
            yield f"<title>block {row}, expert {column}: {share:.2f}</title></rect>"
    for column in range(len(blocks[0])):
        x, y = (column + 0.5) * wide, len(blocks) * CELL + 14
        yield f'<text class="soft" x="{x:.1f}" y="{y}" text-anchor="middle">{column}</text>'


def _mean(blocks: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(blocks) for column in zip(*blocks, strict=True)]


def _largest(blocks: Sequence[Sequence[float]]) -> float:
    return max(_mean(blocks))

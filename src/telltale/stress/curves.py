"""Curves of AUC over severity as one SVG: a panel for each kind, a line for each detector.

Lines differ in colour, dashes and marks, so that they tell apart in grey as well; the colours are
those of Okabe & Ito, "Color universal design", 2008. The file follows the reader's light or dark.
"""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from telltale.stress.degradations import LEVELS
from telltale.stress.figures import Figure, Stress

WIDE, HIGH = 190, 140  # a panel's plot, in pixels
LEFT, TOP, GAP_X, GAP_Y = 44, 34, 34, 58
COLUMNS = 4
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")
DASHES = ("", "6 3", "2 3", "8 3 2 3")
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1d1c1a; }
.soft { fill: #5c5952; font-size: 11px; }
.name { font-weight: 600; }
.paper { fill: #ffffff; }
.grid { stroke: #dcd8d0; }
.chance { stroke: #5c5952; stroke-dasharray: 1 3; }
.band { opacity: 0.16; stroke: none; }
@media (prefers-color-scheme: dark) {
  text { fill: #eceae4; }
  .soft { fill: #aaa69c; }
  .paper { fill: #171614; }
  .grid { stroke: #3a3833; }
  .chance { stroke: #aaa69c; }
  .band { opacity: 0.28; }
}
"""


def to_svg(found: Stress) -> str:
    """The curves with their 95 % bands, from the pictures as given (0) to level 5."""
    columns = min(COLUMNS, len(found.titles))
    rows = -(-len(found.titles) // columns)
    legend = 20 * len(found.clean) + 36
    width = LEFT + columns * (WIDE + GAP_X)
    height = TOP + rows * (HIGH + GAP_Y) + legend
    floor = _floor(found)
    says = "; ".join(
        f"{name}: AUC {given.value:.2f} as given, {found.mean(name):.2f} degraded on average"
        for name, given in found.clean.items()
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="title says">',
        f'<title id="title">AUC over severity on {escape(found.data)}</title>',
        f'<desc id="says">{escape(says)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
    ]
    for place, (kind, title) in enumerate(found.titles.items()):
        x = LEFT + place % columns * (WIDE + GAP_X)
        y = TOP + place // columns * (HIGH + GAP_Y)
        parts.append(f'<g transform="translate({x} {y})">')
        parts += _frame(kind, title, floor)
        lines = [
            [given, *(point.auc for point in found.of(name, kind))]
            for name, given in found.clean.items()
        ]
        for draw in (_band, _line):  # no band over a line
            for number, figures in enumerate(lines):
                parts += draw(figures, floor, number)
        parts.append("</g>")
    parts += _legend(found, height - legend + 8)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _floor(found: Stress) -> float:
    """The lowest AUC that the panels show: a tenth below what is there, at most 0.4."""
    lows = [end for p in found.points for end in (p.auc.value, p.auc.low) if end is not None]
    return max(0.0, min(0.4, int(10 * min(lows)) / 10))


def _frame(kind: str, title: str, floor: float) -> Iterator[str]:
    yield f'<text x="0" y="-10"><tspan class="name">{escape(kind)}</tspan>'
    yield f'<tspan class="soft" dx="6">{escape(title)}</tspan></text>'
    for tenth in range(round(10 * floor), 11, 2):
        y = _y(tenth / 10, floor)
        yield f'<line class="grid" x1="0" x2="{WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="soft" x="-8" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>'
    chance = _y(0.5, floor)
    yield f'<line class="chance" x1="0" x2="{WIDE}" y1="{chance:.1f}" y2="{chance:.1f}"/>'
    for level in (0, *LEVELS):
        x = _x(level)
        yield f'<text class="soft" x="{x:.1f}" y="{HIGH + 16}" text-anchor="middle">{level}</text>'


def _band(figures: list[Figure], floor: float, number: int) -> Iterator[str]:
    color = COLORS[number % len(COLORS)]
    ends = [(f.low, f.high) for f in figures if f.low is not None and f.high is not None]
    if len(ends) == len(figures):
        upper = [f"{_x(k):.1f},{_y(high, floor):.1f}" for k, (_, high) in enumerate(ends)]
        lower = [f"{_x(k):.1f},{_y(low, floor):.1f}" for k, (low, _) in enumerate(ends)]
        around = " ".join([*upper, *reversed(lower)])
        yield f'<polygon class="band" fill="{color}" points="{around}"/>'


def _line(figures: list[Figure], floor: float, number: int) -> Iterator[str]:
    color, dash = COLORS[number % len(COLORS)], DASHES[number % len(DASHES)]
    places = [(_x(k), _y(f.value, floor)) for k, f in enumerate(figures)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    yield f'<polyline fill="none" stroke="{color}" stroke-width="2" {_dashed(dash)}'
    yield f'points="{points}"/>'
    yield from (_mark(x, y, number) for x, y in places)


def _mark(x: float, y: float, number: int) -> str:
    color = COLORS[number % len(COLORS)]
    if number % 3 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>'
    turn = f' transform="rotate(45 {x:.1f} {y:.1f})"' if number % 3 == 2 else ""
    place = f'x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"'
    return f'<rect {place} fill="{color}"{turn}/>'


def _legend(found: Stress, y: int) -> Iterator[str]:
    for number, name in enumerate(found.clean):
        line, color = y + 20 * number, COLORS[number % len(COLORS)]
        dash = _dashed(DASHES[number % len(DASHES)])
        yield f'<path d="M{LEFT} {line}h36" stroke="{color}" stroke-width="2" {dash}/>'
        yield _mark(LEFT + 18, line, number)
        mean = f"mean AUC {found.mean(name):.3f}, {found.clean[name].value:.3f} as given"
        yield f'<text x="{LEFT + 46}" y="{line + 4}">{escape(name)}'
        yield f'<tspan class="soft" dx="8">{mean}</tspan></text>'
    says = "AUC at levels 1 to 5, 0 = as given, with 95 % intervals; dotted: chance"
    yield f'<text class="soft" x="{LEFT}" y="{y + 20 * len(found.clean) + 6}">{says}</text>'


def _dashed(dash: str) -> str:
    return f'stroke-dasharray="{dash}" ' if dash else ""


def _x(level: int) -> float:
    return WIDE * level / len(LEVELS)


def _y(auc: float, floor: float) -> float:
    return HIGH * (1 - max(auc, floor)) / (1 - floor)

"""Certified curves over the size of the perturbation: as figures, table and picture."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np

from telltale.certify.run import Certified, usual_sizes
from telltale.metrics.bounds import cosine_bound
from telltale.runs import replace_text
from telltale.stress.curves import COLORS, DASHES, STYLE

STEPS = 60  # of a curve
ENOUGH = 0.5  # the cosine that counts as kept
SHOWN = (0, 0.25, 0.5, 1, 1.5, 2)  # multiples of σ in the table
WIDE, HIGH, LEFT, TOP, GAP = 300, 190, 48, 40, 70  # of a panel in pixels


class Curve(NamedTuple):
    """What is certified of many pictures, by size.

    For a cosine: quartiles and mean over pictures of its lower bound, -1 where nothing is
    certified, and the share with 0.5 or more. For verdicts: the share of pictures whose verdict no
    perturbation of that size changes, and of those where it is right as well.
    """

    kind: str  # "cosine" or "verdict"
    sigma: float
    sizes: tuple[float, ...]
    lines: Mapping[str, tuple[float, ...]]  # by what they are
    pictures: int
    radius: float  # mean over pictures; of verdicts with labels, wrong ones count as 0

    def at(self, size: float) -> dict[str, float]:
        """Every line at a size, linear in between."""
        return {k: float(np.interp(size, self.sizes, line)) for k, line in self.lines.items()}


def curve(rows: Sequence[Certified], kind: str, sigma: float) -> Curve:
    """The curve of rows that were certified with noise of σ.

    Raises:
        ValueError: If there are none.
    """
    if not rows:
        raise ValueError("want a picture or more, got none")
    sizes = np.linspace(0, 3 * sigma, STEPS + 1)
    scores, radii = np.array([r.score for r in rows]), np.array([r.radius for r in rows])
    if kind == "verdict":
        held = (scores > 0.5)[:, None] & (radii[:, None] >= sizes)
        lines = {"verdict held": held.mean(0)}
        if all(row.label is not None for row in rows):
            right = np.array([row.verdict == bool(row.label) for row in rows])
            lines["right and held"] = (held & right[:, None]).mean(0)
            radii = radii * right
    else:
        bound = np.stack([cosine_bound(scores, size, sigma) for size in sizes], 1)
        kept = np.where(bound >= 0, bound, -1.0)
        lines = {
            "mean": kept.mean(0),
            "lower quartile": np.quantile(kept, 0.25, 0),
            "upper quartile": np.quantile(kept, 0.75, 0),
            f"share at {ENOUGH:g} or more": (bound >= ENOUGH).mean(0),
        }
    found = {name: tuple(map(float, line)) for name, line in lines.items()}
    return Curve(kind, sigma, tuple(map(float, sizes)), found, len(rows), float(radii.mean()))


def to_csv(rows: Sequence[Certified], kind: str, sizes: Sequence[float]) -> str:
    """A line a picture, whose bounds are of these sizes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["path", "score", "radius", *(f"{_bound(kind)} at {size:g}" for size in sizes)]
    writer.writerow(head if kind == "cosine" else [*head, "verdict", "label"])
    for row in rows:
        numbers = (row.score, row.radius, *row.bounds)
        cells = [row.path, *("" if n != n else f"{n:.6f}" for n in numbers)]
        if kind == "verdict":
            cells += [int(bool(row.verdict)), "" if row.label is None else row.label]
        writer.writerow(cells)
    return text.getvalue()


def to_markdown(curves: Mapping[str, Curve], notes: Sequence[str] = ()) -> str:
    """Each curve at some sizes."""
    lines = ["# What no perturbation can do", ""]
    for name, one in curves.items():
        shown = [one.sigma * times for times in SHOWN]
        lines += [
            f"## {name}",
            "",
            f"{one.pictures} pictures, σ = {one.sigma:g}; mean radius {one.radius:.3f} (l2, of "
            "what the network is shown).",
            "",
            "| l2 size | " + " | ".join(f"{size:.3g}" for size in shown) + " |",
            "|---|" + "---|" * len(shown),
        ]
        for what in one.lines:
            cells = " | ".join(f"{one.at(size)[what]:.3f}" for size in shown)
            lines.append(f"| {what} | {cells} |")
        lines.append("")
    return "\n".join([*lines, *(f"- {note}" for note in notes)]).rstrip() + "\n"


def to_svg(curves: Mapping[str, Curve]) -> str:
    """A panel for each kind of certificate: lines over l2 size, dashed where it is a second one."""
    kinds = [kind for kind in ("cosine", "verdict") if any(c.kind == kind for c in curves.values())]
    most = max(len([c for c in curves.values() if c.kind == kind]) for kind in kinds)
    width, height = len(kinds) * (LEFT + WIDE + GAP), TOP + HIGH + 60 + 34 * most
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="title">',
        f'<title id="title">Certified curves of {escape(", ".join(curves))}</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
    ]
    for place, kind in enumerate(kinds):
        chosen = {name: one for name, one in curves.items() if one.kind == kind}
        parts.append(f'<g transform="translate({LEFT + place * (LEFT + WIDE + GAP)} {TOP})">')
        parts += [*_panel(kind, chosen), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(
    rows: Mapping[str, tuple[Sequence[Certified], Curve]], stem: Path, notes: Sequence[str] = ()
) -> list[Path]:
    """Write ``stem`` with .svg and .md, and a .csv of each name's rows; gives the paths."""
    curves = {name: one for name, (_, one) in rows.items()}
    stem.parent.mkdir(parents=True, exist_ok=True)
    made = {stem.with_suffix(".svg"): to_svg(curves), stem.with_suffix(".md"): ""}
    made[stem.with_suffix(".md")] = to_markdown(curves, notes)
    for name, (found, one) in rows.items():
        tail = "" if len(rows) == 1 else f"_{Path(name).stem}"
        made[stem.with_name(f"{stem.stem}{tail}.csv")] = to_csv(
            found, one.kind, usual_sizes(one.kind, one.sigma)
        )
    for path, text in made.items():
        replace_text(path, text)
    return [*made]


def _bound(kind: str) -> str:
    return "cosine" if kind == "cosine" else "share of votes"


def _panel(kind: str, curves: Mapping[str, Curve]) -> Iterator[str]:
    reach = max(one.sizes[-1] for one in curves.values())
    title = "lower bound of the cosine" if kind == "cosine" else "share of pictures, verdict held"
    yield f'<text class="name" x="0" y="-14">{title}</text>'
    for tenth in range(0, 11, 2):
        y = HIGH * (1 - tenth / 10)
        yield f'<line class="grid" x1="0" x2="{WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="soft" x="-8" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>'
    for part in range(4):
        x = WIDE * part / 3
        yield f'<text class="soft" x="{x:.1f}" y="{HIGH + 16}" text-anchor="middle">'
        yield f"{reach * part / 3:.3g}</text>"
    yield f'<text class="soft" x="0" y="{HIGH + 34}">l2 size of the perturbation</text>'
    for number, (name, one) in enumerate(curves.items()):
        color = COLORS[number % len(COLORS)]
        lines = [k for k in one.lines if "quartile" not in k and not k.startswith("share at")]
        if kind == "cosine":
            upper, lower = (one.lines[f"{end} quartile"] for end in ("upper", "lower"))
            there = [*zip(one.sizes, upper, strict=True)]
            back = [*zip(one.sizes, lower, strict=True)][::-1]
            yield f'<polygon class="band" fill="{color}" points="{_points(there + back, reach)}"/>'
        for order, what in enumerate(lines):
            points = _points([*zip(one.sizes, one.lines[what], strict=True)], reach)
            dash = f'stroke-dasharray="{DASHES[order]}" ' if order else ""
            yield f'<polyline fill="none" stroke="{color}" stroke-width="2" {dash}'
            yield f'points="{points}"/>'
        y = HIGH + 56 + 34 * number
        yield f'<path d="M0 {y}h30" stroke="{color}" stroke-width="2"/>'
        yield f'<text x="38" y="{y + 4}">{escape(name)}</text>'
        says = "mean and quartiles" if kind == "cosine" else "; dashed: ".join(lines)
        yield f'<text class="soft" x="38" y="{y + 19}">{one.pictures} pictures, {says}</text>'


def _points(places: Sequence[tuple[float, float]], reach: float) -> str:
    """Places in a panel; what is below 0, and so not certified, lies on its floor."""
    return " ".join(
        f"{WIDE * size / reach:.1f},{HIGH * (1 - max(value, 0.0)):.1f}" for size, value in places
    )

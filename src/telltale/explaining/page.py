"""The maps side by side on one page that needs nothing else."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.explaining.tables import cells, columns
from telltale.explaining.verdicts import Explained, Faithfulness, Measured
from telltale.report.drawing import data_uri, thumbnail
from telltale.runs import replace_text

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;
color:#1a1a1a;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem;overflow-wrap:anywhere}
table{border-collapse:collapse}th,td{padding:.2rem .7rem;text-align:right;
border-bottom:1px solid #ccc}th:first-child,td:first-child{text-align:left}
.maps{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:1rem}
figure{margin:0}.view{position:relative;aspect-ratio:1}
.view img{position:absolute;width:100%;height:100%}
.view img:first-child:not(:last-child){filter:grayscale(1) brightness(1.15) contrast(.6)}
figcaption b{display:block}.no{opacity:.65}.soft{color:#555}
@media (prefers-color-scheme:dark){body{color:#eee;background:#161616}.soft{color:#aaa}
th,td{border-color:#444}}
"""
FOR, AGAINST = (214, 60, 30), (30, 90, 200)
TRUST = {"yes": "can be trusted here", "no": "cannot be trusted here", "not settled": "not settled"}


def write_page(made: Sequence[Explained], found: Faithfulness, path: Path) -> None:
    """Write the maps of pictures, each with its measured violation ratio, as one HTML file."""
    replace_text(path, "\n".join(_page(made, found)) + "\n")


def _page(made: Sequence[Explained], found: Faithfulness) -> Iterator[str]:
    title = escape(f"Explanations of {found.model}")
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>"
    yield (
        "<p>Each map says what spoke for the class that the model called (red) and against it "
        "(blue). <b>Violates</b> is how often the strongest place of such a map had the wrong "
        f"sign, measured by removing it on {found.pictures} pictures of {escape(found.data)}; "
        "a map that violates often says little of this model, however convincing it looks. "
        f"The one with the fewest violations is {escape(found.best().method)}.</p>"
    )
    for one in made:
        yield f"<h2>{escape(str(one.path))}: {_called(one, found)}, {one.score:.2f}</h2>"
        base = thumbnail(np.rint(one.crop.transpose(1, 2, 0) * 255).astype(np.uint8), 320)
        yield '<div class="maps">' + _figure(base, "", "<b>as given</b>", "")
        for row in found.rows:
            if row.method != "random":
                layer = coloured(one.maps[row.method])
                yield _figure(base, layer, _caption(row), "no" if row.trust == "no" else "")
        yield "</div>"
    yield "<h2>The test</h2><table><tr>"
    yield "".join(f"<th>{name}</th>" for name in columns(found)) + "</tr>"
    for row in found.rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(found, row)) + "</tr>"
    yield "</table>"
    yield (
        '<p class="soft">Still: share of removals that changed nothing. Trust: no unless it '
        "violates clearly less than random weights, and if the interval lies above 0.25; yes if it "
        "lies below.</p>"
    )
    yield "".join(f'<p class="soft">{escape(note)}</p>' for note in found.notes)
    yield "</body></html>"


def _called(one: Explained, found: Faithfulness) -> str:
    """The class that maps speak for, in words."""
    if not found.claim:
        return f"class {one.called}"
    return escape(f"that {found.claim}" if one.called else f"not that {found.claim}")


def _caption(row: Measured) -> str:
    return (
        f"<b>{escape(row.method)}</b>violates {row.violation:.2f} "
        f'<span class="soft">({row.low:.2f}–{row.high:.2f})</span>, {TRUST[row.trust]}'
    )


def _figure(base: str, layer: str, caption: str, kind: str) -> str:
    over = f'<img src="{layer}" alt="">' if layer else ""
    return (
        f'<figure class="{kind}"><div class="view"><img src="{base}" alt="">{over}</div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def coloured(weights: NDArray[np.float32]) -> str:
    """Signed weights (g, g) as a PNG data URI: red for, blue against, clear at nothing."""
    top = float(np.abs(weights).max()) or 1.0
    strength = np.clip(np.abs(weights) / top, 0, 1)[..., None]
    colour = np.where(weights[..., None] >= 0, FOR, AGAINST)
    rgba = np.concatenate([colour, 225 * strength], -1)
    image = Image.fromarray(np.rint(rgba).astype(np.uint8), "RGBA")
    return data_uri(image.resize((160, 160), Image.Resampling.BILINEAR), "png", optimize=True)

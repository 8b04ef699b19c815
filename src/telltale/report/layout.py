"""The page's templates: everything escaped, nothing from outside, no script but ours."""

import base64
import hashlib
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from telltale.calibrate import in_words
from telltale.records import Finding, Report
from telltale.report import drawing, words

if TYPE_CHECKING:
    import jinja2

_FOLDER = Path(__file__).with_name("templates")
_TONES: Mapping[str, str] = {"yes": "yes", "can't tell": "unsure", "no": "no"}
_MARKS: Mapping[str, str] = {"yes": "■", "can't tell": "◧", "no": "□"}


def policy(*inline: str) -> str:
    """A content security policy: these texts and embedded pictures, nothing else."""
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in inline
    ]
    return (
        f"default-src 'none'; img-src data:; style-src {hashes[0]}; script-src {hashes[1]}; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def text(name: str) -> str:
    """A template's text as it is, marked as safe."""
    from markupsafe import Markup

    return Markup((_FOLDER / name).read_text("utf-8"))  # ours, not a guest's


@cache
def templates() -> "jinja2.Environment":
    """The templates, with everything escaped and no unknown name accepted."""
    import jinja2  # here: `telltale --help` need not pay for it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: words.visible(value) if type(value) is str else value,
    )
    environment.tests["known"] = lambda value: not math.isnan(value)
    environment.filters |= {
        "base": lambda path: PurePath(path).name or path,
        "count": words.count,
        "crosses": words.crosses,
        "duration": words.duration,
        "file_size": words.file_size,
        "headline": _headline,
        "heat": drawing.heat,
        "in_words": in_words,
        "inside": words.inside,
        "key": lambda number: "" if math.isnan(number) else number,
        "log10_lr": words.log10_lr,
        "mark": _MARKS.get,
        "measure": words.measure,
        "number": words.number,
        "on_map": words.on_map,
        "operating_range": lambda bounds: words.operating_range(*bounds),
        "reasons": words.reasons,
        "percent": lambda share: f"{100 * share:.2f}%",
        "score": words.score,
        "score_with_interval": words.score_with_interval,
        "sentence_case": lambda text: text[:1].upper() + text[1:],
        "support": words.support,
        "survival_range": words.survival_range,
        "tested": words.tested,
        "tone": _TONES.get,
        "unit": lambda value: min(max(value, 0.0), 1.0),
    }
    return environment


def _headline(record: Report | Finding) -> str:
    if isinstance(record, Report):
        return words.report_headline(record)
    return words.headline(record.verdict, record.claim)

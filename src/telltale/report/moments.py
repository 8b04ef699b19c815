"""The page about moments found in a video: one HTML file that asks nothing of the network."""

import base64
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telltale.report import layout

if TYPE_CHECKING:
    from telltale.find import Moment, Watched


def write_moments(
    path: Path, watched: "Watched", found: Mapping[str, Sequence["Moment"]], measure: str
) -> None:
    """Write one self-contained page on the moments of each sentence.

    Args:
        path: The page; its folder must exist.
        watched: The video.
        found: Sentence to moments.
        measure: What the scores are, in a word.

    Raises:
        ValueError: If the folder does not exist.
    """
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{path.parent} does not exist; make this folder for the page first")
    css = layout.text("page.css")
    page = layout.templates().get_template("moments.html")
    told = {
        text: [_row(number, moment, watched.duration) for number, moment in enumerate(moments, 1)]
        for text, moments in found.items()
    }
    text = page.render(
        subject=watched.subject,
        model=watched.model,
        fps=watched.fps,
        duration=clock(watched.duration),
        found=told,
        measure=measure,
        css=css,
        policy=layout.policy(css, ""),
    )
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, "utf-8")
    part.replace(path)


def clock(seconds: float) -> str:
    """``"1:02:03.4"``, hours only where there are any."""
    tenths = round(seconds * 10)
    hours, rest = divmod(tenths, 36_000)
    minutes, left = divmod(rest, 600)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{head}:{left // 10:02}.{left % 10}"


def _row(number: int, moment: "Moment", duration: float) -> dict[str, Any]:
    return {
        "number": number,
        "start": clock(moment.start),
        "end": clock(moment.end),
        "score": f"{moment.score:.3f}",
        "picture": base64.b64encode(moment.thumbnail).decode(),
        "x": 100 * moment.start / duration,
        "width": 100 * (moment.end - moment.start) / duration,
    }

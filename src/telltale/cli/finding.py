"""``telltale find``: the moments of a video that a sentence describes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from telltale.find import Moment, Watched
    from telltale.nn.clip import Clip


def find(  # noqa: PLR0913  # an option each
    video: Annotated[Path, typer.Argument(help="The video.", metavar="VIDEO")],
    texts: Annotated[list[str], typer.Argument(help="A sentence, or several.", metavar="TEXT")],
    model: Annotated[
        str,
        typer.Option(
            help="CLIP for transformers: a folder, or a name of the hub such as "
            "openai/clip-vit-large-patch14.",
            metavar="DIR",
        ),
    ],
    network: Annotated[
        Path | None,
        typer.Option(help="Weights of a trained moment network.", metavar="FILE.safetensors"),
    ] = None,
    window: Annotated[
        float, typer.Option(help="Seconds of a longer video that the network looks at at a time.")
    ] = 150.0,
    fps: Annotated[float, typer.Option(help="Frames to look at for each second.")] = 2.0,
    top: Annotated[int, typer.Option(help="Moments of a sentence.")] = 3,
    keep: Annotated[
        Path | None,
        typer.Option(help="Where to keep what was seen, for the next time.", metavar="FILE.npz"),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write an HTML page.", metavar="FILE.html")
    ] = None,
    thumbnails: Annotated[
        Path | None, typer.Option(help="Folder for each moment's middle frame.", metavar="DIR")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Find the moments of a video that a sentence describes: time ranges, thumbnails, a page.

    Nothing is trained: windows are compared by what CLIP sees in them, unless --network names a
    moment network that was trained on vectors of the same CLIP.
    """
    from telltale.find import find as search
    from telltale.find import load_network, watch
    from telltale.report.moments import write_moments

    clip = loaded_clip(model)
    trained = load_network(network) if network else None
    watched = watch(video, clip, fps=fps, kept=keep, note=_note)
    found = {
        text: search(watched, text, clip, top=top, network=trained, window=window) for text in texts
    }
    measure = "overlap" if trained else "contrast"
    if thumbnails is not None:
        _write_thumbnails(thumbnails, found)
    if report is not None:
        write_moments(report, watched, found, measure)
    if as_json:
        typer.echo(json.dumps(_table(watched, found, measure), ensure_ascii=False, indent=1))
    else:
        _tell(found, measure)


def loaded_clip(model: str) -> "Clip":
    """CLIP without progress bars, or an error that says what to install."""
    try:
        from transformers.utils import logging

        from telltale.nn.clip import load_clip
    except ModuleNotFoundError as error:
        raise ValueError(
            f"finding moments needs {error.name}: pip install 'telltale-vision[train,language]'"
        ) from None
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    return load_clip(model)


def _note(frames: int) -> None:
    if frames % 320 == 0:
        typer.echo(f"{frames} frames", err=True)


def _write_thumbnails(folder: Path, found: "dict[str, list[Moment]]") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, moments in enumerate(found.values(), 1):
        for rank, moment in enumerate(moments, 1):
            path = folder / f"{number:02}_{rank:02}_{moment.start:.1f}-{moment.end:.1f}.jpg"
            part = path.with_name(path.name + ".part")
            part.write_bytes(moment.thumbnail)
            part.replace(path)


def _table(watched: "Watched", found: "dict[str, list[Moment]]", measure: str) -> dict[str, Any]:
    rows = [
        {
            "text": text,
            "moments": [
                {"start": round(m.start, 3), "end": round(m.end, 3), measure: round(m.score, 5)}
                for m in moments
            ],
        }
        for text, moments in found.items()
    ]
    return {
        "video": watched.subject.path,
        "sha256": watched.subject.sha256,
        "seconds": round(watched.duration, 3),
        "model": watched.model,
        "fps": watched.fps,
        "found": rows,
    }


def _tell(found: "dict[str, list[Moment]]", measure: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from telltale.report.moments import clock

    console = Console()
    for text, moments in found.items():
        console.print(Text(text, "bold"))
        if not moments:
            console.print("  nothing stands out")
            continue
        table = Table("", "from", "to", measure, box=None, padding=(0, 2))
        for rank, moment in enumerate(moments, 1):
            table.add_row(str(rank), clock(moment.start), clock(moment.end), f"{moment.score:.3f}")
        console.print(table)

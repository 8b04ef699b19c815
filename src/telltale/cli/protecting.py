"""``telltale protect``: copies of one's own pictures and videos that hinder who trains on them."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def protect(  # noqa: PLR0913  # an option each
    paths: Annotated[
        list[Path],
        typer.Argument(help="A folder of pictures, or videos.", metavar="FOLDER|VIDEO…"),
    ],
    method: Annotated[
        Literal["mtl_ue", "tue", "stega_ffd"],
        typer.Option(help="mtl_ue: pictures. tue: videos. stega_ffd: faces, hidden in pictures."),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the copies.", metavar="FOLDER")],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Pictures: CSV of path and a column a task. Default: subfolders are classes."
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="Video: a line x,y,w,h a frame. Default: VIDEO's name with .txt."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="stega_ffd: a trained run's folder.", metavar="FOLDER")
    ] = None,
    covers: Annotated[
        Path | None,
        typer.Option(help="stega_ffd: natural pictures, one or more a face.", metavar="FOLDER"),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="As for telltale train.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="table.key=value, e.g. fit.steps=800.")
    ] = None,
    most: Annotated[int, typer.Option(help="Pictures to learn from, at most.", min=1)] = 2000,
    effect: Annotated[
        bool, typer.Option(help="Train networks on originals and copies, and compare.")
    ] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Write protected copies of pictures or videos of your own, and a report of what it brings.

    Originals are only read. Exit code: 0 if all were copied, 2 if one was not.
    """
    from telltale import protect as verb
    from telltale.records import Failure

    def watch(text: str) -> None:
        if not quiet:
            typer.echo(f"telltale: {text}", err=True)

    try:
        from telltale.recipe import setting
    except ModuleNotFoundError as error:
        raise ValueError(
            f"protecting needs {error.name}: pip install 'telltale-vision[train]'"
        ) from None
    settings = dict(setting(text) for text in set_ or [])
    if method != "stega_ffd" and not (run is None and covers is None):
        raise ValueError(f"{method} takes no --run and no --covers")
    if method == "mtl_ue":
        if len(paths) != 1 or not paths[0].is_dir() or boxes is not None:
            raise ValueError("mtl_ue wants one folder of pictures, and no --boxes")
        results = verb.protect_pictures(
            paths[0],
            out,
            labels=labels,
            recipe=recipe,
            settings=settings,
            most=most,
            resume=resume,
            watch=watch,
        )
    elif method == "stega_ffd":
        if len(paths) != 1 or not paths[0].is_dir() or run is None or covers is None:
            raise ValueError("stega_ffd wants one folder of faces, --run and --covers")
        if labels or boxes or recipe or settings:
            raise ValueError("stega_ffd takes no --labels, --boxes, --recipe and --set")
        results = verb.hide_faces(paths[0], out, run=run, covers=covers, resume=resume, watch=watch)
    else:
        if labels is not None:
            raise ValueError("tue wants videos, and no --labels")
        results = verb.protect_videos(
            paths,
            out,
            boxes=boxes,
            recipe=recipe,
            settings=settings,
            resume=resume,
            watch=watch,
        )
    failed = made = 0
    for result in results:
        if isinstance(result, Failure):
            typer.echo(f"telltale: {result.error}", err=True)
            failed += 1
        else:
            made += 1
    figures = None
    if effect and made and method != "stega_ffd":
        if method == "mtl_ue":
            figures = verb.picture_effect(paths[0], out, labels=labels, watch=watch)
            if figures is None:
                watch("too few pictures to measure the effect on")
        else:
            figures = verb.video_effect(out, watch=watch)
    path = verb.write_report(out, figures)
    if not quiet:
        typer.echo(f"{made} protected copies; report in {path}")
    if failed:
        raise typer.Exit(2)

"""``telltale stress``: what a detector's ranking survives."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from telltale.stress import Plan


def stress(  # noqa: PLR0913  # an option each
    what: Annotated[
        list[str],
        typer.Argument(
            help="Slugs, exported .onnx files or runs' folders; several are compared.",
            metavar="DETECTOR",
        ),
    ],
    data: Annotated[
        str, typer.Option(help="Manifest (path, label, source, split) or a folder of classes.")
    ],
    kinds: Annotated[str, typer.Option(help="Degradations, e.g. GB,VC.", show_default="all")] = "",
    on: Annotated[
        str, typer.Option(help="pictures: degrade, then cut faces. crops: they are cut already.")
    ] = "pictures",
    out: Annotated[
        Path | None,
        typer.Option(help="Write curves and tables; a stopped run goes on.", metavar="FOLDER"),
    ] = None,
    split: Annotated[str, typer.Option(help="Rows of the data.")] = "test",
    video_fps: Annotated[float, typer.Option(help="Frames to look at for each second.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    resamples: Annotated[int, typer.Option(help="Draws for each interval.")] = 1000,
    workers: Annotated[
        int | None, typer.Option(help="Files to work on at once.", show_default="the cores")
    ] = None,
    pixels: Annotated[
        bool,
        typer.Option("--pixels", help="Measure maps of local changes; the data want masks."),
    ] = False,
    faithfulness: Annotated[
        bool, typer.Option("--faithfulness", help="Test its explanations instead.")
    ] = False,
    certify: Annotated[
        bool,
        typer.Option("--certify", help="Certify verdicts, or an encoder's feature, instead."),
    ] = False,
    sigma: Annotated[float, typer.Option(help="Noise of --certify, in [0, 1].")] = 0.05,
    samples: Annotated[int, typer.Option(help="Noisy copies of a picture for --certify.")] = 1000,
    batch: Annotated[int, typer.Option(help="Copies in one pass of an encoder.")] = 64,
    count: Annotated[int, typer.Option(help="Pictures for --faithfulness and --certify.")] = 100,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Measure how a detector's AUC falls as pictures get worse: curves and tables."""
    if certify and faithfulness:
        raise ValueError("want one of --certify and --faithfulness, got both")
    if certify:
        from telltale.certify import Noise
        from telltale.cli.certifying import certify_data

        noise = Noise(sigma, samples, batch=batch, seed=seed)
        return certify_data(
            what, data, noise, split=split, count=count, on=on, out=out, quiet=quiet
        )
    if faithfulness:
        return _faithfulness(what, data, split, on, count, out, quiet=quiet)
    from rich.console import Console

    from telltale import stress as test

    codes = tuple(code.strip().upper() for code in kinds.split(",") if code.strip())
    plan = test.Plan(codes, on, split, seed, resamples, video_fps)
    test.kinds(codes)  # a wrong one is said before networks are loaded
    if pixels:
        return _pixels(what, data, plan, out, workers, quiet=quiet)
    found = test.stress(
        test.detectors(what),
        data,
        plan,
        out=out,
        workers=workers,
        track=(lambda items, count: items) if quiet else _track,
    )
    paths = [] if out is None else test.write(found, out)
    if quiet:
        return None
    console = Console()
    for table in test.to_tables(found):
        console.print(table)
    for note in found.notes:
        console.print(f"- {note}", markup=False, highlight=False)
    for path in paths:
        typer.echo(f"telltale: {path}", err=True)
    return None


def _pixels(
    what: list[str], data: str, plan: "Plan", out: Path | None, workers: int | None, *, quiet: bool
) -> None:
    """Pixel figures of maps, table by table."""
    from rich.console import Console
    from rich.table import Table

    from telltale import stress as test

    track = (lambda items, count: items) if quiet else _track
    found = test.stress_maps(
        test.detectors(what), data, plan, out=out, workers=workers, track=track
    )
    paths = [] if out is None else test.write_maps(found, out)
    if quiet:
        return
    console = Console()
    for title, head, rows in test.maps_tables(found):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for number, name in enumerate(head):
            table.add_column(name, justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for note in found.notes:
        console.print(f"- {note}", markup=False, highlight=False)
    for path in paths:
        typer.echo(f"telltale: {path}", err=True)


def _faithfulness(  # what the command was given
    what: list[str], data: str, split: str, on: str, count: int, out: Path | None, *, quiet: bool
) -> None:
    """The violation table of each detector's explanations."""
    from telltale import explaining
    from telltale.cli.explaining import show, track
    from telltale.runs import replace_text

    for name in what:
        found = explaining.faithfulness(
            name,
            data,
            split=split,
            on=on,
            pictures=count,
            track=(lambda items, number: items) if quiet else track,
        )
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            path = out / f"faithfulness_{Path(name).stem}.json"
            replace_text(path, explaining.to_json(found))
            typer.echo(f"telltale: {path}", err=True)
        if not quiet:
            show(found)


def _track(items: Iterable[Any], count: int) -> Iterator[Any]:
    """Items with a bar and the time left, if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return iter(track(items, "degrading", count, console=console, transient=True))

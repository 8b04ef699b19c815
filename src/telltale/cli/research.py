"""``telltale prepare``, ``train``, ``evaluate``, ``export`` and ``synth``: to build detectors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

Out = Annotated[Path, typer.Option(help="Folder to write to.", metavar="FOLDER")]


def prepare(
    raw: Annotated[
        list[str],
        typer.Argument(help="Folders of videos, such as ffpp-c23:FOLDER.", metavar="DATASET"),
    ],
    out: Out,
    frames: Annotated[int, typer.Option(help="Of each video, evenly spaced.")] = 32,
    size: Annotated[int, typer.Option(help="Side of the crops in pixels.")] = 256,
    margin: Annotated[float, typer.Option(help="Side of the square, in faces.")] = 1.3,
    align: Annotated[
        bool, typer.Option("--align", help="By eyes, nose and mouth, as benchmarks do.")
    ] = False,
    workers: Annotated[
        int | None, typer.Option(help="Processes; the number of cores by default.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Cut the faces of a dataset's videos, and write a manifest to train and evaluate with.

    After Ctrl-C or a kill the same command goes on. Videos that give no face are named.
    """
    from rich.console import Console
    from rich.progress import Progress

    from telltale.data.clips import Cut
    from telltale.data.forgery import remarks
    from telltale.prepare import MANIFEST
    from telltale.prepare import prepare as cut_faces

    cut = Cut(frames=frames, size=size, margin=margin, align=align)
    count, results = cut_faces(raw, out, cut, workers=workers)
    for remark in () if quiet else chain.from_iterable(map(remarks, raw)):
        typer.echo(f"telltale: {remark}", err=True)
    made = failed = 0
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=quiet) as progress:
        for result in progress.track(results, total=count, description="cutting faces"):
            made, failed = made + len(result.frames), failed + bool(result.error)
            if result.error:
                line = f"telltale: {result.name}: {result.error}"
                progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
    if not quiet:
        tail = f"; {failed} videos gave none" if failed else ""
        typer.echo(f"{out / MANIFEST}: {made} faces of {count - failed} videos cut now{tail}")


def train(
    slug: Annotated[str, typer.Argument(help="A method; see: telltale methods.", metavar="SLUG")],
    data: Annotated[
        str | None,
        typer.Option(help="Manifest, folder of classes, synth:toyfaces, synth:distorted."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A TOML file, or a name such as paper or toy.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Over the recipe; may be repeated.", metavar="TABLE.KEY=VALUE"),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the run; a new one in runs.", metavar="FOLDER")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with --run.")] = False,
    start: Annotated[
        Path | None,
        typer.Option(help="A run to begin with, e.g. of an earlier stage.", metavar="RUN"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Train a method by a recipe; what happens is in the run's folder.

    Ctrl-C stops it; telltale train SLUG --run FOLDER --resume goes on as if nothing had been.
    """
    with _extra("training"):
        from telltale.recipe import setting
        from telltale.train import train as learn

        folder = learn(
            slug,
            data=data,
            recipe=recipe,
            settings=dict(setting(text) for text in settings or ()),
            run=run,
            resume=resume,
            start=start,
            watch=_plain_step if quiet else _print_step,
        )
    if not quiet:
        from telltale.catalog import card

        detects = card(slug).verb == "detect"
        typer.echo(f"{folder}: trained" + (f"; next: telltale export {folder}" if detects else ""))


def export(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run, or its weights.", metavar="CHECKPOINT")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Default: in the run's folder.", metavar="FILE.onnx")
    ] = None,
) -> None:
    """Write a trained detector as ONNX that a scan runs without torch, checked against torch."""
    with _extra("exporting"):
        from telltale.export import export_run

        path = export_run(run if run.is_dir() else run.parent, out)
    typer.echo(f"{path}: exported; next: telltale scan PATH --method {path}")


def synth(  # noqa: PLR0913  # an option each
    kind: Annotated[
        str,
        typer.Argument(
            help="self_blend, swap_alpha, swap_poisson, regenerate; or an attack: display, print, "
            "cut, curved, mask; or distort: 24 ways of losing quality at five levels; or stylise: "
            "photographs as drawings, with POPE's questions."
        ),
    ],
    paths: Annotated[list[Path], typer.Argument(help="Pictures and folders.", metavar="PATH")],
    out: Out,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
    only: Annotated[
        list[str] | None,
        typer.Option(help="With distort: this kind; may be repeated.", metavar="KIND"),
    ] = None,
    proxy: Annotated[
        str, typer.Option(help="With distort: what scores are, level or fsim (wants piq).")
    ] = "level",
    styles: Annotated[
        list[str] | None, typer.Option("--style", help="For stylise; all by default.")
    ] = None,
    objects: Annotated[
        Path | None,
        typer.Option(help="For stylise: file name to objects; asks about them.", metavar="JSON"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Forge faces in your own pictures, with masks and a manifest, to test a detector on.

    Exit code: 0 if something was made, 2 if nothing was.
    """
    from telltale.records import Failure
    from telltale.synth import DISTORT, PAIRS, STYLISE, stylised, synthesise

    if kind != DISTORT and (only or proxy != "level"):
        raise ValueError("--only and --proxy are for telltale synth distort")
    made = 0
    drawn = kind == STYLISE
    if not drawn and (styles or objects):
        raise ValueError("--style and --objects belong to: telltale synth stylise")
    results: Iterator[Any] = (
        stylised(paths, out, styles=styles or (), objects=objects, seed=seed)
        if drawn
        else synthesise(kind, paths, out, seed=seed, only=only or (), proxy=proxy)
    )
    for result in results:
        if isinstance(result, Failure):
            typer.echo(f"telltale: {result.error}", err=True)
        else:
            made += 1
    if not made:
        raise ValueError(f"nothing was {'stylised' if drawn else 'forged'}")
    if not quiet and drawn:
        typer.echo(f"{made} photographs with their stylised versions in {out / PAIRS}")
    elif not quiet and kind == DISTORT:
        typer.echo(f"{made} distorted pictures, each with a proxy score, in {out}")
    elif not quiet:
        typer.echo(f"{made} forgeries, each with its real picture and its mask, in {out}")


def _print_step(record: Mapping[str, Any]) -> None:
    """One line a validation; the others are in the run's steps.jsonl."""
    if any(name.startswith("val_") for name in record):
        terms = (f"{k} {v:.4g}" for k, v in record.items() if isinstance(v, float))
        typer.echo(f"step {record['step']}  {'  '.join(terms)}")


def _plain_step(record: Mapping[str, Any]) -> None:
    """Nothing."""


@contextmanager
def _extra(what: str) -> Iterator[None]:
    """Turns the lack of a library into the line that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "telltale":
            raise
        raise ValueError(
            f"{what} needs {error.name}: pip install 'telltale-vision[train]'"
        ) from None

"""``telltale prepare``, ``train``, ``evaluate``, ``export`` and ``synth``: to build detectors."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
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
    from telltale.prepare import MANIFEST
    from telltale.prepare import prepare as cut_faces

    cut = Cut(frames=frames, size=size, margin=margin, align=align)
    count, results = cut_faces(raw, out, cut, workers=workers)
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


def evaluate(
    what: Annotated[
        list[str],
        typer.Argument(
            help="A method's slug, an exported .onnx, a run's folder, or a CSV of predictions; "
            "for leave-one-out KIND=RUN, one for each kind of forgery.",
            metavar="DETECTOR",
        ),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Manifest, folder of classes or ffpp:FOLDER; several across datasets."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="intra, cross-manipulation, leave-one-out, cross-dataset, joint, or a file.",
            metavar="NAME|FILE.toml",
        ),
    ] = None,
    out: Annotated[
        list[Path] | None, typer.Option(help="Write .md, .csv, .tex or .json; may be repeated.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Write the predictions.", metavar="FILE.csv")
    ] = None,
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels", help="Measure maps: of a detector, or a folder of anyone's, named alike."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Measure a detector: figures with 95 % intervals, by slice, and the worst slice.

    With a named protocol: frames and videos side by side, as papers compare detectors.
    """
    from rich.console import Console

    from telltale import evaluate as judge

    if pixels:
        if len(what) != 1 or len(data or []) != 1:
            raise ValueError("--pixels wants one detector or folder of maps, and one --data")
        figures = judge.judge_maps(what[0], (data or [])[0], track=_plain if quiet else _track)
        for path in out or ():
            judge.write_maps(figures, path)
        if not quiet:
            typer.echo("\n".join(judge.maps_markdown(figures)))
        return
    settings = judge.Protocol()
    if protocol in judge.SUITES:
        settings = judge.Protocol(suite=protocol)
    elif protocol is not None:
        settings = judge.Protocol.from_toml(Path(protocol))
    track = _plain if quiet else _track
    found: judge.Evaluation | judge.Grid
    if settings.suite:
        pairs = [word.rpartition("=") for word in what]
        named = {kind or word: word for kind, _, word in pairs}
        found = judge.compare(named, data or [], settings, keep=keep, track=track)
        tables = [judge.grid_table(found)]
    else:
        if len(what) != 1 or len(data or []) > 1:
            raise ValueError("want one detector and one --data; several want a named --protocol")
        only = data[0] if data else None
        found = judge.evaluate(what[0], only, settings, keep=keep, track=track)
        tables = judge.to_tables(found)
    for path in out or ():
        judge.write(found, path)
    if quiet:
        return
    console = Console()
    for table in tables:
        console.print(table)
    for note in found.notes:
        console.print(f"- {note}", markup=False, highlight=False)


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


def _plain(items: Iterable[Any], count: int) -> Iterable[Any]:
    return items


def _track(items: Iterable[Any], count: int) -> Iterator[Any]:
    """Items with a bar and the time left, if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return iter(track(items, "judging", count, console=console, transient=True))

"""``telltale evaluate``: how good a detector is, ours or anyone's."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer


def evaluate(  # noqa: PLR0913  # an option each
    what: Annotated[
        list[str],
        typer.Argument(
            help="A method's slug, an exported .onnx, a run's folder, or anyone's predictions as "
            ".csv, .json or .npz; for leave-one-out KIND=RUN, one for each kind of forgery; for "
            "folds FOLD=RUN.",
            metavar="DETECTOR",
        ),
    ],
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Manifest, folder of classes or ffpp:FOLDER; several across datasets or folds; "
            "the truth for predictions without labels."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="intra, cross-manipulation, leave-one-out, cross-dataset, joint, folds, or a "
            "file.",
            metavar="NAME|FILE.toml",
        ),
    ] = None,
    out: Annotated[
        list[Path] | None, typer.Option(help="Write .md, .csv, .tex or .json; may be repeated.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Write the predictions.", metavar="FILE.csv")
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            help="Where the files of a table of predictions lie; its own folder by default.",
            metavar="FOLDER",
        ),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="Choose the threshold on the validation split, over the protocol's own rule.",
            metavar="eer|fpr=0.02",
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            help="pictures: find faces and cut them. crops: they are cut already, e.g. aligned.",
            show_default="pictures",
        ),
    ] = None,
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels", help="Measure maps: of a detector, or a folder of anyone's, named alike."
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Measure a detector, or anyone's predictions: figures with 95 % intervals, by slice.

    It also says what else predicts the label: size, container, JPEG quality, identity. With a
    named protocol: frames and videos side by side, as papers compare detectors.
    """
    from rich.console import Console

    from telltale import evaluate as judge
    from telltale.cli.outputs import check_place

    for path in out or ():  # before the long run, not after it
        judge.check_form(path, (".md", ".json") if pixels else judge.FORMS)
        check_place(path)
    check_place(keep)
    if pixels:
        if len(what) != 1 or len(data or []) != 1:
            raise ValueError("--pixels wants one detector or folder of maps, and one --data")
        figures = judge.judge_maps(what[0], (data or [])[0], track=_plain if quiet else _track)
        if not quiet:
            typer.echo("\n".join(judge.maps_markdown(figures)))
        for path in out or ():
            judge.write_maps(figures, path)
        return
    settings = judge.Protocol()
    if protocol in judge.SUITES:
        settings = judge.Protocol(suite=protocol)
    elif protocol is not None:
        settings = judge.Protocol.from_toml(Path(protocol))
    if select is not None and settings.suite:
        raise ValueError(
            f"--select is for one table of figures; {settings.suite} counts at a score of ½"
        )
    if select is not None:
        settings = replace(settings, select=select, threshold=None)
    if on is not None:
        settings = replace(settings, on=on)
    track = _plain if quiet else _track
    found: judge.Evaluation | judge.Grid
    if settings.suite:
        named = dict(map(_named, what))
        found = judge.compare(named, data or [], settings, keep=keep, files=files, track=track)
        tables = judge.grid_tables(found)
    else:
        if len(what) != 1 or len(data or []) > 1:
            raise ValueError("want one detector and one --data; several want a named --protocol")
        only = data[0] if data else None
        found = judge.evaluate(what[0], only, settings, keep=keep, files=files, track=track)
        tables = judge.to_tables(found)
    console = Console(quiet=quiet)
    for table in tables:
        console.print(table)
    for note in found.notes:
        console.print(f"- {note}", markup=False, highlight=False)
    for path in out or ():
        judge.write(found, path)


def _named(word: str) -> tuple[str, str]:
    """A name and what it names of ``KIND=RUN``; a path, which may have a = in it, names itself."""
    name, equals, what = word.partition("=")
    return (name, what) if equals and not Path(word).exists() else (word, word)


def _plain(items: Iterable[Any], count: int) -> Iterable[Any]:
    return items


def _track(items: Iterable[Any], count: int) -> Iterator[Any]:
    """Items with a bar and the time left, if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return iter(track(items, "judging", count, console=console, transient=True))

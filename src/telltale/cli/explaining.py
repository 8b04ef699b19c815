"""``telltale explain``: a detector's explanations side by side, and which can be trusted."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from telltale.explaining import Faithfulness


def explain(  # noqa: PLR0913  # an option each
    pictures: Annotated[list[Path], typer.Argument(help="To explain.", metavar="PICTURE")],
    detector: Annotated[
        str | None,
        typer.Option(
            help="A run's folder, a slug or an exported .onnx.", show_default="first shipped"
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Test the explanations on this manifest or folder.",
            show_default="the run's validation data, else the pictures",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Write the maps as one page.", metavar="FILE.html")
    ] = Path("explanations.html"),
    split: Annotated[str, typer.Option(help="Rows of a manifest.")] = "test",
    on: Annotated[
        str, typer.Option(help="pictures: find the face or page. crops: the middle square.")
    ] = "pictures",
    count: Annotated[int, typer.Option(help="Pictures to test on.")] = 32,
    grid: Annotated[
        int | None, typer.Option(help="Blocks a side where features are blocks.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Show a detector's heat maps by every method, with how often each points the wrong way."""
    from telltale import explaining

    made, found = explaining.explain(
        pictures,
        detector,
        data,
        split=split,
        on=on,
        pictures=count,
        grid=grid,
        track=(lambda items, number: items) if quiet else track,
    )
    explaining.write_page(made, found, out)
    if not quiet:
        show(found)
        typer.echo(f"telltale: {out}", err=True)


def show(found: "Faithfulness") -> None:
    """Print the test's table and what to know of it."""
    from rich.console import Console

    from telltale.explaining import to_table

    console = Console()
    console.print(to_table(found))
    console.print(
        "trust: no unless clearly better than random, and if the interval lies above 0.25; "
        "yes if it lies below",
        highlight=False,
    )
    for note in found.notes:
        console.print(f"- {note}", markup=False, highlight=False)


def track(items: Iterable[Any], count: int) -> Iterator[Any]:
    """Items with a bar and the time left, if stderr is a terminal."""
    from rich.console import Console
    from rich.progress import track as tracked

    console = Console(stderr=True)
    return iter(tracked(items, "explaining", count, console=console, transient=True))

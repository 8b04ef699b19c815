"""``telltale compress``: sparse spiking networks and distilled event sets."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def compress(  # noqa: PLR0913  # an option each
    method: Annotated[
        Literal["spike-nm", "spike_nm", "pace"],
        typer.Argument(help="spike-nm: N of every M weights. pace: a few clips per class."),
    ],
    data: Annotated[
        str,
        typer.Option(help="synth:saccades, synth:gestures, or a folder of events.", metavar="DATA"),
    ],
    out: Annotated[Path, typer.Option(help="Folder for what is made.", metavar="FOLDER")],
    pattern: Annotated[
        list[str] | None, typer.Option(help="spike-nm: N:M, may be repeated. Default: 2:4.")
    ] = None,
    ipc: Annotated[
        list[int] | None,
        typer.Option(help="pace: clips per class, may be repeated. Default: 1.", min=1),
    ] = None,
    start: Annotated[
        Literal["random", "herding"],
        typer.Option(help="pace: the real clips that it starts from."),
    ] = "random",
    compare: Annotated[bool, typer.Option("--compare", help="Make the rivals, too.")] = False,
    frames: Annotated[int | None, typer.Option(help="Frames of a clip.", min=1)] = None,
    size: Annotated[int | None, typer.Option(help="Side of a frame, pixels.", min=8)] = None,
    most: Annotated[int, typer.Option(help="Clips a class of a folder, 0: all.", min=0)] = 0,
    split: Annotated[
        Literal["hash", "first"],
        typer.Option(
            help="Tests of a folder without a published split: a tenth of each class by the hash "
            "of the names, or the first tenth."
        ),
    ] = "hash",
    recipe: Annotated[str | None, typer.Option(help="As for telltale train.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="table.key=value, e.g. fit.steps=800.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Train spiking networks with few weights, or distil event sets to a few clips."""
    from telltale import compress as verb

    def watch(text: str) -> None:
        if not quiet:
            typer.echo(f"telltale: {text}", err=True)

    try:
        from telltale.recipe import setting
    except ModuleNotFoundError as error:
        raise ValueError(
            f"compressing needs {error.name}: pip install 'telltale-vision[train,spiking]'"
        ) from None
    settings = dict(setting(text) for text in set_ or [])
    common: dict[str, Any] = {"compare": compare, "recipe": recipe, "settings": settings}
    common |= {"watch": watch, "frames": frames, "size": size, "most": most, "split": split}
    if method == "pace":
        if pattern:
            raise ValueError("pace wants --ipc, not --pattern")
        rows = verb.distil(data, out, ipcs=ipc or [1], start=start, **common)
    else:
        if ipc:
            raise ValueError("spike-nm wants --pattern, not --ipc")
        patterns = [_pattern(text) for text in pattern or ["2:4"]]
        rows = verb.prune(data, out, patterns=patterns, **common)
    if quiet:
        return
    width = max(len(row.name) for row in rows)
    for row in rows:
        typer.echo(f"{row.name:<{width}}  accuracy {100 * row.figures['accuracy']:5.1f} %")
    typer.echo(f"report in {out / 'report.md'}")


def _pattern(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= 256:
        raise ValueError(f"want --pattern N:M with 1 ≤ N ≤ M ≤ 256, got {text!r}")
    return int(found[1]), int(found[2])

"""``telltale certify``: what no small perturbation can do to an encoder or a detector."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from telltale.certify import Certified, Noise


def certify(  # noqa: PLR0913  # an option each
    what: Annotated[
        str,
        typer.Argument(
            help="An encoder: a run's or a CLIP's folder, a trunk's name. Or a detector: its slug "
            "or exported .onnx.",
            metavar="ENCODER|DETECTOR",
        ),
    ],
    pictures: Annotated[list[Path], typer.Argument(help="To certify on.", metavar="PICTURE")],
    sigma: Annotated[float, typer.Option(help="Of the noise, in [0, 1] of a pixel.")] = 0.25,
    samples: Annotated[int, typer.Option(help="Noisy copies of each picture.")] = 1000,
    alpha: Annotated[float, typer.Option(help="Chance that a bound is too high.")] = 1e-3,
    batch: Annotated[int, typer.Option(help="Copies in one pass; bounds the memory.")] = 64,
    bf16: Annotated[bool, typer.Option("--bf16", help="Run the encoder in bfloat16.")] = False,
    on: Annotated[
        Literal["pictures", "crops"],
        typer.Option(help="Of a detector: find its subject, or take the middle square."),
    ] = "pictures",
    out: Annotated[
        Path | None,
        typer.Option(help="Write the table, and beside it curves as .svg and .md.", metavar="CSV"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
) -> None:
    """Certify, by smoothing, how far any l2 perturbation can turn a feature or a verdict.

    ``telltale stress --certify`` does the same on labelled data.
    """
    from telltale import certify as verb

    noise = verb.Noise(sigma, samples, alpha, batch, seed, bf16)
    made = verb.certifier(what, noise, on)
    sizes = verb.usual_sizes(made.kind, sigma)
    typer.echo(_head(made.kind, sizes))
    rows = []
    for picture in pictures:
        row = made.of(picture, sizes)
        rows.append(row)
        typer.echo(_line(row))
    if out is not None:
        verb.write({what: (rows, verb.curve(rows, made.kind, sigma))}, out)


def certify_data(
    whats: list[str],
    data: str,
    noise: "Noise",
    *,
    split: str,
    count: int,
    on: str,
    out: Path | None,
    quiet: bool,
) -> None:
    """What ``telltale stress --certify`` does: each one on pictures of a split, and the curves."""
    from telltale import certify as verb
    from telltale.cli.explaining import track

    found = {}
    remarks: list[str] = []
    for what in whats:
        rows, kind, notes = verb.certify_split(
            what,
            data,
            noise,
            split=split,
            count=count,
            on=on,
            track=(lambda items, number: items) if quiet else track,
        )
        found[what] = rows, verb.curve(rows, kind, noise.sigma)
        remarks += [f"{what}: {note}" for note in notes]
    if out is not None:
        for path in verb.write(found, out / "certified", remarks):
            typer.echo(f"telltale: {path}", err=True)
    if not quiet:
        typer.echo(verb.to_markdown({name: one for name, (_, one) in found.items()}, remarks))


def _head(kind: str, sizes: tuple[float, ...]) -> str:
    name = "cos" if kind == "cosine" else "votes"
    names = ["score", "radius", *(f"{name}({size:g})" for size in sizes)]
    return "  ".join(f"{name:>11}" for name in names) + "  picture"


def _line(row: "Certified") -> str:
    numbers = (row.score, row.radius, *row.bounds)
    line = "  ".join(f"{'–':>11}" if n != n else f"{n:11.3f}" for n in numbers)
    says = "" if row.verdict is None else f": {'the claim' if row.verdict else 'not the claim'}"
    return f"{line}  {row.path}{says}"

"""``telltale certify``: what no small perturbation can do to an encoder."""

from pathlib import Path
from typing import Annotated

import typer


def certify(
    what: Annotated[
        str, typer.Argument(help="A run's folder, or a trunk's name.", metavar="RUN|ENCODER")
    ],
    pictures: Annotated[list[Path], typer.Argument(help="To certify on.", metavar="PICTURE")],
    sigma: Annotated[float, typer.Option(help="Of the noise, in [0, 1] of a pixel.")] = 0.25,
    samples: Annotated[int, typer.Option(help="Noisy copies of each picture.")] = 1000,
    alpha: Annotated[float, typer.Option(help="Chance that a bound is too high.")] = 1e-3,
    batch: Annotated[int, typer.Option(help="Copies in one pass; bounds the memory.")] = 64,
    out: Annotated[Path | None, typer.Option(help="Write the table.", metavar="FILE.csv")] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
) -> None:
    """Certify how far any l2 perturbation can turn an encoder's feature, by smoothing it."""
    from telltale.certify import SIZES, table
    from telltale.certify import certify as bounds
    from telltale.runs import replace_text

    names = ["score", "radius", *(f"cos({size:g})" for size in SIZES)]
    typer.echo("  ".join(f"{name:>9}" for name in names) + "  picture")
    rows = []
    for row in bounds(
        what, pictures, sigma=sigma, samples=samples, alpha=alpha, batch=batch, seed=seed
    ):
        rows.append(row)
        numbers = (row.score, row.radius, *row.cosines)
        line = "  ".join("        –" if n != n else f"{n:9.3f}" for n in numbers)
        typer.echo(f"{line}  {row.path}")
    if out is not None:
        replace_text(out, table(rows, SIZES))

"""``telltale transfer``: what attacks crafted on other models do to yours."""

from pathlib import Path
from typing import Annotated

import typer


def transfer(  # noqa: PLR0913  # an option each
    targets: Annotated[list[Path], typer.Argument(help="Folders of runs to judge.", metavar="RUN")],
    surrogates: Annotated[
        list[Path],
        typer.Option(
            "--surrogate", help="A run to craft on; repeat it for several.", metavar="RUN"
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(help="Manifest or folder; its split test.", show_default="the run's own"),
    ] = None,
    attacks: Annotated[
        str, typer.Option(help="Such as MI,DI.", show_default="all: PGD,MI,DI,TI,SI-NI,VMI")
    ] = "",
    eps: Annotated[float, typer.Option(help="Bound of the change, in levels of 255.")] = 8.0,
    steps: Annotated[int, typer.Option(help="Of each attack.")] = 10,
    limit: Annotated[int, typer.Option(help="Pictures, at most.")] = 500,
    batch: Annotated[int, typer.Option(help="Pictures at once; bounds the memory.")] = 50,
    out: Annotated[Path | None, typer.Option(help="Write the table.", metavar="FILE.csv")] = None,
    seed: Annotated[int, typer.Option(help="Of all draws.")] = 0,
) -> None:
    """Attack your own models with pictures crafted on other models of yours: a table."""
    from telltale.runs import replace_text
    from telltale.transfer import means, table
    from telltale.transfer import transfer as carry

    typer.echo("accuracy  95 % interval    pictures  attack         crafted on → judged by")
    rows = []
    for row in carry(
        targets,
        surrogates,
        data=data,
        attacks=[word.strip() for word in attacks.split(",") if word.strip()],
        eps=eps / 255,
        steps=steps,
        limit=limit,
        batch=batch,
        seed=seed,
    ):
        rows.append(row)
        interval = f"{row.low:.3f} to {row.high:.3f}"
        head = f"{row.accuracy:8.3f}  {interval:15}  {row.count:8}  {row.attack:13}"
        typer.echo(f"{head}  {row.source} → {row.target}")
    for name, mean in means(rows).items():
        typer.echo(f"{name}: {mean:.3f} on average over attacks and surrogates")
    if out is not None:
        replace_text(out, table(rows))

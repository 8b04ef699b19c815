"""``telltale audit-injection``: how far one's own encoder is moved toward an instruction."""

import json
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from telltale.audit import Moved


def audit_injection(  # an option each
    paths: Annotated[list[Path], typer.Argument(help="Pictures.", metavar="IMAGE…")],
    own: Annotated[
        bool, typer.Option("--own", help="Say that the encoder is yours to audit.")
    ] = False,
    clip: Annotated[
        str, typer.Option(help="Local folder with a CLIP, or its image tower.", metavar="FOLDER")
    ] = "",
    vlm: Annotated[
        str,
        typer.Option(
            help="Local folder with a vision-language model of LLaVA's kind.", metavar="FOLDER"
        ),
    ] = "",
    recipe: Annotated[
        str | None, typer.Option(help="Of prompt_injection; its surrogate is the encoder.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="table.key=value, e.g. method.steps=300."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the crops.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON a picture.")] = False,
) -> None:
    """Measure how far your own image encoder can be moved toward an instruction, and what helps.

    Everything stays on this machine and no changed picture is written. The instruction is a
    harmless canary unless method.target is set.
    """
    from telltale.audit import Audit
    from telltale.media import MediaError

    try:
        from telltale.recipe import setting
    except ModuleNotFoundError as error:
        raise ValueError(
            f"audits need {error.name}: pip install 'telltale-vision[train]'"
        ) from None
    settings = dict(setting(text) for text in set_ or [])
    audit = Audit.of(own=own, clip=clip, vlm=vlm, recipe=recipe, settings=settings, seed=seed)
    found, failed = [], False
    for path in paths:
        try:
            one = audit.picture(path)
        except MediaError as error:
            typer.echo(f"telltale: {error}", err=True)
            failed = True
            continue
        found.append(one)
        if as_json:
            line = asdict(one) | {"psnr": one.psnr if isfinite(one.psnr) else None}
            typer.echo(json.dumps(line, ensure_ascii=False, allow_nan=False))
        else:
            typer.echo(_line(one))
    if found and not as_json:
        _show(found)
    if failed:
        raise typer.Exit(2)


def _line(one: "Moved") -> str:
    plain, says = one.defences["none"], ""
    if (heard := one.answers) is not None:
        said = "said" if heard.said else "not said"
        says = f"; as the answer {heard.before:.2f} to {heard.after:.2f} nats a token, {said}"
    return (
        f"{one.path}: cosine {plain.before:.3f} to {plain.after:.3f}; changed by {one.largest} of "
        f"255 at most, {one.psnr:.1f} dB, SSIM {one.ssim:.3f}{says}"
    )


def _show(found: "list[Moved]") -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from telltale.audit import detected, judged, totals

    table = Table("defence", *("before", "after", "taken", "95 %", "kept", "ms"), box=SIMPLE)
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    count = len(found)
    for name, row in totals(found).items():
        first, then = (round(rate * count) for rate in (row.rate_before, row.rate))
        low, high = row.interval
        table.add_row(
            name,
            f"{row.before:.3f}",
            f"{row.after:.3f}",
            f"{first} → {then} of {count}",
            f"{100 * low:.0f}–{high:.0%}",
            f"{row.kept:.3f}",
            f"{1000 * row.seconds:.0f}",
        )
    if (made := judged(found)) is not None:
        low, high = made.interval
        shares = f"{made.taken_before} → {made.taken} of {count}", f"{100 * low:.0f}–{high:.0%}"
        table.add_row("refused if flagged", "–", "–", *shares, f"{1 - made.false / count:.3f}", "–")
    Console().print(table)
    typer.echo(
        "before, after: mean cosine with the instruction\n"
        "taken: pictures nearer to the instruction than to any decoy; 95 %: of their share after\n"
        "kept: mean cosine of the defended picture with the picture"
    )
    if len(found) > 1:  # one picture ranks before one other or behind it, which says nothing
        unrest = detected(found)
        typer.echo(f"Unrest under defences tells changed from unchanged with AUC {unrest:.2f}")
    if made is not None:
        typer.echo(
            f"A detector that learnt from the other pictures flags {made.flagged} of {count} "
            f"changed and {made.false} of {count} unchanged ones (AUC {made.auc:.2f}); kept: let "
            "through unchanged"
        )

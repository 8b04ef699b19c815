"""``telltale methods`` and ``telltale doctor``: what there is, and whether it works here."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from telltale.records import Card, Weights

STYLES = {"ok": "green", "not here": "yellow", "failed": "bold red"}


def methods(
    slug: Annotated[
        str | None, typer.Argument(help="One method, to see its whole card.", metavar="[SLUG]")
    ] = None,
) -> None:
    """List the methods, or show a method's card: what it sees, how well, and what it does not."""
    from rich.console import Console

    from telltale import catalog

    console = Console()
    if slug is not None:
        _print_card(catalog.card(slug), console)
        return
    from rich.table import Table

    table = Table("method", "looks at", "claim", "weights", "title", box=None, pad_edge=False)
    for card in catalog.cards().values():
        licences = sorted({weights.license for weights in card.weights})
        ready = f"shipped, {', '.join(licences)}" if licences else _without_weights(card)
        table.add_row(card.slug, _room(card), card.claim, ready, card.title)
    console.print(table)


def doctor() -> None:
    """Check what is installed, which weights verify, and scan a drawn face with them.

    Exit code: 0 if all that is here works, 2 if something failed.
    """
    from rich.console import Console
    from rich.markup import escape

    from telltale.doctor import examine

    console = Console()
    failed = False
    for check in examine():
        failed = failed or check.state == "failed"
        state = f"[{STYLES[check.state]}]{check.state:8}[/]"
        line = f"{state}  [bold]{escape(check.what)}[/]  {escape(check.detail)}"
        console.print(line, soft_wrap=True, highlight=False)
    raise typer.Exit(2 if failed else 0)


def _print_card(card: "Card", console: "Console") -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console.print(Text.assemble((card.slug, "bold"), f"  {card.title}"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _lines(card):
        grid.add_row(Text(name), Text(value))
    console.print(Padding(grid, (1, 0, 0, 2)))


def _lines(card: "Card") -> "Iterator[tuple[str, str]]":
    yield "claim", card.claim
    yield "looks at", _room(card)
    yield "source", card.source
    yield "authors' code", card.code
    yield "class", card.network
    yield from _listed("assumed", card.assumed)
    yield from _listed("limits", card.limits)
    run = f"telltale scan PATH --method {card.slug}"
    here = card.verb == "detect"
    yield "to run it", run if card.weights else "train it first" if here else "see its page"
    if _by_command(card):
        yield "to train it", f"telltale train {card.slug} --recipe paper --data DATA"
    else:
        yield "to train it", "from Python" if card.learns_from else "it learns nothing"
    for weights in card.weights:
        yield "", ""
        yield from _about(weights)


def _about(weights: "Weights") -> "Iterator[tuple[str, str]]":
    yield "weights", weights.file
    yield "SHA-256", weights.sha256
    yield "licence", weights.license
    for name in ("trained_on", "source", "notice"):
        if getattr(weights, name):
            yield name.replace("_", " "), getattr(weights, name)
    low, high = weights.threshold - weights.doubt, weights.threshold + weights.doubt
    yield "verdict", f"no up to {low:.2f}, yes from {high:.2f} on, between them can't tell"
    yield from _listed(
        "only for", [f"{name} {span[0]} to {span[1]}" for name, span in _range(weights)]
    )
    yield from _listed("heat maps", [line for name in weights.maps for line in weights.told(name)])
    yield from _listed("measured", list(_figures(weights.metrics)))


def _range(weights: "Weights") -> "Iterator[tuple[str, tuple[float, float]]]":
    for name, (low, high) in weights.operating_range.items():
        yield name.replace("_", " "), (low, high)


def _figures(table: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Each figure of nested tables as "kind, auc: 0.97 (0.96 to 0.98)"."""
    for name, value in table.items():
        label = f"{above}, {name}" if above else name
        if isinstance(value, Mapping):
            yield from _figures(value, label)
        elif isinstance(value, list | tuple) and len(value) == 3:
            yield f"{label}: {value[0]:g} ({value[1]:g} to {value[2]:g})"
        else:
            yield f"{label}: {value}"


def _listed(name: str, values: "list[str] | tuple[str, ...]") -> Iterator[tuple[str, str]]:
    for place, value in enumerate(values):
        yield "" if place else name, value


def _without_weights(card: "Card") -> str:
    """What stands for weights where none are shipped."""
    if not card.learns_from:
        return "none needed"
    return "none: telltale train" if _by_command(card) else "none: from Python"


def _by_command(card: "Card") -> bool:
    """Whether ``telltale train`` can give what the method learns from."""
    return "images" in card.learns_from


def _room(card: "Card") -> str:
    return card.network.split(".")[1] if card.network.count(".") > 1 else ""

"""``telltale catalogue``: the attacks on faces that there are, and the datasets that hold them."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console


def catalogue(
    attack: Annotated[
        str | None,
        typer.Argument(help="A kind or a family: physical, replay, identity_swap, …"),
    ] = None,
    task: Annotated[str | None, typer.Option(help="fas, forgery or joint.")] = None,
    modality: Annotated[str | None, typer.Option(help="RGB, depth, IR, thermal, audio.")] = None,
    since: Annotated[int | None, typer.Option(help="First year.", metavar="YEAR")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show the tree of face attacks and the datasets that hold them.

    Sizes are as published; those marked ? nobody has checked against the dataset's own page.
    """
    from rich.console import Console

    from telltale import taxonomy

    found = taxonomy.find(task=task, attack=attack, modality=modality, since=since)
    kinds = [k for k in taxonomy.attacks() if attack is None or attack in taxonomy.lineage(k)]
    if as_json:
        table = {
            "attacks": [taxonomy.attacks()[kind]._asdict() for kind in kinds],
            "datasets": [source._asdict() for source in found],
        }
        typer.echo(json.dumps(table, ensure_ascii=False, indent=1))
        return
    console = Console()
    _print_tree(kinds, console)
    console.line()
    _print_sources([source.id for source in found], console)


def _print_tree(kinds: list[str], console: "Console") -> None:
    from rich.tree import Tree

    from telltale import taxonomy

    nodes: dict[str, Tree] = {}
    roots = []
    for kind in kinds:
        attack = taxonomy.attacks()[kind]
        traces = f"  [dim]{', '.join(attack.traces)}[/]" if attack.traces else ""
        line = f"[bold]{kind}[/]  {attack.name}{traces}"
        if attack.parent in nodes:
            nodes[kind] = nodes[attack.parent].add(line)
        else:
            nodes[kind] = Tree(line)
            roots.append(nodes[kind])
    for root in roots:
        console.print(root)


def _print_sources(ids: list[str], console: "Console") -> None:
    from rich.table import Table

    from telltale import taxonomy

    if not ids:
        console.print("no dataset matches")
        return
    table = Table("dataset", "year", "task", "size", "senses", "attacks", box=None, pad_edge=False)
    for name in ids:
        source = taxonomy.sources()[name]
        doubt = "" if source.verified else " ?"
        table.add_row(
            source.name,
            str(source.year),
            source.task,
            source.size + doubt,
            ", ".join(source.modality),
            ", ".join(source.attacks),
        )
    console.print(table)

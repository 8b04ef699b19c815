"""``telltale hallucination``: what models invent, from their answers to a benchmark."""

from pathlib import Path
from typing import Annotated

import typer


def hallucination(
    benchmark: Annotated[
        str, typer.Argument(help="pope, mme, chair or amber.", metavar="BENCHMARK")
    ],
    answers: Annotated[
        list[str],
        typer.Option(help="A model's answers; may be repeated.", metavar="[NAME=]FILE"),
    ],
    truth: Annotated[
        list[Path] | None,
        typer.Option(help="POPE's questions, COCO's instances, AMBER's annotations."),
    ] = None,
    captions: Annotated[
        list[Path] | None, typer.Option(help="CHAIR: COCO's captions; may be repeated.")
    ] = None,
    relations: Annotated[Path | None, typer.Option(help="AMBER's relation.json.")] = None,
    safe: Annotated[Path | None, typer.Option(help="AMBER's safe_words.txt.")] = None,
    gap: Annotated[
        bool, typer.Option("--gap", help="POPE: each row against the first, paired.")
    ] = False,
    out: Annotated[
        list[Path] | None, typer.Option(help="Write .md, .json or .png; may be repeated.")
    ] = None,
) -> None:
    """Measure what vision-language models invent: POPE, MME, CHAIR, AMBER from their files."""
    from telltale.hallucination import judge, markdown, write

    named: dict[str, Path] = {}
    for word in answers:
        name, mark, rest = word.partition("=")
        path = Path(rest if mark else word)
        if named.setdefault(name if mark else path.stem, path) != path:
            raise ValueError(f"want names that differ, got {name or path.stem} twice")
    table = judge(
        benchmark,
        named,
        truth or (),
        captions=captions or (),
        relations=relations,
        safe=safe,
        gap=gap,
    )
    for path in out or ():
        write(table, path, benchmark.upper())
    typer.echo(markdown(table))

"""``telltale describe``: a vision-language model's words, decoded so that it invents less."""

from pathlib import Path
from typing import Annotated

import typer


def describe(
    picture: Annotated[Path, typer.Argument(help="A picture.", metavar="PICTURE")],
    model: Annotated[
        str, typer.Option(help="Folder or hub's name of a transformers model.", metavar="DIR")
    ],
    question: Annotated[str, typer.Option(help="What to ask.")] = "Describe this picture.",
    decoding: Annotated[str, typer.Option(help="greedy, saver or saked.")] = "saver",
    words: Annotated[int, typer.Option(help="Tokens of the answer, at most.")] = 64,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Of the decoder, such as alpha=0.4.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Ask a vision-language model about a picture; SAVER and SAKED revise its words."""
    from telltale.describe import describe as ask
    from telltale.recipe import setting

    chosen = dict(setting(f"method.{text}") for text in settings or ())
    made = {key.partition(".")[2]: value for key, value in chosen.items()}
    typer.echo(
        ask(picture, model, question=question, decoding=decoding, words=words, settings=made)
    )

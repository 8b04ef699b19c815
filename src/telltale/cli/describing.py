"""``telltale describe``: a vision-language model's words, decoded so that it invents less."""

from pathlib import Path
from typing import Annotated, Any

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

    made = _made(settings)
    typer.echo(
        ask(picture, model, question=question, decoding=decoding, words=words, settings=made)
    )


def answer(  # an option each
    images: Annotated[Path, typer.Argument(help="Folder of the pictures.", metavar="IMAGES")],
    model: Annotated[
        str, typer.Option(help="Folder or hub's name of a transformers model.", metavar="DIR")
    ],
    out: Annotated[Path, typer.Option(help="Answers to write, a line each.", metavar="FILE")],
    questions: Annotated[
        Path | None,
        typer.Option(
            help="Of POPE (.json), AMBER (.json) or an MME task (.txt); none: describe each "
            "picture, for CHAIR.",
            metavar="FILE",
        ),
    ] = None,
    suffix: Annotated[str, typer.Option(help="To add to each question.")] = "",
    decoding: Annotated[str, typer.Option(help="greedy, saver or saked.")] = "saver",
    words: Annotated[int, typer.Option(help="Tokens of an answer, at most.")] = 64,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Of the decoder, such as alpha=0.4.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Ask a model a benchmark's questions, for `telltale hallucination`; a stopped run goes on."""
    from telltale.answering import answer as ask
    from telltale.answering import described, read_questions
    from telltale.describe import Describer

    asked = read_questions(questions) if questions else described(images)
    if suffix:
        asked = [each._replace(text=f"{each.text} {suffix}") for each in asked]
    say = Describer(model, decoding=decoding, settings=_made(settings)).answer
    count = ask(asked, images, say, out, words=words, note=_note)
    typer.echo(f"{count} answers in {out}, {len(asked) - count} were there")


def _made(settings: list[str] | None) -> dict[str, Any]:
    from telltale.recipe import setting

    chosen = dict(setting(f"method.{text}") for text in settings or ())
    return {key.partition(".")[2]: value for key, value in chosen.items()}


def _note(count: int) -> None:
    if count % 100 == 0:
        typer.echo(f"{count} answers", err=True)

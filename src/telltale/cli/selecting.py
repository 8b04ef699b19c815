"""``telltale demonstrations``: which examples to put before questions to a language model."""

import json
from pathlib import Path
from typing import Annotated

import typer


def demonstrations(  # an option each
    pool: Annotated[
        Path,
        typer.Argument(help="Table with columns input and output.", metavar="POOL.tsv"),
    ],
    queries: Annotated[Path, typer.Argument(help="An input a line.", metavar="QUERIES.txt")],
    method: Annotated[str, typer.Option(help="mlsm, ttf, dense, bm25 or random.")] = "mlsm",
    model: Annotated[
        str | None,
        typer.Option(help="Text encoder: a folder, or a name of the hub.", metavar="DIR"),
    ] = None,
    count: Annotated[int, typer.Option(help="Demonstrations of a query.")] = 8,
    template: Annotated[
        str, typer.Option(help="How a prompt is written; \\t is a tab.")
    ] = "{input}\\t{output}",
    seed: Annotated[int, typer.Option(help="Of draws and of training.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="A JSON line a query, with the pool's lines.")
    ] = False,
) -> None:
    """Choose demonstrations for in-context learning, and write the prompts.

    The most similar stands last, next to the query. mlsm mixes levels of similarity and needs no
    labels; ttf learns from the pool's outputs as labels.
    """
    from telltale.demonstrations import Demonstrations, read_pool

    if "{input}" not in template or not template.endswith("{output}"):
        raise ValueError(
            f"want a template with {{input}} that ends in {{output}}, got {template!r}"
        )
    pairs = read_pool(pool)
    try:
        asked = [line.strip() for line in queries.read_text("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{queries}: not text ({error})") from None
    if not asked:
        raise ValueError(f"{queries}: has no query")
    if model is not None:
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    inputs, outputs = [pair.input for pair in pairs], [pair.output for pair in pairs]
    known = {text: row for row, text in enumerate(inputs)}
    chosen = Demonstrations(method, model, seed=seed).fit(inputs, outputs)
    found = chosen.select(asked, count, [known.get(query, -1) for query in asked])
    form = template.replace("\\t", "\t").replace("\\n", "\n")
    for query, rows in zip(asked, found.tolist(), strict=True):
        shown = [form.replace("{output}", outputs[k]).replace("{input}", inputs[k]) for k in rows]
        last = form.replace("{output}", "").replace("{input}", query).rstrip(" ")
        prompt = "\n".join([*shown, last])
        if as_json:
            line = {"query": query, "rows": rows, "prompt": prompt}
            typer.echo(json.dumps(line, ensure_ascii=False))
        else:
            typer.echo(prompt + "\n")

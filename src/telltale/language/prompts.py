"""Prompts of demonstrations, and what a frozen language model answers to them.

Demonstrations come in ascending similarity, the best next to the query; where the budget of tokens
is short, the least similar go first.

Source: the templates of Ye et al., "Compositional Exemplars for In-context Learning" (CEIL), ICML
2023, arXiv:2302.05698; TREC, Subj and AG News in their manner.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Template(NamedTuple):
    """How a task is written down.

    Args:
        text: With ``{input}`` and ``{output}``, the latter at the end.
        options: Words for the labels 0, 1, …; empty if the output is free text.
    """

    text: str
    options: tuple[str, ...] = ()

    def question(self, given: str) -> str:
        """The text up to its output, without space at the end."""
        return self.text.partition("{output}")[0].replace("{input}", given).rstrip(" ")

    def example(self, given: str, output: str) -> str:
        """The text with its output."""
        return self.text.replace("{output}", output).replace("{input}", given)


TEMPLATES: Mapping[str, Template] = {
    "sst2": Template("{input} It is {output}", ("terrible", "great")),
    "sst5": Template("{input} It is {output}", ("terrible", "bad", "OK", "good", "great")),
    "trec": Template(
        "{input} It asks for a {output}",
        ("description", "thing", "short", "person", "place", "number"),
    ),
    "subj": Template("{input} It is {output}", ("opinion", "fact")),
    "agnews": Template("{input} It is about {output}", ("world", "sports", "business", "science")),
    "code": Template("{input}\t{output}"),
    "question": Template("Q: {input}\tA: {output}"),
}


class Prompt(NamedTuple):
    """A prompt, and the demonstrations that found room, the best last."""

    text: str
    rows: tuple[int, ...]


def build(
    template: Template,
    query: str,
    demonstrations: Sequence[tuple[str, str]],
    *,
    length: Callable[[str], int],
    budget: int,
) -> Prompt:
    """Demonstrations, as many as the budget allows, and the query after them.

    Args:
        template: How they are written.
        query: Input without output.
        demonstrations: Inputs and outputs, the most similar last.
        length: Tokens of a text.
        budget: Tokens of the whole prompt, at most.

    Raises:
        ValueError: If the query alone is longer than the budget.
    """
    asked = template.question(query)
    text = asked
    if length(asked) > budget:
        raise ValueError(f"the query has {length(asked)} tokens, more than the {budget} allowed")
    kept: list[int] = []
    for row in reversed(range(len(demonstrations))):
        longer = template.example(*demonstrations[row]) + "\n" + text
        if length(longer) > budget:
            break
        kept, text = [row, *kept], longer
    return Prompt(text, tuple(kept))


@torch.no_grad()
def option_losses(
    model: Any,  # noqa: ANN401  # transformers' causal language model
    prompts: Sequence[Sequence[int]],
    options: Sequence[Sequence[int]],
) -> Tensor:
    """Loss a token of each option after each prompt, (B, K), in nats.

    Where all options are one token, a prompt is read once for all of them.

    Args:
        model: In eval mode.
        prompts: Token ids.
        options: Token ids of each answer.

    Raises:
        ValueError: If there is no prompt or option, or one is empty.
    """
    if not prompts or not options or not all(map(len, [*prompts, *options])):
        raise ValueError("want prompts and options of one token or more")
    if all(len(option) == 1 for option in options):
        answers = torch.tensor([option[0] for option in options])
        ends = torch.tensor([[len(prompt) - 1] for prompt in prompts])
        return -_following(model, prompts, ends)[:, 0, answers]
    columns = []
    for option in options:
        rows = [[*prompt, *option] for prompt in prompts]
        before = torch.tensor([len(prompt) - 1 for prompt in prompts])
        places = before[:, None] + torch.arange(len(option))
        said = _following(model, rows, places)  # (B, tokens of the option, V)
        answer = torch.tensor([*option]).expand(len(rows), -1)
        columns.append(-said.gather(2, answer[..., None])[..., 0].mean(1))
    return torch.stack(columns, 1)


def _following(model: Any, rows: Sequence[Sequence[int]], places: Tensor) -> Tensor:  # noqa: ANN401
    """Log-probabilities of what follows some places (B, P) of token rows, (B, P, V)."""
    longest = max(map(len, rows))
    # Filled up behind: a causal model doesn't look there.
    tokens = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in rows])
    states = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    some = states.gather(1, places[..., None].expand(-1, -1, states.shape[2]))
    found: Tensor = model.get_output_embeddings()(some).float().log_softmax(-1)
    return found

"""AMBER: what a description invents, covers and misses, and what yes/no answers get right.

    truth = read_truth(annotations)
    generative(read_answers(answers), truth, read_relations(relation), read_safe(safe_words))
    discriminative(read_answers(answers), truth)

Of a description's words that the association table knows, R, with annotated objects A and likely
inventions H, each with its associated words: CHAIR = share of R outside A; Cover = share of A in
R; Hal = share of descriptions with CHAIR above 0; Cog = share of H in R. All pooled, in [0, 1].
For yes/no questions "No" is the positive class.

Source: Wang et al., "AMBER", arXiv:2311.07397.
Departures: nouns are found by their singular's spelling in the table, not by a tagger; words that
are merely similar count only if ``alike`` says so (the paper's script compares spaCy's vectors).
"""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from telltale.metrics.objects import singular

Alike = Callable[[str, str], bool]


class Truth(NamedTuple):
    """An item: its kind, what is right ("yes", "no", or objects), and likely inventions."""

    kind: str
    truth: str | tuple[str, ...]
    inventions: tuple[str, ...] = ()


def read_truth(path: Path) -> dict[int, Truth]:
    """The annotations, ``[{"id", "type", "truth", "hallu"}]``, by id.

    Raises:
        ValueError: If an item is not such.
    """
    found = {}
    for number, item in enumerate(_list(path)):
        try:
            kind, truth = str(item["type"]), item["truth"]
            if kind == "generative":
                truth = tuple(str(word).lower() for word in truth)
            elif truth not in ("yes", "no"):
                raise ValueError(f"truth {truth!r}")
            words = tuple(str(word).lower() for word in item.get("hallu", ()))
            found[int(item["id"])] = Truth(kind, truth, words)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}, item {number}: want id, type and truth, got {error}"
            ) from None
    return found


def read_answers(path: Path) -> dict[int, str]:
    """A model's answers, ``[{"id", "response"}]`` or one a line, by id.

    Raises:
        ValueError: If an item is not such.
    """
    try:
        text = path.read_text("utf-8")
        lines = text.lstrip()[:1] == "{"
        items = map(json.loads, filter(str.strip, text.splitlines())) if lines else _list(path)
        return {int(item["id"]): str(item["response"]) for item in items}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: want id and response of each, got {error}") from None


def read_relations(path: Path) -> dict[str, tuple[str, ...]]:
    """The association table, word to words.

    Raises:
        ValueError: If the file is not such.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        return {str(k).lower(): tuple(str(w).lower() for w in v) for k, v in content.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: want a table of word to words, got {error}") from None


def read_safe(path: Path) -> set[str]:
    """Words that never count as invented, one a line."""
    return {word.strip().lower() for word in path.read_text("utf-8").splitlines() if word.strip()}


def generative(
    answers: Mapping[int, str],
    truth: Mapping[int, Truth],
    relations: Mapping[str, Collection[str]],
    safe: Collection[str] = (),
    alike: Alike | None = None,
) -> dict[str, float]:
    """chair, cover, hal and cog of the answers to generative items, each in [0, 1].

    Args:
        answers: By id; other items than generative ones are passed over.
        truth: See :func:`read_truth`.
        relations: See :func:`read_relations`.
        safe: Words that count as named, never as invented.
        alike: Whether a named word and an annotated one mean the same; None for never.

    Raises:
        ValueError: If no answer is to a generative item.
    """
    items = [(text, truth[k]) for k, text in answers.items() if k in truth]
    items = [(text, item) for text, item in items if item.kind == "generative"]
    if not items:
        raise ValueError("want answers to generative items, got none")
    known = {*relations, *(word for words in relations.values() for word in words)}
    said = wrong = wronged = there = covered = likely = fallen = 0
    for text, item in items:
        right, false = _groups(item.truth, relations), _groups(item.inventions, relations)
        hit: set[int] = set()
        fell: set[int] = set()
        invented = 0
        words = [w for w in (singular(w, known) for w in _words(text)) if w in known]
        for word in words:
            if word in safe:
                continue
            place = _match(word, right, None)
            if place is None:
                lure = _match(word, false, alike)
                if lure is not None:
                    fell.add(lure)
                if _match(word, false, None) is None:
                    place = _match(word, right, alike)
            if place is None:
                invented += 1
            else:
                hit.add(place)
        said, wrong, wronged = said + len(words), wrong + invented, wronged + bool(invented)
        there, covered = there + len(right), covered + len(hit)
        likely, fallen = likely + len(false), fallen + len(fell)
    return {
        "chair": wrong / said if said else 0.0,
        "cover": covered / there if there else 0.0,
        "hal": wronged / len(items),
        "cog": fallen / likely if likely else 0.0,
    }


def discriminative(
    answers: Mapping[int, str], truth: Mapping[int, Truth]
) -> dict[str, dict[str, float]]:
    """accuracy, precision, recall and f1 ("no" is positive), by kind of question and for "all".

    Raises:
        ValueError: If an answer does not begin with yes or no, or none is to such an item.
    """
    rows: dict[str, list[tuple[bool, bool]]] = {}
    for number, text in answers.items():
        if number not in truth or truth[number].kind == "generative":
            continue
        first = re.match(r"\W*(yes|no)\b", text.lower())
        if first is None:
            raise ValueError(f"item {number}: want an answer of yes or no, got {text[:40]!r}")
        pair = (first[1] == "no", truth[number].truth == "no")
        for name in ("all", truth[number].kind.removeprefix("discriminative-")):
            rows.setdefault(name, []).append(pair)
    if not rows:
        raise ValueError("want answers to yes/no items, got none")
    return {name: _rates(pairs) for name, pairs in rows.items()}


def amber_score(chair: float, f1: float) -> float:
    """(1 − CHAIR + F1) / 2, all in [0, 1]."""
    return (1 - chair + f1) / 2


def _rates(pairs: Sequence[tuple[bool, bool]]) -> dict[str, float]:
    hit = sum(said and true for said, true in pairs)
    said, true = sum(s for s, _ in pairs), sum(t for _, t in pairs)
    return {
        "accuracy": sum(s == t for s, t in pairs) / len(pairs),
        "precision": hit / said if said else 0.0,
        "recall": hit / true if true else 0.0,
        "f1": 2 * hit / (said + true) if said + true else 0.0,
    }


def _groups(
    words: Collection[str], relations: Mapping[str, Collection[str]]
) -> list[tuple[str, ...]]:
    return [(word, *relations.get(word, ())) for word in words]


def _match(word: str, groups: Sequence[Collection[str]], alike: Alike | None) -> int | None:
    """The group that holds the word, or one that means the same."""
    for place, group in enumerate(groups):
        if word in group or (alike and any(alike(word, other) for other in group)):
            return place
    return None


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _list(path: Path) -> list[Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: want JSON, got {error}") from None
    if not isinstance(content, list):
        raise ValueError(f"{path}: want a list, got {type(content).__name__}")
    return content

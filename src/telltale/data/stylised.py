"""Pairs of photographs and stylised versions of them, with the same questions about both.

One JSON line a picture: id, image_photo, images_styled (style to path), objects, caption. With
objects, questions as POPE draws them, one file for each way of drawing what is absent, the same
for the photograph and every style.

Source: Li et al., "SAVER", arXiv:2508.03177 (the construction of pairs is ours); questions as in
Li et al., "Evaluating Object Hallucination in Large Vision-Language Models", arXiv:2305.10355.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

WAYS = ("random", "popular", "adversarial")
ASKED = 3  # present objects, and as many absent ones, of each picture


class Pair(NamedTuple):
    """A photograph and its stylised versions, paths relative to the list's folder."""

    id: str
    photo: str
    styled: Mapping[str, str]
    objects: tuple[str, ...] = ()
    caption: str = ""


class Question(NamedTuple):
    """One yes/no question of a pair."""

    pair: str
    name: str
    text: str
    label: str


def write_pairs(path: Path, pairs: Sequence[Pair]) -> None:
    """Write one line a pair."""
    rows = [
        {
            "id": pair.id,
            "image_photo": pair.photo,
            "images_styled": dict(pair.styled),
            "objects": [*pair.objects],
            "caption": pair.caption,
        }
        for pair in pairs
    ]
    _write(path, rows)


def read_pairs(path: Path) -> list[Pair]:
    """Read what :func:`write_pairs` wrote.

    Raises:
        ValueError: If a line is not such; the text names it.
    """
    pairs = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            styled = {str(k): str(v) for k, v in row["images_styled"].items()}
            objects = tuple(str(name) for name in row.get("objects", ()))
            pairs.append(
                Pair(
                    str(row["id"]),
                    str(row["image_photo"]),
                    styled,
                    objects,
                    str(row.get("caption", "")),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, line {number}: want a pair, got {error}") from None
    return pairs


def read_objects(path: Path) -> dict[str, tuple[str, ...]]:
    """A JSON table of picture's file name to the names of its objects.

    Raises:
        ValueError: If it is not such.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if any(isinstance(names, str) for names in content.values()):
            raise ValueError("want lists of names")
        return {str(k): tuple(str(name) for name in v) for k, v in content.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}: want a table of file name to objects, got none ({error})"
        ) from None


def questions(pairs: Sequence[Pair], way: str, rng: np.random.Generator) -> list[Question]:
    """For each picture of three objects or more: its first three, each with an absent one.

    Args:
        pairs: Only those with three objects or more are asked about.
        way: How absent objects are drawn: "random", the most "popular" of all pictures first, or
            "adversarial": what most often goes together with the present one.
        rng: Draws, and breaks ties by nothing: ties go by name.

    Raises:
        ValueError: If the way is not known.
    """
    if way not in WAYS:
        raise ValueError(f"want one of {', '.join(WAYS)}, got {way!r}")
    often = Counter(name for pair in pairs for name in {*pair.objects})
    together = Counter(
        (a, b) for pair in pairs for a in {*pair.objects} for b in {*pair.objects} - {a}
    )
    made: list[Question] = []
    for pair in pairs:
        there = list(dict.fromkeys(pair.objects))
        absent = sorted({*often} - {*there})
        if len(there) < ASKED:
            continue
        for name in there[:ASKED]:
            made.append(_question(pair.id, name, "yes"))
            if not absent:
                continue
            if way == "random":
                other = absent[int(rng.integers(len(absent)))]
            elif way == "popular":
                other = max(absent, key=lambda n: often[n])
            else:
                other = max(absent, key=lambda n: (together[name, n], often[n]))
            absent.remove(other)
            made.append(_question(pair.id, other, "no"))
    return made


def write_questions(folder: Path, pairs: Sequence[Pair], *, seed: int = 0) -> list[Path]:
    """POPE's files for the photographs and for each style: pope_<form>_<way>.json in ``folder``."""
    photo = {pair.id: pair.photo for pair in pairs}
    forms = {"photo": photo}
    for style in dict.fromkeys(style for pair in pairs for style in pair.styled):
        forms[style] = {pair.id: pair.styled[style] for pair in pairs if style in pair.styled}
    written = []
    for way in WAYS:
        asked = questions(pairs, way, np.random.default_rng(seed))
        for form, images in forms.items():
            rows = [
                {"question_id": number, "image": images[q.pair], "text": q.text, "label": q.label}
                for number, q in enumerate(asked, 1)
                if q.pair in images
            ]
            written.append(folder / f"pope_{form}_{way}.json")
            _write(written[-1], rows)
    return written


def _question(pair: str, name: str, label: str) -> Question:
    article = "an" if name[:1].lower() in "aeiou" else "a"
    return Question(pair, name, f"Is there {article} {name} in the image?", label)


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    part.replace(path)

"""CHAIR: which objects a caption names, and how many of them the picture does not show.

    table = word_table(COCO_WORDS)
    chair(["A dog and a chair."], [{"dog"}], table)   # chair_i 0.5, chair_s 1, recall 1

A mention counts each time it is made. Words are reduced to their singular and looked up, longest
first, in a table of everyday words for COCO's eighty classes, which is our own.

Source: Rohrbach et al., "Object Hallucination in Image Captioning", EMNLP 2018, arXiv:1809.02156.
Departures: singulars by rules of spelling, where the paper's script tags parts of speech; another
list of synonyms; length in words.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

COCO_WORDS = "coco_words.txt"
LONGEST = 3  # words of a name
ODD = {
    "men": "man", "women": "woman", "people": "person", "children": "child", "mice": "mouse",
    "geese": "goose", "knives": "knife", "calves": "calf", "loaves": "loaf", "feet": "foot",
    "teeth": "tooth", "oxen": "ox", "wolves": "wolf", "leaves": "leaf",
}  # fmt: skip
YOUNG = ("baby", "adult", "young")


def word_table(source: str | Mapping[str, Collection[str]]) -> dict[str, str]:
    """Word, or words, to the object's name.

    Args:
        source: Names to further words for them, or the name of a table that comes along:
            ``"coco_words.txt"``, lines ``name: word, word``.

    Raises:
        ValueError: If a word stands for two names.
    """
    if isinstance(source, str):
        text = files("telltale.metrics").joinpath(source).read_text("utf-8")
        lines = [line.partition(":") for line in text.splitlines() if line[:1] not in ("", "#")]
        source = {name.strip(): [w.strip() for w in rest.split(",")] for name, _, rest in lines}
    table: dict[str, str] = {}
    for name, words in source.items():
        for word in (name, *words):
            if word and table.setdefault(word, name) != name:
                raise ValueError(f"want a word for one object, got {word!r}: {table[word]}, {name}")
    return table


def singular(word: str, known: Collection[str]) -> str:
    """The form of a word that is known: itself, or one of its possible singulars."""
    forms = [word, ODD.get(word, word)]
    if word.endswith("ies"):
        forms.append(word[:-3] + "y")
    if word.endswith("ves"):
        forms += [word[:-3] + "f", word[:-3] + "fe"]
    if word.endswith("es"):
        forms.append(word[:-2])
    if word.endswith("s"):
        forms.append(word[:-1])
    return next((form for form in forms if form in known), forms[1])


def mentions(caption: str, table: Mapping[str, str]) -> list[str]:
    """Names of the objects that a caption mentions, in order, repeated as it repeats them."""
    heads = {part for word in table for part in word.split()}
    words = [singular(w, heads) for w in re.findall(r"[a-z]+", caption.lower())]
    toilet = "toilet" in words
    found: list[str] = []
    at = 0
    while at < len(words):
        pair = " ".join(words[at : at + 2])
        if pair in ("passenger jet", "passenger train"):
            at += 1  # the vehicle alone
        elif words[at] in YOUNG and at + 1 < len(words) and words[at + 1] in table:
            at += words[at] != "young" or table[words[at + 1]] != "person"  # the animal alone
        for size in range(min(LONGEST, len(words) - at), 0, -1):
            name = " ".join(words[at : at + size])
            if name in table:
                if not (toilet and name == "seat"):
                    found.append(table[name])
                at += size
                break
        else:
            at += 1
    return found


def chair(
    captions: Sequence[str], truth: Sequence[Collection[str]], table: Mapping[str, str]
) -> dict[str, float]:
    """CHAIR_i and CHAIR_s (lower is better), recall, and mean length in words.

    Args:
        captions: What the model said, one a picture.
        truth: Names of the objects of each picture.
        table: See :func:`word_table`.

    Raises:
        ValueError: If there are none, or not as many captions as pictures.
    """
    if not captions or len(captions) != len(truth):
        raise ValueError(f"want as many captions as pictures, got {len(captions)}, {len(truth)}")
    named = wrong = wronged = right = there = length = 0
    for caption, objects in zip(captions, truth, strict=True):
        said = mentions(caption, table)
        false = [name for name in said if name not in objects]
        named, wrong, wronged = named + len(said), wrong + len(false), wronged + bool(false)
        right, there = right + len({*said} & {*objects}), there + len({*objects})
        length += len(caption.split())
    return {
        "chair_i": wrong / named if named else 0.0,
        "chair_s": wronged / len(captions),
        "recall": right / there if there else 0.0,
        "length": length / len(captions),
    }


def read_coco(
    instances: Sequence[Path], captions: Sequence[Path], table: Mapping[str, str]
) -> dict[int, set[str]]:
    """Objects of each picture: annotated, or mentioned by a reference caption.

    Args:
        instances: COCO's instances_*.json.
        captions: COCO's captions_*.json; none for annotated objects alone.
        table: See :func:`word_table`; a category that it lacks is an error.

    Raises:
        ValueError: If a file is not such; the text names it.
    """
    found: dict[int, set[str]] = {}
    for path in instances:
        content = _json(path)
        try:
            names = {item["id"]: table[item["name"]] for item in content["categories"]}
            for picture in content.get("images", []):
                found.setdefault(int(picture["id"]), set())
            for item in content["annotations"]:
                found.setdefault(int(item["image_id"]), set()).add(names[item["category_id"]])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: want COCO instances, got none ({error})") from None
    for path in captions:
        try:
            for item in _json(path)["annotations"]:
                found.setdefault(int(item["image_id"]), set()).update(
                    mentions(item["caption"], table)
                )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: want COCO captions, got none ({error})") from None
    return found


def read_captions(path: Path) -> dict[int, str]:
    """A model's captions in COCO's form, ``[{"image_id", "caption"}]``, or one a line.

    Raises:
        ValueError: If the file is not such.
    """
    text = path.read_text("utf-8")
    try:
        items = json.loads(text) if text.lstrip()[:1] == "[" else _lines(text)
        return {int(item["image_id"]): str(item["caption"]) for item in items}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: want image_id and caption of each, got {error}") from None


def _lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _json(path: Path) -> Any:  # noqa: ANN401  # whatever the file holds
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: want JSON, got {error}") from None

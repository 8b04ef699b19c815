"""The verb: a vision-language model's answers to a benchmark's own questions, a line each.

    asked = read_questions(Path("coco_pope_adversarial.json"))
    answer(asked, Path("val2014"), Describer("llava-hf/llava-1.5-7b-hf").answer, Path("out.jsonl"))

What is written is what ``telltale hallucination`` reads: POPE's question_id and answer, AMBER's id
and response, CHAIR's image_id and caption, MME's lines with the answer in their last field.
"""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.media import read_picture

CAPTION = "Please describe this image in detail."
Say = Callable[[NDArray[np.uint8], str, int], str]


class Question(NamedTuple):
    """What is asked about a picture, and how its answer's line begins."""

    image: str  # file name
    text: str
    line: str  # JSON object or MME's first three fields
    field: str  # of the answer; "" for MME


def read_questions(path: Path) -> list[Question]:
    """Questions of POPE (.json, .jsonl: a line each), AMBER (.json: a list) or MME (.txt).

    Raises:
        ValueError: If the file is none of these, or has no question.
    """
    text = path.read_text("utf-8")
    if path.suffix == ".txt":
        found = [_mme(path, number, line) for number, line in enumerate(text.splitlines(), 1)
                 if line.strip()]  # fmt: skip
    elif text.lstrip().startswith("["):
        found = [_one(path, number, item) for number, item in enumerate(_json(path, text), 1)]
    else:
        rows = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        found = [_one(path, number, _json(path, line)) for number, line in rows]
    if not found:
        raise ValueError(f"{path}: has no question")
    return found


def described(images: Path, question: str = CAPTION) -> list[Question]:
    """CHAIR's task: a description of each picture of a folder, whose names end in their number.

    Raises:
        ValueError: If no picture's name has a number.
    """
    found = []
    for file in sorted(images.iterdir()):
        number = re.search(r"(\d+)$", file.stem)
        if file.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp") and number:
            line = json.dumps({"image_id": int(number[1])})
            found.append(Question(file.name, question, line, "caption"))
    if not found:
        raise ValueError(f"{images}: has no picture whose name ends in a number")
    return found


def answer(
    questions: Sequence[Question],
    images: Path,
    say: Say,
    out: Path,
    *,
    words: int = 64,
    note: Callable[[int], None] = lambda count: None,
) -> int:
    """Ask each question and write its line at once; lines that are there are not asked again.

    Args:
        questions: In the order of the lines.
        images: Folder of the pictures.
        say: Pixels, question and number of words to an answer, such as
            :meth:`telltale.describe.Describer.answer`.
        out: File of lines; a stopped run goes on after its last whole line.
        words: Tokens of an answer, at most.
        note: Gets the number of lines after each.

    Returns:
        How many were asked.

    Raises:
        ValueError: If a picture is missing, or the file holds other questions' answers.
    """
    missing = [q.image for q in questions if not (images / q.image).is_file()]
    if missing:
        raise ValueError(f"{images / missing[0]}: no such picture ({len(missing)} are missing)")
    written = out.read_text("utf-8") if out.exists() else ""
    whole = written[: written.rfind("\n") + 1]
    done = whole.splitlines()
    if len(done) > len(questions) or not all(
        line.startswith(_start(q)) for line, q in zip(done, questions, strict=False)
    ):
        raise ValueError(f"{out}: holds answers to other questions; name another file")
    with out.open("w", encoding="utf-8") as file:
        file.write(whole)
        last, pixels = "", np.zeros((0, 0, 3), np.uint8)
        for number, question in enumerate(questions[len(done) :], len(done) + 1):
            if question.image != last:
                last, pixels = question.image, read_picture(images / question.image).pixels
            said = " ".join(say(pixels, question.text, words).split())
            end = f"{json.dumps(said, ensure_ascii=False)}}}" if question.field else said
            file.write(f"{_start(question)}{end}\n")
            file.flush()
            note(number)
    return len(questions) - len(done)


def _start(question: Question) -> str:
    """A line up to its answer."""
    if not question.field:
        return f"{question.line}\t"
    return f'{question.line[:-1]}, "{question.field}": '


def _mme(path: Path, number: int, line: str) -> Question:
    fields = line.rstrip("\n").split("\t")
    if len(fields) not in (3, 4):
        raise ValueError(f"{path}, line {number}: want image, question and gold, by tabs")
    return Question(fields[0], fields[1], "\t".join(fields[:3]), "")


def _one(path: Path, number: int, item: Any) -> Question:  # noqa: ANN401
    try:
        if "question_id" in item:
            line = json.dumps({"question_id": item["question_id"]})
            return Question(str(item["image"]), str(item["text"]), line, "answer")
        line = json.dumps({"id": int(item["id"])})
        return Question(str(item["image"]), str(item["query"]), line, "response")
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path}, question {number}: want POPE's question_id, image, text or AMBER's id, "
            "image, query"
        ) from None


def _json(path: Path, text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: neither POPE's nor AMBER's questions ({error})") from None

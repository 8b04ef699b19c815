# ruff: noqa: F401, F811 - a fixture of another file
"""A miniature LLaVA answers benchmarks' own files, and the answers are judged."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from telltale.answering import answer, described, read_questions
from telltale.hallucination import judge
from test_describe import folder

Run = Callable[..., tuple[int, str, str]]
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number, colour in ((7, (200, 30, 30)), (8, (30, 30, 200))):
        Image.new("RGB", (20, 16), colour).save(tmp_path / f"images/COCO_{number:012}.png")
    return tmp_path / "images"


NAMES = ("COCO_000000000007.png", "COCO_000000000008.png")


@pytest.fixture
def pope(tmp_path: Path) -> Path:
    rows = [
        {"question_id": k, "image": NAMES[k // 2], "text": f"is it {word}", "label": label}
        for k, (word, label) in enumerate((("red", "yes"), ("blue", "no")) * 2)
    ]
    path = tmp_path / "pope.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def told(pixels: NDArray[np.uint8], question: str, words: int) -> str:
    red = pixels[..., 0].mean() > 100
    return "Yes,\nit is." if ("red" in question) == red else "No"


def test_pope_stops_and_goes_on(pope: Path, images: Path, tmp_path: Path) -> None:
    asked, out, heard = read_questions(pope), tmp_path / "out.jsonl", []

    def stops(pixels: NDArray[np.uint8], question: str, words: int) -> str:
        heard.append(question)
        if len(heard) == 3:
            raise KeyboardInterrupt
        return told(pixels, question, words)

    with pytest.raises(KeyboardInterrupt):
        answer(asked, images, stops, out)
    with out.open("a") as file:
        file.write('{"question_id": 2, "ans')  # half a line, as a kill leaves it
    assert answer(asked, images, told, out) == 2
    assert json.loads(out.read_text().splitlines()[0]) == {
        "question_id": 0,
        "answer": "Yes, it is.",
    }
    assert judge("pope", {"m": out}, [pope])["m"]["accuracy"] == 50  # the second is blue
    assert answer(asked, images, told, out) == 0
    with pytest.raises(ValueError, match="other questions"):
        answer(asked[1:], images, told, out)
    with pytest.raises(ValueError, match=r"none\.png: no such picture"):
        answer([asked[0]._replace(image="none.png")], images, told, tmp_path / "o")


def test_amber_mme_and_captions(images: Path, tmp_path: Path) -> None:
    amber = tmp_path / "query.json"
    amber.write_text(json.dumps([{"id": 5, "image": NAMES[0], "query": "is it red"}]))
    answer(read_questions(amber), images, told, tmp_path / "amber.jsonl")
    truth = tmp_path / "truth.json"
    truth.write_text(
        json.dumps([{"id": 5, "type": "discriminative-hallucination", "truth": "yes"}])
    )
    assert judge("amber", {"m": tmp_path / "amber.jsonl"}, [truth])["m"]["accuracy"] == 100
    task = tmp_path / "colour.txt"
    task.write_text(f"{NAMES[0]}\tis it red\tYes\n{NAMES[0]}\tis it blue\tNo\n")
    answer(read_questions(task), images, told, tmp_path / "mme.txt")
    assert judge("mme", {"m": tmp_path / "mme.txt"})["m"]["points"] == 200
    answer(described(images), images, lambda *_: 'a "dog"', tmp_path / "chair.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "chair.jsonl").read_text().splitlines()]
    assert lines == [{"image_id": n, "caption": 'a "dog"'} for n in (7, 8)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.json", "", "has no question"),
        ("q.json", '{"id": 3}', "question 1: want POPE"),
        ("q.json", "nothing", "neither POPE's nor AMBER's"),
        ("q.txt", "a\tb", "line 1: want image, question and gold"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_questions(tmp_path / name)
    with pytest.raises(ValueError, match="ends in a number"):
        described(tmp_path)


def test_from_the_command_line(
    run: Run, folder: Path, pope: Path, images: Path, tmp_path: Path
) -> None:
    said = {}
    for decoding in ("greedy", "saked"):
        out = tmp_path / f"{decoding}.jsonl"
        words = ("answer", images, "--model", folder, "--questions", pope, "--out", out)
        code, told, err = run(*words, "--decoding", decoding, "--words", 3, "--suffix", "no")
        assert code == 0, err
        assert "4 answers in" in told
        said[decoding] = out
    code, told, err = run(
        "hallucination", "pope", "--truth", pope, "--answers", said["greedy"],
        "--answers", said["saked"], "--gap",
    )  # fmt: skip
    assert code == 0, err
    assert "| saked |" in told

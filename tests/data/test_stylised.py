"""Stylised versions: exact, repeatable, of the same content; and the questions about the pairs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

cv2 = pytest.importorskip("cv2")

from telltale.data.stylised import (  # noqa: E402
    Pair,
    questions,
    read_objects,
    read_pairs,
    write_pairs,
)
from telltale.data.synth.stylise import STYLES, stylise  # noqa: E402
from telltale.metrics.hallucination import read_pope  # noqa: E402

Run = Callable[..., tuple[int, str, str]]
PAIRS = [
    Pair("a", "a.png", {"sketch": "as.png"}, ("cat", "dog", "owl")),
    Pair("b", "b.png", {"sketch": "bs.png"}, ("cat", "dog", "bus")),
    Pair("c", "c.png", {"sketch": "cs.png"}, ("cat", "tree")),
]


def photograph(width: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[:80, :width]
    picture = np.stack([rows * 2, columns * 2, 200 - rows], -1).clip(0, 255).astype(np.uint8)
    cv2.circle(picture, (40, 40), 20, (220, 40, 30), -1)
    return picture


@pytest.mark.parametrize("style", STYLES)
def test_a_style_repeats_and_keeps_size_and_content(style: str) -> None:
    picture = photograph()
    before = picture.copy()
    made = stylise(style, picture, np.random.default_rng(3))
    assert np.array_equal(picture, before)
    assert made.shape == picture.shape
    assert made.dtype == np.uint8
    assert np.array_equal(made, stylise(style, picture, np.random.default_rng(3)))
    assert np.abs(made.astype(int) - picture).mean() > 2
    # the disk's rim stays where it is: there is more change across it than elsewhere
    grey = cv2.GaussianBlur(made.mean(-1), (0, 0), 2.5)
    slope = np.hypot(*np.gradient(grey))
    away = np.hypot(*(np.mgrid[:80, :96] - 40))
    assert slope[np.abs(away - 20) < 2].mean() > 1.3 * slope[(away < 12) | (away > 30)].mean()


def test_what_styles_are() -> None:
    picture = photograph()
    made = {name: stylise(name, picture, np.random.default_rng(0)) for name in STYLES}
    for grey in ("sketch", "engraving"):
        assert np.ptp(made[grey], -1).max() == 0
    assert len(np.unique(made["poster"].reshape(-1, 3), axis=0)) <= 6
    assert len(np.unique(made["pixel_art"])) <= 6
    assert np.array_equal(made["pixel_art"][0, 0], made["pixel_art"][1, 1])
    flat = stylise("painting", np.full((40, 40, 3), 128, np.uint8), np.random.default_rng(0))
    assert abs(float(flat.mean()) - 128) < 6
    white = stylise("sketch", np.full((40, 40, 3), 90, np.uint8), np.random.default_rng(0))
    assert white.min() > 240  # nothing to draw


@pytest.mark.parametrize(
    ("style", "pixels", "text"),
    [
        ("fresco", photograph(), "cartoon"),
        ("cartoon", photograph().astype(float), "uint8"),
        ("cartoon", photograph(8), "16 pixels"),
    ],
)
def test_says_what_it_wants(style: str, pixels: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        stylise(style, pixels, np.random.default_rng(0))


def test_questions_as_pope_draws_them() -> None:
    rng = np.random.default_rng(0)
    popular = questions(PAIRS, "popular", rng)
    # bus and tree are all that a lacks, owl and tree all that b lacks
    assert [q.label for q in popular] == (["yes", "no"] * 2 + ["yes"]) * 2
    assert [q.name for q in popular if q.pair == "a"] == ["cat", "bus", "dog", "tree", "owl"]
    assert popular[4].text == "Is there an owl in the image?"
    assert {q.pair for q in popular} == {"a", "b"}  # c shows too little
    # with the cat go dog (2), then bus, owl and tree (1 each): of a's absent ones bus is first
    adversarial = questions([*PAIRS, PAIRS[2]], "adversarial", rng)
    assert [q.name for q in adversarial if q.pair == "a"][:2] == ["cat", "tree"]
    drawn = questions(PAIRS, "random", np.random.default_rng(1))
    assert drawn == questions(PAIRS, "random", np.random.default_rng(1))
    assert {q.name for q in drawn if q.pair == "a" and q.label == "no"} == {"bus", "tree"}
    with pytest.raises(ValueError, match="adversarial"):
        questions(PAIRS, "worst", rng)


def test_pairs_are_read_as_written(tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs.jsonl", PAIRS)
    assert read_pairs(tmp_path / "pairs.jsonl") == PAIRS
    (tmp_path / "bad.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 1"):
        read_pairs(tmp_path / "bad.jsonl")
    (tmp_path / "bad.json").write_text('{"a.png": "dog"}')
    with pytest.raises(ValueError, match=r"bad\.json: want a table"):
        read_objects(tmp_path / "bad.json")


def test_from_the_command_line(tmp_path: Path, run: Run) -> None:
    for name in ("one", "two"):
        Image.fromarray(photograph()).save(tmp_path / f"{name}.png")
    (tmp_path / "objects.json").write_text(
        json.dumps({"one.png": ["cat", "dog", "owl"], "two.png": ["cat", "bus", "tree"]})
    )
    files = tmp_path / "one.png", tmp_path / "two.png"
    asked = ("synth", "stylise", *files, "--style", "sketch", "--style", "poster")
    for place in ("x", "y"):
        code, out, err = run(
            *asked, "--out", tmp_path / place, "--objects", tmp_path / "objects.json", "--seed", 4
        )
        assert code == 0, err
    assert "2 photographs" in out
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("x", "y"))
    assert one == two
    pairs = read_pairs(tmp_path / "x/pairs.jsonl")
    assert [set(pair.styled) for pair in pairs] == [{"sketch", "poster"}] * 2
    with Image.open(tmp_path / "x" / pairs[0].styled["sketch"]) as drawn:
        assert drawn.text["Description"].startswith("MADE")
    photo = read_pope(tmp_path / "x/pope_photo_adversarial.json")
    styled = read_pope(tmp_path / "x/pope_sketch_adversarial.json")
    assert [q["text"] for q in photo] == [q["text"] for q in styled]
    assert photo[0]["image"] != styled[0]["image"]
    assert run(*asked, "--out", tmp_path / "x")[0] == 2  # is there already
    code, _, err = run("synth", "stylise", files[0], "--style", "fresco", "--out", tmp_path / "z")
    assert code == 2
    assert "cartoon" in err
    code, _, err = run("synth", "splice", *files, "--style", "sketch", "--out", tmp_path / "z")
    assert code == 2
    assert "stylise" in err

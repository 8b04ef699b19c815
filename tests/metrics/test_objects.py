"""CHAIR and AMBER by hand, from miniature files of the true layout; the gap between two styles."""

import json
from pathlib import Path

import pytest

from telltale.metrics.amber import (
    amber_score,
    discriminative,
    generative,
    read_answers,
    read_relations,
    read_safe,
    read_truth,
)
from telltale.metrics.hallucination import style_gap
from telltale.metrics.objects import COCO_WORDS, chair, mentions, read_captions, read_coco
from telltale.metrics.objects import word_table as table_of

COCO = table_of(COCO_WORDS)


def save(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_the_table_has_cocos_classes() -> None:
    assert len({*COCO.values()}) == 80
    with pytest.raises(ValueError, match="'pup': dog, seal"):
        table_of({"dog": ["pup"], "seal": ["pup"]})


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("Two dogs and a puppy.", ["dog", "dog"]),
        ("A hot dog on the dining tables", ["hot dog", "dining table"]),
        (
            "Men with wine glasses, knives and scissors",
            ["person", "wine glass", "knife", "scissors"],
        ),
        ("A baby elephant; a baby", ["elephant", "person"]),
        ("a young woman and a young zebra", ["person", "zebra"]),
        ("a passenger train and a passenger", ["train", "person"]),
        ("a man in a bow tie", ["person", "tie"]),
        ("a toilet with its seat up", ["toilet"]),
        ("the seat of a bus", ["chair", "bus"]),
        ("sheep, cherries and buses", ["sheep", "bus"]),
        ("", []),
    ],
)
def test_mentions(caption: str, found: list[str]) -> None:
    assert mentions(caption, COCO) == found


def test_chair_by_hand() -> None:
    rates = chair(
        ["a dog and a dog and a cat", "a horse", "nothing"],
        [{"dog", "chair"}, {"horse"}, {"cow"}],
        COCO,
    )
    # 4 mentions, one invented, in one caption of three; 2 of 4 objects named; 8 + 2 + 1 words
    assert rates == pytest.approx(
        {"chair_i": 1 / 4, "chair_s": 1 / 3, "recall": 2 / 4, "length": 11 / 3}
    )
    with pytest.raises(ValueError, match="as many captions"):
        chair(["a"], [], COCO)


def test_cocos_files(tmp_path: Path) -> None:
    instances = save(
        tmp_path / "instances.json",
        {
            "images": [{"id": 7}, {"id": 9}],
            "categories": [{"id": 18, "name": "dog"}, {"id": 62, "name": "chair"}],
            "annotations": [{"image_id": 7, "category_id": 18}, {"image_id": 7, "category_id": 62}],
        },
    )
    told = save(
        tmp_path / "captions.json",
        {"annotations": [{"image_id": 7, "caption": "A man and his puppy"}]},
    )
    assert read_coco([instances], [], COCO) == {7: {"dog", "chair"}, 9: set()}
    assert read_coco([instances], [told], COCO)[7] == {"dog", "chair", "person"}
    said = save(tmp_path / "said.json", [{"image_id": 7, "caption": "x"}])
    assert read_captions(said) == {7: "x"}
    said.write_text('{"image_id": 7, "caption": "x"}\n\n{"image_id": 9, "caption": "y"}\n')
    assert read_captions(said) == {7: "x", 9: "y"}
    with pytest.raises(ValueError, match=r"said\.json: want JSON"):
        read_coco([said], [], COCO)
    with pytest.raises(ValueError, match=r"captions\.json: want COCO instances"):
        read_coco([told], [], COCO)
    with pytest.raises(ValueError, match=r"instances\.json"):
        read_captions(instances)


@pytest.fixture
def amber(tmp_path: Path) -> Path:
    save(
        tmp_path / "annotations.json",
        [
            {"id": 1, "type": "generative", "truth": ["dog", "tree"], "hallu": ["cat", "ball"]},
            {"id": 2, "type": "generative", "truth": ["sky"], "hallu": ["bird"]},
            {"id": 3, "type": "discriminative-hallucination", "truth": "no"},
            {"id": 4, "type": "discriminative-attribute-state", "truth": "yes"},
            {"id": 5, "type": "discriminative-attribute-state", "truth": "no"},
            {"id": 6, "type": "relation", "truth": "yes"},
        ],
    )
    save(
        tmp_path / "relation.json",
        {"dog": ["puppy"], "tree": [], "sky": ["cloud"], "cat": ["kitten"], "bird": [],
         "line": [], "car": []},
    )  # fmt: skip
    (tmp_path / "safe_words.txt").write_text("line\n")
    save(
        tmp_path / "answers.json",
        [
            {"id": 1, "response": "Puppies and a dog by a line of cars; a kitten sleeps."},
            {"id": 2, "response": "Clouds."},
            {"id": 3, "response": "Yes"},
            {"id": 4, "response": "No."},
            {"id": 5, "response": "no, it is not"},
            {"id": 6, "response": "Yes"},
        ],
    )
    return tmp_path


def test_ambers_descriptions_by_hand(amber: Path) -> None:
    answers, truth = read_answers(amber / "answers.json"), read_truth(amber / "annotations.json")
    table, safe = read_relations(amber / "relation.json"), read_safe(amber / "safe_words.txt")
    rates = generative(answers, truth, table, safe)
    # R: puppy dog line car kitten | cloud: 2 invented of 6; A: dog yes, tree no, sky yes;
    # one description of two; H: cat named by its kitten, ball and bird not
    assert rates == pytest.approx({"chair": 2 / 6, "cover": 2 / 3, "hal": 1 / 2, "cog": 1 / 3})
    same = {("car", "tree")}
    lenient = generative(answers, truth, table, safe, lambda a, b: (a, b) in same)
    assert lenient == pytest.approx({"chair": 1 / 6, "cover": 1, "hal": 1 / 2, "cog": 1 / 3})
    with pytest.raises(ValueError, match="generative items"):
        generative({3: "Yes"}, truth, table)


def test_ambers_questions_by_hand(amber: Path) -> None:
    answers, truth = read_answers(amber / "answers.json"), read_truth(amber / "annotations.json")
    rates = discriminative(answers, truth)
    assert rates["all"] == pytest.approx(
        {"accuracy": 2 / 4, "precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2}
    )
    assert rates["attribute-state"]["recall"] == 1
    assert rates["hallucination"]["accuracy"] == 0
    assert set(rates) == {"all", "attribute-state", "hallucination", "relation"}
    assert amber_score(0.2, 0.8) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="item 3: want an answer of yes or no"):
        discriminative({3: "Perhaps"}, truth)


def test_ambers_wrong_files(amber: Path) -> None:
    wrong = save(amber / "wrong.json", [{"id": 1, "type": "relation", "truth": "maybe"}])
    with pytest.raises(ValueError, match=r"wrong\.json, item 0"):
        read_truth(wrong)
    with pytest.raises(ValueError, match=r"wrong\.json: want id and response"):
        read_answers(wrong)
    with pytest.raises(ValueError, match=r"wrong\.json: want a table"):
        read_relations(wrong)


def test_the_gap_of_styles() -> None:
    photo, styled = [True] * 8 + [False] * 2, [True] * 3 + [False] * 5 + [True, False]
    gap = style_gap(photo, styled)
    assert (gap["photo"], gap["styled"], gap["gap"]) == pytest.approx((0.8, 0.4, -0.4))
    # McNemar: 5 lost, 1 won of 6: 2 (1 + 6) / 64
    assert gap["p"] == pytest.approx(14 / 64)
    assert gap["low"] < -0.4 < gap["high"]
    assert style_gap(photo, photo)["p"] == 1
    with pytest.raises(ValueError, match="pairs"):
        style_gap([True], [])

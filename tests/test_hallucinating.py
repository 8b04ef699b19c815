"""The verb on miniature files of each benchmark's layout, from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


def save(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def pope(tmp_path: Path) -> tuple[Path, Path, Path]:
    labels = ["yes", "no", "yes", "no"]
    truth = lines(
        tmp_path / "pope.json",
        [
            {"question_id": k, "image": "a.png", "text": "Is there a dog?", "label": label}
            for k, label in enumerate(labels, 1)
        ],
    )
    photo = lines(
        tmp_path / "photo.jsonl",
        [{"question_id": k, "answer": label.title()} for k, label in enumerate(labels, 1)],
    )
    drawn = lines(
        tmp_path / "drawn.jsonl",
        [{"question_id": k, "text": "Yes, there is"} for k in (4, 3, 2, 1)],
    )
    return truth, photo, drawn


def test_pope_and_the_gap(tmp_path: Path, pope: tuple[Path, Path, Path], run: Run) -> None:
    truth, photo, drawn = pope
    report = tmp_path / "report.json"
    asked = ("hallucination", "pope", "--truth", truth, "--answers", photo)
    code, out, err = run(*asked, "--answers", f"sketch={drawn}", "--gap", "--out", report)
    assert code == 0, err
    assert "| photo | 100.0 | 100.0 | 100.0 | 100.0 | 50.0 |" in out
    rows = json.loads(report.read_text())["rows"]
    assert rows["sketch"]["accuracy"] == 50
    assert rows["sketch"]["gap"] == -50
    assert rows["sketch"]["p"] == pytest.approx(0.5)  # two lost, none won: 2 x 1/4
    assert "gap" not in rows["photo"]
    code, _, err = run(*asked, "--gap")
    assert code == 2
    assert "gap" in err
    drawn.write_text("")
    code, _, err = run("hallucination", "pope", "--truth", truth, "--answers", drawn)
    assert code == 2
    assert "drawn.jsonl: no answer to question 1" in err
    drawn.write_text('{"question_id": 1}\n')
    code, _, err = run("hallucination", "pope", "--truth", truth, "--answers", drawn)
    assert "line 1" in err


def test_mme_and_what_is_wrong(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "count.txt"
    path.write_text("a\tq\tYes\tyes.\na\tq\tNo\tNo\nb\tq\tYes\tperhaps\nb\tq\tNo\tno\n")
    assert "| count | 125.0 |" in run("hallucination", "mme", "--answers", path)[1]
    for words, text in (
        (("bleu", "--answers", path), "pope, mme"),
        (("pope", "--answers", path), "pope wants its file"),
        (("mme", "--answers", f"a={path}", "--answers", f"a={path}x"), "differ"),
        (("mme", "--answers", path, "--out", tmp_path / "x.pdf"), ".png"),
    ):
        code, _, err = run("hallucination", *words)
        assert code == 2
        assert text in err


def test_chair(tmp_path: Path, run: Run) -> None:
    instances = save(
        tmp_path / "instances.json",
        {
            "categories": [{"id": 18, "name": "dog"}],
            "annotations": [{"image_id": 7, "category_id": 18}],
        },
    )
    told = save(tmp_path / "captions.json", {"annotations": [{"image_id": 7, "caption": "A man."}]})
    said = save(tmp_path / "said.json", [{"image_id": 7, "caption": "Men, dogs and a cat"}])
    asked = ("hallucination", "chair", "--truth", instances, "--answers", said)
    assert "| said | 66.7 | 100.0 | 100.0 | 5.0 |" in run(*asked)[1]
    assert "| said | 33.3 | 100.0 | 100.0 | 5.0 |" in run(*asked, "--captions", told)[1]
    save(said, [{"image_id": 8, "caption": "x"}])
    code, _, err = run(*asked)
    assert code == 2
    assert "picture 8" in err


def test_amber_as_table_and_picture(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("matplotlib")
    truth = save(
        tmp_path / "annotations.json",
        [
            {"id": 1, "type": "generative", "truth": ["dog"], "hallu": ["cat"]},
            {"id": 2, "type": "discriminative-hallucination", "truth": "no"},
        ],
    )
    table = save(tmp_path / "relation.json", {"dog": [], "cat": []})
    said = save(
        tmp_path / "said.json",
        [{"id": 1, "response": "a dog, a cat"}, {"id": 2, "response": "No"}],
    )
    asked = ("hallucination", "amber", "--truth", truth, "--answers", f"greedy={said}")
    code, out, err = run(
        *asked, "--relations", table, "--out", tmp_path / "r.md", "--out", tmp_path / "r.png"
    )
    assert code == 0, err
    numbers = "| greedy | 50.0 | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 | 100.0 | 75.0 |"
    assert numbers in out
    assert numbers in (tmp_path / "r.md").read_text()
    assert (tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    code, _, err = run(*asked)
    assert code == 2
    assert "relation.json" in err

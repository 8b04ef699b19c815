"""POPE and MME by hand, from miniature files of the true layout."""

from pathlib import Path

import pytest

from telltale.metrics.hallucination import mme_points, pope_rates, read_pope, says_yes


def test_pope(tmp_path: Path) -> None:
    path = tmp_path / "pope.json"
    line = '{"question_id": 1, "image": "a.jpg", "text": "Is there a dog in the image?", "label": '
    path.write_text(line + '"yes"}\n' + line + '"no"}\n')
    labels = [item["label"] for item in read_pope(path)]
    assert labels == ["yes", "no"]
    rates = pope_rates(["Yes, it is.", "I know another. No"], labels)
    assert rates == pytest.approx(
        {"accuracy": 0.5, "precision": 0.5, "recall": 1, "f1": 2 / 3, "yes_ratio": 1}
    )
    path.write_text(line + '"maybe"}\n')
    with pytest.raises(ValueError, match="line 1"):
        read_pope(path)


def test_answers() -> None:
    assert says_yes("Yes")
    assert not says_yes("No, there is none. Yes")
    assert not says_yes("There is not")


def test_mme(tmp_path: Path) -> None:
    path = tmp_path / "count.txt"
    path.write_text("a\tq\tYes\tyes.\na\tq\tNo\tNo\nb\tq\tYes\tperhaps\nb\tq\tNo\tno\n")
    assert mme_points(path) == 75 + 50
    path.write_text("a\tq\tYes\tyes\n")
    with pytest.raises(ValueError, match="pairs"):
        mme_points(path)

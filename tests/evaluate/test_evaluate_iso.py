"""ISO/IEC 30107-3 in comparisons: rates by hand, thresholds of other data, answers missing."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from telltale import evaluate as verb
from telltale.evaluate import Answers, Cell, Grid, Predictions, Protocol

QUICK = Protocol(resamples=20)


def table(split: str, scored: Mapping[str, list[float]], frames: int = 1) -> Predictions:
    """Items of each kind ("" is live) with these scores; each is a video of so many frames."""
    rows = [
        (kind, f"{split} {kind} {number}", frame, score)
        for kind, scores in scored.items()
        for number, score in enumerate(scores)
        for frame in range(frames)
    ]
    kinds, videos, numbers, scores = (np.array(column) for column in zip(*rows, strict=True))
    columns = {"kind": kinds, "split": np.full(len(rows), split)}
    if frames > 1:
        columns["video"] = videos
    paths = np.array([f"{v}/{n}" for v, n in zip(videos, numbers, strict=True)])
    labels = (kinds != "").astype(np.int64)
    return Predictions("made", paths, labels, scores.astype(float), videos, columns)


def joined(*tables: Predictions) -> Predictions:
    first = tables[0]
    columns = {n: np.concatenate([t.columns[n] for t in tables]) for n in first.columns}
    whole = [
        np.concatenate([getattr(t, name) for t in tables])
        for name in ("paths", "labels", "scores", "sources")
    ]
    return Predictions(first.name, *whole, columns)


# Brief's example: 10 live with 1 rejected; print 10 with 2 accepted, swap 10 with none, at 0.5.
HAND = {"": [0.1] * 9 + [0.9], "print": [0.7] * 8 + [0.2] * 2, "Deepfakes": [0.6] * 10}
# EER of these: at 0.4 one of ten live is above it and one of ten attacks is below.
DEVELOP = {"": [0.1] * 9 + [0.8], "print": [0.3] + [0.4] * 4, "Deepfakes": [0.6] * 5}


def cell(grid: Grid, test: str, level: str = "item") -> Cell:
    (found,) = [it for it in grid.cells if (it.test, it.level) == (test, level)]
    return found


def values(it: Cell) -> dict[str, float]:
    return {name: figure.value for name, figure in it.measures.items()}


def test_the_rates_of_a_hand_made_confusion() -> None:
    found = values(verb.intra(table("test", HAND), replace(QUICK, threshold=0.5)).cells[0])
    wanted = {
        "bpcer": 0.1,
        "apcer": 0.2,  # of the worst kind
        "apcer: print": 0.2,
        "apcer: Deepfakes": 0.0,
        "acer": 0.15,
        "hter": 0.1,  # kinds pooled: (2/20 + 1/10) / 2
        "bpcer_at_apcer_10": 1.0,  # one print may be missed, and the next has 0.2
        "bpcer_at_apcer_5": 1.0,
        "bpcer_at_apcer_1": 1.0,
    }
    wanted |= {f"bpcer_at_apcer_{k}": 0.1 for k in (10, 5, 1)}  # live ones at 0.1 are below 0.2
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)
    assert not {"apnrr", "bpnrr"} & found.keys()


def test_thresholds_are_of_development_data_and_of_each_level() -> None:
    data = joined(table("val", DEVELOP, 2), table("test", HAND, 2))
    grid = verb.intra(data, replace(QUICK, select="eer"))
    for level in ("frame", "video"):
        found = cell(grid, "made", level)
        assert found.threshold == pytest.approx(0.4)
        assert values(found)["hter"] == pytest.approx(0.1)
    assert any("chosen on 'val' by eer" in note for note in grid.notes)
    # other test scores move no threshold
    moved = table("test", {kind: [s / 10 for s in v] for kind, v in HAND.items()}, 2)
    again = verb.intra(joined(table("val", DEVELOP, 2), moved), replace(QUICK, select="eer"))
    assert cell(again, "made", "frame").threshold == cell(grid, "made", "frame").threshold
    with pytest.raises(ValueError, match="no row has split 'val'"):
        verb.intra(moved, replace(QUICK, select="eer"))


def test_without_a_threshold_there_is_no_error_rate_but_for_the_cards() -> None:
    data = table("test", HAND)
    bare = verb.suite({"made": data}, replace(QUICK, suite="intra"))
    assert "hter" not in values(bare.cells[0])
    assert values(bare.cells[0])["bpcer_at_apcer_10"] == pytest.approx(0.1)
    assert any("no threshold of development data" in note for note in bare.notes)
    card = verb.suite({"made": Answers(data, 0.5)}, replace(QUICK, suite="intra"))
    assert values(card.cells[0])["acer"] == pytest.approx(0.15)
    assert any("the one in the card" in note for note in card.notes)


MISSING = {"": [0.1] * 8 + [0.9, np.nan], "print": [0.7] * 3 + [np.nan], "mask": [0.7] * 4}


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("apart", {"apcer": 0, "bpcer": 1 / 9, "apnrr": 0.25, "bpnrr": 0.1, "hter": 1 / 18}),
        ("wrong", {"apcer": 0.25, "bpcer": 0.2, "apnrr": 0.25, "bpnrr": 0.1, "hter": 0.1625}),
    ],
)
def test_what_is_unanswered_is_counted_as_stated(how: str, wanted: dict[str, float]) -> None:
    protocol = replace(QUICK, threshold=0.5, unanswered=how)
    grid = verb.intra(table("test", MISSING), protocol)
    found = values(grid.cells[0])
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)
    assert found["auc"] == pytest.approx(8 / 9)  # of what was answered, either way
    said = "count as errors" if how == "wrong" else "in no error rate"
    assert any(said in note for note in grid.notes)
    # the same figures without a comparison
    whole = verb.measure(table("test", MISSING), protocol, 0.5).rows[0].measures
    assert {name: whole[name].value for name in wanted} == pytest.approx(wanted)
    with pytest.raises(ValueError, match="want unanswered as apart or wrong"):
        Protocol(unanswered="ignored")


def test_attacks_without_any_answer_still_count() -> None:
    lost = {"": [0.1] * 4, "print": [np.nan] * 3}
    apart = values(verb.intra(table("test", lost), replace(QUICK, threshold=0.5)).cells[0])
    assert (apart["apnrr"], apart["bpcer"]) == (1, 0)
    assert "apcer" not in apart
    protocol = replace(QUICK, threshold=0.5, unanswered="wrong")
    wrong = values(verb.intra(table("test", lost), protocol).cells[0])
    assert (wrong["apcer"], wrong["bpcer_at_apcer_10"]) == (1, 1)


def test_folds_give_mean_and_deviation() -> None:
    tables = {}
    for fold, missed in (("3.1", 0), ("3.2", 2), ("3.3", 4)):
        test = {"": [0.1] * 10, "print": [0.2] * missed + [0.7] * (10 - missed)}
        tables[fold] = joined(table("val", DEVELOP), table("test", test))
    grid = verb.suite(tables, replace(QUICK, suite="folds", select="eer"))
    mean = cell(grid, "mean")
    assert values(mean)["apcer"] == pytest.approx(0.2)
    assert mean.deviations["apcer"] == pytest.approx(0.2)  # n - 1
    assert mean.deviations["acer"] == pytest.approx(0.1)
    shown = verb.grid_markdown(grid)
    assert "0.200 ± 0.200" in shown
    threshold = f"{grid.cells[1].threshold:.4g}"
    assert f"| 3.2 | items | 10 | 10 | {threshold} | 0.200" in shown
    record = json.loads(verb.grid_json(grid))["cells"][-1]
    assert record["measures"]["apcer"] == [pytest.approx(0.2), None, None]
    assert record["deviations"]["apcer"] == pytest.approx(0.2)
    last = [line.split(",") for line in verb.grid_csv(grid).splitlines() if ",apcer," in line][-1]
    assert [float(it) for it in (last[5], last[8])] == pytest.approx([0.2, 0.2])
    bare = table("test", {"": [0.1, 0.2], "Deepfakes": [0.7]})
    assert verb.grid_latex(verb.intra(bare, QUICK)).count(r"\begin{tabular}") == 1
    assert verb.grid_latex(grid).count(r"\begin{tabular}") == 2
    with pytest.raises(ValueError, match=r"want two folds or more, got 3\.1"):
        verb.suite({"3.1": tables["3.1"]}, replace(QUICK, suite="folds"))


def test_each_fold_has_its_own_data(tmp_path: Path) -> None:
    protocol = Protocol(suite="folds")
    data = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(ValueError, match="folds want --data for each of 2 detectors, got 1"):
        verb.compare({"1": "vit_lora_scl", "2": "vit_lora_scl"}, data[:1], protocol)


JOINT = {"": [0.1, 0.2, 0.6], "print 1": [0.7, 0.5], "replay_phone": [0.9], "Deepfakes": [0.3]}


def test_joint_families_are_seen_or_unseen_and_sum_to_the_totals() -> None:
    data = table("test", JOINT)
    grid = verb.suite({"made": data}, replace(QUICK, suite="joint", threshold=0.55))
    plain = {it.test: it for it in grid.cells}
    assert [*plain] == ["digital", "physical", "all families"]
    assert any("nothing says which families" in note for note in grid.notes)
    assert "digital: Deepfakes; physical" not in grid.notes  # in the catalogue's order
    assert "physical: print 1, replay_phone; digital: Deepfakes" in grid.notes
    families, whole = (plain["physical"], plain["digital"]), plain["all families"]
    assert sum(it.forged for it in families) == whole.forged == 4
    assert {it.genuine for it in plain.values()} == {3}
    missed = [
        it.forged * values(it)["hter"] * 2 - it.forged * values(it)["bpcer"] for it in families
    ]
    pooled = whole.forged * (2 * values(whole)["hter"] - values(whole)["bpcer"])
    assert sum(missed) == pytest.approx(pooled) == pytest.approx(2)  # print at 0.5, swap at 0.3
    known = Answers(data, learnt=("display", "mask"))
    seen = verb.suite({"made": known}, replace(QUICK, suite="joint"))
    assert {it.test for it in seen.cells} == {
        *("physical, learnt", "digital, never learnt", "all families")
    }
    over = replace(QUICK, suite="joint", learnt=("digital",))
    names = {it.test for it in verb.suite({"made": known}, over).cells}
    assert {"physical, never learnt", "digital, learnt"} < names


def test_joint_thresholds_are_chosen_on_learnt_families_alone() -> None:
    develop = {"": [0.1, 0.2, 0.3], "print": [0.6, 0.7, 0.8], "Deepfakes": [0.15, 0.15, 0.15]}
    data = joined(table("val", develop), table("test", JOINT))
    protocol = replace(QUICK, suite="joint", select="eer", learnt=("physical",))
    cells = verb.suite({"made": data}, protocol).cells
    assert {it.threshold for it in cells} == {cells[0].threshold}
    assert 0.3 < (cells[0].threshold or 0) <= 0.6  # swaps of the development data do not enter


def test_joint_refuses_kinds_that_it_does_not_know() -> None:
    data = table("test", {"": [0.1, 0.2], "hologram": [0.7]})
    with pytest.raises(ValueError, match="no kind of attack 'hologram': want one of"):
        verb.suite({"made": data}, replace(QUICK, suite="joint"))
    named = table("test", {"": [0.1, 0.2], "physical/hologram": [0.7]})
    grid = verb.suite({"made": named}, replace(QUICK, suite="joint"))
    assert grid.cells[0].test == "physical"


def test_leave_one_out_chooses_no_threshold_on_the_kind_left_out() -> None:
    develop = {"": [0.1, 0.2, 0.3], "print": [0.6, 0.7, 0.8], "mask": [0.15, 0.15, 0.15]}
    test = {"": [0.1, 0.2], "print": [0.9], "mask": [0.9]}
    data = joined(table("val", develop), table("test", test))
    grid = verb.suite({"mask": data}, replace(QUICK, suite="leave-one-out", select="eer"))
    assert 0.3 < (grid.cells[0].threshold or 0) <= 0.6


def test_kept_predictions_have_the_videos_beside(tmp_path: Path) -> None:
    from telltale.evaluate.run import write_predictions

    write_predictions(table("test", HAND, 3), tmp_path / "kept.csv")
    assert len(verb.read_predictions(tmp_path / "kept.csv")) == 90
    videos = verb.read_predictions(tmp_path / "kept-videos.csv")
    assert len(videos) == 30
    assert sorted(videos.scores) == pytest.approx(sorted(s for v in HAND.values() for s in v))

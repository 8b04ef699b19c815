"""Figures say what the data say, by slice, and name the worst."""

import math
from dataclasses import replace

import numpy as np
import pytest

from telltale import evaluate as verb
from telltale import metrics
from telltale.evaluate import Predictions, Protocol

QUICK = Protocol(resamples=60)


def test_the_first_row_is_all_items_and_agrees_with_the_measures(data: Predictions) -> None:
    found = verb.measure(data, QUICK, threshold=0.5)
    whole = found.rows[0]
    assert (whole.slice, whole.genuine + whole.forged, whole.sources) == ("all", 400, 40)
    assert whole.measures["auc"].value == metrics.auc(data.scores, data.labels)
    assert whole.measures["bpcer"].value == metrics.bpcer(data.scores, data.labels, 0.5)
    kinds = data.columns["kind"]
    assert whole.measures["apcer"].value == metrics.apcer(data.scores, data.labels, 0.5, kinds)
    assert whole.measures["cllr"].value == pytest.approx(
        metrics.cllr(metrics.log_odds(data.scores), data.labels)
    )
    for figure in whole.measures.values():
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.high
    assert "tpr_at_fpr_1" in whole.measures


def test_each_kind_meets_all_genuine_items_and_the_worst_is_named(
    data: Predictions,
) -> None:
    found = verb.measure(data, QUICK, threshold=0.5)
    rows = {row.slice: row for row in found.rows}
    swap = (data.columns["kind"] == "swap") | (data.labels == 0)
    assert rows["kind = swap"].measures["auc"].value == metrics.auc(
        data.scores[swap], data.labels[swap]
    )
    assert rows["kind = swap"].genuine == int((data.labels == 0).sum())
    protocol = Protocol(resamples=20, slices=("kind",))
    worst = verb.measure(data, protocol, threshold=0.5).worst
    assert worst["auc"] == ("kind = gan", rows["kind = gan"].measures["auc"].value)
    assert worst["apcer"][0] == "kind = gan"
    assert max(row.measures["apcer"].value for row in found.rows[1:]) >= worst["apcer"][1]


def test_small_slices_are_shown_but_are_not_the_worst(data: Predictions) -> None:
    names = ["kind = gan", "kind = blend", "kind = swap"]
    own = int((data.columns["kind"] == "gan").sum())
    protocol = Protocol(resamples=10, smallest=own, slices=("kind",))
    assert verb.measure(data, protocol, threshold=0.5).worst["auc"][0] == "kind = gan"
    found = verb.measure(data, replace(protocol, smallest=100_000), threshold=0.5)
    assert found.worst == {}
    assert set(names) <= {row.slice for row in found.rows}


def test_one_source_has_no_interval(data: Predictions) -> None:
    found = verb.measure(data, Protocol(resamples=10, slices=("source",), smallest=5))
    for row in found.rows[1:]:
        if row.sources == 1:
            assert row.measures["auc"].low is None
    assert any(row.sources == 1 for row in found.rows[1:])


def test_numbers_with_many_values_are_sliced_in_quarters(data: Predictions) -> None:
    widths = np.array([f"{40 + number}" for number in range(400)])
    data = replace(data, columns={"face_pixels": widths})
    found = verb.measure(data, Protocol(resamples=5, slices=("face_pixels", "no such column")))
    quarters = found.rows[1:]
    assert [row.genuine + row.forged for row in quarters] == [100] * 4
    assert quarters[0].slice == "face_pixels 40 to 139.8"


def test_without_a_threshold_there_are_no_error_rates(data: Predictions) -> None:
    found = verb.measure(data, QUICK)
    assert not {"accuracy", "apcer", "hter"} & set(found.rows[0].measures)
    assert any("error rates are left out" in note for note in found.notes)


def test_logits_rank_but_are_no_probabilities(data: Predictions) -> None:
    logits = Predictions(
        data.name, data.paths, data.labels, metrics.log_odds(data.scores), data.sources
    )
    found = verb.measure(logits, QUICK, threshold=0.0)
    assert found.rows[0].measures["auc"].value == metrics.auc(data.scores, data.labels)
    assert not {"brier", "ece", "cllr"} & set(found.rows[0].measures)
    assert any("no probabilities" in note for note in found.notes)


def test_what_was_not_answered_is_counted_not_scored(data: Predictions) -> None:
    data.scores[:40] = math.nan
    found = verb.measure(data, QUICK, threshold=0.5).rows[0]
    assert found.measures["unanswered"].value == 0.1
    assert found.measures["auc"].value == metrics.auc(data.scores[40:], data.labels[40:])
    data.scores[:] = math.nan
    nothing = verb.measure(data, QUICK, threshold=0.5)
    assert nothing.rows[0].measures["unanswered"].value == 1
    assert "auc" not in nothing.rows[0].measures
    assert any("no item was answered" in note for note in nothing.notes)
    assert any("400 of 400 items have no answer, e.g. 0.jpg" in note for note in nothing.notes)


def test_one_class_gives_the_rates_of_that_class(data: Predictions) -> None:
    genuine = verb.measure(data.take(data.labels == 0), QUICK, threshold=0.5).rows[0].measures
    assert "bpcer" in genuine
    assert not {"auc", "apcer", "hter"} & set(genuine)


def test_verdicts_are_counted_over_the_rows_they_could_befall() -> None:
    data = Predictions(
        "verdicts",
        np.array(list("abcdef")),
        np.array([0, 0, 0, 0, 1, 1]),
        np.array([0.1, 0.2, 0.9, math.nan, 0.9, 0.1]),
        np.array(list("abcdef")),
        {"verdict": np.array(["no", "no", "yes", "", "yes", "can't tell"])},
    )
    found = verb.measure(data, QUICK).rows[0].measures
    assert found["undecided"].value == pytest.approx(2 / 6)
    assert found["genuine_called_forged"].value == 0.25
    assert found["forged_called_genuine"].value == 0


def test_the_price_of_an_honest_threshold_is_shown() -> None:
    data = Predictions(
        "four",
        np.array(list("abcd")),
        np.array([0, 0, 1, 1]),
        np.array([0.1, 0.6, 0.7, 0.8]),
        np.array(list("abcd")),
    )
    notes = verb.measure(data, QUICK, threshold=0.5).notes
    assert any("accuracy 0.750; " in note and "would have claimed 1.000" in note for note in notes)
    assert any("no sources are given" in note for note in notes)


def test_frames_are_averaged_to_videos() -> None:
    data = Predictions(
        "frames",
        np.array(list("abcde")),
        np.array([0, 0, 1, 1, 1]),
        np.array([0.1, 0.3, 0.9, math.nan, math.nan]),
        np.array(["x", "x", "y", "y", "y"]),
        {"video": np.array(["v", "v", "w", "w", "u"]), "frame": np.array(list("12121"))},
    )
    videos = data.averaged("video")
    assert videos.paths.tolist() == ["u", "v", "w"]
    np.testing.assert_allclose(videos.scores, [math.nan, 0.2, 0.9])
    assert videos.labels.tolist() == [1, 0, 1]
    assert set(videos.columns) == {"video"}  # the frames of a video disagree on "frame"
    with pytest.raises(ValueError, match="no column 'clip'"):
        data.averaged("clip")
    data.sources[0] = "z"
    with pytest.raises(ValueError, match="video 'v' has several sources"):
        data.averaged("video")
    data.labels[0] = 1
    with pytest.raises(ValueError, match="frame '2' has several labels"):
        data.averaged("frame")
    assert data.averaged("video").paths.tolist() == ["0/v", "1/u", "1/v", "1/w"]

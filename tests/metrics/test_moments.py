"""Spans of time: both conventions of IoU, recall, and mean average precision by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telltale.metrics.moments import (
    grounding,
    mean_iou,
    moment_ap,
    moment_map,
    recall_at,
    span_iou,
)

spans = st.tuples(st.floats(0, 100), st.floats(0.1, 50)).map(lambda s: (s[0], s[0] + s[1]))


@pytest.mark.parametrize(("plus_one", "wanted"), [(False, 1 / 3), (True, 6 / 16)])
def test_iou_by_hand(plus_one: bool, wanted: float) -> None:
    assert span_iou([0, 10], [5, 15], plus_one=plus_one) == pytest.approx(wanted)


@given(spans, spans, st.booleans())
def test_iou_is_a_symmetric_share(
    one: tuple[float, float], other: tuple[float, float], plus_one: bool
) -> None:
    found = span_iou(one, other, plus_one=plus_one)
    assert 0 <= found <= 1
    assert found == span_iou(other, one, plus_one=plus_one)
    assert span_iou(one, one, plus_one=plus_one) == pytest.approx(1)
    if max(one[0], other[0]) >= min(one[1], other[1]) + 1:
        assert found == 0
    assert span_iou(one, other, plus_one=True) >= span_iou(one, other) - 1e-12


def test_recall_and_mean_iou() -> None:
    found = [[[0, 10], [5, 15]], [[0, 2]], []]
    truths = [[5, 15], [[0, 1], [0, 2]], [1, 2]]
    assert recall_at(found, truths, 0.5) == pytest.approx(1 / 3)
    assert recall_at(found, truths, 0.3) == pytest.approx(2 / 3)
    assert recall_at(found, truths, 1.0, top=2) == pytest.approx(2 / 3)
    assert mean_iou(found, truths) == pytest.approx((1 / 3 + 1) / 3)
    table = grounding(found, truths)
    assert table["R@1 IoU 0.3"] == pytest.approx(2 / 3)
    assert table["mIoU"] == pytest.approx(4 / 9)
    assert grounding(found, truths, plus_one=True)["mIoU"] == pytest.approx((6 / 16 + 1) / 3)


def test_average_precision_by_hand() -> None:
    assert moment_ap([[50, 60, 0.9], [0, 10, 0.8]], [[0, 10]], 0.5) == 0.5
    assert moment_ap([[0, 10, 0.9]], [[0, 10], [20, 30]], 0.5) == 0.5
    assert moment_ap([[0, 10, 0.9], [0, 10, 0.8]], [[0, 10]], 0.5) == 1  # found twice counts once
    # right, wrong, right: 1/2 · 1 + 1/2 · 2/3
    rows = [[0, 10, 0.9], [80, 90, 0.8], [20, 30, 0.7]]
    assert moment_ap(rows, [[0, 10], [20, 30]], 0.95) == pytest.approx(5 / 6)
    assert moment_ap(rows, [[20, 30]], 0.5, most=2) == 0


def test_map_and_its_ranges_of_lengths() -> None:
    found = [[[0, 6, 1.0], [20, 40, 0.5]], [[0, 8, 1.0]]]
    truths = [[[0, 10], [20, 40]], [[0, 8]]]
    table = moment_map(found, truths)
    assert table["0.5"] == 1
    assert table["0.75"] == pytest.approx((0.25 + 1) / 2)  # the first span has IoU 0.6
    short = moment_map(found, truths, length="short")
    assert short["0.5"] == 1
    assert short["0.75"] == 0.5
    assert moment_map(found, truths, length="middle")["average"] == 1
    with pytest.raises(ValueError, match="no query has a long window"):
        moment_map(found, truths, length="long")


def test_the_trivial_predictors_by_hand() -> None:
    truths = [(0.0, 6.0), (10.0, 20.0)]
    whole = [[(0.0, 30.0)]] * 2
    assert grounding(whole, truths) == pytest.approx(
        {"R@1 IoU 0.3": 0.5, "R@1 IoU 0.5": 0, "R@1 IoU 0.7": 0, "mIoU": (0.2 + 1 / 3) / 2}
    )
    middle = [[(10.0, 20.0)]] * 2
    assert recall_at(middle, truths, 0.7) == 0.5


def test_it_says_what_it_wants() -> None:
    with pytest.raises(ValueError, match="as many answers"):
        recall_at([[0, 1]], [], 0.5)
    with pytest.raises(ValueError, match="want finite"):
        span_iou([0, np.nan], [0, 1])
    with pytest.raises(ValueError, match="end after"):
        span_iou([2, 1], [0, 1])
    with pytest.raises(ValueError, match="want a true window"):
        mean_iou([[[0, 1]]], [[]])
    with pytest.raises(ValueError, match="iou in"):
        recall_at([[0, 1]], [[0, 1]], 0)

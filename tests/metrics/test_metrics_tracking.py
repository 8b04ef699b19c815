"""Overlap and success by hand."""

import numpy as np
import pytest

from telltale.metrics.tracking import average_overlap, overlap, success_auc, success_rate


def test_equal_boxes_overlap_wholly() -> None:
    boxes = np.array([[[1.0, 2, 3, 4], [0, 0, 5, 1]]])
    assert overlap(boxes, boxes).tolist() == [[1, 1]]
    assert average_overlap(overlap(boxes, boxes)) == 1
    assert success_rate(overlap(boxes, boxes), 0.75) == 1


def test_half_by_hand() -> None:
    one, other = np.array([[0.0, 0, 3, 1]]), np.array([[1.0, 0, 3, 1]])
    assert overlap(one, other).tolist() == [0.5]  # 2 of 4
    assert success_auc([0.5] * 7) == pytest.approx(0.5, abs=1 / 21)
    assert success_rate([0.5, 0.6]) == 0.5


def test_apart_and_empty_boxes_do_not() -> None:
    assert overlap([[0.0, 0, 1, 1]], [[5.0, 5, 1, 1]]).tolist() == [0]
    assert overlap([[0.0, 0, 0, 0]], [[0.0, 0, 0, 0]]).tolist() == [0]
    with pytest.raises(ValueError, match="want two arrays"):
        overlap([[0.0, 0, 1]], [[0.0, 0, 1]])

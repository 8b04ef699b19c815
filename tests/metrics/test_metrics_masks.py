"""Measures of one picture's mask, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telltale import metrics

EMPTY, HALF = [0] * 8, [1, 1, 1, 1, 0, 0, 0, 0]
QUARTER = [1, 1, 0, 0, 0, 0, 0, 0]  # inside of HALF
OTHER = [0, 0, 0, 0, 0, 0, 1, 1]
MASKS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("called", "forged", "value"),
    [
        (HALF, HALF, 0.0),
        (QUARTER, OTHER, 2 / 2.5),  # half of the picture in either, nothing in both
        (EMPTY, EMPTY, 0.0),
        (EMPTY, HALF, 1 / 2.5),
        (HALF, EMPTY, 1 / 2.5),
        (QUARTER, HALF, (2 - 1 - 0.5) / 2.5),
        ([1] * 4, [0] * 4, 1 / 2),
    ],
)
def test_iinc_by_hand(called: list[int], forged: list[int], value: float) -> None:
    assert metrics.iinc(called, forged) == pytest.approx(value)
    assert metrics.iinc(forged, called) == pytest.approx(value)


@given(MASKS)
def test_iinc_is_symmetric_and_0_only_for_equal_masks(pixels: list[tuple[int, int]]) -> None:
    called, forged = np.array(pixels).T
    found = metrics.iinc(called, forged)
    assert found == pytest.approx(metrics.iinc(forged, called))
    assert 0 <= found <= 1
    assert (found == 0) == bool((called == forged).all())


def test_pixel_accuracy_of_equal_and_of_opposite_masks() -> None:
    assert metrics.accuracy(HALF, HALF) == 1
    assert metrics.accuracy(HALF, 1 - np.array(HALF)) == 0

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef

from telltale import metrics

MASK = np.array([[1, 1, 0, 0], [0, 0, 0, 0]])
FOUND = np.array([[0.9, 0.2, 0.7, 0.1], [0.0, 0.0, 0.0, 0.0]])  # one right, one alarm, one missed


def test_by_hand() -> None:
    pairs = [(FOUND, MASK), (np.zeros((2, 4)), np.zeros((2, 4)))]
    assert metrics.pixel_f1(pairs) == pytest.approx(2 / 4)
    assert metrics.pixel_iou(pairs) == pytest.approx(1 / 3)
    assert metrics.pixel_mcc(pairs) == pytest.approx((1 * 5 - 1 * 1) / np.sqrt(2 * 2 * 6 * 6))
    assert metrics.pixel_auc(pairs) == pytest.approx(11 / 12)
    # From 0.2 on both are found, beside one alarm.
    assert metrics.best_pixel_f1(pairs) == pytest.approx(4 / 5)
    assert metrics.false_alarm_area(pairs) == 0
    assert metrics.false_alarm_area([(FOUND, np.zeros((2, 4)))]) == pytest.approx(2 / 8)


def test_pooled_and_mean_differ_by_size() -> None:
    small, large = (np.ones((1, 2)), np.ones((1, 2))), (np.zeros((4, 4)), np.ones((4, 4)))
    assert metrics.pixel_f1([small, large]) == pytest.approx(0.5)
    assert metrics.pooled_pixel_f1([small, large]) == pytest.approx(2 * 2 / (2 * 2 + 16))


def test_a_full_mask_and_an_empty_answer() -> None:
    full = [(np.zeros((3, 3)), np.ones((3, 3)))]
    assert metrics.pixel_f1(full) == 0
    assert metrics.pixel_mcc(full) == 0
    assert metrics.pixel_f1([(np.ones((3, 3)), np.ones((3, 3)))]) == 1
    with pytest.raises(ValueError, match="pristine ones only"):
        metrics.pixel_auc(full)
    with pytest.raises(ValueError, match="pristine ones only"):
        metrics.pixel_f1([(FOUND, np.zeros((2, 4)))])
    with pytest.raises(ValueError, match="want pristine pictures"):
        metrics.false_alarm_area(full)
    with pytest.raises(ValueError, match="want a map of the mask's size"):
        metrics.pixel_f1([(np.zeros((3, 2)), MASK)])


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_against_scikit_learn_and_the_slow_way(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask, found = rng.random((6, 7)) < 0.4, rng.random((6, 7))
    mask[0, 0], mask[0, 1] = True, False
    called = found >= 0.5
    pairs = [(found, mask)]
    assert metrics.pixel_f1(pairs) == pytest.approx(f1_score(mask.ravel(), called.ravel()))
    expected = matthews_corrcoef(mask.ravel(), called.ravel())
    assert metrics.pixel_mcc(pairs) == pytest.approx(expected)
    slow = max(
        f1_score(mask.ravel(), (found >= t).ravel(), zero_division=0)
        for t in np.linspace(0, 1, 256)
    )
    assert metrics.best_pixel_f1(pairs) == pytest.approx(slow)
    assert metrics.permuted_pixel_f1(pairs) >= metrics.pixel_f1(pairs)


def test_the_permuted_f1_forgives_a_complement() -> None:
    pairs, turned = [(FOUND, MASK)], [(1 - FOUND, MASK)]
    assert metrics.permuted_pixel_f1(pairs) == metrics.permuted_pixel_f1(turned)
    nothing = metrics.permuted_pixel_f1([(np.zeros((2, 4)), MASK)])
    assert nothing == pytest.approx(metrics.pixel_f1([(np.ones((2, 4)), MASK)]))
    assert metrics.pixel_f1([(1.0 - MASK, MASK)]) == 0  # no such trick in the others

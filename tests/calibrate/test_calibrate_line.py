"""Calibration recovers what is true, and knows what it does not know."""

import json
import math
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from telltale.calibrate import Calibration, fit

LINE = Calibration(2.0, -1.0, (0.04, 0.01, 0.09), 2.5)
finite = st.floats(-50, 50)


def gaussian(count: int, seed: int, share: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Logits at -1 and 1 with unit variance: their true log-odds at even prior are 2x."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < share).astype(int)
    return rng.normal(2.0 * labels - 1, 1.0), labels


def test_it_recovers_true_log_odds_whatever_the_share_of_forged() -> None:
    for share in (0.5, 0.1):
        found = fit(*gaussian(20_000, seed=0, share=share))
        assert found.slope == pytest.approx(2, abs=0.15)
        assert found.intercept == pytest.approx(0, abs=0.1)


def test_ranking_goes_on_beyond_the_limit_and_is_the_score_within() -> None:
    held = math.log(10) * LINE.limit
    far = np.array([held + 1.5, held + 2.5, -held - 1, -held])  # of log-odds
    logits = (far - LINE.intercept) / LINE.slope
    assert len(set(LINE.score(logits))) == 2
    assert LINE.ranking(logits) == pytest.approx(1 / (1 + np.exp(-far)), rel=1e-9)
    assert LINE.ranking([0.0, 1.0]) == pytest.approx(LINE.score([0.0, 1.0]), rel=1e-12)


def test_it_is_balanced_logistic_regression() -> None:
    logits, labels = gaussian(3000, seed=1, share=0.3)
    peer = LogisticRegression(C=1e12, class_weight="balanced", tol=1e-12, max_iter=1000)
    peer.fit(logits[:, None], labels)
    found = fit(logits, labels)
    assert found.slope == pytest.approx(peer.coef_[0, 0], rel=1e-2)  # Platt's targets differ
    assert found.intercept == pytest.approx(peer.intercept_[0], abs=1e-2)


def test_its_covariance_is_the_spread_over_repeated_data() -> None:
    fits = [fit(*gaussian(400, seed=seed, share=0.3)) for seed in range(300)]
    lines = np.array([(each.slope, each.intercept) for each in fits])
    said = np.mean([each.covariance for each in fits], axis=0)
    (slope, both), (_, intercept) = np.cov(lines.T)
    assert said[0] == pytest.approx(slope, rel=0.25)
    assert said[2] == pytest.approx(intercept, rel=0.25)
    assert said[1] == pytest.approx(both, abs=0.25 * math.sqrt(slope * intercept))


def test_its_interval_covers_the_true_score() -> None:
    truth = 1 / (1 + math.exp(-2))  # at logit 1
    ends = [fit(*gaussian(300, seed=seed)).interval(1.0) for seed in range(300)]
    share = np.mean([low <= truth <= high for low, high in ends])
    assert 0.91 <= share <= 0.995


def test_items_that_repeat_their_group_do_not_add_certainty() -> None:
    logits, labels = gaussian(200, seed=3)
    once = fit(logits, labels)
    five = (np.repeat(logits, 5), np.repeat(labels, 5))
    naive, robust = fit(*five), fit(*five, groups=np.repeat(np.arange(200), 5))
    assert naive.covariance[0] < 0.4 * once.covariance[0]
    assert robust.covariance[0] == pytest.approx(once.covariance[0], rel=0.15)
    assert robust.limit == once.limit < naive.limit


def test_the_limit_is_what_the_smaller_class_supports() -> None:
    labels = np.array([0] * 99 + [1] * 400)
    logits = np.linspace(-3, 3, 499)
    assert fit(logits, labels).limit == pytest.approx(2)  # log10(99 + 1)
    assert fit(logits, labels, np.arange(499) // 11).limit == pytest.approx(1)  # 9 groups hold 0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_classes_that_do_not_overlap_give_a_finite_and_uncertain_line(scale: float) -> None:
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.uniform(-6, -4, 50), rng.uniform(4, 6, 50)]) * scale
    found = fit(logits, np.repeat([0, 1], 50))
    assert 0.3 < found.slope * scale < 3
    assert float(found.log_odds(5 * scale)) == pytest.approx(math.log(51), abs=0.5)
    low, high = found.interval(0.0)
    assert high - low > 0.4  # nothing was seen between the classes


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.booleans()), min_size=4, max_size=40),
    st.floats(-1e6, 1e6),
)
def test_whatever_the_data_the_answer_is_finite_and_held(
    rows: list[tuple[float, bool]], asked: float
) -> None:
    logits, labels = (np.array(column) for column in zip(*rows, strict=True))
    labels[:2] = [True, False]
    if np.ptp(logits) < 1e-6:
        return
    found = fit(logits, labels)
    low, high = found.interval(asked)
    assert 0 < low <= found.score(asked) <= high < 1
    assert abs(found.log10_lr(asked)) <= found.limit


@given(finite, finite)
def test_score_ratio_and_interval_tell_the_same_story(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert LINE.score(low) <= LINE.score(high)  # a positive slope keeps the order
    score, ratio = float(LINE.score(one)), float(LINE.log10_lr(one))
    assert math.log10(score / (1 - score)) == pytest.approx(ratio, abs=1e-9)
    assert abs(ratio) <= LINE.limit
    assert LINE.interval(one)[0] <= score <= LINE.interval(one)[1]


def test_numbers_by_hand() -> None:
    assert float(LINE.log_odds(1.0)) == 1.0
    assert float(LINE.score(1.0)) == pytest.approx(1 / (1 + math.exp(-1)))
    assert float(LINE.log10_lr(1.0)) == pytest.approx(math.log10(math.e))
    assert float(LINE.log10_lr(100.0)) == 2.5
    assert float(LINE.score(-100.0)) == pytest.approx(1 / (1 + 10**2.5))
    half = 1.959964 * math.sqrt(0.04 + 0.02 + 0.09)
    low, high = LINE.interval(1.0)
    assert float(low) == pytest.approx(1 / (1 + math.exp(half - 1)), abs=1e-6)
    assert float(high) == pytest.approx(1 / (1 + math.exp(-half - 1)), abs=1e-6)
    np.testing.assert_allclose(LINE.score(np.zeros((2, 3))), np.full((2, 3), LINE.score(0.0)))


def test_it_passes_through_json_and_toml() -> None:
    table = LINE.to_table()
    assert Calibration.from_table(json.loads(json.dumps(table))) == LINE
    text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in table.items())
    assert Calibration.from_table(tomllib.loads(text)) == LINE
    found = fit(*gaussian(50, seed=0))
    assert Calibration.from_table(json.loads(json.dumps(found.to_table()))) == found


def test_a_table_with_a_wrong_key_raises() -> None:
    with pytest.raises(ValueError, match=r"want a calibration of .*'limit'.* got \[\]"):
        Calibration.from_table({})
    with pytest.raises(ValueError, match="covariance of three"):
        Calibration.from_table(LINE.to_table() | {"covariance": [1.0]})
    with pytest.raises(ValueError, match="finite numbers"):
        Calibration.from_table(LINE.to_table() | {"slope": math.nan})
    with pytest.raises(ValueError, match="limit > 0"):
        Calibration.from_table(LINE.to_table() | {"limit": 0})


@pytest.mark.parametrize(
    ("logits", "labels", "groups", "message"),
    [
        ([1.0, 2.0], [1, 1], None, "want both classes"),
        ([], [], None, "want both classes"),
        ([1.0, math.nan], [0, 1], None, "1 of 2 logits are not finite"),
        ([1.0, math.inf], [0, 1], None, "not finite"),
        ([1.0, 1.0], [0, 1], None, "all 2 logits are 1"),
        ([1.0, 2.0], [0, 2], None, "labels 0"),
        ([1.0, 2.0], [0], None, "as many logits as labels"),
        ([1.0, 2.0], [0, 1], ["a"], "a group an item"),
        ([1.0, 2.0], [0, 1], ["a", "a"], "two groups or more"),
    ],
)
def test_bad_data_raise(logits: list, labels: list, groups: list | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(logits, labels, groups)

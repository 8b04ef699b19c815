import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telltale.metrics.quality import krcc, mapped, plcc, rmse, srcc

stats = pytest.importorskip("scipy.stats")


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=40))
@settings(max_examples=60, deadline=None)
def test_ranks_agree_with_scipy(pairs: list[tuple[int, int]]) -> None:
    x, y = (np.array(column, float) for column in zip(*pairs, strict=True))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert math.isnan(srcc(x, y))
        assert math.isnan(krcc(x, y))
        return
    assert srcc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert krcc(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)


def test_hand_worked() -> None:
    assert srcc([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)  # 1 - 6 · 2 / 60
    assert krcc([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)  # 5 agree, 1 does not
    assert krcc([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / math.sqrt(6))


def test_a_monotone_function_ranks_perfectly() -> None:
    x = np.linspace(-2, 2, 30)
    assert srcc(x, np.exp(x)) == pytest.approx(1)
    assert krcc(x, np.exp(x)) == pytest.approx(1)
    assert srcc(x, -x) == pytest.approx(-1)


@pytest.mark.parametrize("sign", [1, -1])
def test_data_of_the_curve_are_fitted(sign: int) -> None:
    x = np.random.default_rng(0).uniform(-3, 5, 100)
    y = 10 + 70 / (1 + np.exp(-sign * (x - 1) / 0.6))
    assert plcc(x, y) > 0.9999
    assert rmse(x, y) < 1e-3


def test_the_fit_is_scipys() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, 200)
    y = 5 + 60 / (1 + np.exp(-(x - 0.4) / 0.1)) + rng.normal(0, 6, 200)

    def curve(v: np.ndarray, a: float, b: float, c: float, d: float) -> np.ndarray:
        return (a - b) / (1 + np.exp(-(v - c) / abs(d))) + b

    found, _ = optimize.curve_fit(curve, x, y, [y.max(), y.min(), x.mean(), x.std() / 4])
    np.testing.assert_allclose(mapped(x, y), curve(x, *found), atol=0.05)
    assert rmse(x, y) == pytest.approx(float(np.sqrt(np.mean((curve(x, *found) - y) ** 2))), 1e-5)
    assert srcc(mapped(x, y), y) == pytest.approx(srcc(x, y))


@given(st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_never_worse_than_a_line(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 30))
    line = np.polyval(np.polyfit(x, y, 1), x)
    assert rmse(x, y) <= float(np.sqrt(np.mean((line - y) ** 2))) + 1e-3


def test_constants_and_nonsense() -> None:
    assert math.isnan(plcc([1, 1, 1], [1, 2, 3]))
    assert math.isnan(rmse([1, 1, 1], [1, 2, 3]))
    with pytest.raises(ValueError, match="want two rows"):
        srcc([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="finite"):
        srcc([1, math.nan], [1, 2])
    with pytest.raises(ValueError, match="constant"):
        mapped([1, 1], [1, 2])

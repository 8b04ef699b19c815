"""Groups are averaged, compared and resampled whole."""

import math
import time

import numpy as np
import pytest

from telltale import metrics


def test_means_by_source() -> None:
    names, means = metrics.per_source([0.2, 0.4, 1.0], ["b", "b", "a"])
    assert names.tolist() == ["a", "b"]
    np.testing.assert_allclose(means, [1.0, 0.3])


def test_worst_source_sets_one_class_against_all_others() -> None:
    scores = [0.1, 0.2, 0.9, 0.8, 0.05, 0.06]
    labels = [0, 0, 1, 1, 1, 1]
    groups = ["camera", "camera", "swap", "swap", "gan", "gan"]
    assert metrics.by_source(metrics.auc, scores, labels, groups) == {
        "camera": 0.5,  # against all forged
        "gan": 0.0,  # against all genuine
        "swap": 1.0,
    }
    assert metrics.worst_source(metrics.auc, scores, labels, groups) == ("gan", 0.0)
    worst = metrics.worst_source(metrics.eer, scores, labels, groups, lower_is_better=True)
    assert worst == ("gan", 1.0)


def sample(count: int, sources: int, spread: float, seed: int) -> tuple[np.ndarray, ...]:
    """Scores whose sources differ by ``spread``, each source of one class."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(sources, size=count)
    labels = groups % 2
    scores = rng.normal(size=count) + labels + spread * rng.normal(size=sources)[groups]
    return scores, labels, groups


def test_the_interval_holds_the_value_and_repeats() -> None:
    scores, labels, groups = sample(400, 60, 0.3, seed=1)
    first = metrics.bootstrap(metrics.auc, scores, labels, groups, seed=3)
    assert first[0] == metrics.auc(scores, labels)
    assert first[1] < first[0] < first[2]
    assert first == metrics.bootstrap(metrics.auc, scores, labels, groups, seed=3)
    assert first != metrics.bootstrap(metrics.auc, scores, labels, groups, seed=4)


def test_resampling_sources_is_wider_than_resampling_items() -> None:
    scores, labels, groups = sample(2000, 20, 1.0, seed=0)
    _, low, high = metrics.bootstrap(metrics.auc, scores, labels, groups, seed=0, resamples=300)
    items = np.arange(len(scores))
    _, narrow, top = metrics.bootstrap(metrics.auc, scores, labels, items, seed=0, resamples=300)
    assert high - low > 2 * (top - narrow)


def test_the_interval_covers_about_as_often_as_it_says() -> None:
    # Accuracy at 0.5 of independent items whose true accuracy is Φ(0.5) = 0.6915.
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = rng.integers(2, size=150)
        scores = rng.normal(size=150) + labels
        _, low, high = metrics.bootstrap(
            metrics.accuracy, scores, labels, np.arange(150), seed=seed, resamples=200
        )
        covered += low <= 0.6914625 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_the_bootstrap_agrees_with_a_slow_and_obvious_one() -> None:
    scores, labels, groups = sample(60, 12, 0.5, seed=2)
    rng = np.random.default_rng(9)
    draws: list[float] = []
    while len(draws) < 100:
        drawn = rng.integers(12, size=12)
        rows = np.concatenate([np.flatnonzero(groups == group) for group in drawn])
        if 0 < labels[rows].sum() < rows.size:
            draws.append(metrics.average_precision(scores[rows], labels[rows]))
    draws.sort()
    found = metrics.bootstrap(
        metrics.average_precision, scores, labels, groups, seed=9, resamples=100
    )
    assert found[1:] == pytest.approx((draws[2], draws[97]), abs=1e-12)


def test_further_columns_follow_their_items() -> None:
    scores, labels, groups = sample(200, 40, 0.2, seed=5)
    kinds = np.where(scores > np.median(scores), "easy", "hard")

    def worst(values: np.ndarray, marks: np.ndarray, names: np.ndarray) -> float:
        assert ((values > np.median(scores)) == (names == "easy")).all()
        return metrics.apcer(values, marks, 0.5, names)

    value, low, high = metrics.bootstrap(
        worst, scores, labels, groups, seed=0, resamples=50, columns=[kinds]
    )
    assert low <= value <= high


def test_infinite_draws_do_not_become_nan() -> None:
    ratios, labels = np.array([-1.0, 1.0, math.inf, -2.0] * 3), np.array([0, 1, 0, 1] * 3)
    _, low, high = metrics.bootstrap(metrics.cllr, ratios, labels, np.arange(12), seed=0)
    assert high == math.inf
    assert not math.isnan(low)


def test_a_thousand_draws_of_ten_thousand_items_take_seconds() -> None:
    scores, labels, groups = sample(10_000, 500, 0.3, seed=0)
    began = time.process_time()
    metrics.bootstrap(metrics.auc, scores, labels, groups, seed=0)
    assert time.process_time() - began < 10  # of CPU; 0.5 s on an idle core


def test_too_few_sources_for_both_classes_raise() -> None:
    # With two sources of one class each, half of the draws lack a class: that is still enough.
    metrics.bootstrap(metrics.auc, [0, 1], [0, 1], ["a", "b"], seed=0, resamples=50)
    sources = [f"camera {number}" for number in range(60)]
    scores, labels = np.arange(61), [0] * 60 + [1]
    value, _, _ = metrics.bootstrap(metrics.auc, scores, labels, [*sources, "fake"], seed=0)
    assert value == 1


def test_a_mean_draws_whole_groups() -> None:
    values, groups = [0.0] * 30 + [1.0], ["a"] * 30 + ["b"]
    value, low, high = metrics.mean(values, groups, seed=1)
    assert value == pytest.approx(1 / 31)
    assert (low, high) == (0.0, 1.0)  # either group may be drawn twice
    assert metrics.mean([0.2, 0.4], ["a", "a"]) == (pytest.approx(0.3), None, None)
    with pytest.raises(ValueError, match="want a group an item"):
        metrics.mean([0.2, 0.4], ["a"])

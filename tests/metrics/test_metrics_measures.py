"""The measures agree with scikit-learn, sums worked by hand, and their definitions."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as peer
from sklearn.isotonic import IsotonicRegression

from telltale import metrics

Data = tuple[np.ndarray, np.ndarray]
CLOSE = {"rel": 1e-9, "abs": 1e-9}


@st.composite
def two_classes(draw: st.DrawFn, scores: st.SearchStrategy[float] | None = None) -> Data:
    """Scores and labels of both classes; few distinct scores, so that ties are common."""
    if scores is None:
        scores = st.sampled_from([-3.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0]) | st.floats(-1e3, 1e3)
    rows = draw(st.lists(st.tuples(scores, st.booleans()), min_size=2))
    values, labels = (np.array(column) for column in zip(*rows, strict=True))
    labels[:2] = [True, False]
    return values.astype(float), labels.astype(int)


probabilities = two_classes(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]) | st.floats(0, 1))


@given(two_classes())
def test_ranking_agrees_with_scikit_learn(data: Data) -> None:
    scores, labels = data
    assert metrics.auc(scores, labels) == pytest.approx(peer.roc_auc_score(labels, scores), **CLOSE)
    assert metrics.average_precision(scores, labels) == pytest.approx(
        peer.average_precision_score(labels, scores), **CLOSE
    )
    fpr, tpr, thresholds = peer.roc_curve(labels, scores, drop_intermediate=False)
    ours = metrics.roc(scores, labels)
    np.testing.assert_allclose(ours.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(ours.tpr, tpr, atol=1e-12)
    np.testing.assert_array_equal(ours.thresholds, thresholds)


@given(two_classes())
def test_the_benchmarks_eer_is_its_formula_on_scikit_learns_curve(data: Data) -> None:
    scores, labels = data
    fpr, tpr, _ = peer.roc_curve(labels, scores, pos_label=1)
    wanted = fpr[np.nanargmin(np.absolute((1 - tpr) - fpr))]
    assert metrics.eer_at_point(scores, labels) == pytest.approx(wanted, **CLOSE)


@given(two_classes(), st.sampled_from([-0.5, 0.1, 0.5, 2.0]))
def test_decisions_agree_with_scikit_learn(data: Data, threshold: float) -> None:
    scores, labels = data
    called = scores >= threshold
    (tn, fp), (fn, tp) = peer.confusion_matrix(labels, called, labels=[0, 1])
    assert metrics.confusion(scores, labels, threshold) == (tp, fp, tn, fn)
    assert metrics.accuracy(scores, labels, threshold) == pytest.approx(
        peer.accuracy_score(labels, called), **CLOSE
    )
    assert metrics.f1(scores, labels, threshold) == pytest.approx(
        peer.f1_score(labels, called, zero_division=0), **CLOSE
    )
    assert metrics.iou(scores, labels, threshold) == pytest.approx(
        peer.jaccard_score(labels, called, zero_division=0), **CLOSE
    )
    assert metrics.hter(scores, labels, threshold) == pytest.approx(
        1 - peer.balanced_accuracy_score(labels, called), **CLOSE
    )


@given(probabilities)
def test_brier_agrees_with_scikit_learn(data: Data) -> None:
    chances, labels = data
    assert metrics.brier(chances, labels) == pytest.approx(
        peer.brier_score_loss(labels, chances), **CLOSE
    )


@given(two_classes(st.floats(-30, 30)))
def test_cllr_is_the_balanced_log_loss_in_bits(data: Data) -> None:
    ratios, labels = data
    count = np.bincount(labels)
    # log_loss wants probabilities; beyond 30 nats they round to 1, hence the range above.
    loss = peer.log_loss(
        labels, 1 / (1 + np.exp(-ratios)), sample_weight=1 / count[labels], labels=[0, 1]
    )
    assert metrics.cllr(ratios, labels) == pytest.approx(loss / math.log(2), rel=1e-3, abs=1e-6)


@given(two_classes())
def test_min_cllr_is_that_of_isotonic_regression(data: Data) -> None:
    scores, labels = data
    count = np.bincount(labels)
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(scores, labels).predict(scores)
    # scikit-learn treats scores a few ulp apart as tied; those draws say nothing.
    if np.diff(np.unique(scores)).min(initial=1) < 1e-6:
        return
    odds = metrics.log_odds(np.clip(fitted, 0, 1)) - math.log(count[1] / count[0])
    assert metrics.min_cllr(scores, labels) == pytest.approx(metrics.cllr(odds, labels), abs=1e-9)


@given(two_classes(), st.randoms(use_true_random=False))
def test_order_of_items_and_ascending_maps_change_nothing(data: Data, random: object) -> None:
    scores, labels = data
    order = np.random.default_rng(random.randrange(2**32)).permutation(len(scores))
    mapped = np.searchsorted(np.unique(scores), scores) ** 3.0 - 7  # ascending, ties kept
    for metric in (
        metrics.auc,
        metrics.eer,
        metrics.eer_at_point,
        metrics.average_precision,
        metrics.min_cllr,
    ):
        value = metric(scores, labels)
        assert metric(scores[order], labels[order]) == pytest.approx(value, abs=1e-12)
        assert metric(mapped, labels) == pytest.approx(value, abs=1e-12)


@given(two_classes())
def test_swapping_the_classes_mirrors_the_curve(data: Data) -> None:
    scores, labels = data
    assert metrics.auc(-scores, 1 - labels) == pytest.approx(metrics.auc(scores, labels), abs=1e-12)
    assert metrics.auc(scores, 1 - labels) == pytest.approx(
        1 - metrics.auc(scores, labels), abs=1e-12
    )
    assert metrics.eer(-scores, 1 - labels) == pytest.approx(metrics.eer(scores, labels), abs=1e-12)


@given(two_classes(), st.floats(0, 1))
def test_operating_points_keep_their_promise(data: Data, limit: float) -> None:
    scores, labels = data
    fpr, tpr, thresholds = metrics.roc(scores, labels)
    best = max(hit for alarm, hit in zip(fpr, tpr, strict=True) if alarm <= limit)
    assert metrics.tpr_at_fpr(scores, labels, limit) == best
    threshold = metrics.threshold_at_fpr(scores, labels, limit)
    assert metrics.bpcer(scores, labels, threshold) <= limit
    assert 1 - metrics.apcer(scores, labels, threshold) == pytest.approx(best)
    assert metrics.threshold_at_eer(scores, labels) in thresholds[1:]


def test_perfect_chance_and_reversed() -> None:
    labels = [0, 0, 1, 1]
    assert metrics.auc([1, 2, 3, 4], labels) == 1
    assert metrics.auc([4, 3, 2, 1], labels) == 0
    assert metrics.auc([5, 5, 5, 5], labels) == 0.5
    assert metrics.eer([1, 2, 3, 4], labels) == 0
    assert metrics.eer([5, 5, 5, 5], labels) == 0.5
    assert metrics.min_cllr([1, 2, 3, 4], labels) == 0
    assert metrics.min_cllr([4, 3, 2, 1], labels) == 1


def test_ranking_by_hand() -> None:
    scores, labels = [0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]
    assert metrics.auc(scores, labels) == 0.75  # 3 of 4 pairs in order
    assert metrics.average_precision(scores, labels) == pytest.approx((1 + 2 / 3) / 2)
    # Points (0, 0), (0, ½), (½, ½), (½, 1), (1, 1): FNR = FPR at (½, ½).
    assert metrics.eer(scores, labels) == 0.5


def test_the_two_equal_error_rates_differ_between_points() -> None:
    # ROC through (0, 0), (0, ⅓), (1, 1), as the four last scores tie: 1 - x = ⅓ + ⅔x at x = 0.4.
    scores, labels = [3, 1, 1, 1, 1], [1, 1, 1, 0, 0]
    assert metrics.eer(scores, labels) == pytest.approx(0.4)
    assert metrics.eer_at_point(scores, labels) == 0  # |⅔ - 0| < |0 - 1|


def test_attack_error_is_that_of_the_worst_kind() -> None:
    scores = [0.9, 0.9, 0.9, 0.1, 0.2, 0.7, 0.3, 0.4, 0.6, 0.2]
    labels = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    kinds = ["print"] * 4 + ["mask"] * 2 + [""] * 4
    assert metrics.apcer(scores, labels, 0.5) == pytest.approx(2 / 6)
    assert metrics.apcer(scores, labels, 0.5, kinds) == 0.5  # one mask of two
    assert metrics.bpcer(scores, labels, 0.5) == 0.25
    assert metrics.acer(scores, labels, 0.5, kinds) == 0.375
    assert metrics.hter(scores, labels, 0.5) == pytest.approx((2 / 6 + 0.25) / 2)
    # Without misses the threshold is 0.1; half of each kind missed lets it rise to 0.7.
    assert metrics.bpcer_at_apcer(scores, labels, 0.0) == 1
    assert metrics.bpcer_at_apcer(scores, labels, 0.5, kinds) == 0
    assert metrics.bpcer_at_apcer(scores, labels, 1 / 3) == 0  # two of six missed …
    assert metrics.bpcer_at_apcer(scores, labels, 1 / 3, kinds) == 1  # … but no mask of two
    # 29 % of 100 attacks are 29, though 0.29 * 100 is 28.999999999999996.
    attacks, half = np.arange(100.0), [28.5]
    assert metrics.bpcer_at_apcer([*attacks, *half], [1] * 100 + [0], 0.29) == 0


@given(two_classes(), st.floats(0, 1))
def test_bpcer_at_apcer_is_the_least_over_all_thresholds(data: Data, limit: float) -> None:
    scores, labels = data
    kinds = np.arange(len(scores)) % 2
    tried = [*np.unique(scores), np.inf]
    allowed = [t for t in tried if metrics.apcer(scores, labels, t, kinds) <= limit + 1e-9]
    wanted = min(metrics.bpcer(scores, labels, t) for t in allowed)
    assert metrics.bpcer_at_apcer(scores, labels, limit, kinds) == wanted


def test_calibration_error_by_hand() -> None:
    # Bins [0, ½) and [½, 1]: means .25 and .9, shares ½ and ½, weights ½ each.
    assert metrics.ece([0.2, 0.3, 0.8, 1.0], [0, 1, 1, 0], bins=2) == pytest.approx(
        0.5 * 0.25 + 0.5 * 0.4
    )
    assert metrics.ece([0, 0, 1, 1], [0, 0, 1, 1]) == 0
    assert metrics.brier([0.2, 0.7], [0, 1]) == pytest.approx((0.04 + 0.09) / 2)


def test_cllr_by_hand() -> None:
    assert metrics.cllr([0, 0], [0, 1]) == pytest.approx(1)  # saying nothing costs one bit
    three = math.log(3)
    assert metrics.cllr([-three, three], [0, 1]) == pytest.approx(math.log2(4 / 3))
    assert metrics.cllr([-math.inf, math.inf], [0, 1]) == 0
    assert metrics.cllr([math.inf, math.inf], [0, 1]) == math.inf
    assert metrics.log_odds([0, 0.75, 1]) == pytest.approx([-math.inf, three, math.inf])


def test_risk_coverage_by_hand() -> None:
    coverage, risk = metrics.risk_coverage([0.9, 0.8, 0.7, 0.6], [0, 0, 1, 0])
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 0, 1 / 3, 1 / 4])
    # Tied items count with their mean error, whichever stands first.
    for wrong in ([1, 0], [0, 1]):
        np.testing.assert_allclose(metrics.risk_coverage([1, 1], wrong)[1], [0.5, 0.5])
    # Distances to ½: .4, .3, .2, .1; the last one is wrong.
    assert metrics.aurc([0.9, 0.2, 0.7, 0.6], [1, 0, 1, 0]) == pytest.approx(1 / 16)


def test_risk_at_a_coverage_by_hand() -> None:
    scores, labels = [0.9, 0.2, 0.7, 0.6], [1, 0, 1, 0]  # surest first; only the last is wrong
    risks = [metrics.risk_at(scores, labels, coverage) for coverage in (0.25, 0.5, 0.75, 1.0)]
    assert risks == [0, 0, 0, 0.25]
    assert metrics.risk_at(scores, labels, 1e-9) == 0  # one item at least
    for coverage in (0, 1.5):
        with pytest.raises(ValueError, match=r"want a coverage in \(0, 1\]"):
            metrics.risk_at(scores, labels, coverage)


ANY = [metrics.accuracy, metrics.f1, metrics.iou, metrics.brier, metrics.ece, metrics.aurc]
BOTH = [
    metrics.auc,
    metrics.roc,
    metrics.eer,
    metrics.eer_at_point,
    metrics.average_precision,
    metrics.threshold_at_eer,
    metrics.cllr,
    metrics.min_cllr,
    metrics.hter,
    metrics.acer,
]


@pytest.mark.parametrize("metric", ANY + BOTH, ids=lambda metric: metric.__name__)
def test_bad_input_raises(metric: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        metric([0.5, math.nan], [0, 1])
    with pytest.raises(ValueError, match="as many scores as labels"):
        metric([0.5, 0.1, 0.2], [0, 1])
    with pytest.raises(ValueError, match="got none"):
        metric([], [])
    with pytest.raises(ValueError, match="want labels 0"):
        metric([0.5, 0.1], [-1, 1])


@pytest.mark.parametrize("metric", BOTH, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_raises_and_says_so(metric: Callable[..., object], label: int) -> None:
    with pytest.raises(metrics.OneClassError, match=r"forged|genuine"):
        metric([0.1, 0.2], [label, label])


def test_further_bad_input_raises() -> None:
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\], got -1 to 2"):
        metrics.brier([-1, 2], [0, 1])
    with pytest.raises(ValueError, match="one bin or more"):
        metrics.ece([0.1], [0], bins=0)
    with pytest.raises(ValueError, match="threshold, got NaN"):
        metrics.accuracy([0.1], [0], math.nan)
    for limited in (metrics.tpr_at_fpr, metrics.bpcer_at_apcer, metrics.threshold_at_fpr):
        with pytest.raises(ValueError, match=r"rate in \[0, 1\], got 5"):
            limited([0.1, 0.2], [0, 1], 5)
    with pytest.raises(ValueError, match="a kind an item"):
        metrics.apcer([0.1, 0.2], [0, 1], 0.5, ["print"])
    with pytest.raises(ValueError, match="two sources or more"):
        metrics.bootstrap(metrics.auc, [0, 1], [0, 1], ["a", "a"], seed=0)
    with pytest.raises(ValueError, match="a group an item"):
        metrics.bootstrap(metrics.auc, [0, 1], [0, 1], ["a"], seed=0)

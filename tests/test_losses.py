"""The single-centre loss by hand-computed numbers and by what must not change it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from telltale.losses import circle, matched, single_center, want_labels


@pytest.mark.parametrize(("real", "fake", "expected"), [(1, 3, 1.0), (0, 0.2, 0.3), (2, 2, 2.5)])
def test_single_center_by_hand(real: float, fake: float, expected: float) -> None:
    features = torch.tensor([[real, 0, 0, 0], [fake, 0, 0, 0]], dtype=torch.float64)
    loss = single_center(features, torch.tensor([0, 1]), torch.zeros(4).double(), margin=0.25)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), margin=st.floats(0, 2), count=st.integers(1, 12))
def test_single_center_agrees_with_the_obvious_way(seed: int, margin: float, count: int) -> None:
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 3, generator=random, dtype=torch.float64)
    labels = torch.randint(2, (count,), generator=random)
    center = torch.randn(3, generator=random, dtype=torch.float64)
    means = []
    for label in (0, 1):
        distances = [
            (f - center).norm().item() for f, y in zip(features, labels, strict=True) if y == label
        ]
        means.append(sum(distances) / max(len(distances), 1))
    expected = means[0] + max(means[0] - means[1] + margin * 3**0.5, 0)
    assert single_center(features, labels, center, margin).item() == pytest.approx(expected)


def test_single_center_ignores_rotation_and_place_but_not_scale() -> None:
    torch.manual_seed(0)
    features, center = torch.randn(8, 5).double(), torch.randn(5).double()
    labels = torch.arange(8) % 2
    turn, _ = torch.linalg.qr(torch.randn(5, 5).double())
    move = torch.randn(5).double()
    loss = single_center(features, labels, center, 0.3)
    moved = single_center(features @ turn + move, labels, center @ turn + move, 0.3)
    torch.testing.assert_close(moved, loss)
    assert not torch.isclose(single_center(3 * features, labels, 3 * center, 0.3), loss)


@pytest.mark.parametrize(("fake", "pushes"), [(1.4, True), (1.6, False)])
def test_single_center_pulls_reals_always_and_pushes_fakes_up_to_the_margin(
    fake: float, pushes: bool
) -> None:
    features = torch.tensor([[1.0, 0, 0, 0], [0, fake, 0, 0]], requires_grad=True)
    single_center(features, torch.tensor([0, 1]), torch.zeros(4), margin=0.25).backward()
    assert features.grad is not None
    assert features.grad[0, 0] > 0  # descending moves the real towards the centre
    assert features.grad[1, 1] < 0 if pushes else not features.grad[1].any()


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("distance", [0.0, 1.0])
def test_single_center_survives_one_class_and_the_centre_itself(
    label: int, distance: float
) -> None:
    features = torch.full((3, 4), distance, requires_grad=True)
    center = torch.zeros(4, requires_grad=True)
    loss = single_center(features, torch.full((3,), label), center, margin=0.25)
    loss.backward()
    assert loss.isfinite()
    assert features.grad is not None
    assert center.grad is not None
    assert features.grad.isfinite().all()
    assert center.grad.isfinite().all()


def test_single_center_is_exact_under_half_precision() -> None:
    features = torch.tensor([[1.0, 0, 0, 0], [3.0, 0, 0, 0]], dtype=torch.bfloat16)
    loss = single_center(features, torch.tensor([0, 1]), torch.zeros(4), margin=0.25)
    assert loss.dtype == torch.float32


@pytest.mark.parametrize(
    "labels", [torch.zeros(2).long(), torch.zeros(3), torch.zeros(3, 1).long()]
)
def test_says_what_labels_it_wants(labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"want int64 labels \(3,\)"):
        want_labels(labels, 3)


def test_matched_pairs_by_order_whatever_the_layout() -> None:
    features = torch.arange(6.0)[:, None]
    real, fake = matched(features, torch.tensor([0, 1, 1, 0, 0, 1]))
    assert real.flatten().tolist() == [0, 3, 4]
    assert fake.flatten().tolist() == [1, 2, 5]
    with pytest.raises(ValueError, match="want as many fakes as real faces, got 1 and 2"):
        matched(features[:3], torch.tensor([0, 1, 0]))


@pytest.mark.parametrize(
    ("alike", "unlike", "value"), [(1.0, 0.0, 0.04859), (0.0, 1.0, 45.0), (1.0, -1.0, 0.2014)]
)
def test_circle_at_hand_computed_places(alike: float, unlike: float, value: float) -> None:
    found = circle(torch.tensor([alike]), torch.tensor([unlike]))
    assert found.item() == pytest.approx(value, rel=1e-3)


def test_circle_is_a_parabola_of_both_similarities() -> None:
    alike, unlike = torch.rand(50) * 2 - 1, torch.rand(50) * 1.25 - 0.25
    want = torch.nn.functional.softplus(24 * ((1 - alike) ** 2 + unlike**2 - 0.125)).mean()
    torch.testing.assert_close(circle(alike, unlike), want)


def test_circle_lets_the_weights_of_its_terms_learn() -> None:
    # With α attached the slopes are ∓2γ(1 - s_p)·σ and 2γ·s_n·σ; the original would give others.
    alike, unlike = (torch.tensor([value], requires_grad=True) for value in (0.9, 0.1))
    circle(alike, unlike).backward()
    share = torch.sigmoid(torch.tensor(24 * (0.1**2 + 0.1**2 - 0.125)))
    torch.testing.assert_close(alike.grad, -48 * 0.1 * share[None])
    torch.testing.assert_close(unlike.grad, 48 * 0.1 * share[None])


def test_single_center_keeps_its_precision_under_autocast() -> None:
    features = torch.randn(32, 64, generator=torch.Generator().manual_seed(0))
    labels, center = torch.arange(32) % 2, torch.zeros(64)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = single_center(features, labels, center, 0.01)
    torch.testing.assert_close(rounded, single_center(features, labels, center, 0.01))

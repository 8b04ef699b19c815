"""Styles by hand, and who lends a style to whom."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from telltale.nn.styles import EPS, mix_styles, other_domain, style


def test_style_is_mean_and_deviation_over_the_tokens_of_each_channel() -> None:
    features = torch.tensor([[[1.0, 10.0], [3.0, 10.0], [5.0, 10.0]]])  # one sample, 3 tokens
    mean, deviation = style(features)
    assert mean.tolist() == [[[3.0, 10.0]]]
    torch.testing.assert_close(deviation, torch.tensor([[[4 + EPS, EPS]]]).sqrt())


def test_style_of_one_vector_is_one_pair_of_numbers() -> None:
    mean, deviation = style(torch.tensor([[1.0, 3.0, 5.0], [0.0, 0.0, 9.0]]))
    assert mean.flatten().tolist() == [3.0, 3.0]
    torch.testing.assert_close(deviation.flatten().square(), torch.tensor([4.0, 27.0]))


def test_mixes_by_hand() -> None:
    features = torch.tensor([[[0.0], [2.0]], [[10.0], [30.0]]])  # means 1 and 20, content ∓1/√2
    mixed = mix_styles(features, torch.tensor([1, 0]), torch.tensor([0.25, 1.0]))
    mean = 0.25 * 1 + 0.75 * 20
    half = 0.25 * 1 + 0.75 * 10  # of the distance between the two tokens: √2 deviations
    torch.testing.assert_close(mixed[0].flatten(), torch.tensor([mean - half, mean + half]))
    torch.testing.assert_close(mixed[1], features[1])


def test_a_constant_channel_can_be_mixed() -> None:
    features = torch.ones(2, 4, 3, requires_grad=True)
    mixed = mix_styles(features, torch.tensor([1, 0]), torch.tensor([0.5, 0.0]))
    mixed.sum().backward()
    assert mixed.isfinite().all()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_a_batch_shifts_its_domains_one_way_and_either_way_alike_often() -> None:
    domains = torch.tensor([7, 2, 5, 2, 7, 5])  # any order, any numbers
    ways: Counter[tuple[int, ...]] = Counter()
    for seed in range(200):
        torch.manual_seed(seed)
        ways[tuple(domains[other_domain(domains)].tolist())] += 1
    assert set(ways) == {(2, 5, 7, 5, 2, 7), (5, 7, 2, 7, 5, 2)}
    assert all(70 < number < 130 for number in ways.values())


@pytest.mark.parametrize("sizes", [(1, 5), (5, 1), (2, 3, 7)])
def test_domains_of_unequal_size_lend_to_each_other(sizes: tuple[int, ...]) -> None:
    domains = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    partners = other_domain(domains)
    assert (domains[partners] != domains).all()
    # No one lends more often than sizes force them to.
    own = max(Counter(partners.tolist()).values())
    assert own <= -(-max(sizes) // min(sizes))


def test_who_is_drawn_within_a_domain_changes() -> None:
    domains = torch.tensor([0, 0, 0, 1, 1, 1])
    drawn = set()
    for seed in range(100):
        torch.manual_seed(seed)
        drawn.add(tuple(other_domain(domains)[:3].tolist()))
    assert len(drawn) == 6


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 100))
def test_the_partner_is_of_another_domain(domains: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    given_domains = torch.tensor(domains)
    partners = other_domain(given_domains)
    if len(set(domains)) == 1:
        assert torch.equal(partners, torch.arange(len(domains)))
    else:
        assert (given_domains[partners] != given_domains).all()


def test_in_equal_domains_everyone_is_a_partner_once() -> None:
    partners = other_domain(torch.tensor([1, 1, 2, 2, 3, 3]))
    assert sorted(partners.tolist()) == [*range(6)]


def test_statistics_carry_no_gradient() -> None:
    features = torch.randn(4, 9, 5, requires_grad=True)
    partners = torch.tensor([2, 3, 0, 1])
    mix_styles(features, partners, torch.zeros(4))[:2].sum().backward()
    assert features.grad is not None
    assert not features.grad[2:].any()
    assert features.grad[:2].any()


def test_the_order_of_the_batch_does_not_matter() -> None:
    features, order = torch.randn(8, 9, 5), torch.randperm(8)
    share = torch.rand(8)
    partners = torch.tensor([0, 1, 4, 5, 6, 7, 2, 3])
    place = torch.argsort(order)  # where each row of the sorted batch now stands
    shuffled = mix_styles(features[order], place[partners[order]], share[order])
    torch.testing.assert_close(shuffled, mix_styles(features, partners, share)[order])


@pytest.mark.parametrize("shape", [(8, 9, 5), (8, 50)])
def test_share_zero_takes_the_partners_style_and_keeps_the_content(
    shape: tuple[int, ...],
) -> None:
    features = torch.randn(shape) * torch.rand(8, *[1] * (len(shape) - 1)) + torch.rand(shape)
    partners = other_domain(torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
    mixed = mix_styles(features, partners, torch.zeros(8))
    for got, want in zip(style(mixed), style(features[partners]), strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    (mean, deviation), (own, spread) = style(mixed), style(features)
    content, before = (mixed - mean) / deviation, (features - own) / spread
    torch.testing.assert_close(content, before, atol=1e-3, rtol=1e-3)

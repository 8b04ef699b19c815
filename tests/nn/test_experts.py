"""The gate, dispatch and balance of expert mixtures, against slow versions and by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from telltale.nn.experts import Gate, dispatch, expected_load, variation


def moved(gate: Gate) -> Gate:
    nn.init.normal_(gate.choice)
    nn.init.normal_(gate.noise)
    return gate


@given(st.integers(1, 3), st.integers(3, 6), st.integers(1, 30), st.integers(0, 50))
def test_each_item_goes_to_k_different_experts(k: int, experts: int, items: int, seed: int) -> None:
    torch.manual_seed(seed)
    routing = moved(Gate(5, experts, k))(torch.randn(items, 5))
    assert routing.chosen.shape == (items, k)
    assert all(len(set(row)) == k for row in routing.chosen.tolist())
    assert routing.counts.sum() == k * items


def test_dispatch_brings_items_back_in_order() -> None:
    x = torch.randn(40, 7)
    routing = moved(Gate(7, 4))(x)
    same = dispatch(x, routing, [nn.Identity()] * 4, router_grad="none")
    assert torch.equal(same, x)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("router_grad", ["none", "gate_weighted"])
def test_dispatch_is_the_dense_loop(k: int, router_grad: str) -> None:
    torch.manual_seed(0)
    x, layers = torch.randn(30, 5), [nn.Linear(5, 3) for _ in range(4)]
    gate = moved(Gate(5, 4, k)).eval()
    routing = gate(x)
    dense = torch.zeros(30, 3)
    probabilities = (x @ gate.choice).softmax(-1)
    for item in range(30):
        outs = []
        for expert in routing.chosen[item].tolist():
            share = probabilities[item, expert] if router_grad == "gate_weighted" else 1.0
            outs.append(share * layers[expert](x[item]))
        stacked = torch.stack(outs)
        dense[item] = stacked.sum(0) if router_grad == "gate_weighted" else stacked.logsumexp(0)
    found = dispatch(x, routing, layers, router_grad=router_grad)
    torch.testing.assert_close(found, dense, atol=1e-5, rtol=1e-5)


def test_an_expert_without_items_is_not_asked() -> None:
    def never(x: Tensor) -> Tensor:
        raise AssertionError("nobody chose this one")

    x = torch.rand(9, 3)
    gate = Gate(3, 2).eval()
    with torch.no_grad():
        gate.choice[:, 0] = 1.0
    assert torch.equal(dispatch(x, gate(x), [nn.Identity(), never], router_grad="none"), x)


def test_even_use_has_no_imbalance_and_one_expert_for_all_has_the_most() -> None:
    assert variation(torch.full((5,), 3.0)) == 0
    for experts in (2, 5, 7):
        amounts = torch.zeros(experts)
        amounts[2 % experts] = 40.0
        assert variation(amounts).item() == pytest.approx(experts, rel=1e-6)
    assert variation(torch.tensor([4.0])) == 0


def test_load_of_two_experts_by_the_formula_and_by_trials() -> None:
    torch.manual_seed(0)
    clean, spread = torch.tensor([[0.3, 0.0]]), torch.tensor([[0.7, 0.5]])
    noisy = clean + spread * torch.tensor([[0.4, -0.2]])
    load = expected_load(clean, noisy, spread, 1)
    want = torch.special.ndtr((clean[0, 0] - noisy[0, 1]) / spread[0, 0])
    assert load[0] == pytest.approx(want.item(), abs=1e-6)
    again = clean[0, 0] + spread[0, 0] * torch.randn(100_000)
    assert load[0].item() == pytest.approx((again > noisy[0, 1]).float().mean().item(), rel=0.02)


def test_fresh_routing_is_uniform_in_training_and_expert_0_in_evaluation() -> None:
    torch.manual_seed(0)
    gate, x = Gate(6, 5), torch.randn(10_000, 6)
    counts = gate(x).counts
    chi_square = ((counts - 2000) ** 2 / 2000).sum()
    assert chi_square < 18.5  # 99.9 % of 4 degrees of freedom
    assert gate.eval()(x).counts.tolist() == [10_000, 0, 0, 0, 0]
    assert torch.equal(gate(x).chosen, gate(x).chosen)


def test_says_what_it_wants() -> None:
    with pytest.raises(ValueError, match="want 1 to 3 of 3 experts, got k = 4"):
        Gate(5, 3, 4)
    with pytest.raises(ValueError, match="router_grad must be one of"):
        dispatch(torch.rand(2, 3), Gate(3, 2)(torch.rand(2, 3)), [], router_grad="some")

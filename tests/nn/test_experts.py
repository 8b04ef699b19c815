"""The gate, dispatch and balance of expert mixtures, against slow versions and by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from telltale.nn import experts as mixture
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


@pytest.mark.parametrize("training", [False, True])  # shares are without noise in both
@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("router_grad", ["none", "gate_weighted"])
def test_dispatch_is_the_dense_loop(k: int, router_grad: str, training: bool) -> None:
    torch.manual_seed(0)
    x, layers = torch.randn(30, 5), [nn.Linear(5, 3) for _ in range(4)]
    gate = moved(Gate(5, 4, k)).train(training)
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
    noisy = clean + spread * torch.tensor([[0.4, -0.2]])  # expert 0 is in, expert 1 out
    load = expected_load(clean, noisy, spread, 1)
    for own, other in ((0, 1), (1, 0)):
        want = torch.special.ndtr((clean[0, own] - noisy[0, other]) / spread[0, own])
        assert load[own] == pytest.approx(want.item(), abs=1e-6)
        again = clean[0, own] + spread[0, own] * torch.randn(100_000)
        hits = (again > noisy[0, other]).float().mean().item()
        assert load[own].item() == pytest.approx(hits, rel=0.02)


def test_load_of_four_experts_two_an_item_by_trials() -> None:
    torch.manual_seed(0)
    clean = torch.tensor([[0.3, 0.0, -0.1, 0.2], [0.0, 0.4, 0.1, -0.3]])
    spread = torch.tensor([[0.7, 0.5, 0.9, 0.6], [0.8, 0.6, 0.7, 0.5]])
    noisy = clean + spread * torch.tensor([[0.4, -0.2, 0.9, -0.5], [0.1, 0.3, -0.6, 0.8]])
    found = expected_load(clean, noisy, spread, 2)
    for own in range(4):
        others = noisy[:, [e for e in range(4) if e != own]]
        again = clean[:, own] + spread[:, own] * torch.randn(100_000, 2)
        beaten_by = (others > again[..., None]).sum(-1)
        want = (beaten_by < 2).float().mean(0).sum()  # over the two items
        assert found[own].item() == pytest.approx(want.item(), rel=0.02)


@pytest.mark.parametrize("k", [1, 2])
def test_noise_and_balance_are_those_of_the_equations(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def watched(clean: Tensor, noisy: Tensor, spread: Tensor, k: int) -> Tensor:
        seen[:] = [clean, noisy, spread]
        return expected_load(clean, noisy, spread, k)

    monkeypatch.setattr(mixture, "expected_load", watched)
    torch.manual_seed(0)
    gate, x = Gate(5, 4, k), torch.randn(30, 5)
    gate(x)
    torch.testing.assert_close(seen[2], torch.full((30, 4), 0.7031), atol=1e-4, rtol=0)
    moved(gate)
    torch.manual_seed(7)
    routing = gate(x)
    clean, noisy, spread = seen
    torch.manual_seed(7)
    torch.testing.assert_close(clean, x @ gate.choice)
    torch.testing.assert_close(spread, (1 + (x @ gate.noise).exp()).log() + 0.01)
    torch.testing.assert_close(noisy, clean + spread * torch.randn(30, 4))
    best = noisy.topk(k)
    assert torch.equal(routing.chosen, best.indices)
    importance = torch.zeros(4)
    for gates, chosen in zip(best.values.softmax(-1), best.indices, strict=True):
        importance[chosen] += gates
    load = expected_load(clean, noisy, spread, k)
    torch.testing.assert_close(routing.balance, variation(importance) + variation(load))


def test_a_gate_is_exact_where_products_are_halved() -> None:
    torch.manual_seed(0)
    gate, x = moved(Gate(5, 4)), torch.randn(3000, 5)  # bfloat16 has no odd number above 256
    torch.manual_seed(7)
    whole = gate(x)
    torch.manual_seed(7)
    with torch.autocast("cpu", torch.bfloat16):
        halved = gate(x)
        from_half = gate(x.bfloat16())
    for name, want in whole._asdict().items():
        got = getattr(halved, name)
        assert got.dtype == want.dtype
        assert torch.equal(got, want)
        assert getattr(from_half, name).dtype == want.dtype


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

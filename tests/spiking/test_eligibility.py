"""Credits that do not go back through time: by hand, and as settings of SpikeNM."""

import math

import pytest
import torch
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import Tensor, nn

from telltale.fit import adam, fit
from telltale.nn.snn import spiking
from telltale.spiking.eligibility import (
    credit_of,
    discounted,
    eligibility,
    kept_by,
    slopes,
    spatial_credits,
)
from telltale.spiking.spike_nm import CREDITS, SpikeNM


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small tensors."""


def lif() -> nn.Module:
    made: nn.Module = neuron.LIFNode(
        tau=2.0,
        decay_input=False,
        v_reset=0.0,
        surrogate_function=surrogate.ATan(),
        step_mode="m",
    )
    return made


def chain() -> nn.Sequential:
    """Two hidden layers, of which the second is looked at."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(6, 7), lif(), nn.Linear(7, 5), lif(), nn.Linear(5, 3))
    with torch.no_grad():
        made[2].weight *= 3
        made[2].bias += 0.3
    return made


def by_hand(net: nn.Sequential, inputs: Tensor) -> tuple[Tensor, ...]:
    """Spikes and slopes of both neurons, from the equations alone."""
    found: list[Tensor] = []
    values = inputs
    for linear in (net[0], net[2]):
        current, potential = linear(values), torch.zeros(1)
        spikes, psi = [], []
        for now in current:
            potential = 0.5 * potential + now
            psi.append(2 / (2 * (1 + (math.pi * (potential - 1)) ** 2)))  # ATan, α = 2
            spikes.append((potential >= 1).float())
            potential = potential * (1 - spikes[-1])
        values = torch.stack(spikes)
        found += [values, torch.stack(psi)]
    return tuple(x.detach() for x in found)


def batch(steps: int, count: int = 4) -> Tensor:
    return 4 * torch.rand(steps, count, 6, generator=torch.Generator().manual_seed(2))


def test_slopes_and_leaks_are_the_neurons() -> None:
    net, inputs = chain(), batch(5)
    _, psi, _, _ = by_hand(net, inputs)
    torch.testing.assert_close(slopes(net[1], net[0](inputs)), psi)
    assert kept_by(lif()) == 0.5
    assert kept_by(neuron.IFNode()) == 1.0
    assert kept_by(neuron.ParametricLIFNode(init_tau=4.0)) == pytest.approx(0.75)
    assert discounted(torch.tensor([1.0, 0, 4]), 0.5).tolist() == [2, 2, 4]


@pytest.mark.parametrize("signals", [True, False])
def test_credits_are_those_of_the_traces(signals: bool) -> None:
    net, inputs = chain(), batch(5)
    truth = torch.tensor([0, 1, 2, 0])

    def task() -> Tensor:
        return nn.functional.cross_entropy(net(inputs).mean(0), truth)

    (found,) = spatial_credits(net, [net[2]], task, signals=signals)
    first, _, last, psi = by_hand(net, inputs)
    assert first.any()
    assert last.any()
    traces = eligibility(first, psi, 0.5)
    outputs = net[4](last).mean(0)
    apart = outputs.softmax(-1) - nn.functional.one_hot(truth, 3)
    learning = (apart / 4 @ net[4].weight / 5).expand(5, 4, 5)  # ∂L/∂s: no other neuron behind
    wanted = credit_of(learning, traces)
    if not signals:  # Σ_t ψ s̄
        silent = torch.zeros(4, 7)
        kept = []
        for spikes in first:
            silent = 0.5 * silent + spikes
            kept.append(silent)
        wanted = torch.einsum("tbi,tbj->ij", psi, torch.stack(kept))
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-4, atol=1e-6)
    assert all(weight.grad is None for weight in net.parameters())


def toy(credit: str, steps: int) -> tuple[SpikeNM, Tensor, Tensor]:
    torch.manual_seed(0)
    made = SpikeNM(spiking("snn_toy", size=16, classes=4), credit=credit)
    random = torch.Generator().manual_seed(1)
    return (
        made,
        torch.poisson(2 * torch.rand(6, steps, 2, 16, 16, generator=random), random),
        (torch.arange(6) % 4),
    )


def learnt(credit: str, steps: int) -> SpikeNM:
    made, events, labels = toy(credit, steps)
    made.train()
    torch.manual_seed(3)
    made.loss(events, labels)["task"].backward()
    return made


def test_one_step_leaves_no_time_to_leave_out() -> None:
    one, two = learnt("grad", 1), learnt("eprop", 1)
    for mask, other in zip(one.masks, two.masks, strict=True):
        assert mask.credits.abs().sum() > 0
        torch.testing.assert_close(mask.credits, other.credits, rtol=1e-3, atol=1e-4)
    one, two = learnt("grad", 5), learnt("eprop", 5)
    pairs = [*zip(one.masks, two.masks, strict=True)]
    assert not any(torch.allclose(a.credits, b.credits, atol=1e-3) for a, b in pairs)
    for a, b in pairs:
        both = torch.stack([a.credits.flatten(), b.credits.flatten()])
        assert float(torch.corrcoef(both)[0, 1]) > 0.3  # an approximation of the gradient


@pytest.mark.parametrize("credit", ["eprop", "local"])
def test_the_pass_for_credits_leaves_no_traces(credit: str) -> None:
    plain, other = learnt("grad", 3), learnt(credit, 3)
    before, after = plain.state_dict(), other.state_dict()
    for name, value in before.items():
        if not name.endswith((".credits", "num_batches_tracked")):
            torch.testing.assert_close(after[name], value, msg=name)
    for (name, weight), same in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert (weight.grad is None) == (same.grad is None), name
        if weight.grad is not None and same.grad is not None:
            torch.testing.assert_close(same.grad, weight.grad)


@pytest.mark.parametrize("credit", CREDITS)
def test_every_credit_trains(credit: str) -> None:
    made, events, labels = toy(credit, 3)
    made.advance(0.5)
    batches = [{"events": events, "labels": labels}] * 4
    for step in fit(made, batches, adam(made, lr=2e-3, weight_decay=0.0)):
        assert math.isfinite(step.loss)
        assert set(step.losses) == {"task", "eid"}
    for mask in made.masks:
        assert mask.credits.isfinite().all()
        masked = ~mask.chosen()
        assert (mask.credits[masked] != 0).float().mean() > 0.5  # earn although they are not kept
    kept = [mask.credits.clone() for mask in made.masks]
    made.advance(1.0)
    made.loss(events, labels)
    assert all(torch.equal(a, mask.credits) for a, mask in zip(kept, made.masks, strict=True))


def test_networks_that_cannot_give_credits_are_told() -> None:
    def loss(network: nn.Module, credit: str) -> None:
        made = SpikeNM(network, credit=credit)
        made.train().loss(torch.rand(3, 2, 2, 8, 8), torch.tensor([0, 1]))

    def theirs(*between: nn.Module, mode: str = "m") -> nn.Sequential:
        return nn.Sequential(
            layer.Conv2d(2, 8, 3, padding=1, step_mode="m"),
            neuron.IFNode(step_mode="m"),
            layer.Conv2d(8, 8, 3, padding=1, step_mode="m"),
            *between,
            layer.Flatten(step_mode="m"),
            layer.Linear(8 * 16, 4, step_mode="m"),
        )

    pool, fires = layer.AvgPool2d(2, step_mode="m"), neuron.IFNode(step_mode="m")
    loss(theirs(pool, fires), "eprop")
    with pytest.raises(ValueError, match="no pooling between"):
        loss(theirs(pool, fires), "local")
    with pytest.raises(ValueError, match="spiking neuron behind"):
        loss(theirs(pool), "eprop")
    alone = theirs(pool, fires)
    alone[1].step_mode = "s"
    with pytest.raises(ValueError, match="multi-step mode"):
        loss(alone, "local")

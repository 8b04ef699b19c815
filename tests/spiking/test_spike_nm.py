"""SpikeNM: the law of its draws, its masks and credits, and networks that keep N of M."""

import math
from itertools import permutations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from telltale.fit import adam, fit, restore, save
from telltale.nn.snn import SpikingNetwork, potentials, spiking
from telltale.spiking import masks, packing
from telltale.spiking.blocks import (
    in_blocks,
    inner_layers,
    out_of_blocks,
    patterns,
    prunable,
    violations,
)
from telltale.spiking.eligibility import credit_of, eligibility
from telltale.spiking.spike_nm import NMMask, SpikeNM, gumbel, sample, standardised

PATTERNS = [(1, 4), (2, 4), (2, 8), (4, 8), (1, 16), (2, 16)]


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small tensors."""


def toy(**settings: object) -> SpikeNM:
    torch.manual_seed(0)
    network = spiking("snn_toy", size=16, classes=4)
    return SpikeNM(network, **settings)  # type: ignore[arg-type]


def clips(count: int = 6, steps: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    events = torch.poisson(torch.rand(count, steps, 2, 16, 16, generator=random), random)
    return events, torch.arange(count) % 4


def mask_of(weight: Tensor, n: int, m: int, **settings: object) -> NMMask:
    torch.manual_seed(0)
    return NMMask(weight, n, m, **({"soft": True, "credit": "grad"} | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(("n", "m"), PATTERNS)
@pytest.mark.parametrize("shape", [(5, 32), (3, 16, 3, 3), (4, 7), (2, 5, 3, 3)])
def test_1_masks_have_n_ones_in_every_m(n: int, m: int, shape: tuple[int, ...]) -> None:
    weight = torch.rand(shape) + 0.5
    made = mask_of(weight, n, m, soft=False).train()
    drawn = made(weight).detach()
    kept = in_blocks((drawn != 0).float(), m)
    room = in_blocks(torch.ones(shape), m).sum(-1)
    assert torch.equal(kept.sum(-1), room.clamp_max(n))
    made.eval()
    assert torch.equal((in_blocks(made(weight), m) != 0).sum(-1), room.clamp_max(n).long())


@given(st.integers(1, 16), st.floats(0.02, 2.0), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_2_relaxed_masks_sum_to_n(m: int, tau: float, seed: int) -> None:
    torch.manual_seed(seed)
    n = 1 + seed % m
    soft, hard = sample(torch.randn(7, m).double() * 3, n, tau)
    torch.testing.assert_close(soft.sum(-1), torch.full((7,), float(n)).double())
    assert soft.min() >= 0
    assert torch.equal(hard.sum(-1), torch.full((7,), float(n)).double())
    assert ((hard == 0) | (hard == 1)).all()


def test_2_worked_values() -> None:
    keys = torch.tensor([3.0, 1, 0, -1], dtype=torch.float64)
    soft, hard = sample(keys, 2, 0.5)
    wanted = torch.tensor([0.9793, 0.8847, 0.1197, 0.0162]).double()
    torch.testing.assert_close(soft, wanted, rtol=0, atol=1e-4)
    soft, _ = sample(keys, 2, 0.1)
    wanted = torch.tensor([1.0, 0.99995, 4.5e-5, 2e-9]).double()
    torch.testing.assert_close(soft, wanted, rtol=0, atol=1e-5)
    assert hard.tolist() == [1, 1, 0, 0]


def test_3_draws_follow_plackett_and_luce() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([2.0, 1, 0, -1])
    _, hard = sample(logits + gumbel(torch.empty(100_000, 4)), 2, 1.0)
    found = hard.mean(0)
    weights = logits.exp().double()
    exact = torch.zeros(4).double()
    for one, two in permutations(range(4), 2):
        chance = weights[one] / weights.sum() * weights[two] / (weights.sum() - weights[one])
        exact[one] += chance
        exact[two] += chance
    wanted = torch.tensor([0.92659, 0.69570, 0.27467, 0.10304]).double()
    torch.testing.assert_close(exact, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=0.01)


def test_4_a_logit_a_weight_in_place_of_one_a_pattern() -> None:
    counts = [patterns(n, m) for n, m in [(2, 4), (2, 8), (4, 8), (1, 16), (2, 16)]]
    assert counts == [10, 36, 162, 16, 136]
    weight = torch.zeros(3, 16, 3, 3)
    assert mask_of(weight, 2, 8).logits.numel() == weight.numel()


def test_5_limits_of_kappa() -> None:
    torch.manual_seed(0)
    logits = torch.randn(50, 8)
    _, hard = sample(1e4 * logits + gumbel(logits), 3, 1.0)
    assert torch.equal(hard.bool(), logits >= logits.topk(3).values[:, -1:])
    _, hard = sample(gumbel(torch.empty(12_000, 4)), 2, 1.0)
    places = (hard * torch.tensor([1, 2, 4, 8])).sum(1).long()
    counts = torch.bincount(places, minlength=16)
    counts = counts[counts > 0].double()
    assert len(counts) == 6
    assert float(((counts - 2000) ** 2 / 2000).sum()) < 20.5  # 99.9 % of χ² with 5 degrees


def test_6_n_of_n_is_the_dense_network() -> None:
    dense = spiking("snn_toy", size=16, classes=4)
    made = SpikeNM(spiking("snn_toy", size=16, classes=4), n=4, m=4)
    state = {k.replace("network.", ""): v for k, v in made.state_dict().items()}
    state = {k.replace("parametrizations.weight.original", "weight"): v for k, v in state.items()}
    dense.load_state_dict({k: v for k, v in state.items() if "parametrizations" not in k})
    events, _ = clips()
    assert torch.equal(made.train().run(events), dense.train()(events))


def test_7_the_hard_mask_passes_the_soft_gradient() -> None:
    weight, values = torch.rand(4, 8) + 0.5, torch.randn(4, 8)
    found = []
    for soft in (True, False):
        made = mask_of(weight, 2, 4, soft=soft).train()
        torch.manual_seed(3)
        (made(weight) / weight * values).sum().backward()
        assert made.logits.grad is not None
        found.append(made.logits.grad)
        torch.manual_seed(3)
        drawn = made(weight) / weight
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)
    assert (in_blocks((drawn == 0).float(), 4) * found[1]).any()  # of places that are not chosen


@given(st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_8_a_constant_added_to_a_block_changes_nothing(shift: float) -> None:
    torch.manual_seed(0)
    keys = torch.randn(6, 4).double()
    one, two = sample(keys, 2, 0.5), sample(keys + shift, 2, 0.5)
    torch.testing.assert_close(one[0], two[0])
    assert torch.equal(one[1], two[1])


@pytest.mark.parametrize("steps", [1, 5])
def test_9_one_mask_serves_all_steps(steps: int) -> None:
    made = toy().train()
    layer = prunable(made.network)[0]
    seen: list[Tensor] = []
    layer.register_forward_pre_hook(lambda module, given: seen.append(module.weight.detach()))

    class StepByStep(nn.Module):
        """Calls its network once a step, as networks in single-step mode do."""

        def forward(self, events: Tensor) -> Tensor:
            parts = [network(events[:, t : t + 1]) for t in range(events.shape[1])]
            return torch.cat(parts)

    network, made.network = made.network, StepByStep()
    torch.manual_seed(5)
    made.run(clips(2, steps)[0])
    assert len(seen) == steps
    assert all(torch.equal(weight, seen[0]) for weight in seen)
    torch.manual_seed(5)
    made.run(clips(2, 1)[0])
    assert torch.equal(seen[-1], seen[0])
    made.run(clips(2, 1)[0])
    assert not torch.equal(seen[-1], seen[0])  # another pass, another draw


def test_10_weights_that_are_masked_out_earn_credit() -> None:
    weight = nn.Parameter(torch.rand(4, 8) + 0.5)
    made = mask_of(weight, 2, 4, soft=False).train()
    inputs = torch.rand(16, 8)
    torch.manual_seed(1)
    effective = made(weight)
    seen: list[Tensor] = []
    effective.register_hook(seen.append)
    (inputs @ effective.T).square().sum().backward()
    masked = effective == 0
    assert masked.any()
    assert (seen[0][masked] != 0).all()
    assert (made.credits != 0).all()
    assert weight.grad is not None
    assert (weight.grad[masked] == 0).all()  # what a credit from ∂L/∂W would be


def test_10_credits_are_standardised_in_their_block() -> None:
    values = torch.tensor([[[1.0, 2, 3, 4], [5, 5, 5, 5], [7, 9, 0, 0]]])
    valid = torch.tensor([[[True] * 4, [True] * 4, [True, True, False, False]]])
    found = standardised(values, valid)
    deviation = math.sqrt(1.25)
    torch.testing.assert_close(
        found[0, 0], torch.tensor([-1.5, -0.5, 0.5, 1.5]) / deviation, rtol=1e-5, atol=1e-6
    )
    assert found[0, 1].tolist() == [0, 0, 0, 0]
    assert found[0, 2].tolist() == [-1, 1, 0, 0]


def test_11_a_trace_gathers_what_came_in() -> None:
    spikes = torch.tensor([1.0, 0, 1])[:, None, None]
    traces = eligibility(spikes, torch.ones(3, 1, 1), 0.5)
    assert traces.flatten().tolist() == [1, 0.5, 1.25]
    signals = torch.tensor([2.0, 0, -1])[:, None, None]
    assert credit_of(signals, traces).item() == pytest.approx(abs(2 * 1 - 1.25))


def test_12_distillation_draws_logits_to_credits() -> None:
    weight = torch.rand(4, 8)
    made = mask_of(weight, 2, 4)
    made.credits.copy_(torch.randn(made.credits.shape))
    with torch.no_grad():
        made.logits.copy_(made.credits.log_softmax(-1) / made.kappa)
    torch.testing.assert_close(made.distillation(), torch.zeros(8), rtol=0, atol=1e-6)
    with torch.no_grad():
        made.logits.zero_()
    before = made.distillation().mean()
    before.backward()
    assert made.logits.grad is not None
    with torch.no_grad():
        made.logits -= 0.1 * made.logits.grad
    assert made.distillation().mean() < before
    assert not made.credits.requires_grad


def test_12_the_loss_has_the_term_once_credits_mean_something() -> None:
    made, (events, labels) = toy(), clips()
    assert set(made.loss(events, labels)) == {"task"}
    made.advance(0.5)
    terms = made.loss(events, labels)
    assert set(terms) == {"task", "eid"}
    assert terms["eid"] >= 0
    made.advance(1.0)
    assert set(made.loss(events, labels)) == {"task"}
    plain = toy(eid=0.0)
    plain.advance(0.5)
    assert set(plain.loss(events, labels)) == {"task"}


def test_13_evaluation_needs_no_chance_and_files_keep_it(tmp_path: Path) -> None:
    made, (events, labels) = toy(), clips()
    for step in fit(made, [{"events": events, "labels": labels}] * 3, adam(made, lr=1e-2)):
        made.advance(step.number / 3)
    made.eval()
    with torch.no_grad():
        one, two = made(events), made(events)
    assert torch.equal(one, two)
    save(made, tmp_path / "made.safetensors")
    fresh = toy().eval()
    restore(fresh, tmp_path / "made.safetensors")
    with torch.no_grad():
        assert torch.equal(fresh(events), one)
        final = made.finalise()
        assert torch.equal(final(events).mean(0), one)
    assert not [name for name in final.state_dict() if "parametrizations" in name]
    packing.write_packed(final, tmp_path / "packed.safetensors", 2, 4)
    unpacked = packing.unpack_state(load_file(tmp_path / "packed.safetensors"))
    assert unpacked.keys() == final.state_dict().keys()
    assert all(torch.equal(unpacked[k], v) for k, v in final.state_dict().items())


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (2, 8), (1, 16)])
def test_14_sparsity_is_what_the_pattern_says(n: int, m: int) -> None:
    final = toy(n=n, m=m).eval().finalise()
    inner = prunable(final)
    assert len(inner) == 2  # neither the first convolution nor the classifier
    for layer in inner:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        assert violations(weight, n, m) == 0
        assert float((weight == 0).double().mean()) == 1 - n / m


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 3), st.sampled_from(PATTERNS))
@settings(max_examples=40, deadline=None)
def test_blocks_and_packing_come_back(
    rows: int, channels: int, kernel: int, pattern: tuple[int, int]
) -> None:
    n, m = pattern
    weight = torch.randn(rows, channels, kernel, kernel)
    assert torch.equal(out_of_blocks(in_blocks(weight, m), weight), weight)
    sparse = weight * masks.largest(weight, n, m)
    assert violations(sparse, n, m) == 0
    packed = packing.pack(sparse, n, m)
    assert torch.equal(packing.unpack(packed), sparse)
    inputs = torch.randn(2, channels, 5, 5).double()
    found = packing.sparse_convolution(
        packing.sparse_linear(packing.pack(sparse.double(), n, m)), inputs, kernel, 1
    )
    wanted = nn.functional.conv2d(inputs, sparse.double(), padding=1)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_packed_linear_and_its_bits() -> None:
    weight = torch.randn(6, 10) * masks.largest(torch.randn(6, 10), 2, 4)
    packed = packing.pack(weight, 2, 4)
    inputs = torch.randn(3, 10)
    found = packing.sparse_product(packing.sparse_linear(packed), inputs)
    torch.testing.assert_close(found, inputs @ weight.T, rtol=1e-6, atol=1e-6)
    assert packed.bits == 6 * 3 * 2 * (32 + 2)
    with pytest.raises(ValueError, match="want 1:4"):
        packing.pack(weight, 1, 4)
    with pytest.raises(ValueError, match=r"GPU|2:4 matrix"):
        packing.semi_structured(torch.ones(4, 4))


@pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability() < (8, 0),
    reason="2:4 kernels want an NVIDIA GPU of compute capability 8.0 or more",
)
def test_tensor_cores_give_the_same_product() -> None:
    weight = torch.randn(128, 128)
    weight = weight * masks.largest(weight, 2, 4)
    inputs = torch.randn(128, 64)
    found = (packing.semi_structured(weight) @ inputs.half().cuda()).float().cpu()
    torch.testing.assert_close(found, weight @ inputs, rtol=1e-2, atol=1e-1)


def test_layers_that_stay_dense_are_named() -> None:
    torch.manual_seed(0)
    network = spiking("snn_toy", size=16, classes=4)
    every = [*inner_layers(network, [])]
    made = SpikeNM(network, n=1, m=4, skip=[every[0], every[1], every[-1]])
    assert len(made.layers) == 1
    final = made.eval().finalise()
    sparse = [name for name, layer in inner_layers(final, []).items() if (layer.weight == 0).any()]
    assert sparse == [every[2]]
    packed = packing.pack_network(final, 1, 4, [every[0], every[1], every[-1]])
    again = packing.unpack_state(packed)
    assert all(torch.equal(again[k], v) for k, v in final.state_dict().items())
    line = nn.Sequential(nn.Conv1d(4, 8, 3), nn.Flatten(), nn.Linear(24, 2))
    SpikeNM(line, n=2, m=4, skip=[])  # any convolution of any network
    with pytest.raises(ValueError, match="no layer first"):
        SpikeNM(nn.Sequential(nn.Linear(4, 4)), skip=["first"])


def test_entropy_says_how_undecided_masks_are() -> None:
    made = toy()
    with torch.no_grad():
        for mask in made.masks:
            mask.logits.zero_()
    assert made.entropy() == pytest.approx(math.log(4))
    with torch.no_grad():
        for mask in made.masks:
            mask.logits[..., 0] = 100.0
    assert made.entropy() == pytest.approx(0, abs=1e-6)


def test_neighbours_in_a_block_are_input_channels() -> None:
    weight = torch.arange(24.0).reshape(2, 3, 2, 2)
    first = in_blocks(weight, 3)[0, 0]
    assert first.tolist() == weight[0, :, 0, 0].tolist()


def test_rivals_keep_their_patterns() -> None:
    torch.manual_seed(0)
    network = spiking("snn_toy", size=16, classes=4)
    weight = prunable(network)[1].weight.detach().clone()  # type: ignore[operator,union-attr]
    kept = masks.magnitude_masks(network, 1, 4)
    assert len(kept) == 2
    block, mask = in_blocks(weight.abs(), 4)[0, 0], in_blocks(kept["layers.9.weight"], 4)[0, 0]
    assert mask.argmax() == block.argmax()
    share = masks.unstructured_masks(network, 0.25)
    ones = sum(int(m.sum()) for m in share.values())
    assert ones == pytest.approx(0.25 * sum(m.numel() for m in share.values()), abs=2)
    random = masks.random_masks(network, 2, 4, generator=torch.Generator().manual_seed(0))
    masks.fix(network, random)
    events, labels = clips()
    network(events).mean(0)[range(6), labels].sum().backward()
    final = masks.plain(network)
    assert all(violations(layer.weight, 2, 4) == 0 for layer in prunable(final))  # type: ignore[arg-type]


def test_magnitude_at_every_step_lets_all_weights_learn() -> None:
    torch.manual_seed(0)
    network = spiking("snn_toy", size=16, classes=4)
    masks.by_magnitude(network, 2, 4)
    layer = prunable(network)[1]
    original: Tensor = layer.parametrizations.weight.original  # type: ignore[union-attr,assignment]
    effective: Tensor = layer.weight  # type: ignore[assignment]
    assert violations(effective, 2, 4) == 0
    effective.sum().backward()
    assert original.grad is not None
    pruned = effective == 0
    wanted = 1 + masks.DECAY * original.detach()[pruned]
    torch.testing.assert_close(original.grad[pruned], wanted)
    assert (original.grad[~pruned] == 1).all()


def test_networks_of_spikingjelly_can_be_pruned() -> None:
    from spikingjelly.activation_based import functional, layer, neuron

    torch.manual_seed(0)
    theirs = nn.Sequential(
        layer.Conv2d(2, 8, 3, padding=1, step_mode="m"),
        neuron.IFNode(step_mode="m"),
        layer.Conv2d(8, 8, 3, padding=1, step_mode="m"),
        neuron.IFNode(step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(8 * 64, 4, step_mode="m"),
    )
    made = SpikeNM(theirs, n=1, m=4)
    events = torch.poisson(torch.rand(3, 2, 2, 8, 8))  # (T, B, …), as that library has it
    losses = made.loss(events, torch.tensor([0, 1]))
    sum(losses.values(), torch.zeros(())).backward()  # type: ignore[union-attr]
    functional.reset_net(theirs)
    assert violations(prunable(made.finalise())[0].weight, 1, 4) == 0  # type: ignore[arg-type]


def test_wrong_settings_say_what_is_wanted() -> None:
    for wrong in ({"n": 5}, {"n": 0}, {"eid": -1.0}, {"credit": "loss"}, {"anneal": (1.0,)}):
        with pytest.raises(ValueError, match="want"):
            toy(**wrong)
    with pytest.raises(ValueError, match="layers between"):
        SpikeNM(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))


def test_neurons_do_what_the_equations_say() -> None:
    network = spiking("snn_toy", size=16, classes=4)
    node = [m for m in network.modules() if hasattr(m, "store_v_seq")][-1]
    with potentials(node) as seen:
        node(torch.full((6, 1, 1), 0.6))
    spikes, left = seen[0]
    assert spikes.flatten().tolist() == [0, 0, 1, 0, 0, 1]
    torch.testing.assert_close(
        left.flatten(), torch.tensor([0.6, 0.9, 0, 0.6, 0.9, 0]), rtol=1e-5, atol=1e-6
    )
    assert isinstance(network, SpikingNetwork)


def test_clips_do_not_see_each_other() -> None:
    network = spiking("snn_toy", size=16, classes=4).eval()
    events, _ = clips()
    with torch.no_grad():
        together = network(events)
        torch.testing.assert_close(network(events[2:3])[:, 0], together[:, 2])
        assert torch.equal(network(events), together)  # nor what came before them
    with pytest.raises(ValueError, match="want events"):
        network(events[..., :8])

"""PACE: its distances, its quantiser, and clips that learn while teachers do not."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from telltale.fit import adam, fit
from telltale.nn.snn import spiking
from telltale.spiking.coresets import class_batches, herding, k_center
from telltale.spiking.pace import (
    MATCHINGS,
    PACE,
    characteristic,
    joined,
    mean_distance,
    peq,
    squared_distance,
    st_sm,
)


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small tensors."""


def lively() -> nn.Module:
    """A network whose hidden layer fires, as that of a trained one does."""
    made = spiking("snn_toy", size=16, classes=2)
    hidden = next(layer for layer in made.layers if isinstance(layer, nn.Linear))
    with torch.no_grad():
        for layer in made.layers:
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.fill_(3.0)
        hidden.weight *= 8
        hidden.bias += 0.4
    return made


def toy(**chosen: object) -> PACE:
    torch.manual_seed(0)
    teachers = nn.ModuleList([lively() for _ in range(2)])
    made = {"classes": 2, "ipc": 2, "shape": (4, 16, 16)} | chosen
    return PACE(teachers, **made)  # type: ignore[arg-type]


def real(count: int = 12, steps: int = 4) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    rates = 2 * torch.rand(count, steps, 2, 16, 16, generator=random)
    return {"events": torch.poisson(rates, random), "labels": torch.arange(count) % 2}


def features(count: int, steps: int = 5, width: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(steps, count, width, generator=torch.Generator().manual_seed(seed)).double()


def one_class(count: int) -> Tensor:
    return torch.ones(1, count).double()


WAVES = 0.3 * torch.randn(6, 64, generator=torch.Generator().manual_seed(9)).double()


def distance(one: Tensor, two: Tensor, **chosen: object) -> Tensor:
    members = one_class(one.shape[1]), one_class(two.shape[1])
    return st_sm(one, two, *members, WAVES, **chosen)  # type: ignore[arg-type]


@given(st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_1_whole_weights_give_the_squared_difference(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    one, two = (
        torch.complex(torch.randn(9, generator=random), torch.randn(9, generator=random)).to(
            torch.complex128
        )
        for _ in range(2)
    )
    found = squared_distance(one, two, 1.0, 1.0)
    torch.testing.assert_close(found, (one - two).abs().square(), rtol=1e-6, atol=1e-6)
    assert (squared_distance(one, two, 0.5, 0.5) >= 0).all()
    same = squared_distance(one, one, 0.5, 0.5)
    torch.testing.assert_close(same, torch.zeros(9).double(), rtol=0, atol=1e-9)


def test_2_a_shift_of_all_features_changes_phases_only() -> None:
    h = features(20)
    one = characteristic(h, one_class(20), WAVES)
    two = characteristic(h + 0.7, one_class(20), WAVES)
    torch.testing.assert_close(one.abs(), two.abs(), rtol=0, atol=1e-6)
    assert float(distance(h, h + 0.7, alpha=1.0, beta=0.0, by_time=False)) < 1e-4
    assert float(distance(h, h + 0.7, alpha=0.0, beta=1.0, by_time=False)) > 1e-2


def test_3_one_sample_has_no_spread_and_the_transform_keeps_energy() -> None:
    z = characteristic(features(1), one_class(1), WAVES)
    torch.testing.assert_close(z.abs(), torch.ones(z.shape).double())
    turned = torch.fft.fft(z, dim=1, norm="ortho")
    torch.testing.assert_close(turned.abs().square().sum(1), z.abs().square().sum(1))
    assert turned.abs().std() > 0.1


def test_4_only_phases_see_a_shift_in_time() -> None:
    h = features(20)
    late = h.roll(2, 0)
    assert float(distance(h, late, alpha=1.0, beta=0.0)) < 1e-4
    assert float(distance(h, late, alpha=0.5, beta=0.5)) > 1e-2


def test_5_time_that_runs_backwards_is_seen() -> None:
    h = features(20) + torch.arange(5.0).double()[:, None, None]
    assert float(distance(h, h.flip(0))) > 10 * float(distance(h, h))


def test_6_residual_potentials_densify_spikes() -> None:
    events = real()["events"]
    binary = toy(residual=0.0, matching="st-sm")
    network = binary.teachers[0]
    assert isinstance(network, nn.Module)
    dense = toy(residual=1.0)
    with torch.no_grad():
        s, h = binary(events), dense(events)
    assert set(s.unique().tolist()) <= {0.0, 1.0}
    assert len(h.unique()) > 10
    assert (h[s == 1] == 1).all()  # a hard reset leaves nothing where a spike was


def test_7_more_of_the_clips_get_a_gradient() -> None:
    counts = []
    for residual in (0.0, 1.0):
        made = toy(residual=residual)
        torch.manual_seed(2)
        sum(made.loss(**real()).values()).backward()  # type: ignore[union-attr]
        assert made.clips.grad is not None
        counts.append(int((made.clips.grad != 0).sum()))
    assert counts[1] >= counts[0]
    assert counts[1] > 0


@given(st.floats(-3, 12), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_8_counts_are_whole_and_bounded(value: float, most: int) -> None:
    for stochastic in (True, False):
        x = torch.full((3,), value, requires_grad=True)
        q = peq(x, most, stochastic=stochastic)
        torch.testing.assert_close(q.detach(), q.detach().round(), rtol=0, atol=1e-5)
        assert ((q >= 0) & (q <= most)).all()
        q.sum().backward()
        assert x.grad is not None
        near = float(x.detach()[0])
        if near not in (0, most):
            assert (x.grad == float(0 < near < most)).all()


def test_8_the_mean_is_the_value_and_whole_numbers_stay() -> None:
    torch.manual_seed(0)
    assert float(peq(torch.full((10_000,), 2.3), 8, stochastic=True).mean()) == pytest.approx(
        2.3, abs=0.02
    )
    whole = torch.arange(9.0)
    assert torch.equal(peq(whole, 8, stochastic=True), whole)


def test_9_and_10_only_the_clips_learn() -> None:
    made = toy()
    before = {k: v.clone() for k, v in made.state_dict().items()}
    for _ in fit(made, [real()] * 3, adam(made, lr=0.1)):
        assert not made.teachers.training
    after = made.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"clips", "turn"}
    assert all(weight.grad is None for weight in made.teachers.parameters())
    assert made.labels().tolist() == [0, 0, 1, 1]
    assert made.clips.shape == (4, 4, 2, 16, 16)


def test_11_what_is_exported_is_what_is_matched(tmp_path: Path) -> None:
    made = toy().eval()
    events, labels = made.export()
    assert events.dtype == torch.uint8
    save_file({"events": events, "labels": labels}, tmp_path / "set.safetensors")
    again = load_file(tmp_path / "set.safetensors")
    assert torch.equal(again["events"], events)
    torch.manual_seed(4)
    inside = made.loss(**real())["match"]
    with torch.no_grad():
        made.clips.copy_(again["events"].float())
    torch.manual_seed(4)
    torch.testing.assert_close(made.loss(**real())["match"], inside)


@pytest.mark.parametrize("matching", MATCHINGS)
def test_12_the_loss_falls(matching: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telltale.spiking.pace.SHIFT", 0)
    made, given = toy(matching=matching), real(40)
    made.teachers = made.teachers[:1]
    given["events"][given["labels"] == 1, :, :, :8] = 0  # the upper half is at rest
    made.start(given["events"], given["labels"], generator=torch.Generator().manual_seed(0))

    def level() -> float:
        torch.manual_seed(7)
        with torch.no_grad():
            return sum(float(made.loss(**given)["match"]) for _ in range(8)) / 8

    before = level()
    for step in fit(made, [given] * 50, adam(made, lr=0.05, weight_decay=0.0)):
        assert math.isfinite(step.loss)
    assert level() < before


def test_the_reset_may_be_left_out_of_the_gradient() -> None:
    found = []
    for detach in (False, True):
        made = toy(matching="means")
        for node in made.teachers.modules():
            if hasattr(node, "detach_reset"):
                node.detach_reset = detach  # type: ignore[assignment]
        torch.manual_seed(2)
        value = made.loss(**real())["match"]
        value.backward()
        assert made.clips.grad is not None
        found.append((float(value.detach()), made.clips.grad))
    assert found[0][0] == found[1][0]
    assert not torch.allclose(found[0][1], found[1][1])


def test_13_classes_matter_and_the_order_within_them_does_not() -> None:
    h, g = features(6), features(6, seed=1)
    members = torch.eye(2).double().repeat_interleave(3, 1)
    same = st_sm(h, g, members, members, WAVES)
    order = torch.tensor([2, 0, 1, 4, 5, 3])
    torch.testing.assert_close(st_sm(h[:, order], g, members, members, WAVES), same)
    assert abs(float(st_sm(h, g, members.flip(0), members, WAVES) - same)) > 1e-4


def test_14_one_step_is_the_plain_characteristic_function() -> None:
    h, g = features(6, 1), features(6, 1, seed=1)
    torch.testing.assert_close(distance(h, g, by_time=True), distance(h, g, by_time=False))
    assert joined(features(6)).shape == (1, 6, 30)


def test_means_by_hand() -> None:
    h = torch.tensor([[[1.0], [3.0]], [[5.0], [7.0]]])  # (T, B, D)
    g = torch.zeros(2, 1, 1)
    args = h, g, torch.ones(1, 2), torch.ones(1, 1)
    assert float(mean_distance(*args, over_time=False)) == pytest.approx((2**2 + 6**2) / 2)
    assert float(mean_distance(*args, over_time=True)) == pytest.approx(4**2)


def test_coresets_by_hand() -> None:
    rows = torch.tensor([[0.0], [1.0], [2.0], [9.0]])  # mean 3
    assert herding(rows, 2) == [2, 1]  # nearest to 3, then (2 + 1) / 2 and not (2 + 9) / 2
    assert k_center(rows, 3) == [2, 3, 0]
    given = real()
    batch = next(class_batches(given["events"], given["labels"], 3, seed=0))
    assert batch["labels"].tolist() == [0, 0, 0, 1, 1, 1]


def test_wrong_settings_say_what_is_wanted() -> None:
    for wrong in ({"phase": 2.0}, {"ipc": 0}, {"matching": "dm"}, {"residual": -1.0}):
        with pytest.raises(ValueError, match="want"):
            toy(**wrong)
    with pytest.raises(ValueError, match="spiking neurons"):
        PACE(nn.Linear(2, 2), classes=2, shape=(4, 16, 16))
    made, given = toy(), real()
    with pytest.raises(ValueError, match="want events"):
        made.loss(given["events"][:, :3], given["labels"])
    with pytest.raises(ValueError, match="below 2"):
        made.loss(given["events"], given["labels"] + 1)
    with pytest.raises(ValueError, match="want 2 clips of class 0, got 0"):
        made.start(given["events"], given["labels"] + 5, generator=torch.Generator())
    assert math.isfinite(float(made.loss(**given)["match"].detach()))

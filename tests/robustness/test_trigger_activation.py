"""Trigger Activation: the trigger, its update, the loss by hand, and what a trained one does."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from telltale.attacks import craft, cross_entropy, ensemble, pgd
from telltale.data.memory import batches
from telltale.fit import adam, checkpoint, cosine, fit, restore, resume, save
from telltale.nn.resnets import resnet
from telltale.robustness.trigger_activation import (
    Classifier,
    TriggerActivation,
    Triggered,
    TwoNorms,
    divergences,
    fingerprint,
    with_trigger,
)

KINDS, SIDE, EPS = 4, 8, 0.3


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small tensors."""


class Small(nn.Module):
    """Logits (B, C) of small images, by three convolutions."""

    def __init__(self, size: int = SIDE, classes: int = KINDS, kernel: int = 3) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for into, out, stride in ((3, 16, 1), (16, 32, 2), (32, 64, 2)):
            conv = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(out), nn.ReLU()]
        head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)
        self.body = nn.Sequential(*layers, *head)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.body(images)
        return found

    def loss(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"ce": F.cross_entropy(self(images), labels)}


def net(seed: int = 0, **chosen: Any) -> TriggerActivation:
    torch.manual_seed(seed)
    usual: dict[str, Any] = {"classes": 0, "eps": EPS, "update_every": 0}
    return TriggerActivation(Small(), **(usual | chosen))


def some(count: int = 400, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Faint patterns of four kinds in noise."""
    random = torch.Generator().manual_seed(9)
    kinds = 0.5 + 0.15 * torch.randn(KINDS, 3, SIDE, SIDE, generator=random)
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(KINDS, (count,), generator=random)
    noise = 0.15 * torch.randn(count, 3, SIDE, SIDE, generator=random)
    return (kinds[labels] + noise).clamp(0, 1), labels


def learn(made: nn.Module, steps: int, lr: float = 3e-3) -> float:
    images, labels = some(1000)
    feed = batches({"images": images, "labels": labels}, 64)
    for step in fit(made, feed, adam(made, lr=lr), clip=5.0):  # type: ignore[arg-type]
        if step.number == steps:
            break
    made.eval()
    return step.loss


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).float().mean())


@pytest.fixture(scope="module")
def trained() -> TriggerActivation:
    torch.set_num_threads(1)
    made = net(trigger="fixed")
    learn(made, 200)
    return made


@pytest.fixture(scope="module")
def surrogates() -> list[Small]:
    torch.set_num_threads(1)
    found = []
    for seed in (11, 12):
        torch.manual_seed(seed)
        found.append(Small())
        learn(found[-1], 100)
    return found


@pytest.mark.parametrize("trigger", ["fixed", "learnable"])
def test_1_one_trigger_for_all_images(trigger: str) -> None:
    made, (images, _) = net(trigger=trigger).eval(), some(5)
    assert made.tau.shape == (3, SIDE, SIDE)
    assert made.tau.abs().max() <= EPS
    if trigger == "fixed":
        assert (made.tau.abs() == EPS).all()
    together = made.add(images, made.tau)
    assert torch.equal(together, torch.stack([one + made.tau for one in images]))


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12), st.floats(0.01, 0.5))
@settings(max_examples=20)
def test_1_it_stays_in_its_bound_after_any_updates(seeds: list[int], alpha: float) -> None:
    made = net(alpha=alpha)
    for seed in seeds:
        slope = torch.randn(made.tau.shape, generator=torch.Generator().manual_seed(seed))
        made.gather(slope)
        made.update()
        assert made.tau.abs().max() <= EPS


def test_2_a_fixed_trigger_never_moves() -> None:
    made = net(trigger="fixed", update_every=1)
    before = made.tau.clone()
    learn(made, 5)
    assert torch.equal(made.tau, before)
    assert "tau" not in dict(made.named_parameters())
    optimised = [p for group in adam(made).param_groups for p in group["params"]]
    assert all(p is not made.tau for p in optimised)
    with pytest.raises(ValueError, match="want a learnable trigger"):
        made.update()


@pytest.mark.parametrize("chosen", [{}, {"options": ["two norms"]}, {"options": ["channel"]}])
def test_3_a_learnt_trigger_moves_against_the_sign(chosen: dict[str, Any]) -> None:
    """An epoch of two batches; what is gathered is the slope of the cross entropy alone."""
    made = net(alpha=0.003, **chosen).train()
    with torch.no_grad():
        made.tau *= 0.9  # away from the bound
    images, labels = some(32)
    wanted = torch.zeros_like(made.tau)
    for rows in (slice(0, 16), slice(16, 32)):
        tau = made.tau.clone().requires_grad_(True)
        ce = F.cross_entropy(made.both(images[rows], tau)[0], labels[rows])
        wanted += torch.autograd.grad(ce, tau)[0]
        torch.stack([*made.loss(images[rows], labels[rows]).values()]).sum().backward()
    torch.testing.assert_close(made.gathered, wanted)
    before = made.tau.clone()
    made.update()
    moved = made.tau - before
    torch.testing.assert_close(moved, -0.003 * wanted.sign(), atol=1e-7, rtol=0)
    assert not made.gathered.any()


def test_3_the_divergence_would_have_reached_it_through_the_norms() -> None:
    """Why the slope is taken apart: in one batch, the plain half does depend on the trigger."""
    made, (images, _) = net().train(), some(16)
    tau = made.tau.clone().requires_grad_(True)
    onto, _ = divergences(made.both(images, tau)[1])
    assert torch.autograd.grad(onto.mean(), tau)[0].abs().max() > 0
    made = net(options=["two norms"]).train()
    onto, _ = divergences(made.both(images, tau)[1])
    assert torch.autograd.grad(onto.mean(), tau, allow_unused=True)[0] is None


def test_3_it_moves_once_an_epoch_and_only_in_training() -> None:
    made, (images, labels) = net(update_every=3).train(), some(16)
    start = made.tau.clone()
    for number in range(1, 7):
        before = made.tau.clone()
        made.loss(images, labels)
        assert torch.equal(made.tau, before) == (number % 3 > 0)
    assert (made.tau - start).abs().max() <= 2 * made.alpha + 1e-6
    made.eval().loss(images, labels)
    with torch.no_grad():
        made.train().loss(images, labels)
    assert int(made.seen) == 0


def test_4_divergences_by_hand() -> None:
    flat = torch.full((2, 5), 3.0)
    assert all(part.abs().max() < 1e-6 for part in divergences(flat))
    certain = torch.tensor([[100.0, 0, 0, 0]])
    assert float(divergences(certain)[1]) == pytest.approx(math.log(4))
    logits = torch.tensor([[math.log(3.0), 0.0]])  # p = 3/4, 1/4
    onto, from_it = divergences(logits)
    assert float(onto) == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    assert float(from_it) == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    theirs = F.kl_div(logits.log_softmax(1), torch.full((1, 2), 0.5), reduction="batchmean")
    assert float(onto) == pytest.approx(float(theirs))


@given(st.lists(st.floats(-8, 8), min_size=3, max_size=6))
def test_4_zero_only_if_logits_are_constant(values: list[float]) -> None:
    onto, from_it = (float(part) for part in divergences(torch.tensor([values])))
    assert onto >= -1e-5
    assert -1e-5 <= from_it <= math.log(len(values)) + 1e-5
    if max(values) - min(values) > 0.1:
        assert min(onto, from_it) > 1e-5


class Constant(nn.Module):
    """The same logits for all."""

    size = SIDE

    def __init__(self) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(1, 7))

    def forward(self, images: Tensor) -> Tensor:
        return self.logit.expand(len(images), -1)


def test_5_constant_logits_cost_log_c() -> None:
    made = TriggerActivation(Constant(), classes=0, trigger="fixed")
    terms = made.loss(torch.rand(3, 3, SIDE, SIDE), torch.tensor([0, 6, 2]))
    assert terms["ce"].item() == pytest.approx(math.log(7))
    assert terms["uniform"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("kl", [(1.0, 0.0), (0.5, 2.0)])
def test_6_the_gradient_is_the_sum_of_both(kl: tuple[float, float]) -> None:
    made, (images, labels) = net(kl=kl).train(), some(16)
    weights = [*made.parameters()]
    terms = made.loss(images, labels)
    each = [torch.autograd.grad(term, weights, retain_graph=True) for term in terms.values()]
    for slopes in each:
        assert sum(float(slope.abs().sum()) for slope in slopes) > 0
    torch.stack([*terms.values()]).sum().backward()
    for weight, one, other in zip(weights, *each, strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, one + other, atol=1e-6, rtol=1e-4)


def test_7_right_with_the_trigger_and_unsure_without(trained: TriggerActivation) -> None:
    images, labels = some(seed=2)
    with torch.no_grad():
        assert accuracy(trained(images), labels) >= 0.95
        assert float(trained.plain(images).softmax(1).amax(1).mean()) <= 1 / KINDS + 0.05


def test_7_a_learnt_trigger_does_so_too_and_moved() -> None:
    made = net(update_every=16)
    before = made.tau.clone()
    learn(made, 200)
    images, labels = some(seed=2)
    with torch.no_grad():
        assert accuracy(made(images), labels) >= 0.95
        assert float(made.plain(images).softmax(1).amax(1).mean()) <= 1 / KINDS + 0.05
    assert (made.tau - before).abs().mean() > 0.05


def test_8_the_slope_points_along_the_trigger(trained: TriggerActivation) -> None:
    """The integral of ⟨∇CE, -τ⟩ from x + τ to x is what the loss grows by, about log C."""
    images, labels = (part[:50] for part in some(seed=2))
    made = trained.deployed().double()
    images, tau = images.double(), made.tau
    loss = cross_entropy(made.classifier, labels)

    def along(share: float) -> Tensor:
        place = (images + (1 - share) * tau).requires_grad_(True)
        (slope,) = torch.autograd.grad(loss(place).sum(), place)
        return -(slope * tau).sum((1, 2, 3))

    assert float(along(0.0).mean()) > 0
    count = 400
    integral = torch.stack([along((k + 0.5) / count) for k in range(count)]).mean(0)
    with torch.no_grad():
        grown = loss(images) - loss(images + tau)
    assert float(integral.mean()) == pytest.approx(float(grown.mean()), rel=0.02)
    assert float(grown.mean()) == pytest.approx(math.log(KINDS), rel=0.1)


def test_9_a_wrong_trigger_does_not_help(trained: TriggerActivation) -> None:
    images, labels = some(seed=2)
    random = torch.Generator().manual_seed(77)
    found = []
    with torch.no_grad():
        right = accuracy(trained(images), labels)
        for _ in range(5):
            wrong = EPS * (2 * torch.randint(2, trained.tau.shape, generator=random) - 1)
            found.append(accuracy(trained.answer(images + wrong, is_plain=False), labels))
    assert sum(found) / 5 < right - 0.25


@pytest.mark.parametrize("options", [[], ["clamp"], ["channel"], ["two norms"]])
def test_10_what_is_deployed_says_the_same(options: list[str]) -> None:
    made, (images, _) = net(options=options), some(6)
    learn(made, 2)
    out = made.deployed()
    assert "tau" in dict(out.named_buffers())
    assert "tau" not in dict(out.named_parameters())
    with torch.no_grad():
        by_hand = images + made.tau
        by_hand = by_hand.clamp(0, 1) if "clamp" in options else by_hand
        assert torch.equal(out(images), made.answer(by_hand, is_plain=False))
        assert torch.equal(out(images), made(images))
        fresh = net(seed=5, options=options).deployed()
        assert not torch.equal(fresh(images), out(images))
        fresh.load_state_dict(out.state_dict())
        assert torch.equal(fresh(images), out(images))
    assert fingerprint(fresh.tau) == fingerprint(made.tau)


def test_10_a_trigger_that_was_exchanged_is_noticed() -> None:
    out = net().deployed()
    state = out.state_dict()
    state["tau"] = state["tau"] + 1e-6
    with pytest.raises(ValueError, match="want a trigger of the digest"):
        out.load_state_dict(state)
    assert isinstance(out, Triggered)


def test_10_another_key(trained: TriggerActivation) -> None:
    made = net(trigger="fixed")
    made.load_state_dict(trained.state_dict())
    made.rekey(torch.Generator().manual_seed(3))
    assert fingerprint(made.tau) != fingerprint(trained.tau)
    images, labels = some(seed=2)
    with torch.no_grad():
        lost = accuracy(made.eval()(images), labels)
    learn(made, 100)
    with torch.no_grad():
        assert accuracy(made(images), labels) >= max(0.95, lost)


def test_a_learnt_trigger_may_start_at_its_bound() -> None:
    start = net(trigger="learnable", options=["signs"])
    assert torch.equal(start.tau.abs(), torch.full_like(start.tau, start.eps))
    usual = net(trigger="learnable").tau.abs()
    assert float(usual.mean()) == pytest.approx(start.eps / 2, rel=0.1)


def test_11_without_a_trigger_the_terms_conflict() -> None:
    """The same p for both halves: CE + KL is least at p_y = (1 + 1/C)/2, p_c = 1/(2C)."""
    least = -1.25 * math.log(0.625) - 0.75 * math.log(0.125) - math.log(4)
    assert least == pytest.approx(0.7608, abs=1e-4)
    p = torch.tensor([[0.625, 0.125, 0.125, 0.125]])
    found = F.cross_entropy(p.log(), torch.tensor([0])) + divergences(p.log())[0].mean()
    assert float(found) == pytest.approx(least, abs=1e-5)
    made = net(trigger="fixed", eps=0.0)
    assert not made.tau.any()
    learn(made, 150)
    images, labels = some()
    with torch.no_grad():
        total = sum(float(term) for term in made.loss(images, labels).values())
        unsure = float(made.plain(images).softmax(1).amax(1).mean())
    assert total >= least
    assert unsure > 1 / KINDS + 0.05


def test_12_who_knows_the_trigger_breaks_it(
    trained: TriggerActivation, surrogates: list[Small]
) -> None:
    images, labels = some(200, seed=2)
    carried = craft("MI", ensemble(surrogates), images, labels, eps=0.1)
    known = pgd(cross_entropy(trained, labels), images, eps=0.1, step=0.025, steps=20)
    with torch.no_grad():
        over, under = accuracy(trained(carried), labels), accuracy(trained(known), labels)
    assert under < over - 0.2


@pytest.mark.slow
def test_real_digits_survive_what_was_crafted_on_others() -> None:
    """Fixed, ε_t = 0.3: 0.2 more than a plain network at ε = 0.1, as in the brief's trial."""
    found = pytest.importorskip("sklearn.datasets").load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(found.images)[order].float()[:, None].expand(-1, 3, -1, -1) / 16
    images = F.interpolate(images, 16, mode="bilinear", align_corners=False)
    labels = torch.from_numpy(found.target)[order]
    nets: list[nn.Module] = []
    for seed, kernel in enumerate((3, 5, 3, 3)):  # two surrogates, then what is attacked
        torch.manual_seed(seed)
        nets.append(Small(16, 10, kernel))
        if seed == 3:
            nets[-1] = TriggerActivation(nets[-1], classes=0, trigger="fixed", eps=EPS)
        feed = batches({"images": images[:1200], "labels": labels[:1200]}, 64, seed=seed)
        optimizer = torch.optim.SGD(nets[-1].parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
        for step in fit(nets[-1], feed, optimizer, schedule=cosine(400), clip=5.0):  # type: ignore[arg-type]
            if step.number == 400:
                break
        nets[-1].eval()
    test, truth = images[1200:], labels[1200:]
    carried = craft("MI", ensemble(nets[:2]), test, truth, eps=0.1)
    with torch.no_grad():
        plain, triggered = (accuracy(net(carried), truth) for net in nets[2:])
        assert min(accuracy(net(test), truth) for net in nets) > 0.9
    assert triggered > plain + 0.2


def test_two_norms_keep_apart_what_they_see() -> None:
    made, (images, labels) = net(trigger="fixed", options=["two norms"]), some(64)
    made.train().loss(images, labels)
    norms = [part for part in made.modules() if isinstance(part, TwoNorms)]
    assert len(norms) == 3
    for norm in norms:
        state, other = norm.triggered.state_dict(), norm.of_plain.state_dict()
        assert not torch.equal(state["running_mean"], other["running_mean"])


def test_heads_on_tokens_maps_and_vectors() -> None:
    class Trunk(nn.Module):
        width = 5

        def forward(self, images: Tensor) -> Tensor:
            return images

    head = Classifier(Trunk(), 3)
    maps = torch.rand(2, 5, 4, 4)
    torch.testing.assert_close(head(maps), head(maps.mean((2, 3))))
    tokens = torch.rand(2, 7, 5)
    assert torch.equal(head(tokens), head(tokens[:, 0]))
    made = TriggerActivation(resnet("resnet_toy", size=16), classes=3)
    assert made(torch.rand(2, 3, 16, 16)).shape == (2, 3)
    assert made.backbone is made.classifier.trunk


def test_a_run_that_was_stopped_goes_on_with_its_trigger(tmp_path: Path) -> None:
    folder, (images, labels) = tmp_path, some(64)
    feed = [{"images": images[k : k + 16], "labels": labels[k : k + 16]} for k in (0, 16, 32, 48)]
    whole = net(update_every=3)
    for _ in fit(whole, feed, adam(whole, lr=1e-2)):
        pass
    half = net(update_every=3)
    optimizer = adam(half, lr=1e-2)
    for step in fit(half, feed, optimizer):
        if step.number == 2:
            checkpoint(folder / "state.safetensors", half, optimizer, 2)
            break
    again = net(seed=4, update_every=3)
    optimizer = adam(again, lr=1e-2)
    assert resume(folder / "state.safetensors", again, optimizer) == 2
    for _ in fit(again, feed[2:], optimizer, done=2):
        pass
    assert torch.equal(again.tau, whole.tau)
    save(whole, folder / "weights.safetensors")
    fresh = net(seed=6, update_every=3).eval()
    restore(fresh, folder / "weights.safetensors")
    assert torch.equal(fresh(images), whole.eval()(images))


def wrong() -> Iterator[tuple[dict[str, Any], str]]:
    yield {"trigger": "patch"}, "a trigger of fixed, learnable"
    yield {"options": ["clip"]}, "options of clamp, channel, two norms"
    yield {"eps": 1.0}, "eps in"
    yield {"alpha": -0.1}, "alpha and update_every"
    yield {"update_every": -1}, "alpha and update_every"
    yield {"kl": (1.0,)}, "two weights"
    yield {"kl": (1.0, -1.0)}, "two weights"
    yield {"classes": 1}, "classes of 2 or more"
    yield {"classes": 4}, "a trunk with its width"


@pytest.mark.parametrize(("chosen", "says"), [*wrong()])
def test_it_says_which_settings_it_wants(chosen: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        net(**chosen)


def test_it_says_what_batches_it_wants() -> None:
    made, (images, labels) = net(), some(6)
    with pytest.raises(ValueError, match="want images of 8 pixels"):
        made(torch.rand(1, 3, 9, 9))
    with pytest.raises(ValueError, match="want labels of 0 to 3, got 4"):
        made.loss(images, torch.full_like(labels, 4))
    with pytest.raises(ValueError, match="want int64 labels"):
        made.loss(images, labels.float())
    with pytest.raises(ValueError, match="with its size"):
        TriggerActivation(nn.Identity(), classes=0)
    assert torch.equal(with_trigger(images, made.tau), images + made.tau)

"""CFM, held to the brief's faithfulness checks (numbered as there)."""

import copy
import math
from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from telltale.faces.cfm import CFM, FIRST_STEPS, components, local_loss, principal, projection
from telltale.fit import adam, checkpoint, fit, resume
from telltale.nn.backbones import backbone
from telltale.nn.convnets import convnet
from telltale.nn.views import degraded, geometry, moved


def detector(**settings: object) -> CFM:
    torch.manual_seed(0)
    return CFM(convnet("conv_toy"), **({"augment": 0.0, "plc_steps": 50} | settings))  # type: ignore[arg-type]


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.fixture
def batch() -> dict[str, Tensor]:
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return {"images": images, "labels": torch.arange(8) % 2}


def test_1_the_papers_trunk_gives_its_maps() -> None:
    import timm

    with torch.device("meta"):
        model = timm.create_model("efficientnet_b4", num_classes=0)
        assert model.forward_features(torch.rand(1, 3, 320, 320)).shape == (1, 1792, 10, 10)
    network = detector().eval()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(network(images).logit, network(images).logit)  # no dropout
    assert network.head[0].p == 0.5  # type: ignore[union-attr]


def test_2_heads_have_the_papers_sizes_and_the_slow_copy_is_one() -> None:
    for places in (False, True):
        assert count(projection(1792, 1792, places=places)) == 3_446_144
        assert count(projection(128, 1792, places=places)) == 464_256
    network = detector()
    assert count(network.slow) == 0  # nothing to train
    for slow, fast in zip(
        network.slow, (network.backbone, network.project, network.project_places), strict=True
    ):
        for name, weight in fast.named_parameters():
            assert torch.equal(slow.get_buffer(name), weight)


@pytest.mark.parametrize(("momentum", "share"), [(0.999, 0.001), (1.0, 0.0), (0.0, 1.0)])
def test_3_the_slow_copy_follows_by_a_share(momentum: float, share: float) -> None:
    network = detector(momentum=momentum)
    slow = network.slow[1].get_buffer("0.weight")
    before = slow.clone()
    with torch.no_grad():
        network.project[0].weight += torch.randn_like(network.project[0].weight)
    network.follow()
    want = (1 - share) * before + share * network.project[0].weight
    torch.testing.assert_close(slow, want, atol=1e-7, rtol=0)


def test_3_statistics_of_the_slow_copy_are_of_what_it_sees(batch: dict[str, Tensor]) -> None:
    network = detector(momentum=0.5)
    means = [b for name, b in network.slow.named_buffers() if name.endswith("running_mean")]
    network.backbone.apply(lambda m: m.running_mean.add_(1) if hasattr(m, "running_mean") else None)
    before = [mean.clone() for mean in means]
    network.follow()
    assert all(map(torch.equal, means, before))
    network.loss(**batch)
    assert not any(map(torch.equal, means, before))


def test_3_it_follows_after_each_step_but_the_last(batch: dict[str, Tensor]) -> None:
    network = detector(momentum=0.5)
    started = network.slow[1].get_buffer("0.weight").clone()
    states = []
    for _ in fit(network, [batch] * 2, adam(network, lr=1e-2)):
        states.append((network.project[0].weight.clone(), network.slow[1].get_buffer("0.weight")))
    torch.testing.assert_close(states[1][1], 0.5 * started + 0.5 * states[0][0])


@pytest.mark.parametrize("plc", ["mask", "pca"])
def test_a_resumed_run_is_the_same_to_the_bit(
    batch: dict[str, Tensor], tmp_path: Path, plc: str
) -> None:
    def begun() -> tuple[CFM, torch.optim.Optimizer]:
        network = detector(plc=plc, augment=0.5, momentum=0.9)
        return network, adam(network, lr=1e-2)

    whole, optimizer = begun()
    reports = [*fit(whole, [batch] * 10, optimizer)]
    killed, optimizer = begun()
    for step in islice(fit(killed, [batch] * 10, optimizer), 7):
        if step.number == 6:  # the controller is at work by then
            assert killed._passing() < 64
            checkpoint(tmp_path / "state.safetensors", killed, optimizer, 6)
    again, optimizer = begun()
    torch.rand(3)
    done = resume(tmp_path / "state.safetensors", again, optimizer)
    assert [*fit(again, [batch] * 4, optimizer, done=done)] == reports[6:]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_4_no_gradient_reaches_the_slow_copy_and_the_predictor_learns(
    batch: dict[str, Tensor],
) -> None:
    network = detector()
    sum(network.loss(**batch).values(), torch.zeros(())).backward()
    assert all(not buffer.requires_grad for buffer in network.slow.buffers())
    assert all(p.grad is not None and p.grad.any() for p in network.predict.parameters())


def test_5_features_and_maps_of_one_pixel_are_the_same() -> None:
    torch.manual_seed(0)
    flat, places = projection(6, 5).eval(), projection(6, 5, places=True).eval()
    with torch.no_grad():
        for a, b in zip(flat.parameters(), places.parameters(), strict=True):
            b.copy_(a.view_as(b))
    x = torch.randn(3, 6)
    torch.testing.assert_close(places(x[..., None, None])[..., 0, 0], flat(x))


@pytest.mark.parametrize(
    ("kind", "alike", "unlike", "value"),
    [
        ("circle", 1.0, 0.0, 0.04859),
        ("circle", 0.0, 1.0, 45.0),
        ("pair", 1.0, -0.5, 0.0),
        ("pair", 1.0, 1.0, 1.5),
        ("pair", -1.0, 1.0, 3.5),
    ],
)
def test_6_the_instance_loss_by_hand(kind: str, alike: float, unlike: float, value: float) -> None:
    found = detector(ins_loss=kind)._compare(torch.tensor([alike]), torch.tensor([unlike]))
    assert found.item() == pytest.approx(value, rel=1e-3, abs=1e-6)


def test_7_the_local_loss_is_zero_where_it_should_be_and_sees_no_order() -> None:
    torch.manual_seed(0)
    agree = torch.ones(2, 4, 4)
    differ = torch.full((2, 4, 4), 0.9)
    differ[:, 0] = 0.75  # the least alike quarter is 1 - β
    assert local_loss(agree, differ, 0.25) == 0
    maps = [torch.randn(2, 5, 4, 4) for _ in range(3)]
    order = torch.randperm(16)

    def loss(u: Tensor, plus: Tensor, minus: Tensor) -> Tensor:
        agree, differ = (F.cosine_similarity(u, k, dim=1) for k in (plus, minus))
        return local_loss(agree, differ + 1.5, 0.25)

    def mixed(m: Tensor) -> Tensor:
        return m.flatten(2)[..., order].view_as(m)

    together = loss(*(mixed(m) for m in maps))
    torch.testing.assert_close(together, loss(*maps))
    assert not torch.isclose(loss(maps[0], maps[1], mixed(maps[2])), loss(*maps))


@pytest.mark.parametrize("ratio", [0.25, 0.3, 1.0])
def test_8_only_the_least_alike_places_are_pushed(ratio: float) -> None:
    differ = (0.8 + 0.01 * torch.randperm(16).float()).view(1, 4, 4).requires_grad_()
    local_loss(torch.ones(1, 4, 4), differ, ratio).backward()
    assert differ.grad is not None
    pushed = differ.grad[0].flatten() != 0
    least = math.ceil(ratio * 16)
    assert int(pushed.sum()) == least
    assert (
        differ.detach().flatten()[pushed].max()
        <= differ.detach().flatten().sort().values[least - 1]
    )


def test_9_components_grow_from_a_quarter_to_all() -> None:
    assert components(0, 1792, 1000) == 448
    assert components(1000, 1792, 1000) == components(5000, 1792, 1000) == 1792
    grown = [components(step, 1792, 1000) for step in range(0, 1001, 50)]
    assert grown == sorted(grown)
    network = detector()
    assert torch.equal(network.mask(), torch.ones(64))  # before the class means are known
    network.steps += FIRST_STEPS
    network.plc_steps = 10_000
    assert torch.equal(network.mask(), torch.ones(64))  # still not known
    network.steps += 1
    assert 0 < network.mask().sum() < 64
    assert set(network.mask().unique().tolist()) == {0.0, 1.0}
    assert torch.equal(network.eval().mask(), torch.ones(64))
    network.train().plc_steps = FIRST_STEPS
    assert torch.equal(network.mask(), torch.ones(64))  # after plc_steps


def test_10_class_means_are_slow_means_and_are_saved() -> None:
    network, value = detector(), torch.rand(64)
    labels = torch.tensor([0, 1])
    for _ in range(5):
        network._note(torch.stack([value, 2 * value]), labels)
    torch.testing.assert_close(network.positive, (1 - 0.99**5) * value)
    torch.testing.assert_close(network.negative, (1 - 0.99**5) * 2 * value)
    assert {"positive", "negative", "steps"} <= set(network.state_dict())
    assert "positive" not in dict(network.named_parameters())


def test_11_the_components_that_differ_most_pass_first() -> None:
    network = detector(plc_steps=10_000)
    planted = torch.randperm(64)[:10]
    network.negative += 0.001 * torch.randn(64)
    network.negative[planted[:5]] += 1
    network.positive[planted[5:]] += 1
    network.steps += FIRST_STEPS + 1
    assert network.mask()[planted].all()


def test_11_principal_directions_pass_in_the_order_of_their_variance() -> None:
    torch.manual_seed(0)
    axes = torch.linalg.qr(torch.randn(64, 64)).Q
    spread = torch.logspace(0, -3, 64)
    rows = 2 + torch.randn(4096, 64) * spread @ axes
    mean, found = principal(rows, 10)
    torch.testing.assert_close(found.mT @ found, torch.eye(10), atol=1e-4, rtol=0)
    kept = (rows - mean) @ found @ found.mT
    lost = ((rows - mean) - kept).var(0).sum()
    torch.testing.assert_close(lost, spread[10:].square().sum(), rtol=0.1, atol=0)


def test_11_with_principal_directions_features_are_still_the_means_of_their_maps() -> None:
    network, random = detector(plc="pca", plc_steps=10_000), torch.Generator().manual_seed(1)
    maps = torch.rand(6, 64, 3, 3, generator=random)
    pooled, labels = maps.mean((2, 3)), torch.arange(6) % 2
    for number in range(200):
        network._note(torch.full((6, 64), float(number)) + pooled, labels)
    assert int(network.queued) == len(network.queue) == 1024
    assert torch.equal(network.queue[:6], 199 + pooled)  # the newest first
    features, places = network.controlled(pooled, maps)
    torch.testing.assert_close(places.mean((2, 3)), features, atol=1e-3, rtol=0)
    moved_places = places.movedim(1, -1).reshape(-1, 64) - network.queue.mean(0)  # (54, 64)
    assert torch.linalg.matrix_rank(moved_places, atol=1e-2) == network._passing() == 17
    network.plc_steps = 1  # all pass: nothing may change
    for found, given in zip(network.controlled(pooled, maps), (pooled, maps), strict=True):
        assert torch.equal(found, given)


def test_12_a_face_and_its_counterpart_share_their_geometry() -> None:
    torch.manual_seed(0)
    network = detector(augment=0.5)
    images = torch.rand(4, 3, 16, 16)
    pairs = torch.cat([images, images])  # each forged face equals its real one
    labels = torch.arange(2).repeat_interleave(4)
    real, fake = torch.arange(4), torch.arange(4, 8)
    seen: list[Tensor] = []
    import telltale.faces.cfm as module

    def look(still: Tensor, chance: float) -> Tensor:
        seen.append(still)
        return still

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "degraded", look)
        network.loss(pairs, labels)
        network._views(pairs, real, fake)
    for still in seen:
        assert torch.equal(still[:4], still[4:])
    assert not torch.allclose(seen[0][:4], images)


def test_12_the_two_views_are_degraded_apart(batch: dict[str, Tensor]) -> None:
    network = detector(augment=1.0)
    real, fake = torch.arange(8).view(4, 2).T
    first, second = network._views(batch["images"], real, fake)
    assert not any(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_half_precision_leaves_the_views_alone(batch: dict[str, Tensor]) -> None:
    network = detector(augment=1.0)
    real, fake = torch.arange(8).view(4, 2).T
    views = []
    for half in (False, True):
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            views.append(torch.stack(network._views(batch["images"], real, fake)))
    assert torch.equal(*views)
    with torch.autocast("cpu", torch.bfloat16):
        losses = network.loss(**batch)
    assert losses["ins"].dtype == losses["loc"].dtype == torch.float32


def test_the_terms_put_together(batch: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    network = detector(ins_loss="pair", plc_steps=10_000, momentum=1.0)
    network.steps += FIRST_STEPS + 1
    network.positive.normal_()
    for name, weight in network.slow.named_buffers():
        if name.endswith("weight"):
            weight += 0.1 * torch.randn_like(weight)
    twin, labels = copy.deepcopy(network), batch["labels"]
    views = (batch["images"], torch.rand(8, 3, 16, 16))
    monkeypatch.setattr(network, "_views", lambda *_: views)
    torch.manual_seed(3)
    found = network.loss(**batch)

    torch.manual_seed(3)
    maps = twin.backbone(views[0])
    twin._note(maps.mean((2, 3)), labels)
    passing = twin.mask()
    assert passing.sum() < 64
    maps, pooled = maps * passing[:, None, None], maps.mean((2, 3)) * passing
    u, places = twin.predict(twin.project(pooled)), twin.predict_places(twin.project_places(maps))
    slow = twin.slow[0](views[1])
    k, slow_places = twin.slow[1](slow.mean((2, 3))), twin.slow[2](slow)
    ins, loc = [], []
    for i in range(8):
        j = i ^ 1  # a real face and, next to it, its forgery
        s_p, s_n = F.cosine_similarity(u[i], k[i], 0), F.cosine_similarity(u[i], k[j], 0)
        ins.append(F.relu(1.5 + s_n - s_p))
        agree = F.cosine_similarity(places[i], slow_places[i], 0)
        differ = F.cosine_similarity(places[i], slow_places[j], 0).flatten().sort().values
        least = differ[: math.ceil(0.25 * len(differ))]
        loc.append((1 - agree).mean() + F.relu(least - 0.75).mean())
    want = {
        "ce": F.cross_entropy(twin.head(pooled), labels),
        "ins": torch.stack(ins).mean(),
        "loc": torch.stack(loc).mean(),
    }
    torch.testing.assert_close(dict(found), want)


def test_13_without_its_terms_it_is_plain_cross_entropy(batch: dict[str, Tensor]) -> None:
    network = detector(weights=(0.0, 0.0), plc="off")
    plain = copy.deepcopy(network)
    torch.manual_seed(3)
    sum(network.loss(**batch).values(), torch.zeros(())).backward()
    torch.manual_seed(3)
    logits = plain.head(plain.backbone(batch["images"]).mean((2, 3)))
    F.cross_entropy(logits, batch["labels"]).backward()
    for (name, a), (_, b) in zip(
        [*network.backbone.named_parameters(), *network.head.named_parameters()],
        [*plain.backbone.named_parameters(), *plain.head.named_parameters()],
        strict=True,
    ):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_a_transformer_will_do_too(batch: dict[str, Tensor]) -> None:
    network = CFM(backbone("vit_toy", size=16, depth=2), augment=0.5)
    assert all(term.isfinite() for term in network.loss(**batch).values())


def test_views_stay_pictures_and_depend_on_the_seed() -> None:
    images = torch.rand(12, 3, 24, 24)
    views = []
    for _ in range(2):
        torch.manual_seed(5)
        views.append(degraded(moved(images, geometry(12)), 0.7))
    assert torch.equal(*views)
    assert views[0].shape == images.shape
    assert 0 <= views[0].min() <= views[0].max() <= 1
    torch.testing.assert_close(moved(images, geometry(12, 0.0)), images, atol=1e-5, rtol=0)
    assert torch.equal(degraded(images, 0.0), images)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"ins_loss": "x"}, "ins_loss must be"),
        ({"local_ratio": 0.0}, "want local_ratio in"),
        ({"plc_steps": 0}, "want plc_steps"),
    ],
)
def test_says_what_settings_it_wants(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        detector(**settings)

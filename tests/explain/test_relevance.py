"""Relevance, companions of the test, subjects; against hand values and captum."""

import math
from itertools import pairwise

import pytest
import torch
from test_faithfulness import Additive, linear, vit
from torch import Tensor, nn

from telltale.explain.changes import as_given, change, grad_cam, occlusion
from telltale.explain.faithfulness import (
    ViolationTest,
    area,
    auc_tp,
    rank_correlation,
    together,
    violations,
)
from telltale.explain.maps import (
    EXPLAINERS,
    VARIANTS,
    Trace,
    attention_gradient,
    input_gradient,
    integrated_gradients,
)
from telltale.explain.relevance import (
    ALL,
    Linear,
    Relevance,
    divided,
    relevances,
    transformer_attribution,
)
from telltale.explain.subjects import Blocks, Traced
from telltale.faces.vit_lora_scl import ViTLoRASCL
from telltale.nn.backbones import backbone

pytestmark = pytest.mark.usefixtures("one_thread")


def stack(sizes: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for one, two in pairwise(sizes):
        layers += [nn.Linear(one, two, bias=False), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Small(nn.Module):
    """Two convolutions and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.head = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(
            torch.tanh(self.second(torch.tanh(self.first(images)))).mean((2, 3))
        )
        return found


def test_12_relevance_is_kept() -> None:
    net, shortcut = stack((6, 12, 12, 3)), nn.Linear(6, 3, bias=False)
    x = torch.rand(5, 6).requires_grad_(True)
    with Relevance():
        y = net(x) + shortcut(x)
    start = torch.zeros_like(y).scatter(1, y.argmax(1, keepdim=True), 1.0)
    (found,) = torch.autograd.grad(y, x, start)
    torch.testing.assert_close(found.sum(1), torch.ones(5), atol=1e-3, rtol=0)


def test_the_linear_rule_by_hand() -> None:
    """Inputs 2 and -1: of the weights (3, 1) only the first counts, of (-1, -2) only the second."""
    x = torch.tensor([[2.0, -1.0]], requires_grad=True)
    weight = torch.tensor([[3.0, 1.0], [-1.0, -2.0]])
    made = Linear.apply(x, weight, None)
    torch.testing.assert_close(made, torch.tensor([[5.0, 0.0]]))
    (found,) = torch.autograd.grad(made, x, torch.tensor([[1.0, 10.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 10.0]]))
    assert divided(torch.ones(1), torch.zeros(1)).item() == 0


def test_relevance_leaves_the_answer_alone() -> None:
    net, images = vit()
    with Relevance():
        logits = net.run(net.features(images)).logits
    torch.testing.assert_close(logits, net(images), atol=1e-4, rtol=1e-4)
    assert [it.shape for it in relevances(net, images)] == [(4, 3, 17, 17)] * 3
    assert float(transformer_attribution(net, images).min()) >= 0
    assert float(ALL["partial LRP"](net, images).min()) < 0


def test_relevance_on_attention_by_hand() -> None:
    """One layer of additive attention: R^A is half of α (h · s), s from the decoder's rule."""
    model, x = Additive(), torch.randn(3, 4, 5)
    (found,) = relevances(model, x)
    trace = model.run(x)
    alpha = trace.attention[0][:, 0, 0].detach()
    mixed = torch.einsum("bn,bnd->bd", alpha, x)
    rows = model.decode.weight[trace.logits.argmax(1)].detach()
    like = torch.where(mixed * rows > 0, mixed * rows, torch.zeros(()))
    arrived = like / like.sum(1, keepdim=True)
    wanted = alpha * torch.einsum("bnd,bd->bn", x, arrived / mixed) / 2
    torch.testing.assert_close(found[:, 0, 0], wanted, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("turned", [1.0, -1.0])
def test_a_detector_with_one_logit_is_explained_as_two_classes(turned: float) -> None:
    """A difference of two logits, and a single one: each called class from its own side."""
    torch.manual_seed(0)
    two, x = nn.Linear(6, 2, bias=False), torch.rand(5, 6)
    one = nn.Linear(6, 1, bias=False)
    with torch.no_grad():
        one.weight.copy_(turned * two.weight[:1])
    given = x.clone().requires_grad_(True)
    with Relevance():
        y = two(given)
        contrast = y[:, 0] - y[:, 1]
        alone = one(given)
    start = torch.zeros(5, 2)
    start[:, 0 if turned > 0 else 1] = 1
    (wanted,) = torch.autograd.grad(y, given, start, retain_graph=True)
    (found,) = torch.autograd.grad(contrast, given, torch.full((5,), turned))
    torch.testing.assert_close(found, wanted)
    (found,) = torch.autograd.grad(alone, given, torch.full((5, 1), turned))
    first = two.weight[:1].detach()
    share = torch.where(first * x > 0, first * x, torch.zeros(()))
    torch.testing.assert_close(found, share / share.sum(1, keepdim=True))


def test_9_attention_gradient_of_the_probability() -> None:
    """α_i p_c (1 - p_c) (w_c - w_o)·h_i, by autograd and by differences in a free α."""
    model, x = Additive().double(), torch.randn(3, 4, 5, dtype=torch.float64)
    trace = model.run(x)
    chosen = trace.logits.argmax(1)
    p = trace.logits.softmax(1).gather(1, chosen[:, None])
    (slope,) = torch.autograd.grad(p.sum(), trace.attention[0])
    alpha = trace.attention[0][:, 0, 0].detach()
    between = model.decode.weight[chosen] - model.decode.weight[1 - chosen]
    wanted = alpha * p * (1 - p) * torch.einsum("bd,bnd->bn", between, x)
    torch.testing.assert_close(alpha * slope[:, 0, 0], wanted.detach())

    def probability(free: Tensor) -> Tensor:
        logits = model.decode(torch.einsum("bn,bnd->bd", free, x))
        return logits.softmax(1).gather(1, chosen[:, None]).squeeze(1)

    step = 1e-5
    for column in range(4):
        moved = torch.zeros_like(alpha)
        moved[:, column] = step
        slopes = (probability(alpha + moved) - probability(alpha - moved)) / (2 * step)
        torch.testing.assert_close(slopes, slope[:, 0, 0, column], atol=1e-4, rtol=0)


def test_13_area_under_accuracy() -> None:
    assert area([0.7] * 11) == pytest.approx(0.63)
    with pytest.raises(ValueError, match="want 11 accuracies"):
        area([1.0])
    model, x = linear(2)
    labels = as_given(model, x).chosen.squeeze(1)
    oracle = input_gradient(model, x)
    drawn = [torch.randn(40, 6, generator=torch.Generator().manual_seed(k)) for k in range(5)]
    chance = sum(auc_tp(model, w, x, labels) for w in drawn) / 5
    assert auc_tp(model, oracle, x, labels) <= chance


def test_14_nothing_removed_changes_nothing() -> None:
    model, x = linear()
    for how in ("zero", "slice", "attention"):
        assert not bool(change(model, as_given(model, x), torch.ones(40, 6), how).any())


def test_15_rank_correlation() -> None:
    model, x = linear(1)

    class Zeroed(type(model)):  # type: ignore[misc]
        removals = ("zero",)

    subject = Zeroed(model.weights)
    before = as_given(subject, x)
    effects = []
    for column in range(6):
        keep = torch.ones(40, 6)
        keep[:, column] = 0
        effects.append(change(subject, before, keep, "zero").abs())
    effect = torch.stack(effects, 1)  # of two classes, both change alike
    assert rank_correlation(subject, effect, x) == pytest.approx(1)
    assert rank_correlation(subject, 1 / (effect + 1e-3), x) == pytest.approx(-1)
    assert math.isnan(rank_correlation(subject, torch.ones(40, 6), x))


def test_batches_are_one_test() -> None:
    model, x = linear()
    whole = violations(model, input_gradient, x)
    parts = together([violations(model, input_gradient, it) for it in (x[:10], x[10:])])
    assert torch.equal(whole.violated, parts.violated)
    for name in ("violation", "still", "comprehensiveness", "sufficiency"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name))
    short = violations(model, input_gradient, x, shares=False, removals=("zero",))
    assert set(short.by_removal) == {"zero"}
    assert math.isnan(short.sufficiency)
    with pytest.raises(ValueError, match="want verdicts"):
        together([whole, short])
    with pytest.raises(ValueError, match="want a removal"):
        violations(model, input_gradient, x, removals=())


def test_variants_of_the_gradient() -> None:
    model, x = Additive(), torch.randn(3, 4, 5)
    alpha = model.run(x).attention[0][:, 0, 0].detach()
    both = attention_gradient(model, x)
    torch.testing.assert_close(VARIANTS["attention × |gradient|"](model, x), both.abs())
    torch.testing.assert_close(VARIANTS["attention × sign"](model, x), alpha * both.sign())
    torch.testing.assert_close(VARIANTS["gradient"](model, x) * alpha, both)


def test_a_trained_kind_of_network_is_traced() -> None:
    torch.manual_seed(1)
    whole = ViTLoRASCL(backbone("vit_toy"), readout="patches").eval()
    plain = ViTLoRASCL(backbone("vit_toy")).eval()
    images = torch.rand(3, 3, 40, 40)
    for net, removals in ((whole, ("zero", "attention")), (plain, ("zero", "slice", "attention"))):
        subject = Traced(net)
        assert subject.removals == removals
        trace = subject.run(subject.features(images))
        log_odds = trace.logits[:, 1] - trace.logits[:, 0]
        torch.testing.assert_close(log_odds, net(images).logit, atol=1e-4, rtol=1e-4)
        fast = subject.answer(subject.features(images))
        torch.testing.assert_close(fast, trace.logits, atol=1e-4, rtol=1e-4)
        keep = torch.ones(3, 100)
        keep[:, 7] = 0
        one = subject.run(subject.features(images), keep, "attention").logits
        torch.testing.assert_close(
            subject.answer(subject.features(images), keep, "attention"), one, atol=1e-4, rtol=1e-4
        )
        for explain in ALL.values():
            weights = explain(subject, images)
            assert weights.shape == (3, 100)
            assert bool(weights.isfinite().all())
    assert "attend" not in vars(plain.backbone.blocks[0].attn.base)
    with pytest.raises(ValueError, match="want a network on one ViT"):
        Traced(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="features of the batch"):
        Traced(plain).run(torch.zeros(1, 100, 96))


def test_blocks_of_pixels() -> None:
    subject = Blocks(lambda images: images.mean((1, 2, 3)), side=8, grid=2)
    images = torch.rand(2, 3, 8, 8)
    features = subject.features(images)
    assert features.shape == (2, 4, 48)
    assert torch.equal(subject.images(features), images)
    assert torch.equal(
        subject.images(features[:, :1].expand(-1, 4, -1))[0, :, :4, 4:], images[0, :, :4, :4]
    )
    keep = torch.tensor([[1.0, 0, 1, 1]]).expand(2, 4)
    answer = subject.answer(features, keep, "zero")
    left = images.clone()
    left[:, :, :4, 4:] = 0
    torch.testing.assert_close(answer[:, 1] - answer[:, 0], left.mean((1, 2, 3)))
    flat = subject.answer(features, keep, "flat")
    torch.testing.assert_close(flat, subject.answer(features))  # a mean sees no texture
    with pytest.raises(ValueError, match="want a removal"):
        subject.answer(features, keep, "slice")
    with pytest.raises(ValueError, match="divide 8 pixels"):
        Blocks(lambda images: images, side=8, grid=3)


def test_occlusion_cannot_violate_its_own_removal() -> None:
    torch.manual_seed(0)
    subject, images = Blocks(Small(), side=16, grid=4), torch.rand(6, 3, 16, 16)
    verdict = violations(subject, occlusion("mean"), images, shares=False)
    assert verdict.by_removal["mean"] == 0
    assert set(verdict.by_removal) == {"zero", "mean", "flat"}


def test_captum_agrees() -> None:
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    net = Small()
    images, grid = torch.rand(3, 3, 16, 16), 4
    subject = Blocks(net, side=16, grid=grid)
    with torch.no_grad():
        target = net(images).argmax(1)

    def by_block(weights: Tensor) -> Tensor:
        return subject.features(weights.detach().float()).sum(-1)

    theirs = attr.InputXGradient(net).attribute(images.clone().requires_grad_(True), target=target)
    torch.testing.assert_close(input_gradient(subject, images), by_block(theirs))
    theirs = attr.IntegratedGradients(net).attribute(
        images, target=target, n_steps=10, method="riemann_right"
    )
    torch.testing.assert_close(
        integrated_gradients(subject, images), by_block(theirs), atol=1e-5, rtol=1e-4
    )
    theirs = attr.LayerGradCam(net, net.second).attribute(
        images, target=target, relu_attributions=True
    )
    pooled = nn.functional.adaptive_avg_pool2d(theirs, grid).flatten(1).detach()
    torch.testing.assert_close(grad_cam(net.second)(subject, images), pooled)

    def probability(given: Tensor) -> Tensor:
        return net(given).softmax(1)

    block = torch.arange(grid * grid).view(1, 1, grid, grid).float()
    mask = nn.functional.interpolate(block, 16, mode="nearest").long()
    theirs = attr.FeatureAblation(probability).attribute(images, target=target, feature_mask=mask)
    found = subject.features(theirs[:, :1].repeat(1, 3, 1, 1))[:, :, 0].detach()
    torch.testing.assert_close(
        occlusion("zero")(subject, images).float(), found, atol=1e-5, rtol=1e-4
    )


def test_captum_agrees_on_relevance() -> None:
    """Inputs of 0 or more: captum's α = 1 rule sees the positive weights, as ours does then."""
    attr = pytest.importorskip("captum.attr")
    from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule

    torch.manual_seed(0)
    net, x = stack((6, 10, 8, 3)), torch.rand(5, 6)
    for layer in net:
        layer.rule = Alpha1_Beta0_Rule()
    target = net(x).argmax(1)
    theirs = attr.LRP(net).attribute(x.clone().requires_grad_(True), target=target)
    given = x.clone().requires_grad_(True)
    with Relevance():
        y = net(given)
    start = y.detach() * nn.functional.one_hot(target, 3)  # captum starts with the logit itself
    (ours,) = torch.autograd.grad(y, given, start)
    torch.testing.assert_close(ours, theirs.detach(), atol=1e-4, rtol=1e-3)


def test_sentences_of_a_transformers_encoder() -> None:
    transformers = pytest.importorskip("transformers")
    from telltale.explain.text import Sentences

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.BertConfig(vocab_size=50, intermediate_size=64, **shape)
    config._attn_implementation = "eager"
    encoder = transformers.BertModel(config, add_pooling_layer=False)
    net = Sentences(encoder).eval()
    tokens = torch.randint(0, 50, (3, 7))
    trace = net.run(net.features(tokens))
    torch.testing.assert_close(trace.logits, net(tokens))
    assert len(trace.attention) == 2
    keep = torch.tensor([[1.0, 1, 0, 1, 1]]).expand(3, 5)
    with torch.no_grad():
        cut = net.run(net.features(tokens), keep, "slice").logits
        torch.testing.assert_close(cut, net(tokens[:, [0, 1, 2, 4, 5, 6]]))  # positions close up
        hidden = net.run(net.features(tokens), keep, "attention")
        mask = torch.tensor([[1, 1, 1, 0, 1, 1, 1]]).expand(3, 7)
        torch.testing.assert_close(hidden.logits, net(tokens, mask))
    assert float(hidden.attention[0][..., 3].max()) == 0
    for name, explain in ALL.items():
        weights = explain(net, tokens)
        assert weights.shape == (3, 5), name
        assert bool(weights.isfinite().all()), name
    labels = torch.tensor([0, 1, 1])
    assert float(net.loss(tokens, torch.ones_like(tokens), labels)["ce"].detach()) > 0
    with pytest.raises(ValueError, match="eager"):
        Sentences(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="two words"):
        net.features(tokens[:, :2])


def test_the_last_values_make_the_last_output() -> None:
    """What heads fetch adds up to what attention adds to the stream, but for the bias."""
    net, images = vit()
    assert isinstance(net, ViolationTest)
    kept: list[Tensor] = []
    hook = net.backbone.blocks[-1].attn.proj.register_forward_hook(
        lambda module, given, made: kept.append(made)
    )
    trace: Trace = net.run(net.features(images))
    hook.remove()
    fetched = torch.einsum("bhij,bhjc->bic", trace.attention[-1], trace.values)
    bias = net.backbone.blocks[-1].attn.proj.bias
    torch.testing.assert_close(fetched + bias, kept[0], atol=1e-5, rtol=1e-4)
    raw = trace.attention[-1].detach().mean(1)[:, 0, 1:]
    torch.testing.assert_close(EXPLAINERS["raw attention"](net, images), raw)

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from telltale.explain.changes import as_given, change
from telltale.explain.faithfulness import ViolationTest, violations
from telltale.explain.maps import (
    EXPLAINERS,
    Trace,
    attention_gradient,
    generic,
    input_gradient,
    integrated_gradients,
    raw_attention,
    rollout,
)
from telltale.explain.subjects import eager, removed
from telltale.nn.backbones import backbone

pytestmark = pytest.mark.usefixtures("one_thread")


class Linear(nn.Module):
    """y = Σ a_i x_i, two classes by softmax over ± y; attention is 1/n everywhere."""

    lead = 0

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = weights

    def features(self, samples: Tensor) -> Tensor:
        return samples[..., None]

    def run(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Trace:
        features, allowed = removed(features, keep, how)
        x, a = features[..., 0], self.weights
        if how == "slice" and keep is not None:
            a = self.weights.expand(len(keep), -1)[keep.bool()].view(len(keep), -1)
        if allowed is not None:
            x = x * allowed
        y = (a * x).sum(1)
        n = x.shape[1]
        return Trace(
            torch.stack([y, -y], 1), [torch.full((len(x), 1, n, n), 1 / n)], x[:, None, :, None]
        )


class Additive(nn.Module):
    """Additive attention over hidden states with a linear decoder."""

    lead = 0

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.key, self.score = nn.Linear(width, 8), nn.Linear(8, 1, bias=False)
        self.decode = nn.Linear(width, 2, bias=False)

    def features(self, samples: Tensor) -> Tensor:
        return samples

    def run(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Trace:
        features, allowed = removed(features, keep, how)
        scores = self.score(torch.tanh(self.key(features))).squeeze(-1)
        if allowed is not None:
            scores = scores.masked_fill(allowed == 0, -math.inf)
        attention = scores.softmax(1)[:, None, None]  # (B, 1, 1, n)
        mixed = (attention[:, 0] @ features)[:, 0]
        values = torch.einsum("bnd,cd->bnc", features, self.decode.weight)[:, None]
        return Trace(self.decode(mixed), [attention], values)


def linear(seed: int = 0) -> tuple[Linear, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return Linear(torch.randn(6, generator=draw)), torch.randn(40, 6, generator=draw)


@given(st.integers(0, 500))
@settings(max_examples=20, deadline=None)
def test_1_a_linear_model_is_explained_by_its_gradient(seed: int) -> None:
    model, x = linear(seed)
    for explain in (input_gradient, integrated_gradients):
        weights = explain(model, x)
        assert violations(model, explain, x).by_removal["zero"] == 0
        turned = violations(model, explain, x, -weights)
        assert turned.by_removal["zero"] == pytest.approx(1, abs=0.05)  # up to exact zeros


def test_2_integrated_gradients_are_complete() -> None:
    model, x = linear()
    torch.testing.assert_close(integrated_gradients(model, x), input_gradient(model, x))
    torch.manual_seed(0)
    deep = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 2))

    class Deep(Linear):
        def run(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Trace:
            return Trace(deep(features[..., 0]), [], features)

    subject = Deep(model.weights)
    total = integrated_gradients(subject, x, steps=200).sum(1)
    with torch.no_grad():
        logits, nothing = deep(x), deep(torch.zeros(1, 6))
        chosen = logits.argmax(1, keepdim=True)
        wanted = (logits.gather(1, chosen) - nothing.expand_as(logits).gather(1, chosen)).squeeze(1)
    assert float((total - wanted).abs().max()) < 0.01 * float(wanted.abs().max())


def test_3_unsigned_weights_violate_where_features_speak_against() -> None:
    model, x = linear(3)
    random = EXPLAINERS["random"]
    weights = random(model, x)
    assert torch.equal(weights, random(model, x))
    strongest = weights.argmax(1)
    keep = torch.ones_like(weights).scatter(1, strongest[:, None], 0.0)
    share = float((change(model, as_given(model, x), keep, "zero") < 0).double().mean())
    assert violations(model, random, x, weights).by_removal["zero"] == pytest.approx(share)
    signed = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    many = torch.cat([x] * 20)
    drawn = torch.randn(800, 6, generator=torch.Generator().manual_seed(2))
    assert signed.shape == weights.shape
    assert violations(model, random, many, drawn).by_removal["zero"] == pytest.approx(0.5, abs=0.06)


def vit() -> tuple[ViolationTest, Tensor]:
    torch.manual_seed(0)
    net = ViolationTest(backbone("vit_tiny", size=64, depth=3), classes=3).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return net, torch.rand(4, 3, 64, 64)


def test_4_which_explanations_can_be_negative() -> None:
    net, images = vit()
    for name in ("random", "raw attention", "attention norm", "rollout", "generic"):
        weights = EXPLAINERS[name](net, images)
        assert weights.shape == (4, 16)
        assert float(weights.min()) >= 0
    for name in ("attention × gradient", "input × gradient", "integrated gradients"):
        assert float(EXPLAINERS[name](net, images).min()) < 0


def test_the_traced_network_is_the_network() -> None:
    net, images = vit()
    with torch.no_grad():
        trace = net.run(net.features(images))
        torch.testing.assert_close(trace.logits, net(images), atol=1e-4, rtol=1e-4)
        nothing = net.run(net.features(images), torch.ones(4, 16), "attention")
        torch.testing.assert_close(nothing.logits, trace.logits)
        cut = net.run(
            net.features(images), torch.ones(4, 16).index_fill(1, torch.tensor([3]), 0), "slice"
        )
    assert cut.attention[0].shape[-1] == 16


@given(st.integers(0, 300), st.floats(0.01, 100))
@settings(max_examples=20, deadline=None)
def test_5_and_6_only_the_sign_of_the_strongest_counts(seed: int, scale: float) -> None:
    model, x = linear(seed)
    weights = torch.randn(40, 6, generator=torch.Generator().manual_seed(seed))
    plain = violations(model, input_gradient, x, weights)
    scaled = violations(model, input_gradient, x, scale * weights)
    assert torch.equal(plain.violated, scaled.violated)
    strongest = weights.abs().argmax(1, keepdim=True)
    shrunk = (0.1 * weights).scatter(1, strongest, weights.gather(1, strongest))
    assert torch.equal(violations(model, input_gradient, x, shrunk).violated, plain.violated)
    turned = violations(model, input_gradient, x, -weights)
    assert not (turned.violated & plain.violated).any()


def test_7_no_change_is_no_violation() -> None:
    model = Linear(torch.tensor([0.0, 1.0, 0.0]))
    x = torch.tensor([[5.0, 1.0, 2.0]])
    verdict = violations(model, input_gradient, x, torch.tensor([[-9.0, 1.0, 1.0]]))
    assert verdict.violation == 0
    assert verdict.still > 0


def test_8_masked_attention_is_renormalised() -> None:
    model = Additive()
    x = torch.randn(2, 4, 5)
    keep = torch.tensor([[1.0, 0, 1, 1]]).expand(2, 4)
    before = model.run(x).attention[0][:, 0, 0]
    after = model.run(x, keep, "attention").attention[0][:, 0, 0]
    torch.testing.assert_close(after[:, 0], before[:, 0] / (1 - before[:, 1]))
    assert not bool(after[:, 1].any())
    with pytest.raises(ValueError, match="want a removal"):
        model.run(x, keep, "burn")


def test_9_attention_gradient_by_hand() -> None:
    """With logits W Σ α h, the gradient of the predicted logit in α_i is w_c · h_i."""
    model, x = Additive(), torch.randn(3, 4, 5)
    trace = model.run(x)
    chosen = trace.logits.argmax(1)
    rows = model.decode.weight[chosen]
    wanted = trace.attention[0][:, 0, 0] * torch.einsum("bd,bnd->bn", rows, x)
    torch.testing.assert_close(attention_gradient(model, x), wanted.detach(), atol=1e-5, rtol=1e-4)


def test_10_rollout_by_hand() -> None:
    net, images = vit()
    full = rollout(net, images)
    assert float(full.sum(1).max()) <= 1 + 1e-5
    model, x = linear()
    alone = rollout(model, x)  # one layer of 1/6 everywhere: (A + I)/2
    wanted = torch.full((40, 6), 1 / 12)
    wanted[:, 0] += 0.5
    torch.testing.assert_close(alone, wanted)


def test_11_generic_without_gradients_is_the_identity() -> None:
    model, x = linear()

    class Still(Linear):
        def run(self, features: Tensor, keep: Tensor | None = None, how: str = "zero") -> Trace:
            trace = super().run(features, keep, how)
            attention = trace.attention[0].requires_grad_(True)
            return Trace(trace.logits + 0 * attention.sum(), [attention], trace.values)

    found = generic(Still(model.weights), x)
    torch.testing.assert_close(found, torch.eye(6)[:1].expand(40, 6))
    net, images = vit()
    assert generic(net, images).shape == (4, 16)  # the class token's own entry is not among them


def test_14_removed_sets_that_coincide_agree() -> None:
    """Of two features, removing the top half is removing what the turned weights call lowest."""
    model, x = Linear(torch.tensor([1.0, -2.0])), torch.randn(30, 2)
    weights = torch.randn(30, 2)
    one = violations(model, input_gradient, x, weights)
    other = violations(model, input_gradient, x, -weights)
    assert one.comprehensiveness == pytest.approx(other.sufficiency)


def test_eager_attention_is_the_fused_one() -> None:
    net, _ = vit()
    attention = net.backbone.blocks[0].attn  # type: ignore[union-attr, index]
    x = torch.randn(2, 17, 192)
    with torch.no_grad():
        maps, mixed, values = eager(attention, x, None)
        torch.testing.assert_close(mixed, attention(x), atol=1e-5, rtol=1e-4)
        whole = torch.einsum("bhij,bhjc->bic", maps, values) + attention.proj.bias
    torch.testing.assert_close(whole, mixed, atol=1e-5, rtol=1e-4)


def test_the_test_runs_on_a_vision_transformer() -> None:
    net, images = vit()
    found = net.test(images, {k: EXPLAINERS[k] for k in ("raw attention", "input × gradient")})
    assert set(found) == {"raw attention", "input × gradient"}
    for verdict in found.values():
        assert 0 <= verdict.violation <= 1
        assert verdict.violated.shape == (3, 4)
    assert float(raw_attention(net, images).sum(1).max()) <= 1
    with pytest.raises(ValueError, match="want a ViT"):
        ViolationTest(nn.Linear(2, 2))

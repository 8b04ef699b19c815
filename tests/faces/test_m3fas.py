"""M3FAS: sizes as in the paper, attention, heads that speak alone."""

import math

import pytest
import torch
from torch import Tensor

from telltale import metrics
from telltale.faces.m3fas import M3FAS, CrossAttention, through


def detector(**settings: float) -> M3FAS:
    torch.manual_seed(0)
    return M3FAS(**({"width": 4} | settings))  # type: ignore[arg-type]


@pytest.fixture
def batch() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        "images": torch.rand(2, 3, 128, 128, generator=random),
        "echoes": torch.randn(2, 2, 33, 61, generator=random),
        "labels": torch.tensor([0, 1]),
    }


def test_1_parameters() -> None:
    with torch.device("meta"):
        network = M3FAS()

    def count(*modules: torch.nn.Module) -> int:
        return sum(p.numel() for module in modules for p in module.parameters())

    assert count(network) == 7_368_588
    assert count(network.fusion_head) == 4_098
    assert count(network.vision_head) == 1_772_290
    assert count(network.sound_head) == 166_658
    stages = [*zip(network.vision, network.sound, network.levels, strict=True)]
    assert [count(*stage) for stage in stages] == [67_522, 1_250_626, 4_107_394]
    attention = [m for m in network.modules() if isinstance(m, CrossAttention)]
    assert count(*attention) == 216_166


def test_2_shapes() -> None:
    with torch.device("meta"):
        network = M3FAS()
        images, echoes = torch.zeros(1, 3, 128, 128), torch.zeros(1, 2, 33, 61)
        seen, heard = through(network.vision, images), through(network.sound, echoes)
        joined, shapes = None, []
        for level, v, a in zip(network.levels, seen, heard, strict=True):
            joined = level(v, a, joined)
            shapes.append(tuple(joined.shape[1:]))
    assert [tuple(x.shape[1:]) for x in seen] == [(32, 62, 62), (64, 30, 30), (256, 14, 14)]
    assert [tuple(x.shape[1:]) for x in heard] == [(32, 15, 29), (64, 6, 13), (128, 2, 5)]
    assert shapes == [(128, 15, 15), (512, 6, 6), (1024, 3, 3)]


def test_3_attention_starts_as_nothing() -> None:
    torch.manual_seed(0)
    cma, x, y = CrossAttention(16), torch.randn(2, 16, 5, 5), torch.randn(2, 16, 5, 5)
    assert torch.equal(cma(x, y), x)
    with torch.no_grad():
        cma.gain.fill_(1)
    assert not torch.allclose(cma(x, y), cma(x, 2 * y))


@pytest.mark.parametrize("gain", [0.0, 0.7])
def test_4_single_heads_hear_nothing_of_the_other_sense(
    batch: dict[str, Tensor], gain: float
) -> None:
    network = detector().eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, CrossAttention):
                module.gain.fill_(gain)
        one = network.heads(batch["images"], batch["echoes"])
        other = network.heads(batch["images"], 1 - batch["echoes"])
    assert torch.equal(one.vision, other.vision)
    assert not torch.allclose(one.fusion, other.fusion)
    assert not torch.allclose(one.sound, other.sound)


def test_5_attention_by_hand() -> None:
    torch.manual_seed(0)
    cma, x, y = CrossAttention(16), torch.randn(1, 16, 3, 3), torch.randn(1, 16, 3, 3)
    with torch.no_grad():
        cma.gain.fill_(0.5)
        for layer in (cma.q, cma.k, cma.v):
            layer.weight.normal_()
    q, k, v = (layer(z).flatten(2)[0] for layer, z in ((cma.q, x), (cma.k, y), (cma.v, y)))
    logits = q.T @ k
    weights = torch.softmax(logits, 1)
    torch.testing.assert_close(cma.weights(x, y)[0], weights)
    torch.testing.assert_close(weights.sum(1), torch.ones(9))
    torch.testing.assert_close(cma(x, y)[0].flatten(1), x[0].flatten(1) + 0.5 * v @ weights.T)
    shuffled = y.flatten(2)[..., torch.randperm(9)].view_as(y)
    torch.testing.assert_close(cma(x, shuffled), cma(x, y))
    with torch.no_grad():
        cma.q.weight *= 2
        cma.q.bias *= 2  # type: ignore[operator]
    torch.testing.assert_close(cma.weights(x, y)[0], torch.softmax(2 * logits, 1))


def test_6_the_loss(batch: dict[str, Tensor]) -> None:
    network = detector(dropout=0.0)
    for head in (network.fusion_head, network.vision_head, network.sound_head):
        torch.nn.init.zeros_(head[-1].weight)  # type: ignore[arg-type]
        with torch.no_grad():
            head[-1].bias.copy_(torch.tensor([0.3, -0.2]))  # type: ignore[operator,union-attr]
    total = torch.stack([*network.loss(**batch).values()]).sum().item()
    ce = (math.log(1 + math.exp(-0.5)) + math.log(1 + math.exp(0.5))) / 2
    assert total == pytest.approx(2 * ce, rel=1e-6)
    fresh = detector(head_weight=0.0)
    fresh.loss(**batch)["fusion"].backward()
    assert fresh.sound[0][0].weight.grad.abs().max() > 0  # type: ignore[index,union-attr]


def test_12_dropout_is_in_the_sound_alone(batch: dict[str, Tensor]) -> None:
    network = detector().train()
    one, other = (network.heads(batch["images"], batch["echoes"]) for _ in range(2))
    assert torch.equal(one.vision, other.vision)
    assert not torch.equal(one.sound, other.sound)


def test_13_hter() -> None:
    assert metrics.hter([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]) == 0
    assert metrics.hter([0.9] * 4, [0, 0, 1, 1]) == 0.5


def test_either_sense_may_be_missing(batch: dict[str, Tensor]) -> None:
    network = detector().eval()
    logits = network.heads(batch["images"], batch["echoes"])
    for given, head in (
        ({"images": batch["images"], "echoes": batch["echoes"]}, "fusion"),
        ({"images": batch["images"]}, "vision"),
        ({"echoes": batch["echoes"]}, "sound"),
    ):
        evidence, spoke = network.answer(**given)
        assert spoke == head
        expected = getattr(logits, head)
        torch.testing.assert_close(evidence.logit, expected[:, 1] - expected[:, 0])
    with pytest.raises(ValueError, match="want images, echoes or both, got neither"):
        network.answer()


def test_pictures_without_a_sound_are_judged_and_learnt_by_vision(batch: dict[str, Tensor]) -> None:
    network = detector(dropout=0.0).eval()
    silent = batch["echoes"].clone()
    silent[1] = torch.nan
    logits = network.heads(batch["images"], batch["echoes"])
    evidence = network(batch["images"], silent).logit
    fusion, vision = (it[:, 1] - it[:, 0] for it in (logits.fusion, logits.vision))
    torch.testing.assert_close(evidence, torch.stack([fusion[0], vision[1]]))
    torch.testing.assert_close(network(batch["images"]).logit, vision)
    whole, part = network.loss(**batch), network.loss(**batch | {"echoes": silent})
    torch.testing.assert_close(part["vision"], whole["vision"])
    alone = {name: value[:1] for name, value in batch.items()}
    for head in ("fusion", "sound"):  # of the one that is heard
        torch.testing.assert_close(part[head], network.loss(**alone)[head])
    none = network.loss(**batch | {"echoes": torch.full_like(silent, torch.nan)})
    assert [*none] == ["vision"]
    none["vision"].backward()
    assert network.sound[0][0].weight.grad is None  # type: ignore[index,union-attr]
    with pytest.raises(ValueError, match="want float echoes"):
        network(batch["images"], silent[..., :60])


def test_loudness_matters_unless_it_is_normalised(batch: dict[str, Tensor]) -> None:
    for normalise, same in ((True, True), (False, False)):
        network = detector(normalise=normalise).eval()
        soft, loud = (network.answer(echoes=k * batch["echoes"])[0].logit for k in (0.1, 1.0))
        assert torch.allclose(soft, loud, atol=1e-5) == same


def test_says_what_it_wants(batch: dict[str, Tensor]) -> None:
    network = detector()
    with pytest.raises(ValueError, match=r"want float echoes \(B, 2, 33, 61\)"):
        network(batch["images"], batch["echoes"][:, :1])
    with pytest.raises(ValueError, match="want images of 128 pixels, got 64"):
        network(batch["images"][..., :64, :64], batch["echoes"])
    with pytest.raises(ValueError, match="want a width in multiples of 4"):
        detector(width=6)

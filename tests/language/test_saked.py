"""SAKED: the brief's checks on values by hand and on miniature real models."""

from math import log

import pytest
import torch
from test_saver import write
from vlms import MODELS, llava

from telltale.language.saked import (
    SakedDecoder,
    contrast,
    cross_layer,
    divergence,
    head_stability,
    image_attention,
)
from telltale.nn.lvlm import EarlyReader

HEADS = torch.tensor([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.25] * 4, [0.4, 0.4, 0.1, 0.1]])


def test_1_divergence() -> None:
    one, two = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.7])
    assert divergence(one, two).item() == pytest.approx(0.253102, abs=1e-6)
    assert divergence(torch.eye(2)[0], torch.eye(2)[1]).item() == pytest.approx(log(2))
    assert divergence(one, one).item() == pytest.approx(0, abs=1e-7)


def test_2_heads() -> None:
    four = torch.tensor(4)
    assert head_stability(HEADS, 2, four).item() == pytest.approx(0.25)
    assert head_stability(HEADS, 4, four).item() == pytest.approx(0.437334, abs=1e-6)
    assert head_stability(HEADS[:1].repeat(3, 1), 3, four).item() == pytest.approx(1)
    assert head_stability(torch.eye(4), 4, four).item() == 0
    assert head_stability(HEADS, 1, four).item() == 0


def test_3_contrast() -> None:
    new = contrast(torch.tensor([2.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 2.0]), 0.3)
    torch.testing.assert_close(new, torch.tensor([2.6, 1.0, -0.6]))


@pytest.mark.parametrize("name", MODELS)
def test_4_and_5_without_strength_or_choice_it_is_greedy(name: str) -> None:
    model, given = MODELS[name]()
    plain = write(model, given)
    assert torch.equal(write(model, given, SakedDecoder(alpha=0.0)), plain)
    assert torch.equal(write(model, given, SakedDecoder(alpha=9.0, top_p=0.0)), plain)
    assert not torch.equal(write(model, given, SakedDecoder(alpha=9.0, top_p=1.0)), plain)


def test_6_7_8_fusion() -> None:
    torch.manual_seed(0)
    logits, early = torch.randn(2, 30), torch.randn(2, 3, 30)
    kss = torch.tensor([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])
    new = SakedDecoder(top_k=5)(logits, early, kss)
    assert (new.softmax(-1) > 0).sum(1).max() <= 5
    for margin in (0.0, 0.3, 2.0):
        one = SakedDecoder(margin=margin, top_p=1.0, top_k=30)(logits, early[:, :1], kss[:, :1])
        torch.testing.assert_close(one, logits + 0.6 * early[:, 0])
    noisy = early.clone()
    noisy[0, 2], noisy[1, 0] = torch.randn(30), torch.randn(30)
    rule = SakedDecoder(margin=0.0)
    assert torch.equal(rule(logits, early, kss), rule(logits, noisy, kss))
    assert not torch.equal(SakedDecoder()(logits, early, kss), SakedDecoder()(logits, noisy, kss))


def test_9_10_11_terms() -> None:
    torch.manual_seed(0)
    early, maps = torch.randn(1, 4, 9), torch.rand(1, 3, 4, 5)
    change = cross_layer(early, [1, 2, 3], [0, 1, 2])
    torch.testing.assert_close(
        change, divergence(early[:, 1:].softmax(-1), early[:, :-1].softmax(-1))
    )
    maps /= maps.sum(-1, keepdim=True)
    five = torch.tensor([5])
    only = SakedDecoder(weights=(1.0, 0.0, 0.0)).stability
    other = torch.full_like(maps, 0.2)
    assert torch.equal(only(change, maps, maps, five), only(change, other, maps, five))
    heads = SakedDecoder(weights=(0.0, 1.0, 0.0)).stability
    assert torch.equal(heads(change, maps, None, five), heads(change.flip(1), maps, None, five))
    first = SakedDecoder().stability(change, maps, None, five)
    again = SakedDecoder().stability(change, maps, maps, five)
    torch.testing.assert_close(again, first + 1)


def test_12_read_outs_are_the_models_own() -> None:
    model, given = llava()
    decoder = SakedDecoder(layers=(4, 6))
    with EarlyReader(model, decoder) as reader, torch.no_grad():
        out = model(**given, output_hidden_states=True)
        seen = decoder._read(reader.made)  # of layers 3, 4, 5 and 6
    torch.testing.assert_close(seen[:, 3], out.logits[:, -1])
    normed = model.model.language_model.norm(out.hidden_states[4][:, -1])
    torch.testing.assert_close(seen[:, 1], model.lm_head(normed))


@pytest.mark.parametrize("name", MODELS)
def test_13_cached_as_uncached_and_batched_as_alone(name: str) -> None:
    model, given = MODELS[name]()
    decoder = SakedDecoder(alpha=2.0)
    both = write(model, given, decoder)
    assert torch.equal(write(model, given, decoder, use_cache=False), both)
    rows = {key: value.chunk(2)[1] for key, value in given.items()}
    assert torch.equal(write(model, rows, decoder)[0], both[1])


def test_14_reads_only_what_it_needs() -> None:
    model, given = llava(1)
    calls: list[int] = []
    model.lm_head.register_forward_hook(lambda _, a, out: calls.append(out.shape[:-1].numel()))
    write(model, given, SakedDecoder(layers=(3, 4)), max_new_tokens=3)
    assert sum(calls) == 3 * (1 + 3)


def test_15_only_image_keys_count() -> None:
    torch.manual_seed(0)
    weights = torch.rand(1, 2, 6, 6)
    images = torch.tensor([[False, True, True, False, False, False]])
    changed = weights.clone()
    changed[..., 3:] *= 5
    for prompt in (True, False):
        one = image_attention(weights, images, prompt)
        torch.testing.assert_close(image_attention(changed, images, prompt), one)
        torch.testing.assert_close(one.sum(-1), torch.ones(1, 2))
        assert not torch.equal(image_attention(weights, images.roll(1), prompt), one)


def test_padding_on_the_left_and_beams() -> None:
    model, given = llava(1)
    alone = write(model, given, SakedDecoder(alpha=2.0))
    pad = torch.zeros(1, 2, dtype=torch.long)
    padded = {
        **given,
        "input_ids": torch.cat([pad, given["input_ids"]], 1),
        "attention_mask": torch.cat([pad, given["attention_mask"]], 1),
    }
    assert torch.equal(write(model, padded, SakedDecoder(alpha=2.0))[:, 2:], alone)
    decoder = SakedDecoder(alpha=0.0, top_p=1.0, top_k=96)
    assert torch.equal(write(model, given, decoder, num_beams=3), write(model, given, num_beams=3))
    write(model, given, SakedDecoder(), num_beams=3)


def test_fails_loudly_without_attention_weights() -> None:
    model, given = llava(1)
    model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match="eager"):
        write(model, given, SakedDecoder())

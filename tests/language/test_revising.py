# ruff: noqa: ANN401 - transformers' models are untyped
"""One line switches a decoder on: in every architecture, greedily, sampled and with beams."""

from typing import Any

import pytest
import torch
from test_saver import write
from vlms import IMAGE, MODELS, llava

from telltale.language.references import DolaDecoder
from telltale.language.saked import SakedDecoder
from telltale.language.saver import SaverDecoder
from telltale.nn.lvlm import EarlyReader, Pass, revising

DECODERS = {"saver": SaverDecoder, "saked": SakedDecoder}


def one_line(model: Any, given: dict[str, Any], decoder: Any, **how: Any) -> torch.Tensor:
    token = IMAGE if type(model).__name__.startswith("InstructBlip") else None
    how = {"max_new_tokens": 6, "do_sample": False, "suppress_tokens": [90, 91, 92, 93], **how}
    return model.generate(**given, **how, custom_generate=revising(decoder, image_token=token))


@pytest.mark.parametrize("rule", DECODERS)
@pytest.mark.parametrize("name", MODELS)
def test_as_the_processor_in_greedy_search_sampling_and_beams(name: str, rule: str) -> None:
    model, given = MODELS[name]()
    ways: list[dict[str, Any]] = [
        {},
        {"do_sample": True, "temperature": 0.7, "top_k": 5},
        {"num_beams": 2},
        {"num_beams": 3, "num_return_sequences": 2},
    ]
    for how in ways:
        torch.manual_seed(3)
        wanted = write(model, given, DECODERS[rule](alpha=2.0), **how)
        torch.manual_seed(3)
        assert torch.equal(one_line(model, given, DECODERS[rule](alpha=2.0), **how), wanted)
    plain = write(model, given)
    assert torch.equal(one_line(model, given, DECODERS[rule](alpha=0.0)), plain)
    assert not torch.equal(one_line(model, given, DECODERS[rule](alpha=9.0, top_p=1.0)), plain)


@pytest.mark.parametrize("beams", [1, 2])
def test_a_beams_memory_is_its_own(beams: int) -> None:
    """Cached beams write what they write when every step begins anew."""
    model, given = llava()
    for rule in DECODERS.values():
        one = one_line(model, given, rule(alpha=1.0), num_beams=beams)
        again = one_line(model, given, rule(alpha=1.0), num_beams=beams, use_cache=False)
        assert torch.equal(one, again)


def test_the_decoder_comes_before_temperature_and_after_exclusions() -> None:
    seen: list[torch.Tensor] = []

    class Looks(DolaDecoder):
        def step(self, scores: torch.Tensor, made: Pass) -> torch.Tensor:
            seen.append(scores)
            return scores

    model, given = llava(1)
    with torch.no_grad():
        logits = model(**given).logits[:, -1]
    one_line(model, given, Looks(), do_sample=True, temperature=0.1, max_new_tokens=1)
    kept = [k for k in range(96) if k not in (90, 91, 92, 93)]
    torch.testing.assert_close(seen[0][:, kept], logits[:, kept])
    assert torch.isinf(seen[0][:, 90:94]).all()


def test_a_model_without_an_image_token_is_told_what_to_give() -> None:
    model, given = MODELS["instructblip"](1)
    with pytest.raises(ValueError, match="give image_token"):
        model.generate(**given, max_new_tokens=1, custom_generate=revising(SaverDecoder()))
    assert not any(layer._forward_hooks for layer in model.language_model.model.layers)


@pytest.mark.parametrize("name", MODELS)
def test_a_bare_head_is_read_as_the_module_is(name: str) -> None:
    """Few rows, many rows and some words alone, against the head called with a hook on it."""
    model, _ = MODELS[name](1)
    reader = EarlyReader(model, SaverDecoder(), image_token=IMAGE)
    for rows in (3, 40):
        states = torch.randn(rows, 32)
        words = torch.randint(0, 96, (rows, 7))
        fast = reader.read(states, True), reader.read(states, True, words)
        deep = reader.read(states[None, None], False)
        hook = reader.head.register_forward_hook(lambda *_: None)
        slow = reader.read(states, True), reader.read(states, True, words)
        torch.testing.assert_close(fast, slow)
        torch.testing.assert_close(deep, reader.read(states[None, None], False))
        torch.testing.assert_close(slow[1], slow[0].gather(1, words))
        hook.remove()

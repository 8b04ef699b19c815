# ruff: noqa: ANN401 - transformers' models are untyped
"""SAVER: the brief's checks on tables by hand and on miniature real models."""

from typing import Any

import pytest
import torch
from torch import Tensor
from vlms import MODELS, llava

from telltale.language.saver import SaverDecoder, image_share
from telltale.nn.candidates import plausible
from telltale.nn.lvlm import EarlyReader, beam_origin


def write(model: Any, given: dict[str, Tensor], decoder: Any = None, **how: Any) -> Tensor:
    how = {"max_new_tokens": 6, "do_sample": False, "suppress_tokens": [90, 91, 92, 93], **how}
    if decoder is None:
        return model.generate(**given, **how)
    with EarlyReader(model, decoder, beams=how.get("num_beams", 1)) as reader:
        return model.generate(**given, **how, logits_processor=[reader])


def states_of(model: Any, given: dict[str, Tensor]) -> Any:
    with torch.no_grad():
        return model(**given, output_hidden_states=True)


def test_1_and_2_support_counts_patches() -> None:
    model, given = llava(1)
    hidden = torch.stack(states_of(model, given).hidden_states)[3:5, 0]
    images = given["input_ids"][0] == 90
    reader = EarlyReader(model, SaverDecoder(layers=(3, 4)))
    with torch.no_grad():
        few = SaverDecoder(patch_top_k=5).prepare(hidden, images, reader.read)
        full = SaverDecoder(patch_top_k=999).prepare(hidden, images, reader.read)
        expected = model.lm_head(hidden[:, images]).softmax(-1).sum(1)
    torch.testing.assert_close(few.sum(1), torch.full((2,), 4.0), atol=1e-4, rtol=0)
    assert (few >= 0).all()
    assert ((few > 0).sum(1) <= 5 * 4).all()
    torch.testing.assert_close(full, expected)


def test_3_the_layer_and_the_weight_by_hand() -> None:
    logits = torch.full((1, 9), -50.0)
    logits[0, [3, 7]] = 0.0
    support = torch.zeros(1, 2, 9)
    support[0, 0, 3], support[0, 0, 7] = 2.0, 0.5
    support[0, 1, 3], support[0, 1, 7] = 1.0, 2.5
    support[0, :, 5] = 100  # check 6: not plausible, hence nothing
    layer, word, gamma = SaverDecoder().choose(logits, support)
    assert (layer.item(), word.item(), gamma.item()) == (1, 7, 2.5)


def test_the_worked_example_flips() -> None:
    logits = torch.tensor([[0.45, 0.40, 0.10, 0.03, 0.02]]).log()
    support = torch.tensor([[[0.8, 0.6, 0.2, 0.2, 0.2]]])
    early = torch.tensor([[[0.0, 1.0, 0.0, 0.0, 0.0]]])
    new = SaverDecoder()(logits, early, support)
    torch.testing.assert_close(new[0, 1], torch.tensor(0.4).log() + 0.48)
    assert new.argmax() == 1
    assert torch.isinf(new[0, 3:]).all()
    double = SaverDecoder()(logits, early, 2 * support)  # check 5
    torch.testing.assert_close(double[0, 1] - logits[0, 1], torch.tensor(0.96))


@pytest.mark.parametrize(("p", "k", "count"), [(0.9, 20, 3), (0.9, 2, 2), (0.0, 20, 1)])
def test_plausible_words(p: float, k: int, count: int) -> None:
    assert plausible(torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log(), p, k).sum() == count


@pytest.mark.parametrize("name", MODELS)
def test_4_without_strength_it_is_greedy_and_with_it_not(name: str) -> None:
    model, given = MODELS[name]()
    plain = write(model, given)
    assert torch.equal(write(model, given, SaverDecoder(alpha=0.0)), plain)
    assert not torch.equal(write(model, given, SaverDecoder(alpha=5.0, top_p=1.0)), plain)


@pytest.mark.parametrize("name", MODELS)
def test_cached_and_batched_as_alone(name: str) -> None:
    model, given = MODELS[name]()
    decoder = SaverDecoder(alpha=2.0)
    both = write(model, given, decoder)
    assert torch.equal(write(model, given, decoder, use_cache=False), both)
    rows = {key: value.chunk(2)[1] for key, value in given.items()}
    assert torch.equal(write(model, rows, decoder)[0], both[1])


def test_7_text_after_the_image_does_not_matter_and_8_support_is_read_once() -> None:
    model, given = llava(1)
    tables, calls = [], []
    for word in (11, 50):
        ids = given["input_ids"].clone()
        ids[0, -1] = word
        decoder = SaverDecoder(layers=(3, 4))
        with EarlyReader(model, decoder) as reader:
            hook = model.lm_head.register_forward_hook(
                lambda _, a, out: calls.append(out.shape[:-1].numel())
            )
            model.generate(
                **{**given, "input_ids": ids},
                max_new_tokens=4,
                do_sample=False,
                logits_processor=[reader],
            )
            hook.remove()
            tables.append(reader.made.memory["support"])
    torch.testing.assert_close(tables[0], tables[1])
    assert sum(calls) == 2 * (2 * 4 + 4 + 4)  # support, the model's own words, one read per step


def test_9_constant_patches_choose_the_same_layer_for_every_image() -> None:
    model, given = llava(1)
    images, logits = given["input_ids"][0] == 90, torch.randn(1, 96)
    chosen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        other = {**given, "pixel_values": torch.randn(1, 3, 8, 8)}
        hidden = torch.stack(states_of(model, other).hidden_states)[3:6, 0]
        hidden[:, images] = torch.linspace(-1, 1, 32)
        reader = EarlyReader(model, SaverDecoder(layers=(3, 4, 5)))
        with torch.no_grad():
            support = SaverDecoder().prepare(hidden, images, reader.read)
        chosen.append(SaverDecoder().choose(logits, support[None]))
    assert [x.item() for x in chosen[0]] == [x.item() for x in chosen[1]]


def test_attention_as_selector() -> None:
    weights = torch.tensor([[[[0.9, 0.1, 0.0], [0.2, 0.5, 0.3]], [[0.9, 0.1, 0.0], [0.6, 0.4, 0]]]])
    images = torch.tensor([[False, True]])
    assert image_share(weights, images).item() == pytest.approx((0.5 + 0.4) / 2)
    model, given = llava(1)
    decoder = SaverDecoder(layers=(3, 4, 5), selector="attention", alpha=2.0)
    with torch.no_grad():
        seen = model(**given, output_hidden_states=True, output_attentions=True)
    looks = torch.stack([image_share(seen.attentions[k - 1], given["input_ids"] == 90)
                         for k in (3, 4, 5)])  # fmt: skip
    layer = (3, 4, 5)[looks.argmax()]
    early = model.lm_head(seen.hidden_states[layer][:, -1])
    final = seen.logits[:, -1]
    final[:, 90:94] = -torch.inf  # as in the call below
    expected = decoder.fuse(final, early, looks.max()[None]).argmax()
    assert write(model, given, decoder, max_new_tokens=1)[0, -1] == expected
    assert torch.equal(write(model, given, decoder, use_cache=False), write(model, given, decoder))


def test_10_next_token_selector_is_deco() -> None:
    model, given = llava(1)
    ids = given["input_ids"]
    for _ in range(6):
        hidden = states_of(model, {**given, "input_ids": ids, "attention_mask": ids.ne(0).long()})
        final = hidden.logits[0, -1]
        early = torch.stack([model.lm_head(hidden.hidden_states[i][0, -1]) for i in (3, 4, 5)])
        words = plausible(final[None], 0.9, 20)[0].nonzero()[:, 0]
        best = early.softmax(-1)[:, words]
        layer = best.amax(1).argmax()
        revised = (final + 0.6 * best.max() * early[layer])[words]
        ids = torch.cat([ids, words[revised.argmax()].view(1, 1)], 1)
    decoder = SaverDecoder(layers=(3, 4, 5), selector="next")
    assert torch.equal(write(model, given, decoder), ids)


def test_11_beams() -> None:
    model, given = llava()
    decoder = SaverDecoder(alpha=0.0, top_p=1.0, top_k=96)
    assert torch.equal(write(model, given, decoder, num_beams=2), write(model, given, num_beams=2))
    write(model, given, SaverDecoder(), num_beams=2)
    before = torch.tensor([[1, 2], [1, 3], [1, 2], [1, 3]])
    after = torch.tensor([[1, 3, 5], [1, 3, 6], [1, 3, 7], [1, 2, 8]])
    assert beam_origin(before, after, 2).tolist() == [1, 1, 3, 2]


def test_12_chunks_and_14_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    head = torch.randn(8, 40)
    states, images = torch.randn(2, 30, 8), torch.arange(30) > 2
    whole = SaverDecoder().prepare(states, images, lambda s, n: s.float() @ head)
    monkeypatch.setattr("telltale.language.saver.CHUNK", 4)
    parts = SaverDecoder().prepare(states, images, lambda s, n: s.float() @ head)
    halves = SaverDecoder().prepare(states.half(), images, lambda s, n: s.float() @ head)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
    assert (halves - whole).norm() < 1e-2 * whole.norm()


def test_13_refusals_leave_the_model_clean() -> None:
    model, given = llava()
    with pytest.raises(ValueError, match="normalised"):
        EarlyReader(model, SaverDecoder(layers=(6,), apply_norm=True))
    with pytest.raises(ValueError, match="want different layers"):
        EarlyReader(model, SaverDecoder(layers=(9,)))
    with pytest.raises(ValueError, match="context"):
        EarlyReader(model, SaverDecoder())(given["input_ids"], torch.zeros(2, 96))
    with (
        pytest.raises(ValueError, match="image tokens"),
        EarlyReader(model, SaverDecoder(), image_token=77) as reader,
    ):
        model.generate(**given, max_new_tokens=1, logits_processor=[reader])
    assert not any(module._forward_hooks for module in model.model.language_model.layers)

"""DoLa-like and VCD-like decoding: values by hand, and miniature real models."""

from math import log

import pytest
import torch
from test_saver import write
from vlms import llava

from telltale.language.references import DolaDecoder, NoisyContrast, contrasted, noised


def test_dola_by_hand() -> None:
    final = torch.tensor([[0.6, 0.35, 0.05]]).log()
    near, far = torch.tensor([0.5, 0.4, 0.1]).log(), torch.tensor([0.9, 0.05, 0.05]).log()
    new = DolaDecoder().contrast(final, torch.stack([near, far])[None])
    torch.testing.assert_close(new[0, :2], torch.tensor([log(0.6 / 0.9), log(0.35 / 0.05)]))
    assert new[0, 2] == -torch.inf  # below 0.1 x 0.6
    assert new.argmax() == 1
    again = DolaDecoder().contrast(final + 3, torch.stack([near, far])[None] - 5)
    torch.testing.assert_close(again, new)  # logits are known up to a constant


def test_dolas_buckets() -> None:
    assert DolaDecoder().needs(32)[0] == tuple(range(16, 32, 2))
    assert DolaDecoder(bucket="low").needs(32)[0] == tuple(range(0, 16, 2))
    assert DolaDecoder().needs(1)[0] == (1,)  # its only one
    with pytest.raises(ValueError, match="high"):
        DolaDecoder(bucket="middle")


def test_vcd_by_hand() -> None:
    new = contrasted(torch.tensor([[2.0, 1.5, -3.0]]), torch.tensor([[3.0, 0.0, 0.0]]), 1.0, 0.1)
    torch.testing.assert_close(new[0, :2], torch.tensor([1.0, 3.0]))
    assert new[0, 2] == -torch.inf  # below 2 + ln 0.1 = -0.30


def test_noise_keeps_what_the_schedule_keeps() -> None:
    torch.manual_seed(0)
    made = noised(torch.ones(200, 200), 500)
    betas = (torch.linspace(-6, 6, 1000).sigmoid() * (0.005 - 1e-5) + 1e-5).double()
    kept = (1 - betas)[:501].prod()
    assert made.mean() == pytest.approx(float(kept.sqrt()), abs=0.02)
    assert made.std() == pytest.approx(float((1 - kept).sqrt()), abs=0.02)
    assert noised(torch.ones(99), 0).mean() == pytest.approx(1, abs=0.01)
    with pytest.raises(ValueError, match=r"0\.\.999"):
        noised(torch.ones(1), 1000)


def test_on_a_model() -> None:
    model, given = llava()
    plain = write(model, given)
    how = {"max_new_tokens": 6, "do_sample": False, "suppress_tokens": [90, 91, 92, 93]}
    other = {key: value for key, value in given.items() if key != "input_ids"}

    def contrast(noisy: dict[str, torch.Tensor], alpha: float) -> torch.Tensor:
        rule = NoisyContrast(model, noisy, alpha=alpha)
        made: torch.Tensor = model.generate(**given, **how, logits_processor=[rule])
        return made

    noisy = {**other, "pixel_values": torch.randn(2, 3, 8, 8) * 9}
    assert torch.equal(contrast(noisy, 0.0), plain)
    assert torch.equal(contrast(other, 3.0), plain)  # of the same picture: (1 + α) z − α z
    assert not torch.equal(contrast(noisy, 9.0), plain)
    assert not torch.equal(write(model, given, DolaDecoder(share=1e-3)), plain)
    assert torch.equal(write(model, given, DolaDecoder(share=1.0)), plain)
    rule = NoisyContrast(model, noisy)
    rule(given["input_ids"], torch.zeros(2, 96))
    longer = torch.cat([given["input_ids"] + 1, given["input_ids"][:, :1]], 1)
    with pytest.raises(ValueError, match="continue"):
        rule(longer, torch.zeros(2, 96))


def test_the_second_pass_has_its_own_cache_and_padding() -> None:
    model, given = llava(1)
    how = {"max_new_tokens": 5, "do_sample": False, "suppress_tokens": [90, 91, 92, 93]}
    torch.manual_seed(3)
    noise = torch.randn(1, 3, 8, 8) * 5
    mask = given["attention_mask"]
    alone = model.generate(
        **given, **how,
        logits_processor=[NoisyContrast(model, {"pixel_values": noise, "attention_mask": mask})],
    )  # fmt: skip
    ids = given["input_ids"]
    for _ in range(5):  # without any cache
        with torch.no_grad():
            one = model(input_ids=ids, pixel_values=given["pixel_values"]).logits[:, -1]
            two = model(input_ids=ids, pixel_values=noise).logits[:, -1]
        one[:, 90:94] = -torch.inf
        ids = torch.cat([ids, contrasted(one, two, 1.0, 0.1).argmax(-1, keepdim=True)], 1)
    assert torch.equal(alone, ids)
    pad = torch.zeros(1, 2, dtype=torch.long)
    padded = {
        "input_ids": torch.cat([pad, given["input_ids"]], 1),
        "attention_mask": torch.cat([pad, mask], 1),
    }
    rule = NoisyContrast(model, {"pixel_values": noise, "attention_mask": padded["attention_mask"]})
    made = model.generate(
        **padded, pixel_values=given["pixel_values"], **how, logits_processor=[rule]
    )
    assert torch.equal(made[:, 2:], alone)

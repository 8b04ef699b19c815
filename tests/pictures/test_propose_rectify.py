import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from telltale import fit, metrics
from telltale.nn.filters import Filters, blocks, constrained
from telltale.nn.proposals import Answer, Proposer, parse, written
from telltale.nn.rectifier import contrast
from telltale.nn.regions import box_of, iou, jittered, moved, places, random_boxes, sampled, shift
from telltale.nn.residuals import srm
from telltale.nn.sam import sam
from telltale.pictures.propose_rectify import ProposeRectify, mask_terms, union

pytestmark = pytest.mark.usefixtures("one_thread")


def tiny(**settings: Any) -> ProposeRectify:
    torch.manual_seed(0)
    return ProposeRectify(sam("sam_tiny"), **({"channels": 8, "hidden": 32} | settings))


def splices(count: int, seed: int, size: int = 32) -> dict[str, Tensor]:
    """Smooth pictures; in half of them a rectangle has another camera's noise. Synthetic."""
    draw = torch.Generator().manual_seed(seed)
    base = torch.rand(count, 3, 4, 4, generator=draw)
    images = nn.functional.interpolate(base, size, mode="bicubic").clamp(0.1, 0.9)
    masks = torch.zeros(count, 1, size, size)
    labels = torch.arange(count) % 2
    for row in range(count):
        high, wide = (int(torch.randint(10, 18, (), generator=draw)) for _ in range(2))
        y = int(torch.randint(0, size - high, (), generator=draw))
        x = int(torch.randint(0, size - wide, (), generator=draw))
        masks[row, :, y : y + high, x : x + wide] = 1
    noise = torch.randn(images.shape, generator=draw)
    where = masks * labels.view(-1, 1, 1, 1)
    images = (images + (0.01 + 0.05 * where) * noise).clamp(0, 1)
    return {"images": images, "labels": labels, "masks": where}


@pytest.fixture(scope="module")
def trained() -> ProposeRectify:
    torch.set_num_threads(1)
    net = tiny()
    batches = (splices(16, seed) for seed in range(10_000))
    for step in fit.fit(net, batches, fit.adam(net, lr=3e-3)):
        if step.number >= 220:
            break
    return net.eval()


def test_1_with_gamma_zero_the_mask_is_sams_own() -> None:
    net, images = tiny().eval(), splices(2, 1)["images"]
    box = torch.tensor([[4.0, 4.0, 20.0, 24.0]]).expand(2, 4)
    with torch.no_grad():
        embedding = net.encode(images)
        enhanced = net.enhance(embedding, net.filters(images)[2])
        torch.testing.assert_close(enhanced, embedding, rtol=0, atol=0)
        plain = net.sam.decode(embedding, box)
        torch.testing.assert_close(net.sam.decode(enhanced, box), plain, rtol=0, atol=0)
        net.enhance.gamma += 0.5
        assert not torch.allclose(net.enhance(embedding, net.filters(images)[2]), embedding)


def test_2_and_12_what_learns_and_what_is_frozen() -> None:
    net, data = tiny(), splices(8, 2)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimiser = fit.adam(net, lr=1e-2)
    steps = fit.fit(net, [data] * 3, optimiser)
    assert len(list(steps)) == 3
    moved_ones = {n for n, p in net.named_parameters() if not torch.equal(p, before[n])}
    assert not {name for name in moved_ones if "vision_encoder" in name or "prompt_encoder" in name}
    for part in ("filters.bayar", "filters.encoders", "filters.weights", "rectifier.accept",
                 "rectifier.shift", "rectifier.peak", "enhance.gamma", "enhance.cue",
                 "enhance.attention", "sam.mask_decoder"):  # fmt: skip
        assert any(name.startswith(part) for name in moved_ones), part


@pytest.mark.parametrize("stage", ["rectify", "segment"])
def test_stages_train_their_own_parts(stage: str) -> None:
    net = tiny(stage=stage)
    learns = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert learns == ({"filters", "rectifier"} if stage == "rectify" else {"enhance", "sam"})
    terms = net.loss(**splices(4, 3))
    assert set(terms) == (
        {"accept", "shift", "peaks"} if stage == "rectify" else {"mask", "dice", "edge"}
    )


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_3_constrained_kernels_stay_so(seed: int) -> None:
    torch.manual_seed(seed)
    net = Filters(4)
    with torch.no_grad():
        net.bayar.weight += 0.1 * torch.randn_like(net.bayar.weight)
    net.project()
    for kernels in (net.bayar.weight.detach(), constrained(net.bayar.weight.detach())):
        middle = kernels[..., 2, 2]
        torch.testing.assert_close(middle, -torch.ones_like(middle), atol=1e-6, rtol=0)
        total = kernels.sum((2, 3))
        # A sum near 0 makes the others large; what is left is their rounding.
        assert (total.abs() <= 1e-5 * kernels.abs().sum((2, 3))).all()


def test_3_after_a_step_the_constraint_acts() -> None:
    net, data = tiny(), splices(4, 5)
    list(fit.fit(net, [data], fit.adam(net, lr=1e-2)))
    flat = torch.full((1, 3, 16, 16), 0.4)
    with torch.no_grad():
        assert float(net.filters.bayar(flat).abs().max()) < 1e-5


def test_4_filters_see_nothing_in_a_constant_picture() -> None:
    flat = torch.full((1, 3, 32, 32), 0.3)
    assert float(srm(flat)[..., 3:-3, 3:-3].abs().max()) < 1e-3
    assert float(blocks(flat).abs().max()) < 1e-5


def test_blocks_take_out_only_the_lowest_frequencies() -> None:
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    wave = torch.cos(torch.pi / 8 * 7 * (torch.arange(8) + 0.5)).expand(1, 1, 8, 8)
    torch.testing.assert_close(blocks(wave), 10 * wave, atol=1e-4, rtol=1e-4)
    assert float(blocks(ramp).abs().max()) < 10 * float((ramp - ramp.mean()).abs().max()) / 4


def test_5_a_shifted_box_comes_nearer(trained: ProposeRectify) -> None:
    data = splices(160, 77)
    keep = data["labels"] == 1
    images, masks = data["images"][keep], data["masks"][keep]
    truth = box_of(masks)
    sides = truth[:, 2:] - truth[:, :2]
    off = 0.2 * sides * torch.where(torch.rand(len(truth), 2) < 0.5, -1.0, 1.0)
    start = (truth + torch.cat([off, off], 1)).clamp(0, 32)
    with torch.no_grad():
        found = trained.rectify(trained.filters(images), start[:, None]).boxes[:, 0]
    assert float(iou(found, truth).mean()) > float(iou(start, truth).mean()) + 0.005


def test_6_boxes_on_pristine_regions_are_rejected(trained: ProposeRectify) -> None:
    data = splices(200, 78)
    maps = trained.filters(data["images"])
    with torch.no_grad():
        truth = box_of(data["masks"])
        random = random_boxes(len(truth), 1, 32, truth)[:, 0]
        changed = data["labels"] == 1
        boxes = torch.where(changed[:, None], truth, random)
        accept = trained.rectifier(maps, boxes[:, None], 32)[0][:, 0]
    assert metrics.auc(accept.numpy(), data["labels"].numpy()) > 0.8


GOOD = "<analysis>seam at the sleeve</analysis> <verdict>fake</verdict> <box>0,10,500,999</box>"


def test_7_the_parser_reads_what_is_of_the_form() -> None:
    answer = parse(GOOD)
    assert answer.is_fake
    assert answer.analysis == "seam at the sleeve"
    assert answer.boxes == (pytest.approx((0, 10 / 999, 500 / 999, 1)),)
    assert parse("<analysis>fine</analysis><verdict>real</verdict>") == Answer("fine", False, ())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "form"),
        ("it is fake", "form"),
        (GOOD.replace("fake", "maybe"), "form"),
        (GOOD + " and more", "form"),
        (GOOD.replace("999", "1000"), "0 to 999"),
        (GOOD.replace("0,10", "-1,10"), "0 to 999"),
        (GOOD.replace("500,999", "500"), "0 to 999"),
        (GOOD.replace("0,10,500,999", "500,10,0,999"), "swapped"),
        (GOOD.replace("0,10,500,999", "5,10,5,999"), "swapped"),
        (GOOD + " <box>1,1,2,2</box>" * 5, "at most 5"),
        (GOOD.replace("fake", "real"), "verdict is real"),
    ],
)
def test_7_the_parser_is_strict(text: str, fault: str) -> None:
    answer = parse(text)
    assert answer.boxes == ()
    assert fault in answer.fault


@given(st.text(max_size=200))
def test_7_any_answer_is_read_without_a_crash(text: str) -> None:
    assert len(parse(text).boxes) <= 5


unit = st.floats(0, 0.45)


@given(st.lists(st.tuples(unit, unit, st.floats(0.5, 1), st.floats(0.5, 1)), max_size=5))
def test_7_written_answers_are_read_again(boxes: list[tuple[float, ...]]) -> None:
    answer = parse(written(boxes, "blur"))
    assert not answer.fault
    assert answer.is_fake == bool(boxes)
    assert len(answer.boxes) == len(boxes)
    for found, given_one in zip(answer.boxes, boxes, strict=True):
        assert found == pytest.approx(given_one, abs=1 / 999)


def test_8_without_a_box_it_looks_at_its_own_peaks(trained: ProposeRectify) -> None:
    data = splices(60, 79)
    maps = trained.filters(data["images"])
    own = trained.own(maps)
    assert own.shape == (60, 4, 4)
    torch.testing.assert_close(own[:, 0], torch.tensor([0.0, 0, 32, 32]).expand(60, 4))
    with torch.no_grad():
        evidence = trained(data["images"])
    assert metrics.auc(evidence.logit.numpy(), data["labels"].numpy()) > 0.75
    flat = torch.full((1, 3, 32, 32), 0.5)
    assert torch.isfinite(trained(flat).logit).all()


def test_9_shares_of_filters_sum_to_one() -> None:
    maps, shares = Filters(8).parts(splices(2, 4)["images"])
    for scale, (z, share) in enumerate(zip(maps, shares, strict=True)):
        side = 32 // (4 * 2**scale)
        assert z.shape == (2, 4, 8, side, side)
        assert share.shape == (2, 4, 1, side, side)
        torch.testing.assert_close(share.sum(1), torch.ones(2, 1, side, side))


def test_10_the_mask_is_as_large_as_the_picture(trained: ProposeRectify) -> None:
    with torch.no_grad():
        evidence = trained(splices(3, 6)["images"])
    assert evidence.mask is not None
    assert evidence.mask.shape == (3, 1, 32, 32)
    with pytest.raises(ValueError, match="want float"):
        trained(torch.rand(1, 3, 32, 48))


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=5))
def test_11_a_union_is_at_least_each_proposal(logits: list[float]) -> None:
    accept = torch.tensor([logits], dtype=torch.float64)
    found = float(union(accept))
    assert found >= max(logits) - 1e-6 or max(logits) < -13  # the clamp for tiny evidence
    expected = 1 - torch.prod(1 - accept.sigmoid())
    assert torch.sigmoid(torch.tensor(found)) == pytest.approx(float(expected), abs=2e-6)


def test_a_hint_is_followed_and_a_rejected_one_calls_nothing(trained: ProposeRectify) -> None:
    data = splices(40, 80)
    keep = data["labels"] == 1
    images, truth = data["images"][keep], box_of(data["masks"][keep])
    with torch.no_grad():
        hinted = trained.locate(images, truth[:, None])
        strict = copy.copy(trained)
        strict.accept = 0.9999
        refused = strict.locate(images, truth[:, None])
    assert hinted.mask is not None
    assert refused.mask is not None
    assert float((hinted.mask.sigmoid() > 0.5).float().mean()) > 0
    assert not bool((refused.mask > 0).any())


def test_hints_in_slots_are_the_boxes_and_none_is_a_proposal_of_its_own(
    trained: ProposeRectify,
) -> None:
    images = splices(4, 81)["images"]
    box = torch.tensor([[[6.0, 6.0, 20.0, 24.0]]]).expand(4, 1, 4)
    slots = torch.zeros(4, trained.slots, 4)
    with torch.no_grad():
        own, empty = trained(images), trained.hinted(images, slots)
        slots[:, 2:3] = box  # whichever slot it is
        told, hinted = trained.locate(images, box), trained.hinted(images, slots)
    for one, other in ((own, empty), (told, hinted)):
        assert one.mask is not None
        assert other.mask is not None
        torch.testing.assert_close(one.logit, other.logit, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(one.mask, other.mask, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(own.logit, told.logit)


def test_boxes_by_hand() -> None:
    one, other = torch.tensor([0.0, 0, 4, 4]), torch.tensor([2.0, 2, 6, 6])
    assert float(iou(one, other)) == pytest.approx(4 / 28)
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, 0, 2:5, 1:7] = 1
    assert box_of(masks).tolist() == [[1, 2, 7, 5], [0, 0, 8, 8]]
    move = shift(one, torch.tensor([1.0, 0, 9, 2]))
    assert move.tolist() == pytest.approx([0.75, -0.25, 0.6931472, -0.6931472])
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    seen = sampled(ramp, places(torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]), 2))
    assert seen.flatten().tolist() == pytest.approx([1.5, 5.5, 1.5, 5.5])


@given(st.integers(0, 1000))
@settings(max_examples=30)
def test_moves_undo_shifts_and_stay_inside(seed: int) -> None:
    torch.manual_seed(seed)
    boxes = random_boxes(1, 6, 64, torch.zeros(()))[0]
    near = jittered(boxes, 0.2, 64)
    torch.testing.assert_close(moved(near, shift(near, boxes), 64), boxes, atol=1e-3, rtol=1e-3)
    wild = moved(boxes, 5 * torch.randn(6, 4), 64)
    assert float(wild.min()) >= 0
    assert float(wild.max()) <= 64
    assert float((wild[:, 2:] - wild[:, :2]).min()) >= 3.99


def test_contrast_is_zero_where_box_and_ring_are_alike() -> None:
    maps = torch.ones(1, 2, 64, 64)
    maps[..., 22:42, 22:42] = 3
    inside = contrast([maps], torch.tensor([[[0.35, 0.35, 0.65, 0.65], [0.0, 0.0, 0.2, 0.2]]]))[0]
    assert inside[0, -2:].tolist() == pytest.approx([2, 2], abs=0.1)
    assert inside[1, -2:].tolist() == pytest.approx([0, 0], abs=1e-6)


def test_mask_terms_weigh_the_edge_twice() -> None:
    masks = torch.zeros(1, 1, 16, 16)
    masks[..., 8:] = 1
    logits, has = torch.zeros(1, 1, 16, 16), torch.tensor([True])
    terms = mask_terms(logits, masks, has)
    log2 = 0.6931472
    assert float(terms["mask"]) == pytest.approx(log2)
    assert float(terms["edge"]) == pytest.approx(0.5 * log2 * (1 + 4 / 16))
    nothing = mask_terms(logits, masks, torch.tensor([False]))
    assert [float(v) for v in nothing.values()] == [0, 0, 0]


class Words:
    """A tokenizer of single characters, enough for a miniature model."""

    letters = sorted(set(GOOD + "0123456789 realchanged?"))

    def encode(self, text: str) -> list[int]:
        return [self.letters.index(c) + 4 for c in text]

    def decode(self, row: Tensor) -> str:
        return "".join(self.letters[t - 4] for t in row.tolist() if t >= 4)


@pytest.fixture
def proposer() -> Proposer:
    """A miniature LLaVA, of transformers' own classes."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=16, patch_size=8, projection_dim=16,
    )  # fmt: skip
    text = transformers.LlamaConfig(
        vocab_size=64, hidden_size=48, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=3, vision_feature_layer=-1,
        pad_token_id=0,
    )  # fmt: skip
    return Proposer(transformers.LlavaForConditionalGeneration(config), rank=16)


def test_12_the_proposer_learns_by_its_updates_alone(proposer: Proposer) -> None:
    words = Words()
    answer = written([(0.0, 0.0, 0.5, 1.0)])
    question = [1, *[3] * 4, *words.encode("changed? ")]
    row = torch.tensor([[*question, *words.encode(answer), 2]])
    answers = torch.zeros_like(row, dtype=torch.bool)
    answers[:, len(question) :] = True
    images = torch.rand(1, 3, 16, 16)
    frozen = {n: p.detach().clone() for n, p in proposer.named_parameters() if not p.requires_grad}
    learns = {n for n, p in proposer.named_parameters() if p.requires_grad}
    assert all("multi_modal_projector" in n or ".down" in n or ".up" in n for n in learns)
    assert not any("vision_tower" in n for n in learns)
    for parameter in (p for n, p in proposer.named_parameters() if "embed_tokens" in n):
        parameter.requires_grad_(False)
    batch = {"tokens": row, "answers": answers, "images": images}
    first = last = 0.0
    for step in fit.fit(proposer, [batch] * 60, fit.adam(proposer, lr=2e-2)):
        last = step.losses["answer"]
        first = first or last
    assert last < 0.95 * first
    for name, value in proposer.named_parameters():
        if name in frozen:
            torch.testing.assert_close(value, frozen[name], rtol=0, atol=0)
    (said,) = proposer.propose(torch.tensor([question]), images, words.decode, words=80)
    assert isinstance(said, Answer)  # of the form or not, it is read without a crash

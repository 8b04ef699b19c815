"""Detect and Locate, held to the brief's faithfulness checks (numbered as there; 6 and 7 stand in
``tests/metrics/test_metrics_masks.py``, 8 and 9 in ``tests/nn/test_residuals.py``).
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from telltale import catalog
from telltale.data.pictures import read
from telltale.faces.detect_and_locate import DetectAndLocate, mask_target, scaled
from telltale.nn.residuals import noise_map
from telltale.nn.xception import Xception, xception

HEADS = ("mask1", "mask2", "mask3_in", "mask3_out", "noise1", "noise2", "noise3_in", "noise3_out")


def detector(attention: str = "sigmoid", **numbers: float) -> DetectAndLocate:
    torch.manual_seed(0)
    return DetectAndLocate(xception("xception_toy", size=32), attention=attention, **numbers)


def items(count: int = 4, size: int = 32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    images = torch.rand(count, 3, size, size)
    masks = torch.zeros(count, 1, size, size)
    masks[1::2, :, 8:24, 4:16] = 1
    return images, torch.arange(count) % 2, masks, noise_map(images)


def size_of(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def gradients(network: nn.Module, loss: Tensor) -> dict[str, bool]:
    """Of each child, whether any of its parameters gets a gradient that is not 0."""
    network.zero_grad()
    loss.backward()
    return {
        name: any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())
        for name, part in network.named_children()
    }


# ── 1 to 3: sizes ────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def paper() -> DetectAndLocate:
    with torch.device("meta"):
        return DetectAndLocate(Xception())


def test_1_output_shapes_for_299_pixels(paper: DetectAndLocate) -> None:
    with torch.device("meta"):
        images = torch.rand(2, 3, 299, 299)
        found, evidence = paper.inspect(images), paper(images)
    assert found.logit.shape == (2,)
    assert [tuple(m.shape) for m in found.masks] == [(2, 2, s, s) for s in (147, 37, 19)]
    assert [tuple(m.shape) for m in found.noises] == [(2, 1, s, s) for s in (147, 37, 19)]
    assert evidence.logit.shape == (2,)
    assert evidence.mask is not None
    assert evidence.mask.shape == (2, 1, 299, 299)


def test_2_parameter_counts(paper: DetectAndLocate) -> None:
    assert {name: size_of(getattr(paper, name)) for name in HEADS} == {
        "mask1": 638_722,
        "noise1": 637_121,
        "mask2": 747_266,
        "noise2": 734_465,
        "mask3_in": 1_694_016,
        "noise3_in": 1_694_016,
        "mask3_out": 9_522,
        "noise3_out": 9_377,
    }
    fusion, middle, end = paper.classifier[0], paper.classifier[1:10], paper.classifier[11:]
    assert (size_of(fusion), size_of(middle), size_of(end)) == (52_224, 959_752, 291_401)
    assert size_of(paper) == 21_486_450
    assert all(p.requires_grad for p in paper.parameters())


def test_3_intermediate_sizes(paper: DetectAndLocate) -> None:
    sides = []
    with torch.device("meta"):
        x = torch.zeros(2, 128, 19, 19)
        for layer in paper.classifier:
            x = layer(x)
            sides.append(tuple(x.shape[1:]))
    assert sides[0] == (128, 10, 10)
    assert sides[5] == (256, 4, 4)
    assert sides[7] == (728, 2, 2)
    assert sides[10] == (2912,)
    with torch.device("meta"):
        pooled = paper.mask1[:6](torch.zeros(2, 64, 147, 147))
    assert pooled.shape == (2, 256, 36, 36)


def test_3_convolutions_start_as_the_authors_do() -> None:
    head = detector().mask1
    for layer in (head[0], head[3]):
        expected = (2 / (9 * layer.out_channels)) ** 0.5
        assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.1)


# ── 4: attention ─────────────────────────────────────────────────────────────────────────────────


def test_4_without_a_mask_logit_the_classifier_sees_nothing() -> None:
    network = detector("logit").eval()
    images = items()[0]
    assert network(images).logit.std() > 0
    pristine_only = torch.tensor([0.0, 1.0])[:, None, None]
    network.mask3_out.register_forward_hook(lambda _, __, out: out * pristine_only)
    logit = network(images).logit
    expected = network.classifier(torch.zeros(1, 32, 16, 16))[0]
    torch.testing.assert_close(logit, expected.expand(4))


@pytest.mark.parametrize("attention", ["logit", "sigmoid"])
def test_4_the_manipulated_channel_weighs_both_features(attention: str) -> None:
    network = detector(attention).eval()
    images = items()[0]
    coarse = network.backbone(images)[2]
    semantic, low_level = network.mask3_in(coarse), network.noise3_in(coarse)
    weight = network.mask3_out(semantic)[:, 0].unsqueeze(1)
    weight = weight if attention == "logit" else 1 / (1 + torch.exp(-weight))
    fused = torch.cat([weight * semantic, weight * low_level], 1)
    torch.testing.assert_close(network(images).logit, network.classifier(fused)[:, 0])


def test_the_evidence_is_the_finest_masks_manipulated_channel() -> None:
    network = detector().eval()
    images = items()[0]
    finest = network.inspect(images).masks[0]
    mask = network(images).mask
    torch.testing.assert_close(
        mask, F.interpolate(finest, (32, 32), mode="bilinear", align_corners=False)[:, :1]
    )


# ── 5: targets ───────────────────────────────────────────────────────────────────────────────────


def test_5_targets_complement_each_other_and_keep_the_area() -> None:
    masks = torch.zeros(2, 1, 299, 299)
    masks[1, :, 90:201, 60:170] = 1
    targets = [mask_target(masks, side) for side in (147, 37, 19)]
    for target in targets:
        assert target.shape[1] == 2
        torch.testing.assert_close(target.sum(1), torch.ones_like(target[:, 0]))
        assert not target[0, 0].any()
        assert float(target[1, 0].mean()) == pytest.approx(float(masks[1].mean()), abs=0.01)
        assert float(target.min()) >= -1e-6  # float32's share of 0


def test_5_a_real_face_has_no_mask_whatever_is_given() -> None:
    images, labels, masks, noise = items()
    everywhere = masks + (1 - labels.view(-1, 1, 1, 1)).float()
    expected = detector(flip=0).loss(images, labels, masks, noise)
    found = detector(flip=0).loss(images, labels, everywhere, noise)
    assert torch.equal(found["mask"], expected["mask"])


# ── the loss ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("weights", [(1.0, 0.1), (0.5, 2.0)])
def test_the_loss_is_the_weighted_sum_written_out(weights: tuple[float, float]) -> None:
    network = detector(mask_weight=weights[0], noise_weight=weights[1], flip=0).double()
    images, labels, masks, residual = items()
    images, masks, residual = images.double(), masks.double(), residual.double()
    losses = network.loss(images, labels, masks, residual)
    found = network.inspect(images)
    p = found.logit.sigmoid()
    bce = -(labels * p.log() + (1 - labels) * (1 - p).log()).mean()
    torch.testing.assert_close(losses["bce"], bce)
    mask = noise = torch.zeros((), dtype=torch.float64)
    for each in found.masks:
        share, q = scaled(masks, each.shape[-1])[:, 0], each.sigmoid()
        manipulated = share * q[:, 0].log() + (1 - share) * (1 - q[:, 0]).log()
        pristine = (1 - share) * q[:, 1].log() + share * (1 - q[:, 1]).log()
        mask = mask - 0.5 * (manipulated + pristine).mean()
    for each in found.noises:
        noise = noise + (each - scaled(residual, each.shape[-1])).abs().mean()
    torch.testing.assert_close(losses["mask"], weights[0] * mask)
    torch.testing.assert_close(losses["noise"], weights[1] * noise)


def test_training_sees_the_noise_that_scaling_would_hide(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spread = np.zeros((64, 64, 3))
    spread[:, :32] = rng.normal(0, 3, (64, 32, 1))
    Image.fromarray((128 + spread).round().astype(np.uint8)).save(tmp_path / "a.png")
    table = tmp_path / "faces.csv"
    table.write_text("path,label\na.png,0\n")
    dataset = read(table, catalog.card("detect_and_locate").learns_from, size=32)
    given = {name: torch.from_numpy(values) for name, values in dataset.batch([0, 0]).items()}
    at_its_own_size = torch.from_numpy((128 + spread).round() / 255).permute(2, 0, 1)[None]
    expected = scaled(noise_map(at_its_own_size), 32)
    assert (given["noise"] - expected).abs().max() < 1e-5
    assert (noise_map(given["images"]) - expected).abs().max() > 5 / 255
    losses = detector(flip=0).loss(**given)
    for other in (torch.full_like(given["noise"], 0.5), noise_map(given["images"])):
        found = detector(flip=0).loss(**(given | {"noise": other}))
        assert not torch.equal(found["noise"], losses["noise"])


# ── 10 and 11: who learns from what ──────────────────────────────────────────────────────────────


def test_10_without_the_maps_it_is_plain_classification() -> None:
    images, labels, *maps = items()
    network = detector("logit", mask_weight=0, noise_weight=0, flip=0)
    losses = network.loss(images, labels, *maps)
    reached = gradients(network, torch.stack([*losses.values()]).sum())
    found = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    assert not any(reached[name] for name in ("mask1", "mask2", "noise1", "noise2", "noise3_out"))
    assert all(reached[n] for n in ("backbone", "classifier", "mask3_in", "noise3_in"))
    network = detector("logit")
    logit = network.inspect(images).logit
    F.binary_cross_entropy_with_logits(logit, labels.float()).backward()
    for name, weight in network.named_parameters():
        if name.startswith(("backbone", "classifier")):
            torch.testing.assert_close(weight.grad, found[name])


@pytest.mark.parametrize("attention", ["logit", "sigmoid"])
def test_11_the_attention_learns_from_the_label_and_the_last_noise_map_does_not(
    attention: str,
) -> None:
    network = detector(attention, flip=0)
    reached = gradients(network, network.loss(*items())["bce"])
    assert reached["mask3_out"]
    assert not reached["noise3_out"]


def test_11_each_term_reaches_its_own_heads() -> None:
    given = items()
    network = detector(flip=0)
    for term, other in (("mask", "noise"), ("noise", "mask")):
        reached = gradients(network, network.loss(*given)[term])
        own = {name for name in HEADS if reached[name]}
        assert own == {name for name in HEADS if name.startswith(term)}
        assert not any(name.startswith(other) for name in own)
        assert reached["backbone"]
        assert not reached["classifier"]


# ── 12: flips ────────────────────────────────────────────────────────────────────────────────────


def test_12_image_mask_and_noise_are_mirrored_together() -> None:
    images, masks = torch.rand(64, 3, 8, 8), torch.rand(64, 1, 8, 8)
    noise = torch.rand(64, 1, 8, 8)
    found = detector(flip=0.5).mirrored(images, masks, noise)
    turned = [i for i in range(64) if torch.equal(found[0][i], images[i].flip(-1))]
    assert 16 < len(turned) < 48
    for given, got in zip((images, masks, noise), found, strict=True):
        for i in range(64):
            assert torch.equal(got[i], given[i].flip(-1) if i in turned else given[i])


def test_12_the_authors_way_mirrors_the_image_alone() -> None:
    given = torch.rand(4, 3, 8, 8), torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    torch.manual_seed(0)
    network = DetectAndLocate(xception("xception_toy", size=32), flip=1, flip_targets=False)
    images, masks, noise = network.mirrored(*given)
    assert torch.equal(images, given[0].flip(-1))
    assert torch.equal(masks, given[1])
    assert torch.equal(noise, given[2])


def test_12_the_loss_of_mirrored_items_is_that_of_items_given_mirrored() -> None:
    images, labels, masks, noise = items()
    flipped = detector(flip=1).loss(images, labels, masks, noise)
    expected = detector(flip=0).loss(images.flip(-1), labels, masks.flip(-1), noise.flip(-1))
    for name in expected:
        torch.testing.assert_close(flipped[name], expected[name])


# ── what it refuses ──────────────────────────────────────────────────────────────────────────────


def test_it_says_what_settings_it_wants() -> None:
    for numbers in ({"mask_weight": -1}, {"noise_weight": -1}, {"flip": 1.5}):
        with pytest.raises(ValueError, match=f"want .*{next(iter(numbers))}"):
            detector(**numbers)
    with pytest.raises(ValueError, match="attention must be one of"):
        detector("softmax")
    with pytest.raises(ValueError, match="three maps' widths and grids, got Linear"):
        DetectAndLocate(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="want a last map of 15 cells"):
        DetectAndLocate(xception("xception_toy", size=28))
    with pytest.raises(ValueError, match="three maps' widths"):
        catalog.build("detect_and_locate", backbone={"name": "vit_toy"})


@pytest.mark.parametrize("name", ["masks", "noise"])
def test_it_says_what_maps_it_wants(name: str) -> None:
    images, labels, masks, noise = items()
    wrong = (masks[:3], masks[..., :16], masks[:, 0], masks.to(torch.int64), 255 * masks)
    for maps in wrong:
        given = {"masks": masks, "noise": noise, name: maps}
        with pytest.raises(ValueError, match=f"want .*{name}"):
            detector().loss(images, labels, **given)

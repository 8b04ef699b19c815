"""ViT-LoRA-SCL, held to the brief's faithfulness checks (numbered as there)."""

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale import catalog
from telltale.faces.vit_lora_scl import ViTLoRASCL
from telltale.fit import adam, fit, restore, save, trained
from telltale.nn.backbones import SHAPES, backbone
from telltale.nn.low_rank import LowRankAttention, adapt
from telltale.nn.vit import ViT

READOUTS = ("cls", "patches")


def trunk(seed: int = 0) -> ViT:
    """A small trunk that stands for a pretrained one: the same seed gives the same weights."""
    torch.manual_seed(seed)
    return backbone("vit_toy", size=16, depth=2, norm=True)


def detector(readout: str = "cls", *, rank: int = 4, scl_weight: float = 0.01) -> ViTLoRASCL:
    return ViTLoRASCL(trunk(), rank=rank, readout=readout, scl_weight=scl_weight)


def layers(network: nn.Module) -> list[LowRankAttention]:
    return [layer for layer in network.modules() if isinstance(layer, LowRankAttention)]


def moved(network: ViTLoRASCL) -> ViTLoRASCL:
    """The detector with updates that are not zero, as after training."""
    for layer in layers(network):
        nn.init.normal_(layer.up, std=0.1)
    return network.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 1, 0, 1])


@pytest.mark.parametrize("readout", READOUTS)
def test_1_starts_as_the_plain_vit_with_the_same_head(readout: str, images: Tensor) -> None:
    network, plain = detector(readout), trunk()
    tokens = plain(images)
    feature = tokens[:, 0] if readout == "cls" else tokens[:, 1:].mean(1)
    real, fake = network.head(feature).unbind(-1)
    torch.testing.assert_close(network(images).logit, fake - real, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("rank", "shared", "separate"),
    [
        (4, 147_456, 221_184),
        (8, 294_912, 442_368),
        (16, 589_824, 884_736),
        (32, 1_179_648, 1_769_472),
    ],
)
def test_2_counts_of_the_paper_s_vit_b(rank: int, shared: int, separate: int) -> None:
    with torch.device("meta"):
        network = ViTLoRASCL(ViT(SHAPES["vit_base"]), rank=rank)
        bare = ViT(SHAPES["vit_base"])
        adapt(bare, rank, shared=False)
    lora = sum(p.numel() for layer in layers(network) for p in (layer.down, layer.up))
    total = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert lora == shared
    assert total == shared + 1_538 + 768  # the head and the centre
    assert sum(p.numel() for p in bare.parameters() if p.requires_grad) == separate


@pytest.mark.parametrize("readout", READOUTS)
def test_3_merging_keeps_the_answers_and_leaves_a_plain_vit(readout: str, images: Tensor) -> None:
    network = moved(detector(readout))
    expected = network(images).logit
    network.merge()
    assert not layers(network)
    assert set(network.backbone.state_dict()) == set(trunk().state_dict())
    torch.testing.assert_close(network(images).logit, expected, rtol=0, atol=1e-4)


def test_3_unmerging_restores_the_pretrained_weights(images: Tensor) -> None:
    network, plain = moved(detector()), trunk()
    expected = network(images).logit
    for layer in layers(network):
        layer.merge()
        layer.unmerge()
    for layer, block in zip(layers(network), plain.blocks, strict=True):
        assert torch.equal(layer.base.qkv.weight, block.attn.qkv.weight)
    assert torch.equal(network(images).logit, expected)


def test_4_the_update_has_the_rank() -> None:
    network, plain = moved(detector(rank=3)), trunk()
    network.merge()
    for block, before in zip(network.backbone.blocks, plain.blocks, strict=True):
        update = block.attn.qkv.weight - before.attn.qkv.weight
        for part in (update, *update.chunk(3)):
            assert torch.linalg.matrix_rank(part, atol=1e-4) == 3


def test_5_first_gradients(images: Tensor, labels: Tensor) -> None:
    network = detector()
    torch.stack([*network.loss(images, labels).values()]).sum().backward()
    for layer in layers(network):
        assert layer.up.grad is not None
        assert layer.up.grad.any()
        assert layer.down.grad is not None
        assert not layer.down.grad.any()
    frozen = [p for name, p in network.backbone.named_parameters() if not p.requires_grad]
    assert frozen
    assert all(p.grad is None for p in frozen)


@pytest.mark.parametrize(("targets", "unmoved"), [("v", "qk"), ("qk", "v"), ("qv", "k")])
def test_6_targets(targets: str, unmoved: str, images: Tensor) -> None:
    network = moved(ViTLoRASCL(trunk(), rank=4, targets=targets))
    first = layers(network)[0]
    x = torch.randn(2, 5, 96)
    rows = dict(zip("qkv", first.update(x).chunk(3, dim=-1), strict=True))
    assert not any(rows[part].any() for part in unmoved)
    assert all(rows[part].any() for part in targets)


# Checks 7 to 10 are about the loss alone: tests/test_losses.py.


def test_11_a_step_moves_the_centre_and_nothing_frozen(images: Tensor, labels: Tensor) -> None:
    network = detector()
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = adam(network, lr=1e-3, lrs={"center": 1e-2})
    next(fit(network, [{"images": images, "labels": labels}], optimizer))
    assert network.center.detach().abs().max() == pytest.approx(1e-2, rel=1e-2)  # Adam's first step
    moved_names = {k for k, p in network.named_parameters() if not torch.equal(p, before[k])}
    trainable = {k for k, p in network.named_parameters() if p.requires_grad}
    downs = {name for name in trainable if name.endswith("down")}  # no gradient in the first step
    assert moved_names >= trainable - downs
    assert moved_names <= trainable


def test_12_without_scl_it_is_plain_cross_entropy(images: Tensor, labels: Tensor) -> None:
    network = detector(scl_weight=0)
    plain = copy.deepcopy(network)
    for _ in fit(network, [{"images": images, "labels": labels}] * 3, adam(network, lr=1e-2)):
        pass
    optimizer = adam(plain, lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(plain.head(plain.embed(images)), labels).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
    for name, value in trained(network).items():
        assert torch.equal(value, trained(plain)[name]), name


@pytest.mark.parametrize("readout", READOUTS)
def test_13_what_was_trained_fits_a_fresh_backbone(
    readout: str, images: Tensor, tmp_path: Path
) -> None:
    network = moved(detector(readout))
    nn.init.normal_(network.center)
    file = tmp_path / "weights.safetensors"
    save(network, file)
    fresh = detector(readout).eval()
    assert not torch.equal(fresh(images).logit, network(images).logit)
    restore(fresh, file)
    assert torch.equal(fresh(images).logit, network(images).logit)
    assert torch.equal(fresh.center, network.center)
    count = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert 4 * count <= file.stat().st_size <= 4 * count + 4_000


def test_scl_weighs_what_the_head_reads(images: Tensor, labels: Tensor) -> None:
    network = detector(scl_weight=0.5)
    nn.init.normal_(network.center)
    features = network.embed(images)
    distance = (features - network.center).norm(dim=1)
    real, fake = distance[[0, 2]].mean(), distance[[1, 3]].mean()
    expected = real + F.relu(real - fake + 0.01 * 96**0.5)
    losses = network.loss(images, labels)
    torch.testing.assert_close(losses["scl"], 0.5 * expected)
    torch.testing.assert_close(losses["ce"], F.cross_entropy(network.head(features), labels))


def test_the_mask_adds_up_to_the_logit(images: Tensor) -> None:
    evidence = moved(detector("patches"))(images)
    assert evidence.mask is not None
    assert evidence.mask.shape == (4, 1, 16, 16)
    torch.testing.assert_close(evidence.mask.mean((1, 2, 3)), evidence.logit)


def test_the_mask_shows_each_patch_in_its_place(images: Tensor) -> None:
    network = moved(detector("patches"))
    tokens = network.backbone(images)
    mask = network(images).mask
    assert mask is not None
    for row, column in ((0, 0), (1, 3), (3, 2)):
        patch = mask[:, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        logit = network.weigh(tokens[:, 1 + 4 * row + column])
        torch.testing.assert_close(patch, logit[:, None, None].expand(4, 4, 4))


def test_the_papers_readout_has_no_mask(images: Tensor) -> None:
    assert detector("cls")(images).mask is None


def test_logit_is_the_log_odds_of_forged(images: Tensor, labels: Tensor) -> None:
    network = detector()
    logit = network(images).logit
    chance = network.head(network.embed(images)).softmax(-1)[:, 1]
    torch.testing.assert_close(logit.sigmoid(), chance)


def test_the_mask_term_agrees_with_the_obvious_way(images: Tensor, labels: Tensor) -> None:
    network = ViTLoRASCL(trunk(), rank=4, readout="patches", mask_weight=0.5)
    masks = torch.zeros(4, 1, 16, 16)
    masks[1, :, :4, :8] = 1  # two of the sixteen patches of a forged face
    masks[3, :, :2, :4] = 1  # half of one
    plain, located = network.loss(images, labels), network.loss(images, labels, masks)
    for name in ("ce", "scl"):
        torch.testing.assert_close(located[name], plain[name])
    logits = network.weigh(network.backbone(images)[:, 1:])  # (4, 16)
    share = torch.zeros(4, 16)
    share[1, 0] = share[1, 1] = 1
    share[3, 0] = 0.5
    errors = -(share * F.logsigmoid(logits) + (1 - share) * F.logsigmoid(-logits))
    inside = (errors * share).sum() / 2.5
    outside = (errors * (1 - share)).sum() / (64 - 2.5)
    torch.testing.assert_close(located["mask"], 0.5 * (inside + outside) / 2)


def test_genuine_faces_alone_have_a_mask_term(images: Tensor) -> None:
    network = detector("patches")
    losses = network.loss(images, torch.zeros(4).long(), torch.zeros(4, 1, 16, 16))
    assert losses["mask"].isfinite()
    assert losses["mask"] > 0


def test_says_what_masks_it_wants(images: Tensor, labels: Tensor) -> None:
    masks = torch.zeros(4, 1, 16, 16)
    with pytest.raises(ValueError, match="patches"):
        detector("cls").loss(images, labels, masks)
    for wrong in (masks[:, 0], masks[:3], masks.long(), masks[..., :8, :8]):
        with pytest.raises(ValueError, match=r"want float masks \(4, 1, 16, 16\)"):
            detector("patches").loss(images, labels, wrong)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"rank": 0}, r"1\.\.96"),
        ({"targets": "o"}, "qkv"),
        ({"readout": "mean"}, "'cls' or 'patches'"),
        ({"margin": -1.0}, "margin"),
        ({"scl_weight": -1.0}, "scl_weight"),
        ({"mask_weight": -1.0}, "mask_weight"),
    ],
)
def test_rejects_settings(settings: dict[str, object], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        ViTLoRASCL(trunk(), **settings)  # type: ignore[arg-type]


def test_rejects_a_backbone_without_width() -> None:
    with pytest.raises(ValueError, match="width"):
        ViTLoRASCL(nn.Linear(2, 2))


def test_the_mask_term_by_hand() -> None:
    """With a head of zeros each patch errs by ln 2; both halves of the term weigh one half."""
    network = catalog.build(
        "vit_lora_scl", backbone={"name": "vit_toy", "size": 16, "depth": 1}, readout="patches"
    )
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    images, labels = torch.rand(2, 3, 16, 16), torch.tensor([0, 1])
    masks = torch.zeros(2, 1, 16, 16)
    only_outside = network.loss(images, labels, masks)["mask"].item()
    assert only_outside == pytest.approx(0.5 * math.log(2), rel=1e-5)
    masks[1, :, :8] = 1
    assert network.loss(images, labels, masks)["mask"].item() == pytest.approx(
        math.log(2), rel=1e-5
    )


def test_learns_to_locate_with_masks_and_only_with_the_patches_readout() -> None:
    torch.manual_seed(0)
    settings = {"backbone": {"name": "vit_toy", "size": 16, "depth": 2}, "rank": 8}
    network = catalog.build("vit_lora_scl", readout="patches", scl_weight=0.0, **settings)
    images, labels = torch.rand(16, 3, 16, 16), torch.arange(16) % 2
    masks = torch.zeros(16, 1, 16, 16)
    masks[1::2, :, :, :8] = 1
    images[masks.expand_as(images) == 1] *= 0.3
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        torch.stack([*network.loss(images, labels, masks).values()]).sum().backward()
        optimiser.step()
    evidence = network(images)
    inside = masks.bool()
    assert evidence.mask[1::2][inside[1::2]].mean() > evidence.mask[1::2][~inside[1::2]].mean() + 1
    with pytest.raises(ValueError, match="patches"):
        catalog.build("vit_lora_scl", **settings).loss(images, labels, masks)

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale import metrics
from telltale.losses import dice
from telltale.nn.resnets import resnet
from telltale.nn.sam import SHAPES, Sam, sam, start_from
from telltale.nn.vit import IMAGENET_MEAN, IMAGENET_STD, Shape, ViT
from telltale.pictures.forensics_sam import (
    AdversaryDetector,
    Expert,
    ForensicsSAM,
    LowRank,
    opposed,
    triplet,
)


def tiny(**settings: object) -> ForensicsSAM:
    torch.manual_seed(0)
    made = {"rank": 2, "adversary_rank": 4} | settings
    return ForensicsSAM(sam("sam_tiny"), resnet("resnet_toy"), **made)  # type: ignore[arg-type]


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def given(count: int = 4) -> dict[str, Tensor]:
    masks = torch.zeros(count, 1, 32, 32)
    masks[:, :, 4:20, 8:30] = 1
    return {"images": images(count), "labels": torch.arange(count) % 2, "masks": masks}


def disturb(module: nn.Module) -> None:
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.3 * torch.randn(weight.shape)


def size_of(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_1_fresh_experts_change_nothing() -> None:
    torch.manual_seed(0)
    plain = sam("sam_tiny").eval()
    net = ForensicsSAM(copy.deepcopy(plain), resnet("resnet_toy"), rank=2, adversary_rank=4).eval()
    with torch.no_grad():
        expected = plain.encode(images())[0]
        for gate in (None, torch.zeros(2), torch.ones(2)):
            torch.testing.assert_close(net.encode(images(), gate).embedding, expected)


def test_2_counts_of_the_paper() -> None:
    forgery = adversary = 0
    for out, parts in ((3 * 1280, 3), (4 * 1280, 1)):
        base = nn.Linear(1280, out, device="meta")
        with torch.device("meta"):
            forgery += sum(w.numel() for w in LowRank(base, parts, 8).parameters())
            adversary += sum(w.numel() for w in LowRank(base, parts, 64).parameters())
    assert (forgery, 32 * forgery) == (112_640, 3_604_480)
    assert (adversary, 4 * adversary) == (901_120, 3_604_480)
    detector = AdversaryDetector(resnet("resnet18"))
    assert size_of(detector) == 11_308_354
    assert SHAPES["sam_vit_h"].embedding == 256
    head = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 1))
    assert size_of(head) == 132_097
    assert size_of(tiny().detector) == 16 * 512 + 512 + 513


def test_3_only_global_blocks_have_adversary_experts() -> None:
    net = tiny()
    for number, block in enumerate(net.sam.blocks):
        layers = [block.get_submodule("attn").qkv, block.get_submodule("mlp").lin1]
        assert all(isinstance(layer, Expert) for layer in layers)
        assert all((it.adversary is not None) == (number in net.sam.global_blocks) for it in layers)


def test_4_the_gate_decides_and_only_from_the_first_global_block_on() -> None:
    net = tiny().eval()
    before: list[Tensor] = []
    first = net.sam.blocks[0]
    first.register_forward_hook(lambda module, x, out: before.append(out))
    with torch.no_grad():
        off = net.encode(images(), None).embedding
        for expert in net.experts():
            if expert.adversary is not None:
                disturb(expert.adversary)
        assert torch.equal(net.encode(images(), None).embedding, off)
        assert torch.equal(net.encode(images(), torch.zeros(2)).embedding, off)
        on = net.encode(images(), torch.ones(2)).embedding
    assert not torch.allclose(on, off, atol=1e-4)
    assert all(torch.equal(it, before[0]) for it in before)


def test_5_the_gate_is_each_pictures_own() -> None:
    net = tiny().eval()
    disturb(nn.ModuleList(net.experts()))
    gate = torch.tensor([0.0, 1.0])
    with torch.no_grad():
        together = net.encode(images(), gate).embedding
        for row in range(2):
            alone = net.encode(images()[row : row + 1], gate[row : row + 1]).embedding
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-4)
    assert all(expert.gate is None for expert in net.experts())


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_6_each_stage_moves_its_own_part(stage: int) -> None:
    net = tiny(stage=stage)
    disturb(nn.ModuleList(expert.forgery for expert in net.experts()))
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    optimiser = torch.optim.SGD(weights, lr=1.0)
    for _ in range(2):
        if stage == 3:  # the detector knows nothing yet: open the gate for attacked ones
            attacked = net.attack(images(4), 8)
            net.attacked = lambda x, a=attacked: torch.full(  # type: ignore[method-assign,misc]
                (len(x),), float(torch.equal(x, a))
            )
            losses = net.restoring_loss(images(4), attacked)
        else:
            losses = net.loss(**given())
        optimiser.zero_grad()
        torch.stack([*losses.values()]).sum().backward()
        optimiser.step()
    moved = {
        name for name, weight in net.named_parameters() if not torch.equal(weight, before[name])
    }
    assert moved
    if stage == 1:
        parts = ("forgery", "detector.", "mask_decoder")
        assert all(any(part in name for part in parts) for name in moved)
        assert not any(".base." in name or name.startswith("adversary") for name in moved)
        assert any("forgery.up" in name for name in moved)
    elif stage == 2:
        assert all(name.startswith("adversary.") for name in moved)
    else:
        assert all(".adversary." in name and name.startswith("sam.") for name in moved)


def test_6_query_key_and_value_are_adapted_apart() -> None:
    update = LowRank(nn.Linear(8, 24), 3, 2)
    disturb(update)
    x = torch.randn(5, 8)
    whole = update(x)
    with torch.no_grad():
        update.up[1] = 0
    changed = update(x)
    assert torch.equal(changed[:, :8], whole[:, :8])
    assert not changed[:, 8:16].any()
    assert torch.equal(changed[:, 16:], whole[:, 16:])


def test_7_one_matrix_does_the_same() -> None:
    base = nn.Linear(8, 24)
    layer = Expert(base, 3, 2, 0)
    disturb(layer.forgery)
    merged = torch.cat(
        [up @ down for up, down in zip(layer.forgery.up, layer.forgery.down, strict=True)]
    )
    x = torch.randn(5, 8)
    expected = nn.functional.linear(x, base.weight + merged, base.bias)
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_8_the_restoring_loss() -> None:
    net = tiny(stage=3)
    losses = net.restoring_loss(images(), images())
    assert sum(losses.values()).abs() < 1e-5
    losses = net.restoring_loss(images(), 1 - images())
    assert all(term > 0 for term in losses.values())
    row = torch.randn(3, 5, 8)
    assert opposed(row, -row) == pytest.approx(2, abs=1e-5)
    assert opposed(row, 3 * row) == pytest.approx(0, abs=1e-5)
    clean, attacked = images().requires_grad_(True), images().requires_grad_(True)
    sum(net.restoring_loss(clean, 0.9 * attacked).values()).backward()
    assert clean.grad is None
    assert attacked.grad is not None


def test_9_the_triplet_rests_when_all_is_apart() -> None:
    anchor = torch.zeros(1, 2, requires_grad=True)
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    assert triplet(anchor, near, far, 2.9) == 0
    triplet(anchor, near, far, 2.9).backward()
    assert not anchor.grad.any()
    assert triplet(anchor, near, far, 3.5).item() == pytest.approx(0.5)


def test_10_dice_of_a_perfect_and_of_an_empty_mask() -> None:
    masks = torch.zeros(2, 1, 8, 8)
    masks[0, :, 2:6, 2:6] = 1
    logits = 40 * (2 * masks - 1)
    bce = nn.functional.binary_cross_entropy_with_logits(logits, masks)
    assert 0.7 * dice(logits, masks).mean() + 0.3 * bce < 1e-3
    assert dice(torch.full((1, 1, 8, 8), -40.0), torch.zeros(1, 1, 8, 8)) == pytest.approx(0)


def test_11_the_attack_moves_the_public_embedding_most() -> None:
    net = tiny().eval()
    disturb(nn.ModuleList(net.experts()))
    clean = images()
    torch.manual_seed(0)
    found = net.attack(clean, 8)
    assert (found - clean).abs().max() <= 8 / 255 + 1e-6
    assert 0 <= found.min() <= found.max() <= 1

    def moved(x: Tensor) -> Tensor:
        for expert in net.experts():
            expert.plain = True
        with torch.no_grad():
            away = net.sam.encode(x)[0] - net.sam.encode(clean)[0]
        for expert in net.experts():
            expert.plain = False
        return away.square().sum((1, 2, 3))

    signs = (clean + 8 / 255 * torch.randn(clean.shape).sign()).clamp(0, 1)
    assert (moved(found) > moved(signs)).all()
    assert torch.equal(net.attack(clean, 8, steps=0), clean)
    assert not any(expert.plain for expert in net.experts())


def test_12_a_distance_to_oneself_has_no_slope() -> None:
    net = tiny().eval()
    x = images().requires_grad_(True)
    with torch.no_grad():
        before = net.sam.encode(x)[0]
    (net.sam.encode(x)[0] - before).square().sum().backward()
    assert not x.grad.any()


def test_13_permuted_f1_forgives_a_complement() -> None:
    mask = torch.zeros(6, 6).numpy()
    mask[1:3, 1:4] = 1
    found = 0.9 * mask + 0.05 * torch.rand(6, 6).numpy()
    assert metrics.permuted_pixel_f1([(found, mask)]) == metrics.permuted_pixel_f1(
        [(1 - found, mask)]
    )


def test_14_no_prompt_but_the_learnt_one() -> None:
    net = tiny().eval()
    with torch.no_grad():
        embedding = net.encode(images(), None).embedding
        logits = net.sam.decode(embedding)
        assert embedding.shape == (2, 16, 4, 4)
        assert logits.shape == (2, 1, 16, 16)
        boxed = net.sam.decode(embedding, torch.tensor([[0.0, 0, 16, 16], [8.0, 8, 30, 30]]))
        assert boxed.shape == logits.shape
        assert not torch.allclose(boxed, logits)
    assert SHAPES["sam_vit_h"].size // SHAPES["sam_vit_h"].patch == 64


def test_sam_is_transformers_own() -> None:
    torch.manual_seed(0)
    ours = sam("sam_tiny").eval()
    from transformers import SamModel

    from telltale.nn.sam import config_of

    theirs = SamModel(config_of(SHAPES["sam_tiny"])).eval()
    theirs.vision_encoder.load_state_dict(ours.vision_encoder.state_dict())
    theirs.prompt_encoder.load_state_dict(ours.prompt_encoder.state_dict())
    theirs.mask_decoder.load_state_dict(ours.mask_decoder.state_dict())
    theirs.shared_image_embedding.load_state_dict(ours.prompt_encoder.shared_embedding.state_dict())
    x = images()
    with torch.no_grad():
        embedding, _ = ours.encode(x)
        pixels = (x - ours.mean) / ours.std
        torch.testing.assert_close(theirs.get_image_embeddings(pixels), embedding)
        boxes = torch.tensor([[0.0, 0, 16, 16], [8.0, 8, 30, 30]])
        expected = theirs(pixel_values=pixels, input_boxes=boxes[:, None], multimask_output=False)
        torch.testing.assert_close(expected.pred_masks[:, 0], ours.decode(embedding, boxes))


def test_weights_come_from_a_folder(tmp_path: object) -> None:
    from transformers import SamModel

    from telltale.nn.sam import config_of

    theirs = SamModel(config_of(SHAPES["sam_tiny"]))
    theirs.save_pretrained(str(tmp_path))
    ours = sam("sam_tiny", weights=str(tmp_path))
    assert isinstance(ours, Sam)
    for name, weight in theirs.mask_decoder.state_dict().items():
        assert torch.equal(ours.mask_decoder.state_dict()[name], weight)
    with pytest.raises(ValueError, match="not a sam_toy"):
        sam("sam_toy", weights=str(tmp_path))


def test_an_encoder_starts_as_a_vits_blocks() -> None:
    torch.manual_seed(0)
    vit = ViT(Shape(16, 3, 2, 8, 32, 0.5, IMAGENET_MEAN, IMAGENET_STD)).eval()
    for name, weight in vit.blocks.named_parameters():
        if name.endswith(("gamma", "bias")):
            nn.init.normal_(weight)
    ours = sam("sam_tiny").eval()
    start_from(ours, vit)
    with torch.no_grad():
        window = vit.start(images())[:, 1:].view(2, 4, 4, 16)[:, :2, :2]
        tokens = vit.blocks[0](window.flatten(1, 2))
        first = ours.blocks[0](
            ours.vision_encoder.patch_embed((images() - ours.mean) / ours.std)
            + ours.vision_encoder.pos_embed
        )
    # Block 0 attends in windows of 2 by 2 patches.
    torch.testing.assert_close(first[:, :2, :2].flatten(1, 2), tokens)
    with pytest.raises(ValueError, match="want a ViT of SamShape"):
        start_from(ours, ViT(Shape(16, 3, 2, 8, 32)))


def test_a_random_sam_tells_places_apart_and_neighbours_are_alike() -> None:
    torch.manual_seed(0)
    places = sam("sam_toy").positions()[0].flatten(1)  # (C, g²)
    alike = F.cosine_similarity(places[:, :, None], places[:, None], dim=0)
    side = int(len(alike) ** 0.5)
    near = alike.diagonal(1)[[k for k in range(side**2 - 1) if (k + 1) % side]].mean()
    assert near > alike.mean() + 0.5


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="want stage 1, 2 or 3"):
        tiny(stage=4)
    with pytest.raises(ValueError, match="want a Sam and a ResNet"):
        ForensicsSAM(nn.Identity(), nn.Identity())
    with pytest.raises(ValueError, match="want images of 32 pixels"):
        tiny()(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="no SAM"):
        sam("sam_vit_x")

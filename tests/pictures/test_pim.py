import math
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from telltale.nn.convnets import convnet
from telltale.nn.pyramid import PyramidHead, pooled
from telltale.nn.scene import Scene
from telltale.nn.swin import swin
from telltale.pictures.pim import PIM, Differences, LearnedWeighting, compactness, outline, rings


def tiny(**settings: object) -> PIM:
    torch.manual_seed(0)
    made = {"channels": 8} | settings
    return PIM(swin("swin_toy"), swin("swin_toy", causal=True), **made)  # type: ignore[arg-type]


def size_of(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def test_parameter_counts_of_the_paper() -> None:
    net = PIM(swin("swin_tiny"), swin("swin_tiny", causal=True))
    assert size_of(net.local) == size_of(net.causal) == 27_520_698
    assert size_of(net.differences) == 15_707_528
    assert size_of(net.fusions) == 1_607_048
    assert size_of(net.mask_head) == size_of(net.boundary_head) == 31_421_442
    assert size_of(net.reconstruction_head) == 31_421_955
    assert size_of(net) == 166_620_811


def test_shapes_of_levels_and_maps() -> None:
    net = PIM(swin("swin_tiny"), swin("swin_tiny", causal=True), channels=4).eval()
    with torch.no_grad():
        fused, _ = net.features(torch.zeros(1, 3, 512, 512))
        maps = net.inspect(torch.zeros(1, 3, 512, 512))
    assert [tuple(level.shape[1:]) for level in fused] == [
        (96, 128, 128),
        (192, 64, 64),
        (384, 32, 32),
        (768, 16, 16),
    ]
    assert [tuple(map_.shape[1:]) for map_ in maps] == [
        (2, 128, 128),
        (2, 128, 128),
        (3, 128, 128),
    ]


def test_differences_do_not_see_a_constant() -> None:
    torch.manual_seed(0)
    module = Differences(4, relu=True)
    seen: list[tuple[Tensor, Tensor]] = []
    module.weighting.register_forward_pre_hook(lambda _, given: seen.append(given))
    x = torch.randn(1, 4, 12, 12)
    module(torch.full((1, 4, 12, 12), 0.7))
    module(x)
    module(x + 3)
    inner = (..., slice(2, -2), slice(2, -2))
    for constant, map_, shifted in zip(*seen, strict=True):
        assert constant[inner].abs().max() < 1e-4
        torch.testing.assert_close(map_[inner], shifted[inner], atol=1e-3, rtol=0)


def test_the_radial_kernel_has_sixteen_taps_that_cancel() -> None:
    weight = torch.randn(3, 2, 3, 3)
    made = rings(weight)
    assert made.shape == (3, 2, 5, 5)
    torch.testing.assert_close(made.sum((2, 3)), torch.zeros(3, 2), atol=1e-5, rtol=0)
    assert ((made != 0).sum((2, 3)) == 16).all()
    assert not made[..., 2, 2].any()
    ramp = torch.arange(9.0).expand(1, 1, 9, 9)
    even = nn.functional.conv2d(ramp, rings(torch.ones(1, 1, 3, 3)))
    torch.testing.assert_close(even, torch.zeros_like(even), atol=1e-5, rtol=0)


@pytest.mark.parametrize("relu", [False, True])
def test_weights_of_the_weighting_module(relu: bool) -> None:
    torch.manual_seed(0)
    module = LearnedWeighting(4, relu)
    one, other = torch.randn(2, 16, 4, 6, 6)
    nn.init.normal_(module.weigh.weight, std=5)
    found = module.scalars(one, other)
    assert found.min() >= (0.5 if relu else 0)
    assert found.max() < 1
    assert relu or found.min() < 0.5
    nn.init.zeros_(module.weigh.weight)
    nn.init.zeros_(module.weigh.bias)
    assert torch.equal(module.scalars(one, other), torch.full((16, 2), 0.5))


def test_compactness_of_known_shapes() -> None:
    def ratio(length: float, area: float) -> float:
        edge, inside = torch.zeros(2, 1, 8, 8)
        edge[0, 0, 0], inside[0, 0, 0] = length, area
        return float(compactness(edge, inside))

    radius = 50.0
    assert ratio(2 * math.pi * radius, math.pi * radius**2) == pytest.approx(1, rel=1e-4)
    assert ratio(4 * radius, radius**2) == pytest.approx(4 / math.pi, rel=1e-4)
    assert ratio(8 * radius, radius**2) == pytest.approx(4 * 4 / math.pi, rel=1e-4)
    assert math.isfinite(ratio(10.0, 0.0))


def given(count: int = 2) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    masks = torch.zeros(count, 1, 64, 64)
    masks[:, :, 16:40, 20:50] = 1
    images = torch.rand(count, 3, 64, 64, generator=random)
    return {"images": images, "labels": torch.arange(count) % 2, "masks": masks}


def moved(net: PIM, name: str) -> set[str]:
    """The parts that a term of the loss gives a gradient to."""
    net.zero_grad()
    net.loss(**given())[name].backward()
    return {
        key.partition(".")[0]
        for key, weight in net.named_parameters()
        if weight.grad is not None and weight.grad.any()
    }


def test_which_term_teaches_which_part() -> None:
    assert moved(tiny(), "reconstruction") == {"causal", "reconstruction_head"}
    assert moved(tiny(), "mask") >= {"local", "causal", "differences", "fusions", "mask_head"}


def test_a_pristine_picture_has_neither_mask_nor_boundary() -> None:
    net = tiny().eval()
    batch = given() | {"labels": torch.zeros(2, dtype=torch.int64)}
    empty = batch | {"masks": torch.zeros(2, 1, 64, 64)}
    first, second = net.loss(**batch), net.loss(**empty)
    assert all(term.isfinite() for term in first.values())
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_loss_terms_by_hand() -> None:
    net = tiny(weights=(2.0, 0.5, 0.25)).eval()
    batch = given()
    maps = net.inspect(batch["images"])
    masks = batch["masks"] * batch["labels"].view(-1, 1, 1, 1)
    losses = net.loss(**batch)
    target = masks[:, 0, ::4, ::4].long()
    log = maps.mask.log_softmax(1)
    by_hand = -(log.gather(1, target[:, None])).mean()
    torch.testing.assert_close(losses["mask"], by_hand)
    edge = outline(masks)[:, 0, ::4, ::4].long()
    by_hand = -2 * maps.boundary.log_softmax(1).gather(1, edge[:, None]).mean()
    torch.testing.assert_close(losses["boundary"], by_hand)
    small = net.normalised(batch["images"]).reshape(2, 3, 16, 4, 16, 4).mean((3, 5))
    torch.testing.assert_close(
        losses["reconstruction"], 0.25 * (maps.reconstruction - small).abs().mean()
    )
    length = maps.boundary.softmax(1)[:, 1]
    area = maps.mask.softmax(1)[:, 1].sum((1, 2))
    by_hand = (0.5 * length.sum((1, 2)) ** 2 / (4 * math.pi * area)).mean()
    torch.testing.assert_close(losses["compactness"], by_hand, rtol=1e-4, atol=1e-6)
    squares = tiny(compactness="squares").eval().loss(**batch)["compactness"]
    by_hand = 0.001 * (length.square().sum((1, 2)) ** 2 / (4 * math.pi * area)).mean()
    torch.testing.assert_close(squares, by_hand, rtol=1e-4, atol=1e-9)


def test_the_outline_of_a_square() -> None:
    masks = torch.zeros(1, 1, 20, 20)
    masks[..., 6:14, 6:14] = 1
    edge = outline(masks)[0, 0]
    assert edge[10, 3]  # grown by three pixels
    assert not edge[10, 2]
    assert edge[10, 8]  # shrunk by three
    assert not edge[10, 9]
    assert not edge[3, 3], "a cross does not grow round corners"


def test_the_answer_is_the_largest_of_the_map() -> None:
    net = tiny().eval()
    with torch.no_grad():
        evidence = net(given()["images"])
        maps = net.inspect(given()["images"])
    assert evidence.mask is not None
    assert evidence.mask.shape == (2, 1, 64, 64)
    difference = maps.mask[:, 1] - maps.mask[:, 0]
    torch.testing.assert_close(evidence.logit, difference.flatten(1).amax(1))
    assert (evidence.mask.flatten(1).amax(1) <= evidence.logit + 1e-5).all()


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_pooling_is_torchs(side: int) -> None:
    x = torch.randn(2, 3, 14, 10)
    expected = nn.functional.adaptive_avg_pool2d(x, side)
    torch.testing.assert_close(pooled(x, side), expected, atol=1e-5, rtol=1e-4)


def test_a_head_gives_the_finest_size() -> None:
    head = PyramidHead((4, 8, 16), 6, 2).eval()
    maps = [torch.rand(1, 4, 24, 24), torch.rand(1, 8, 12, 12), torch.rand(1, 16, 6, 6)]
    assert head(maps).shape == (1, 2, 24, 24)


def test_wrong_settings_are_named() -> None:
    causal = swin("swin_toy", causal=True)
    with pytest.raises(ValueError, match="want two Swins"):
        PIM(nn.Identity(), causal)
    with pytest.raises(ValueError, match="a compactness of"):
        tiny(compactness="cubes")
    with pytest.raises(ValueError, match="want three weights of 0 or more"):
        tiny(weights=(1.0, -1.0, 0.1))
    with pytest.raises(ValueError, match="multiples of 8"):
        tiny()(torch.rand(1, 3, 60, 60))
    with pytest.raises(ValueError, match="want float masks"):
        tiny().loss(**(given() | {"masks": torch.zeros(2, 64, 64)}))


def test_blocks_of_jpeg_join_the_fused_maps_and_change_nothing_else() -> None:
    torch.manual_seed(0)
    net = PIM(swin("swin_toy"), swin("swin_toy", causal=True), channels=8, blocks=8).eval()
    images = torch.rand(2, 3, 56, 56)
    with torch.no_grad():
        fused, back, _ = net.seen(images)
        plain, same = net.features(net.normalised(images))
    assert not torch.allclose(fused[1], plain[1])
    torch.testing.assert_close(fused[0], plain[0])
    for one, other in zip(back, same, strict=True):
        torch.testing.assert_close(one, other)
    terms = net.train().loss(images, torch.tensor([0, 1]), torch.ones(2, 1, 56, 56))
    terms["mask"].backward()
    assert all(weight.grad is not None for weight in net.blocks.parameters())


def test_a_scene_joins_the_mask_and_changes_nothing_else(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("mobilenetv3_small_050", num_classes=0)
    save_file(model.state_dict(), tmp_path / "trunk.safetensors")
    scene = Scene(convnet("mobilenetv3_small_050", tmp_path / "trunk.safetensors"), 8)
    net = PIM(swin("swin_toy"), swin("swin_toy", causal=True), channels=8, scene=scene).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert scene(images).shape == (2, 8, 8, 8)
        maps, fused, told = net.inspect(images), net.seen(images)[0], net.seen(images)[2]
        torch.testing.assert_close(maps.mask, net.mask_head(fused) + told)
        torch.testing.assert_close(maps.boundary, net.boundary_head(fused))
        for one, other in zip(fused, net.features(net.normalised(images))[0], strict=True):
            torch.testing.assert_close(one, other)
    terms = net.train().loss(images, torch.tensor([0, 1]), torch.ones(2, 1, 64, 64))
    terms["mask"].backward()
    used = [p for n, p in scene.named_parameters() if "conv_head" not in n]
    assert all(weight.grad is not None for weight in used)
    with pytest.raises(ValueError, match="multiples of 32"):
        scene(torch.rand(1, 3, 56, 64))
    with pytest.raises(ValueError, match="want a Scene"):
        tiny(scene=nn.Identity())
    with pytest.raises(ValueError, match="want a convnet of 4 stages"):
        Scene(convnet("conv_toy"))

"""Our ViT is timm's, number for number, with the pixels' mean and deviation inside."""

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed
from torch import nn

from telltale.nn.backbones import SHAPES, load
from telltale.nn.vit import Shape, ViT, resample_positions

THEIRS = {
    "vit_tiny": "vit_tiny_patch16_224",
    "vit_small": "vit_small_patch16_224",
    "vit_base": "vit_base_patch16_224",
    "vit_large": "vit_large_patch16_224",
    "dinov2_small": "vit_small_patch14_dinov2",
}


def timm_model(name: str, **settings: object) -> nn.Module:
    """A timm ViT whose every weight is drawn: zeros and ones would hide mistakes."""
    model = timm.create_model(name, **settings).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.1)
    return model


@pytest.mark.parametrize("ours", THEIRS)
def test_has_the_parameters_of_timm(ours: str) -> None:
    with torch.device("meta"):
        mine = ViT(SHAPES[ours]).state_dict()
        model = timm.create_model(THEIRS[ours], num_classes=0, img_size=SHAPES[ours].size)
    theirs = model.state_dict()
    assert {k: v.shape for k, v in mine.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize(("ours", "size"), [("vit_tiny", 32), ("dinov2_small", 28)])
@pytest.mark.parametrize("depth", [1, 3])
def test_gives_the_tokens_of_timm(ours: str, size: int, depth: int) -> None:
    theirs = timm_model(THEIRS[ours], img_size=size, depth=depth)
    mine = ViT(SHAPES[ours]._replace(size=size, depth=depth)).eval()
    load(mine, theirs.state_dict())
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        mean = torch.tensor(theirs.pretrained_cfg["mean"]).view(3, 1, 1)
        std = torch.tensor(theirs.pretrained_cfg["std"]).view(3, 1, 1)
        expected = theirs.forward_features((images - mean) / std)
        torch.testing.assert_close(mine(images), expected, rtol=1e-4, atol=1e-5)


def test_a_cut_trunk_gives_the_stream_after_its_last_block() -> None:
    theirs = timm_model("vit_tiny_patch16_224", img_size=32, depth=4)
    mine = ViT(SHAPES["vit_tiny"]._replace(size=32, depth=2), final_norm=False).eval()
    load(mine, theirs.state_dict(), keep_norm=False)
    images = torch.rand(1, 3, 32, 32)
    expected = theirs.forward_intermediates(
        2 * images - 1, indices=[1], norm=False, output_fmt="NLC", intermediates_only=True
    )[0]  # without the class token
    torch.testing.assert_close(mine(images)[:, 1:], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("grid", [3, 5, 9])
def test_positions_are_resampled_as_in_timm(grid: int, antialias: bool) -> None:
    positions = torch.randn(1, 1 + 25, 8)
    got = resample_positions(positions, grid, antialias=antialias)
    expected = resample_abs_pos_embed(positions, [grid, grid], antialias=antialias)
    torch.testing.assert_close(got, expected)
    assert torch.equal(got[:, 0], positions[:, 0])


def test_positions_must_be_a_square() -> None:
    with pytest.raises(ValueError, match="n²"):
        resample_positions(torch.zeros(1, 1 + 24, 8), 5)


def test_the_mean_pixel_becomes_zero() -> None:
    vit = ViT(SHAPES["dinov2_small"]._replace(size=28, depth=1))
    mean = vit.mean.expand(1, 3, 28, 28)
    nn.init.zeros_(vit.patch_embed.proj.bias)
    seen: list[torch.Tensor] = []
    vit.patch_embed.register_forward_hook(lambda _m, _i, out: seen.append(out))
    vit(mean)
    assert not seen[0].any()
    assert not {"mean", "std"} & set(vit.state_dict())  # timm's files have no such keys


@pytest.mark.parametrize(
    ("images", "wanted"),
    [
        (torch.zeros(1, 3, 16, 16).byte(), "want float"),
        (torch.zeros(1, 1, 16, 16), "want float"),
        (torch.zeros(3, 16, 16), "want float"),
        (torch.zeros(1, 3, 16, 12), "want float"),
        (torch.zeros(1, 3, 18, 18), "multiple of 4"),
        (torch.zeros(1, 3, 20, 20), "of 16 pixels"),
    ],
)
def test_says_what_images_it_wants(images: torch.Tensor, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        ViT(Shape(width=8, heads=2, depth=1, patch=4, size=16))(images)


@pytest.mark.parametrize(
    "shape", [Shape(size=225), Shape(size=0), Shape(depth=0), Shape(width=100, heads=3)]
)
def test_rejects_sizes_that_do_not_divide(shape: Shape) -> None:
    with pytest.raises(ValueError, match="want"):
        ViT(shape)

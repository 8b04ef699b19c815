"""Convolutional trunks: the same maps as timm's, the toy net, and errors that say what is wrong."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from telltale import catalog
from telltale.nn.backbones import backbone, maker
from telltale.nn.convnets import ConvNet, convnet, is_convnet
from telltale.nn.residuals import high_pass
from telltale.nn.xception import xception

TRUNKS = {  # name: width, and side of the maps of 64 pixels
    "efficientnet_b4": (1792, 2),
    "tf_efficientnet_lite0": (1280, 2),
    "mobilenetv2_100": (1280, 2),
    "legacy_xception": (2048, 2),
}


def stretched(model: nn.Module) -> dict[str, Tensor]:
    """A network's weights with running means and variances that are not 0 and 1."""
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            part.running_mean.normal_(0, 0.1)
    return model.state_dict()


@pytest.mark.parametrize("name", TRUNKS)
def test_a_file_of_timms_weights_gives_timms_maps(name: str, tmp_path: Path) -> None:
    theirs = timm.create_model(name, num_classes=7).eval()  # its classifier is passed over
    save_file(stretched(theirs), tmp_path / "trunk.safetensors")
    ours = convnet(name, tmp_path / "trunk.safetensors").eval()
    images = torch.rand(2, 3, 64, 64)
    config = theirs.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        found = ours(images)
        assert torch.equal(found, theirs.forward_features((images - mean) / std))
    width, side = TRUNKS[name]
    assert ours.width == width
    assert ours.shape.size == config["input_size"][-1]
    assert found.shape == (2, width, side, side)
    assert {n.partition(".")[0] for n in ours.state_dict()} == {"body"}  # pixels' mean is fixed


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trunk.safetensors"
    state = timm.create_model("mobilenetv2_100", num_classes=0).state_dict()
    state["extra"] = torch.zeros(1)
    state["conv_stem.weight"] = state["conv_stem.weight"][:4].clone()
    missing = state.pop("bn1.weight")
    save_file(state, path)
    want = "trunk.safetensors: not the weights of this network: bn1.weight, conv_stem.weight, extra"
    with pytest.raises(ValueError, match=want):
        convnet("mobilenetv2_100", path)
    assert missing.numel()
    with pytest.raises(ValueError, match="no such file"):
        convnet("mobilenetv2_100", tmp_path / "none.safetensors")


def test_the_hubs_weights_are_asked_for_and_their_absence_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def offline(name: str, *, pretrained: bool, num_classes: int) -> nn.Module:
        asked.append((name, pretrained, num_classes))
        raise ConnectionError("offline")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(OSError, match=r"efficientnet_b4: the hub.*offline.*give a safetensors"):
        convnet("efficientnet_b4")
    assert asked == [("efficientnet_b4", True, 0)]


def test_the_toy_net_quarters_the_side_and_sees_high_frequencies() -> None:
    network = convnet("conv_toy", size=24).eval()
    assert (network.width, network.shape.size) == (64, 24)
    images = torch.rand(2, 3, 24, 24)
    assert network(images).shape == (2, 64, 6, 6)
    first = network.body.layers[0]  # type: ignore[index,union-attr]
    with torch.no_grad():
        first.weight[:, :3] = 0  # what is left sees the high pass alone
        flat = network(images * 0 + 0.2)
        torch.testing.assert_close(flat, network(images * 0 + 0.8), atol=1e-4, rtol=0)
        assert not torch.allclose(flat, network(images), atol=1e-2)


def test_the_toy_nets_first_layer_gets_twenty_times_the_high_pass() -> None:
    network, seen = convnet("conv_toy").eval(), []
    network.body.layers[0].register_forward_pre_hook(  # type: ignore[index,union-attr]
        lambda _, given: seen.append(given[0])
    )
    images = torch.rand(1, 3, 40, 40)
    network(images)
    x = (images - 0.5) / 0.5
    torch.testing.assert_close(seen[0][:, :3], x)
    torch.testing.assert_close(seen[0][:, 3:], 20 * high_pass(x))
    near = x[0, :, 9:12, 19:22].mean((1, 2))  # by hand: a pixel less the mean of its 3 × 3
    torch.testing.assert_close(seen[0][0, 3:, 10, 20], 20 * (x[0, :, 10, 20] - near))


@pytest.mark.parametrize(("side", "grid"), [(16, 1), (37, 3), (140, 9)])
def test_the_texture_net_has_two_scales_on_one_grid(side: int, grid: int) -> None:
    network = convnet("conv_texture", size=side).eval()
    images = torch.rand(2, 3, side, side)
    maps = network(images)
    assert maps.shape == (2, network.width, grid, grid)
    body: Any = network.body
    x = (images - 0.5) / 0.5
    fine = body.fine(torch.cat([x, 20 * high_pass(x)], 1))
    if side == 16:  # one place: the mean of all that the quarter's side holds
        torch.testing.assert_close(maps[:, :64, 0, 0], fine.mean((2, 3)))
    torch.testing.assert_close(maps[:, 64:], body.wide(fine))
    assert is_convnet("conv_texture")
    assert maker("conv_texture") is convnet


def test_names_find_their_makers() -> None:
    assert maker("tf_efficientnet_lite0") is maker("conv_toy") is convnet
    assert maker("legacy_xception") is convnet
    assert maker("xception") is xception
    assert maker("vit_toy") is maker("vit_base_patch16_224") is backbone
    assert not is_convnet("conv_toys")
    assert isinstance(catalog._module("backbone", "conv_toy"), ConvNet)
    with pytest.raises(ValueError, match="no setting 'depth'"):
        catalog._module("backbone", {"name": "conv_toy", "depth": 3})
    with pytest.raises(ValueError, match="no convolutional trunk 'efficientnet_b99'"):
        convnet("efficientnet_b99")
    with pytest.raises(ValueError, match="no convolutional trunk 'vit_toy'"):
        convnet("vit_toy")
    with pytest.raises(ValueError, match="want float"):
        convnet("conv_toy")(torch.rand(1, 1, 40, 40))

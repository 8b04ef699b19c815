"""Xception's first flows: sizes, counts, and the same answers as timm's."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from telltale import catalog
from telltale.nn.backbones import backbone, maker
from telltale.nn.xception import SHAPES, Xception, XceptionBlock, initialise, load, xception


def test_the_full_trunk_has_the_sizes_of_the_paper() -> None:
    with torch.device("meta"):
        network = Xception()
        maps = network(torch.zeros(2, 3, 299, 299))
    assert [tuple(m.shape) for m in maps] == [
        (2, 64, 147, 147),
        (2, 256, 37, 37),
        (2, 728, 19, 19),
    ]
    assert (network.widths, network.grids) == ((64, 256, 728), (147, 37, 19))
    with torch.device("meta"):
        assert network.block1(torch.zeros(2, 64, 147, 147)).shape == (2, 128, 74, 74)


def test_it_is_timms_xception_up_to_the_exit_flow(tmp_path: Path) -> None:
    theirs = timm.create_model("legacy_xception", num_classes=0).eval()
    save_file(theirs.state_dict(), tmp_path / "xception.safetensors")
    ours = xception("xception", tmp_path / "xception.safetensors", size=75).eval()
    images = torch.rand(1, 3, 75, 75)
    with torch.no_grad():
        x = theirs.act1(theirs.bn1(theirs.conv1((images - 0.5) / 0.5)))
        x = theirs.act2(theirs.bn2(theirs.conv2(x)))
        expected = [x.clone()]
        for number in range(1, 12):
            x = getattr(theirs, f"block{number}")(x)
            if number in (2, 11):
                expected.append(x.clone())
        found = ours(images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("size", [32, 40])
def test_the_toy_trunk_halves_once_and_sees_high_frequencies(size: int) -> None:
    network = xception("xception_toy", size=size).eval()
    images = torch.rand(2, 3, size, size)
    maps = network(images)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (width, size // 2, size // 2) for width in (24, 48, 64)
    ]
    assert network.grids == (size // 2,) * 3
    network.conv1.weight.data[:, :3] = 0  # what is left sees the high pass alone
    flat = network(images * 0 + 0.2)[0]
    torch.testing.assert_close(flat, network(images * 0 + 0.8)[0], atol=1e-5, rtol=0)
    assert not torch.allclose(flat, network(images)[0])


def test_a_block_keeps_or_strides_and_skips_plainly_if_it_can() -> None:
    x = torch.rand(1, 8, 9, 9)
    assert XceptionBlock(8, 8)(x).shape == x.shape
    assert not [*XceptionBlock(8, 8).skip.parameters()]
    assert XceptionBlock(8, 12, stride=2)(x).shape == (1, 12, 5, 5)
    silent = XceptionBlock(8, 8).eval()
    for layer in silent.rep:
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.zeros_(layer.weight)
    assert torch.equal(silent(x), x)


def test_convolutions_start_with_the_authors_deviation() -> None:
    convolution = torch.nn.Conv2d(64, 128, 3)
    initialise(convolution)
    assert float(convolution.weight.detach().std()) == pytest.approx(
        (2 / (9 * 128)) ** 0.5, rel=0.02
    )


def test_names_find_their_makers() -> None:
    assert maker("xception") is xception
    assert maker("vit_toy") is backbone
    built = catalog._module("backbone", {"name": "xception_toy", "size": 32})
    assert isinstance(built, Xception)
    with pytest.raises(ValueError, match="no setting 'depth'"):
        catalog._module("backbone", {"name": "xception_toy", "depth": 3})


def test_it_says_what_it_wants(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        xception("xception_toy", tmp_path / "none.safetensors")
    network = xception("xception_toy")
    with pytest.raises(ValueError, match="want images of 40 pixels, got 36"):
        network(torch.rand(1, 3, 36, 36))
    with pytest.raises(ValueError, match="no trunk 'xceptoin'"):
        xception("xceptoin")
    with pytest.raises(ValueError, match="want a size of 7"):
        Xception(SHAPES["xception"]._replace(size=6))
    state = network.state_dict()
    state.pop("conv2.weight")
    with pytest.raises(ValueError, match=r"made-up: not the weights.*conv2\.weight"):
        load(network, state, origin="made-up")

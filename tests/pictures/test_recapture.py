"""The recapture network: its filter bank, its cross attention, and its checks by number."""

import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from telltale.data.synth.pages import page
from telltale.data.synth.recapture import attacked, bona_fide
from telltale.fit import adam, fit
from telltale.nn.backbones import maker
from telltale.nn.cosine import dct, inverse_dct
from telltale.nn.resnets import SHAPES, resnet
from telltale.pictures.recapture import CrossAttention, Recapture, filter_bank

MODES = ["positional", "magnitude"]


def detector(name: str = "resnet_toy", **settings: object) -> Recapture:
    torch.manual_seed(0)
    return Recapture(resnet(name), resnet(name), **settings)  # type: ignore[arg-type]


def grey(images: Tensor) -> Tensor:
    return (images * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1)


def energies(images: Tensor, filters: str = "positional") -> Tensor:
    return (255 * filter_bank(images, filters)).square().sum((2, 3))


def as_images(plane: Tensor) -> Tensor:
    return plane.expand(1, 3, *plane.shape[-2:])


def test_1_the_transform_and_back() -> None:
    g = 255 * torch.rand(2, 1, 224, 224)
    torch.testing.assert_close(inverse_dct(dct(g)), g, atol=4e-4, rtol=0)  # of float32 at 255
    torch.testing.assert_close(inverse_dct(dct(g.double())), g.double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(dct(g).square().sum(), g.square().sum())


@pytest.mark.parametrize("filters", MODES)
@pytest.mark.parametrize("images", [torch.rand(2, 3, 96, 96), torch.full((1, 3, 96, 96), 0.4)])
def test_2_the_bands_sum_up_to_grey(filters: str, images: Tensor) -> None:
    total = filter_bank(images, filters).sum(1)
    torch.testing.assert_close(255 * total, 255 * grey(images), atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize(("u", "v", "band"), [(15, 5, 0), (20, 80, 1), (120, 80, 2)])
def test_3_a_cosine_lies_in_its_band_alone(u: int, v: int, band: int) -> None:
    coefficients = torch.zeros(1, 1, 224, 224, dtype=torch.float64)
    coefficients[..., u, v] = 100.0
    found = energies(as_images(inverse_dct(coefficients)))[0]
    others = [found[k] for k in range(3) if k != band]
    assert max(others) < 1e-3 * found[band]


def test_4_only_magnitude_depends_on_contrast() -> None:
    weak = 0.02 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def share(scale: float, filters: str) -> float:
        found = energies(scale * weak, filters)[0]
        return float(found[2] / found.sum())

    assert share(1, "magnitude") > 0.9 > 0.1 > share(10, "magnitude")
    assert share(1, "positional") == pytest.approx(share(10, "positional"), rel=1e-4)


@pytest.mark.parametrize("filters", MODES)
def test_5_bands_are_orthogonal(filters: str) -> None:
    bands = filter_bank(torch.rand(1, 3, 64, 64), filters)[0].flatten(1).double()
    products = bands @ bands.T
    apart = products - torch.diag(products.diagonal())
    assert apart.abs().max() < 1e-4 * products.diagonal().max()


@pytest.mark.parametrize("reduction", [1.0, 0.25])
def test_6_shapes(reduction: float) -> None:
    with torch.device("meta"):
        network = detector("resnet50", reduction=reduction)
        stages = network.rgb.maps(torch.zeros(1, 3, 224, 224))  # type: ignore[union-attr]
    assert [tuple(stages[k].shape[1:]) for k in (0, 2, 3)] == [
        (256, 56, 56),
        (1024, 14, 14),
        (2048, 7, 7),
    ]
    assert network.head.in_features == 6656 * reduction
    trunk = resnet("resnet50")
    assert sum(p.numel() for p in trunk.parameters()) == 23_508_032


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_6_weights_of_timm_give_timms_maps(name: str, tmp_path: Path) -> None:
    theirs = timm.create_model(name, num_classes=5).eval()
    save_file(theirs.state_dict(), tmp_path / "resnet.safetensors")
    ours = maker(name)(name, tmp_path / "resnet.safetensors").eval()
    images = torch.rand(1, 3, 64, 64)
    config = theirs.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = theirs.forward_features((images - mean) / std)
        torch.testing.assert_close(ours(images), expected, atol=1e-4, rtol=1e-4)
    save_file({"conv1.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: not the weights of"):
        resnet(name, tmp_path / "other.safetensors")


def plain_attention(meet: CrossAttention, rgb: Tensor, bands: Tensor) -> tuple[Tensor, Tensor]:
    """As the equations have it, the whole matrix at once."""
    (q_r, k_r, v_r), (q_f, k_f, v_f) = (
        layer(x).flatten(2).mT.chunk(3, -1) for layer, x in ((meet.rgb, rgb), (meet.bands, bands))
    )
    d = rgb.shape[1]
    weights = torch.softmax(q_r @ k_f.mT / math.sqrt(d), -1)
    assert torch.allclose(weights.sum(-1), torch.ones(()))
    other = torch.softmax(q_f @ k_r.mT / math.sqrt(d), -1)
    return rgb + (weights @ v_f).mT.view_as(rgb), bands + (other @ v_r).mT.view_as(bands)


def test_7_cross_attention() -> None:
    torch.manual_seed(0)
    meet = CrossAttention(8)
    rgb, bands = torch.randn(2, 8, 5, 5), torch.randn(2, 8, 5, 5)
    for found, expected in zip(meet(rgb, bands), plain_attention(meet, rgb, bands), strict=True):
        torch.testing.assert_close(found, expected)
    swapped = CrossAttention(8)
    swapped.rgb, swapped.bands = meet.bands, meet.rgb
    one, other = swapped(bands, rgb)
    torch.testing.assert_close((other, one), meet(rgb, bands))
    with torch.no_grad():
        meet.bands.weight[16:] = 0
        meet.bands.bias[16:] = 0  # type: ignore[index]
    torch.testing.assert_close(meet(rgb, bands)[0], rgb)


def test_8_the_order_of_the_others_tokens_does_not_matter() -> None:
    torch.manual_seed(0)
    meet = CrossAttention(8)
    rgb, bands = torch.randn(1, 8, 5, 5), torch.randn(1, 8, 5, 5)
    shuffled = bands.flatten(2)[..., torch.randperm(25)].view_as(bands)
    torch.testing.assert_close(meet(rgb, bands)[0], meet(rgb, shuffled)[0])


def test_8_pooled_attention_keeps_the_maps_size() -> None:
    meet = CrossAttention(8, side=3)
    rgb, bands = torch.randn(1, 8, 9, 9), torch.randn(1, 8, 9, 9)
    assert [x.shape for x in meet(rgb, bands)] == [rgb.shape, rgb.shape]
    flat = torch.ones(1, 8, 9, 9)
    torch.testing.assert_close(meet(flat, flat), plain_attention(meet, flat, flat))


def test_9_brightness_is_in_the_low_band_alone() -> None:
    images = 0.5 * torch.rand(1, 3, 64, 64)
    change = filter_bank(images + 0.1) - filter_bank(images)
    torch.testing.assert_close(change[:, 0], torch.full((1, 64, 64), 0.1), atol=1e-5, rtol=0)
    assert change[:, 1:].abs().max() < 1e-5


def test_10_gradients_reach_both() -> None:
    network, images = detector(), torch.rand(4, 3, 64, 64)
    network.loss(images, torch.arange(4) % 2)["ce"].backward()
    for branch in (network.rgb, network.bands):
        assert branch is not None
        assert branch.conv1.weight.grad.abs().max() > 0


@pytest.mark.parametrize("dark", ["rgb", "bands"])
def test_10_a_branch_that_sees_nothing_leaves_the_other_its_gradient(
    dark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, images = detector(), torch.rand(4, 3, 64, 64)
    blind = getattr(network, dark)
    sees = blind.maps
    monkeypatch.setattr(blind, "maps", lambda x: sees(0 * x))
    network.loss(images, torch.arange(4) % 2)["ce"].backward()
    other = network.bands if dark == "rgb" else network.rgb
    assert other is not None
    assert other.conv1.weight.grad.abs().max() > 0
    assert not blind.conv1.weight.grad.any()  # nothing came in


def test_11_smoothed_labels_leave_an_entropy() -> None:
    assert -0.95 * math.log(0.95) - 0.05 * math.log(0.05) == pytest.approx(0.1985, abs=1e-4)
    network = detector()
    nn.init.zeros_(network.head.weight)
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([math.log(0.95), math.log(0.05)]))
    loss = network.loss(torch.rand(2, 3, 32, 32), torch.zeros(2, dtype=torch.int64))["ce"]
    assert loss.item() == pytest.approx(0.1985, abs=1e-4)


def test_12_a_fine_grid_lies_in_the_high_band() -> None:
    y, x = torch.meshgrid(torch.arange(224.0), torch.arange(224.0), indexing="ij")
    smooth = 0.5 + 0.2 * torch.sin(x / 40) * torch.cos(y / 50)
    grid = smooth + 4 / 255 * torch.sin(2 * math.pi / 3 * x)
    before, after = energies(as_images(smooth))[0], energies(as_images(grid))[0]
    assert after[2] > 10 * before[2]
    assert after[0] == pytest.approx(before[0].item(), rel=0.01)


def test_14_learns_sixteen_patches_by_heart() -> None:
    rng = np.random.default_rng(0)
    made = []
    for number in range(16):
        drawn = page((112, 112), rng)
        way = bona_fide(drawn, rng) if number % 2 == 0 else attacked(drawn, "print", rng)
        made.append(way)
    images = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255
    labels = torch.arange(16) % 2
    network = detector(attention_side=7)
    for _ in fit(network, [{"images": images, "labels": labels}] * 60, adam(network, lr=3e-3)):
        pass
    network.eval()
    with torch.no_grad():
        assert torch.equal(network(images).logit > 0, labels.bool())


@pytest.mark.parametrize("fusion", ["concat", "rgb", "bands"])
def test_the_other_fusions(fusion: str) -> None:
    network = detector(fusion=fusion, scales=(4,)).eval()
    assert not len(network.meetings)
    assert network.head.in_features == 128 * (2 if fusion == "concat" else 1)
    images = torch.rand(1, 3, 64, 64)
    colour = images.roll(1, 1)  # other colours, and with other luma weights another grey
    assert network(images).logit != network(colour).logit
    assert F.softplus(network(images).logit).isfinite()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filters": "radial"}, "filters of positional, magnitude"),
        ({"fusion": "sum"}, "a fusion of attention"),
        ({"scales": (0,)}, "scales of 1 to 4"),
        ({"smoothing": 1.0}, "smoothing in 0..1"),
    ],
)
def test_says_what_settings_it_wants(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detector(**settings)


def test_says_what_trunks_it_wants() -> None:
    with pytest.raises(ValueError, match="want two ResNets"):
        Recapture(nn.Identity(), resnet("resnet_toy"))
    with pytest.raises(ValueError, match="want two alike"):
        Recapture(resnet("resnet18"), resnet("resnet_toy"))
    with pytest.raises(ValueError, match="no residual network 'resnet'"):
        resnet("resnet")
    assert set(SHAPES) == {"resnet18", "resnet50", "resnet_toy"}

"""Pyramid CNN: cells that add up to the logit, two levels, a loss that masks make local."""

import pytest
import torch
from torch import Tensor, nn

from telltale.faces.pyramid_cnn import PyramidCNN
from telltale.losses import balanced_cross_entropy
from telltale.nn.backbones import backbone
from telltale.nn.convnets import convnet


def network(seed: int = 0) -> PyramidCNN:
    torch.manual_seed(seed)
    return PyramidCNN(convnet("conv_toy"), width=8)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_mean_of_the_mask_is_the_logit(images: Tensor) -> None:
    evidence = network().eval()(images)
    assert evidence.mask is not None
    assert evidence.mask.shape == (4, 1, 32, 32)
    torch.testing.assert_close(evidence.mask.mean((1, 2, 3)), evidence.logit, rtol=0, atol=1e-6)


def test_both_levels_speak(images: Tensor) -> None:
    net = network().eval()
    whole = net(images).logit
    for level in (net.across, net.down):
        with torch.no_grad():
            kept, level.weight.data = level.weight.data, torch.zeros_like(level.weight)
            assert (net(images).logit - whole).abs().min() > 1e-5
            level.weight.data = kept


def test_all_of_it_is_trained(images: Tensor) -> None:
    net = network()
    masks = torch.zeros(4, 1, 32, 32)
    masks[1::2, :, 8:24, 8:24] = 1
    sum(net.loss(images, torch.tensor([0, 1, 0, 1]), masks).values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_masks_teach_where() -> None:
    """A square that stands out is found by its cells, without a word on where it lies at last."""
    net, random = network(), torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    labels = torch.arange(8) % 2
    for _ in range(30):
        images, masks = squares(8, random)
        optimizer.zero_grad()
        torch.stack([*net.loss(images, labels, masks).values()]).sum().backward()
        optimizer.step()
    images, masks = squares(8, random)
    with torch.no_grad():
        found = net.eval()(images).mask
    assert found is not None
    inside = (found * masks).sum((1, 2, 3))[1::2] / masks.sum((1, 2, 3))[1::2]
    outside = (found * (1 - masks)).sum((1, 2, 3))[1::2] / (1 - masks).sum((1, 2, 3))[1::2]
    assert (inside > outside + 1).all()


def squares(count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise; every second picture has a smooth square in it, and a mask of it."""
    images = torch.rand(count, 3, 24, 24, generator=random)
    masks = torch.zeros(count, 1, 24, 24)
    for k in range(1, count, 2):
        x, y = torch.randint(0, 12, (2,), generator=random).tolist()
        images[k, :, y : y + 12, x : x + 12] = images[k].mean()
        masks[k, :, y : y + 12, x : x + 12] = 1
    return images, masks


def test_forged_and_genuine_cells_weigh_the_same() -> None:
    """Two cells of a hundred are forged; that they are missed costs as much as the other 98."""
    shares = torch.zeros(1, 1, 10, 10)
    shares[..., 0, :2] = 1
    says_no = balanced_cross_entropy(torch.full((1, 1, 10, 10), -3.0), shares)
    says_yes = balanced_cross_entropy(torch.full((1, 1, 10, 10), 3.0), shares)
    torch.testing.assert_close(says_no, says_yes)
    right = balanced_cross_entropy(6 * shares - 3, shares)
    torch.testing.assert_close(right, torch.tensor(3.0).neg().exp().log1p())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_published_trunks_have_two_levels(name: str, images: Tensor) -> None:
    import timm

    from telltale.nn.convnets import ConvNet, Features

    model = timm.create_model(name, pretrained=False, num_classes=0)
    trunk = ConvNet(Features(model), int(model.num_features), 64)
    finer, coarser = trunk.levels(images, 2)
    assert (finer.shape[1], coarser.shape[1]) == trunk.widths[-2:]
    assert finer.shape[-1] == 2 * coarser.shape[-1] == 2


def test_wants_a_convolutional_trunk() -> None:
    with pytest.raises(ValueError, match="want a convolutional backbone, got ViT"):
        PyramidCNN(backbone("vit_toy", size=16, depth=1))
    with pytest.raises(ValueError, match="want width"):
        PyramidCNN(convnet("conv_toy"), width=0)
    with pytest.raises(ValueError, match="want a convolutional backbone"):
        PyramidCNN(nn.Identity())

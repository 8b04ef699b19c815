"""Residual networks from pictures to four maps, named as in timm so that weights load.

    x → 7 × 7 convolution, pool → layer1 (1/4) → layer2 (1/8) → layer3 (1/16) → layer4 (1/32)

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.
``resnet_toy`` is ours: one block a stage, a stem without pooling, for trials on a CPU.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.contract import want_images
from telltale.nn.states import load_trunk
from telltale.nn.vit import IMAGENET_MEAN, IMAGENET_STD


class ResNetShape(NamedTuple):
    """What fixes the parameters, and the pixels that the weights were trained on."""

    blocks: tuple[int, int, int, int] = (2, 2, 2, 2)
    width: int = 64  # of the stem and the first stage
    expansion: int = 1  # 4: blocks of three convolutions
    pools: bool = True
    size: int = 224


SHAPES: Mapping[str, ResNetShape] = {
    "resnet18": ResNetShape(),
    "resnet50": ResNetShape((3, 4, 6, 3), expansion=4),
    "resnet_toy": ResNetShape((1, 1, 1, 1), width=16, pools=False, size=112),
}


class ResNet(nn.Module):
    """Images (B, 3, S, S), float sRGB in [0, 1], to maps (B, C, h, w); ``width`` is C.

    :meth:`maps` gives all four stages' maps, of a picture as it stands: only ``forward``
    normalises colours as ImageNet's weights expect them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: ResNetShape) -> None:
        super().__init__()
        widths = [shape.width * 2**k for k in range(4)]
        self.shape = shape
        self.widths = tuple(width * shape.expansion for width in widths)
        self.width = self.widths[-1]
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.conv1 = nn.Conv2d(3, shape.width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(shape.width)
        into = shape.width
        for number, (width, count) in enumerate(zip(widths, shape.blocks, strict=True), 1):
            layer = []
            for k in range(count):
                stride = 2 if k == 0 and number > 1 else 1
                layer.append(Residual(into, width, shape.expansion, stride))
                into = width * shape.expansion
            setattr(self, f"layer{number}", nn.Sequential(*layer))

    def forward(self, images: Tensor) -> Tensor:
        return self.maps((want_images(images) - self.mean) / self.std)[-1]

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Maps of the four stages, at 1/4 to 1/32 of the side (a toy's: 1/2 to 1/16)."""
        x = F.relu(self.bn1(self.conv1(x)))
        if self.shape.pools:
            x = F.max_pool2d(x, 3, 2, 1)
        one = self.layer1(x)  # type: ignore[operator]
        two = self.layer2(one)  # type: ignore[operator]
        three = self.layer3(two)  # type: ignore[operator]
        return one, two, three, self.layer4(three)  # type: ignore[operator]


class Residual(nn.Module):
    """Two 3 × 3 convolutions, or with an expansion of 4 a 3 × 3 between two 1 × 1; and a skip."""

    def __init__(self, into: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        out = width * expansion
        sizes = [(into, width, 1), (width, width, 3), (width, out, 1)]
        if expansion == 1:
            sizes = [(into, width, 3), (width, width, 3)]
        strided = 1 if expansion > 1 else 0  # timm strides the 3 × 3
        self.count = len(sizes)
        for number, (before, after, size) in enumerate(sizes, 1):
            step = stride if number - 1 == strided else 1
            conv = nn.Conv2d(before, after, size, step, size // 2, bias=False)
            setattr(self, f"conv{number}", conv)
            setattr(self, f"bn{number}", nn.BatchNorm2d(after))
        self.downsample = None
        if stride > 1 or into != out:
            skip = nn.Conv2d(into, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(skip, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        for number in range(1, self.count + 1):
            x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
            if number < self.count:
                x = F.relu(x)
        return F.relu(x + skip)


def resnet(name: str, weights: Path | None = None, *, size: int | None = None) -> ResNet:
    """A residual network by name; without ``weights`` it starts at random.

    Args:
        name: Of :data:`SHAPES`.
        weights: A safetensors file with timm's or torchvision's names.
        size: Side of the images in pixels; None is what the weights were trained on.

    Raises:
        ValueError: For an unknown name or a file that does not fit.
    """
    if name not in SHAPES:
        raise ValueError(f"no residual network {name!r}; want one of {', '.join(SHAPES)}")
    shape = SHAPES[name]
    network = ResNet(shape._replace(size=size or shape.size))
    if weights is not None:
        load_trunk(network, Path(weights))
    return network

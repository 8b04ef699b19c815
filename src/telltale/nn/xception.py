"""Xception's entry and middle flow from pictures to three maps, named as in timm so weights load.

    x → conv, conv → T1 → block, block → T2 → block, 8 blocks → T3        (block: separable + skip)

A separable convolution mixes places within a channel, then channels within a place. Pixels come in
[0, 1]; their mean and deviation are part of the network.

Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017,
arXiv:1610.02357.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from telltale.nn.contract import want_images
from telltale.nn.residuals import high_pass
from telltale.nn.states import read_state
from telltale.nn.vit import HALF


class XceptionShape(NamedTuple):
    """What fixes the trunk's parameters, and the pixels that it was trained on.

    ``size`` is in pixels. ``strides`` are those of the first convolution and of the first three
    blocks; ``padding`` is that of the first two convolutions. ``gain`` is None, or pictures times
    it after a high pass are stacked on the pictures, for nets too small to find that themselves.
    """

    stem: int = 32
    widths: tuple[int, int, int, int] = (64, 128, 256, 728)
    middle: int = 8
    strides: tuple[int, int, int, int] = (2, 2, 2, 2)
    padding: int = 0
    size: int = 299
    gain: float | None = None
    mean: tuple[float, float, float] = HALF
    std: tuple[float, float, float] = HALF


SHAPES: Mapping[str, XceptionShape] = {
    "xception": XceptionShape(),
    "xception_toy": XceptionShape(
        16, (24, 32, 48, 64), 1, strides=(2, 1, 1, 1), padding=1, size=40, gain=20.0
    ),
}


class Xception(nn.Module):
    """Images (B, 3, S, S), float sRGB in [0, 1], to three maps, fine to coarse.

    Args:
        shape: Sizes. ``widths`` of the network are the channels of its three maps, ``grids`` the
            sides: (64, 256, 728) and (147, 37, 19) for 299 pixels.

    Raises:
        ValueError: If S is too small, or images are not what the network was built for.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shape: XceptionShape = SHAPES["xception"]) -> None:
        super().__init__()
        first, second, third, fourth = shape.widths
        stride, *strides = shape.strides
        sides = [_side(_side(shape.size, 3, stride, shape.padding), 3, 1, shape.padding)]
        for each in strides:
            sides.append(_side(sides[-1], 3, each, 1))
        if sides[0] < 1:
            raise ValueError(f"want a size of 7 pixels or more, got {shape.size}")
        self.shape = shape
        self.widths = first, third, fourth
        self.grids = sides[0], sides[2], sides[3]
        self.register_buffer("mean", torch.tensor(shape.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(shape.std).view(3, 1, 1), persistent=False)
        channels = 3 if shape.gain is None else 6
        self.conv1 = nn.Conv2d(
            channels, shape.stem, 3, stride=stride, padding=shape.padding, bias=False
        )
        self.bn1 = nn.BatchNorm2d(shape.stem)
        self.conv2 = nn.Conv2d(shape.stem, first, 3, padding=shape.padding, bias=False)
        self.bn2 = nn.BatchNorm2d(first)
        self.block1 = XceptionBlock(first, second, stride=strides[0], rectify=False)
        self.block2 = XceptionBlock(second, third, stride=strides[1])
        self.block3 = XceptionBlock(third, fourth, stride=strides[2])
        # timm's numbers go on from block3, so that its weights load.
        self.middle = [f"block{number}" for number in range(4, 4 + shape.middle)]
        for name in self.middle:
            self.add_module(name, XceptionBlock(fourth, fourth, repeats=3))
        self.apply(initialise)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        images = want_images(images)
        if images.shape[-1] != self.shape.size:
            raise ValueError(f"want images of {self.shape.size} pixels, got {images.shape[-1]}")
        x = (images - self.mean) / self.std
        if self.shape.gain is not None:
            x = torch.cat([x, high_pass(images, self.shape.gain)], 1)
        x = self.bn1(self.conv1(x)).relu()
        first = self.bn2(self.conv2(x)).relu()
        second = self.block2(self.block1(first))
        third = self.block3(second)
        for name in self.middle:
            third = self.get_submodule(name)(third)
        return first, second, third


class XceptionBlock(nn.Module):
    """Separable 3 × 3 convolutions beside a skip, (B, C, H, W) to (B, C', H / stride, …).

    Args:
        width: C.
        out: C'.
        repeats: Convolutions.
        stride: Of the block; 2 is a 3 × 3 maximum at the end of the convolutions.
        rectify: Whether a ReLU comes first: not where the input is rectified already.
    """

    def __init__(
        self, width: int, out: int, *, repeats: int = 2, stride: int = 1, rectify: bool = True
    ) -> None:
        super().__init__()
        self.skip: nn.Module = nn.Identity()
        self.skipbn: nn.Module = nn.Identity()
        if width != out or stride != 1:
            self.skip = nn.Conv2d(width, out, 1, stride=stride, bias=False)
            self.skipbn = nn.BatchNorm2d(out)
        layers: list[nn.Module] = []
        for number in range(repeats):
            given = width if number == 0 else out
            layers += [nn.ReLU(), SeparableConv(given, out), nn.BatchNorm2d(out)]
        if stride != 1:
            layers.append(nn.MaxPool2d(3, stride, padding=1))
        self.rep = nn.Sequential(*layers[0 if rectify else 1 :])

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rep(x) + self.skipbn(self.skip(x))
        return y


class SeparableConv(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.pointwise = nn.Conv2d(width, out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise(self.conv1(x))
        return y


def xception(name: str, weights: Path | None = None, *, size: int | None = None) -> Xception:
    """A trunk of :data:`SHAPES` by name, at random or with weights.

    Args:
        name: "xception", or "xception_toy" for CPU experiments.
        weights: A safetensors file with timm's names for ``legacy_xception``; what follows the
            middle flow is passed over.
        size: S in pixels; None is the architecture's own.

    Raises:
        ValueError: For an unknown name or a file that does not fit.
    """
    if name not in SHAPES:
        raise ValueError(f"no trunk {name!r}; want one of {[*SHAPES]}")
    network = Xception(SHAPES[name]._replace(size=size or SHAPES[name].size))
    if weights is not None:
        load(network, read_state(Path(weights)), origin=str(weights))
    return network


def load(network: Xception, state: Mapping[str, Tensor], *, origin: str = "state") -> None:
    """Copy weights under timm's names into the trunk; exit flow and classifier are passed over.

    Raises:
        ValueError: If a weight is missing or of another shape.
    """
    own = network.state_dict()
    taken = {key: value for key, value in state.items() if key in own}
    wrong = sorted(key for key in own if key not in taken or taken[key].shape != own[key].shape)
    if wrong:
        raise ValueError(f"{origin}: not the weights of this trunk: {', '.join(wrong[:5])}")
    network.load_state_dict(taken)


def initialise(module: nn.Module) -> None:
    """Give a convolution weights of deviation √(2 / (k²·C')), whatever its groups."""
    if isinstance(module, nn.Conv2d):
        k, other = module.kernel_size
        nn.init.normal_(module.weight, 0.0, math.sqrt(2 / (k * other * module.out_channels)))


def _side(side: int, kernel: int, stride: int, padding: int) -> int:
    return (side + 2 * padding - kernel) // stride + 1

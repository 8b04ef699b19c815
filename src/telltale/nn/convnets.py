"""Convolutional trunks by name: pictures to one map of features, weights named as in timm.

    convnet("efficientnet_b4")                                   # ImageNet weights from the hub
    convnet("tf_efficientnet_lite0", Path("lite0.safetensors"))  # from a file
    convnet("conv_toy")                                          # random, for CPU experiments
    convnet("conv_texture")                                      # random, larger, two scales

Pixels come in [0, 1]; the mean and deviation that the weights were trained with are part of the
network.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from telltale.nn.contract import want_images
from telltale.nn.residuals import high_pass
from telltale.nn.states import load_trunk
from telltale.nn.vit import HALF

FAMILIES = re.compile(r"(tf_)?efficientnet|mobilenet|resnet|legacy_xception|conv_(toy|texture)$")
LAST_HALVING = 3  # of the toy's five convolutions
TOY_GAIN = 20.0  # of the high pass: a small net does not find one by itself


class ConvShape(NamedTuple):
    """The pixels that a trunk was trained on; it takes other sizes too."""

    size: int


class ConvNet(nn.Module):
    """Images (B, 3, S, S), float sRGB in [0, 1], to maps (B, C, H, W); ``width`` is C.

    Args:
        body: From normalised images to maps; with ``levels`` and ``widths``, as here.
        width: C.
        size: Side in pixels that the weights were trained on.
        mean: Of their pixels, for each colour.
        std: Likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        body: nn.Module,
        width: int,
        size: int,
        mean: tuple[float, ...] = HALF,
        std: tuple[float, ...] = HALF,
    ) -> None:
        super().__init__()
        self.body = body
        self.width = width
        self.shape = ConvShape(size)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.body(self.normalise(images))
        return maps

    def levels(self, images: Tensor, count: int) -> list[Tensor]:
        """The maps before the trunk's last halvings and its last one, ``count`` in all.

        They are those of its stages: a head's layers after the last one are left out.
        """
        maps: list[Tensor] = self.body.levels(self.normalise(images), count)  # type: ignore[operator]
        return maps

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of all :meth:`levels`, the finest first."""
        widths: tuple[int, ...] = self.body.widths  # type: ignore[assignment]
        return widths

    def normalise(self, images: Tensor) -> Tensor:
        return (want_images(images) - self.mean) / self.std


def is_convnet(name: object) -> bool:
    """Whether :func:`convnet` makes the trunk of this name."""
    return isinstance(name, str) and FAMILIES.match(name) is not None


def convnet(name: str, weights: Path | None = None, *, size: int | None = None) -> ConvNet:
    """A trunk by its timm name, ``conv_toy`` or ``conv_texture``.

    Args:
        name: Of an EfficientNet, MobileNet, ResNet or ``legacy_xception``.
        weights: A safetensors file with timm's names; None loads them from the hub, but
            the two of ours start at random.
        size: Side of the images in pixels; None is what the weights were trained on.

    Raises:
        ValueError: For an unknown name or a file that does not fit.
        OSError: If the hub's weights cannot be had.
    """
    if name == "conv_toy":
        return ConvNet(ToyBody(), 64, size or 40)
    if name == "conv_texture":
        return ConvNet(TextureBody(), TextureBody.width, size or 140)
    import timm

    if not is_convnet(name) or not timm.is_model(name):
        raise ValueError(
            f"no convolutional trunk {name!r}; want a timm name, conv_toy or conv_texture"
        )
    try:
        model: Any = timm.create_model(name, pretrained=weights is None, num_classes=0)
    except Exception as error:  # the hub's client raises what its HTTP library raises
        raise OSError(
            f"{name}: the hub's weights cannot be had ({error}); give a safetensors file"
        ) from error
    if weights is not None:
        load_trunk(model, Path(weights))
    config = model.pretrained_cfg
    return ConvNet(
        Features(model),
        int(model.num_features),
        size or int(config["input_size"][-1]),
        tuple(config["mean"]),
        tuple(config["std"]),
    )


class Features(nn.Module):
    """A timm network up to its last map."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.model.forward_features(x)  # type: ignore[operator]
        return maps

    def levels(self, x: Tensor, count: int) -> list[Tensor]:
        maps = self.model.forward_intermediates(x, indices=count, intermediates_only=True)  # type: ignore[operator]
        return list(maps)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(level["num_chs"] for level in self.model.feature_info)  # type: ignore[union-attr]


class ToyBody(nn.Module):
    """Five small convolutions on the picture and its high pass: 64 maps of a quarter of the side.

    Source: the network of the toy faces' own trials: 20·(x - mean of 3 × 3) stacked on x.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = stack((6, 24, 1), (24, 32, 2), (32, 48, 1), (48, 64, 2), (64, 64, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.layers(torch.cat([x, TOY_GAIN * high_pass(x)], dim=1))
        return maps

    widths = (48, 64)

    def levels(self, x: Tensor, count: int) -> list[Tensor]:
        halved = 3 * LAST_HALVING  # three modules a convolution
        finer = self.layers[:halved](torch.cat([x, TOY_GAIN * high_pass(x)], dim=1))
        return [finer, self.layers[halved:](finer)][-count:]


class TextureBody(nn.Module):
    """Eight convolutions on the same: what textures are (64 maps) and where they lie (128 maps).

    The first come from a quarter of the side and are averaged to the others' sixteenth.
    """

    width = 64 + 128

    def __init__(self) -> None:
        super().__init__()
        self.fine = stack((6, 16, 1), (16, 32, 2), (32, 48, 1), (48, 64, 2), (64, 64, 1))
        self.wide = stack((64, 96, 2), (96, 128, 2), (128, 128, 1))

    def forward(self, x: Tensor) -> Tensor:
        fine: Tensor = self.fine(torch.cat([x, TOY_GAIN * high_pass(x)], dim=1))
        wide: Tensor = self.wide(fine)
        near = nn.functional.avg_pool2d(fine, 4, ceil_mode=True)
        return torch.cat([near, wide], 1)


def stack(*layers: tuple[int, int, int]) -> nn.Sequential:
    """Convolutions of 3 × 3 with norm and ReLU, each of (channels in, channels out, stride)."""
    made: list[nn.Module] = []
    for before, after, stride in layers:
        made += [
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return nn.Sequential(*made)

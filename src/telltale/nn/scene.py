"""What a picture shows, at a stride of 8: a pretrained convolutional network's levels, joined.

    f₃₂ → f₁₆ → f₈ + f₄    each narrowed, the coarser ones repeated, mixed by separable convolutions

An object that was put into a picture shows by its edge, its light and its sharpness, and by not
belonging there. That outlives a compression that erases what JPEG and the sensor had left.

Source: joined levels are those of Lin et al., "Feature Pyramid Networks for Object Detection",
CVPR 2017.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.convnets import ConvNet

LEVELS, COARSEST = 4, 32  # strides 4, 8, 16, 32


class Scene(nn.Module):
    """RGB in [0, 1], (B, 3, H, W) with sides that 32 divides, to (B, width, H/8, W/8).

    Args:
        trunk: A :func:`telltale.nn.convnets.convnet` with stages of strides 4, 8, 16 and 32.
        width: Channels of the map.

    Raises:
        ValueError: If the trunk is of another kind or has too few stages.
    """

    def __init__(self, trunk: nn.Module, width: int = 48) -> None:
        super().__init__()
        if not isinstance(trunk, ConvNet) or len(trunk.widths) < LEVELS:
            raise ValueError(f"want a convnet of {LEVELS} stages, got {type(trunk).__name__}")
        self.trunk, self.width = trunk, width
        self.narrow = nn.ModuleList(nn.Conv2d(n, width, 1) for n in trunk.widths[-LEVELS:])
        self.mix = nn.ModuleList(_separable(width) for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        """The map; raises ValueError if 32 does not divide the sides."""
        if images.shape[-1] % COARSEST or images.shape[-2] % COARSEST:
            raise ValueError(f"want sides that are multiples of 32, got {tuple(images.shape[-2:])}")
        maps = self.trunk.levels(images, LEVELS)
        f4, f8, f16, f32 = (narrow(x) for narrow, x in zip(self.narrow, maps, strict=True))
        f16 = self.mix[0](f16 + F.interpolate(f32, scale_factor=2.0))
        f8 = self.mix[1](f8 + F.interpolate(f16, scale_factor=2.0) + F.avg_pool2d(f4, 2))
        out: Tensor = self.mix[2](f8)
        return out


def _separable(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )

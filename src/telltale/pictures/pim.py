"""PIM: where a picture was changed, its pixels no longer follow from their neighbours.

    F_local = LWM([CDC(X); RDC(X)]) + X,  X: Swin         F_global: Swin that only looks back
    F = LWM([F_local; F_global]) + F_local                at each level
    mask, boundary = heads(F)             reconstruction = head(F_global)
    L = L_mask + λ₁ L_bnd + λ₂ P²/(4πA) + λ₃ |rec - x|₁

LWM([A; B]): w = σ(relu(W mean[A; B])) in [½, 1); a separable convolution of BN([w₁A; w₂B]). CDC and
RDC: differences to the centre, and of an outer to an inner ring. P and A: length of the predicted
boundary and area of the predicted mask.

Source: Kong, Luo, Wang, Li, Rocha, Kot, "Pixel-Inconsistency Modeling for Image Manipulation
Localization", IEEE TPAMI 2025, arXiv:2310.00234.
Assumed: the boundary's target is dilation less erosion of the mask by a cross of 7 pixels; the
networks start at random or from ImageNet's Swin-T (the authors start from one pretrained on
ADE20K); the picture's score is the largest log-odds of its map.
Departures: ``relu_before_sigmoid`` and ``compactness="sum"`` are the authors' code; the paper has
no ReLU, and squares of the boundary ("squares"). ``blocks`` and ``scene`` add streams of our own.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import want_labels, want_maps
from telltale.nn.contract import Evidence, Losses, want_images
from telltale.nn.difference import central, kernel
from telltale.nn.jpeg_blocks import BLOCK, JpegBlocks
from telltale.nn.pyramid import PyramidHead, resized
from telltale.nn.scene import Scene
from telltale.nn.swin import Swin, levels_fit
from telltale.nn.vit import IMAGENET_MEAN, IMAGENET_STD

COMPACTNESS = ("sum", "squares")
CROSS = 7  # pixels


class Maps(NamedTuple):
    """What the network says of a batch, a cell a patch of its Swins: g = S/4 in the paper."""

    mask: Tensor  # (B, 2, g, g) pristine, changed
    boundary: Tensor  # (B, 2, g, g) elsewhere, on the edge of a change
    reconstruction: Tensor  # (B, 3, g, g) normalised colours


class PIM(nn.Module):
    """Localises changes in pictures (B, 3, S, S), float sRGB in [0, 1].

    Args:
        local: Swin whose maps the difference convolutions look at; trained whole.
        causal: Swin that only looks back; as many channels a level as ``local``.
        channels: Of the three heads.
        relu_before_sigmoid: Weights of LWM in [½, 1), else in (0, 1).
        compactness: "sum" or "squares" of the boundary make its length.
        blocks: Channels of a third stream, :class:`telltale.nn.jpeg_blocks.JpegBlocks`, whose map
            joins the mask, and the fused ones of levels whose cells are 8 pixels or more; 0 leaves
            it out, as in the paper.
        scene: A fourth stream, :class:`telltale.nn.scene.Scene`, whose map joins the mask; None
            leaves it out, as in the paper.
        weights: λ₁ of the boundary, λ₂ of compactness, λ₃ of the reconstruction.

    Raises:
        ValueError: If a setting is out of range or images are not a float batch of RGB squares
            whose side the networks can halve.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        local: nn.Module,
        causal: nn.Module,
        *,
        channels: int = 512,
        relu_before_sigmoid: bool = True,
        compactness: str = "sum",
        blocks: int = 0,
        scene: nn.Module | None = None,
        weights: Sequence[float] = (1.0, 0.001, 0.1),
    ) -> None:
        super().__init__()
        if not isinstance(local, Swin) or not isinstance(causal, Swin):
            raise ValueError(
                "want two Swins of telltale.nn.swin, "
                f"got {type(local).__name__} and {type(causal).__name__}"
            )
        if local.widths != causal.widths or channels < 1 or compactness not in COMPACTNESS:
            raise ValueError(
                f"want two of the same widths, channels of 1 or more and a compactness of "
                f"{COMPACTNESS}, got {local.widths}, {causal.widths}, {channels}, {compactness!r}"
            )
        if scene is not None and not isinstance(scene, Scene):
            raise ValueError(f"want a Scene of telltale.nn.scene, got {type(scene).__name__}")
        if len(weights) != 3 or min(weights) < 0:
            raise ValueError(f"want three weights of 0 or more, got {weights}")
        self.local, self.causal = local, causal
        widths, relu = local.widths, relu_before_sigmoid
        self.differences = nn.ModuleList(Differences(width, relu) for width in widths)
        self.fusions = nn.ModuleList(LearnedWeighting(width, relu) for width in widths)
        self.blocks = JpegBlocks(blocks) if blocks else None
        self.strides = [local.shape.patch << level for level in range(len(widths))]
        joined = [n for n, stride in zip(widths, self.strides, strict=True) if stride >= BLOCK]
        self.say = nn.Conv2d(blocks, 2, 1) if blocks else nn.Identity()
        self.scene = scene
        self.tell = nn.Conv2d(scene.width, 2, 1) if isinstance(scene, Scene) else nn.Identity()
        self.joins = nn.ModuleList(nn.Conv2d(blocks, n, 1) for n in joined if blocks)
        self.mask_head = PyramidHead(widths, channels, 2)
        self.boundary_head = PyramidHead(widths, channels, 2)
        self.reconstruction_head = PyramidHead(widths, channels, 3)
        self.compactness = compactness
        self.weights = tuple(map(float, weights))
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Evidence:
        """Log-odds of each pixel, scaled to the images' size, and their maximum."""
        fused, _, said = self.seen(images)
        logits = self.mask_head(fused) + said
        found = logits[:, 1:] - logits[:, :1]
        mask = F.interpolate(found, images.shape[-2:], mode="bilinear", align_corners=False)
        return Evidence(found.flatten(1).amax(1), mask)

    def loss(self, images: Tensor, labels: Tensor, masks: Tensor) -> Losses:
        """Terms to sum and minimise.

        Args:
            images: (B, 3, S, S).
            labels: (B,) int64, 0 pristine and 1 changed.
            masks: (B, 1, S, S) 0 or 1; a pristine picture has none, whatever is given for it.
        """
        want_labels(labels, len(want_images(images)))
        want_maps(masks, images)
        masks = masks * labels.view(-1, 1, 1, 1)
        maps = self.inspect(images)
        size = maps.mask.shape[-2:]
        changed, edge = (
            F.interpolate(it, size, mode="nearest")[:, 0].long() for it in (masks, outline(masks))
        )
        colours = F.avg_pool2d(self.normalised(images), self.local.shape.patch)
        boundary, compact, reconstruction = self.weights
        length = maps.boundary.softmax(1)[:, 1]
        if self.compactness == "squares":
            length = length.square()
        return {
            "mask": F.cross_entropy(maps.mask, changed),
            "boundary": boundary * F.cross_entropy(maps.boundary, edge),
            "compactness": compact * compactness(length, maps.mask.softmax(1)[:, 1]).mean(),
            "reconstruction": reconstruction * F.l1_loss(maps.reconstruction, colours),
        }

    def inspect(self, images: Tensor) -> Maps:
        """Mask, boundary and reconstruction."""
        fused, looked_back, said = self.seen(images)
        return Maps(
            self.mask_head(fused) + said,
            self.boundary_head(fused),
            self.reconstruction_head(looked_back),
        )

    def seen(self, images: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor | float]:
        """The levels' maps for the heads, those of the causal stream, what is added to the mask."""
        fused, looked_back = self.features(self.normalised(images))
        said: Tensor | float = 0.0
        if self.scene is not None:
            said = resized(self.tell(self.scene(images)), fused[0])
        if self.blocks is None:
            return fused, looked_back, said
        found = self.blocks(images)
        for level, join in enumerate(self.joins, len(fused) - len(self.joins)):
            pooled = F.avg_pool2d(found, self.strides[level] // BLOCK)
            fused[level] = fused[level] + join(pooled)
        return fused, looked_back, said + resized(self.say(found), fused[0])

    def features(self, normalised: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The fused maps of all levels, and those of the stream that only looks back."""
        looked_back = self.causal(normalised)
        fused = []
        for x, other, differ, fuse in zip(
            self.local(normalised), looked_back, self.differences, self.fusions, strict=True
        ):
            local = differ(x)
            fused.append(fuse(local, other) + local)
        return fused, looked_back

    def normalised(self, images: Tensor) -> Tensor:
        """Images with ImageNet's mean and deviation taken out."""
        want_images(images)
        if not levels_fit(images.shape[-1], self.local.shape):
            halves = self.local.shape.patch << (len(self.local.widths) - 1)
            raise ValueError(f"want sides that are multiples of {halves}, got {images.shape[-1]}")
        return (images - self.mean) / self.std


class Differences(nn.Module):
    """Central and radial differences of a map (B, C, H, W), weighed, beside the map itself."""

    def __init__(self, width: int, relu: bool) -> None:
        super().__init__()
        # Standard normal as in the authors' code: the norm after them takes the scale out.
        self.central = nn.Parameter(torch.randn(width, width, 3, 3))
        self.radial = nn.Parameter(torch.randn(width, width, 3, 3))  # of it tap 0 is not used
        self.weighting = LearnedWeighting(width, relu)

    def forward(self, x: Tensor) -> Tensor:
        to_centre = central(x, self.central, theta=1.0)
        between_rings = F.conv2d(x, rings(self.radial), padding=2)
        out: Tensor = self.weighting(to_centre, between_rings) + x
        return out


class LearnedWeighting(nn.Module):
    """Two maps (B, C, H, W) weighed by two scalars that depend on both, then mixed to one."""

    def __init__(self, width: int, relu: bool) -> None:
        super().__init__()
        self.weigh = nn.Linear(2 * width, 2)
        self.relu = relu
        self.norm = nn.BatchNorm2d(2 * width)
        self.depthwise = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width, bias=False)
        self.pointwise = nn.Conv2d(2 * width, width, 1, bias=False)
        self.last_norm = nn.BatchNorm2d(width)

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        weight = self.scalars(one, other)[:, :, None, None, None]
        both = torch.cat([weight[:, 0] * one, weight[:, 1] * other], 1)
        out: Tensor = self.last_norm(self.pointwise(self.depthwise(self.norm(both))))
        return out

    def scalars(self, one: Tensor, other: Tensor) -> Tensor:
        """The two weights, (B, 2)."""
        found = self.weigh(torch.cat([one, other], 1).mean((2, 3)))
        weights: Tensor = (found.relu() if self.relu else found).sigmoid()
        return weights


def rings(weight: Tensor) -> Tensor:
    """The 5 × 5 kernel of RDC: eight weights on the outer ring, less the same on the inner one."""
    taps = weight.flatten(2)
    without_centre = torch.cat([torch.zeros_like(taps[..., :1]), taps[..., 1:]], -1)
    return kernel(without_centre.view_as(weight), "rd")


def compactness(boundary: Tensor, area: Tensor) -> Tensor:
    """Isoperimetric ratio P²/(4πA) of maps (B, H, W) in [0, 1]: 1 for a disk, more for others."""
    return boundary.sum((1, 2)).square() / (4 * math.pi * area.sum((1, 2)) + 1e-6)


def outline(masks: Tensor) -> Tensor:
    """Where masks (B, 1, H, W) of 0 and 1 change within 3 pixels up, down, left or right."""
    reach = CROSS // 2
    tall = (CROSS, 1), 1, (reach, 0)
    wide = (1, CROSS), 1, (0, reach)
    grown = torch.maximum(F.max_pool2d(masks, *tall), F.max_pool2d(masks, *wide))
    shrunk = -torch.maximum(F.max_pool2d(-masks, *tall), F.max_pool2d(-masks, *wide))
    return grown - shrunk

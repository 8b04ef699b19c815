"""Detect and Locate: a forged face betrays itself by where it was altered and by its camera noise.

    (T1, T2, T3) = trunk(x)        S_i, N_i = heads(T_i): mask and noise, at three sizes
    logit = classifier([s; n] ⊙ a(S_3))        s, n: the last heads' features; a: attention
    L = BCE(logit, y) + w1·Σ_i BCE(S_i, m_i) + w2·Σ_i mean|N_i - n_i|

Channel 0 of S_i says "manipulated", channel 1 "pristine"; m_i is the mask and its complement, n_i
the picture's noise residual, both scaled to the size of the head's output. The noise is made from
the crop as it was stored, before it is scaled for the network: scaling changes what is measured.

Source: Kong, Chen, Li, Wang, Rocha, Kwong, "Detect and Locate: Exposing Face Manipulation by
Semantic- and Noise-level Telltales", TIFS 2022, arXiv:2107.05821.
Assumed: the noise is the wavelet-Wiener residual of σ = 5 that camera identification uses, made
grey, and ±15 grey levels span [0, 1]: the authors published neither extractor nor maps. It reaches
the heads' sizes by way of the images' size.
Departures: ``attention="sigmoid"`` as the paper draws it; the authors' code multiplies by the raw
logit ("logit"), which turns features round where the mask says no. A flip in training turns mask
and noise with the image; the authors' code turns the image alone (``flip_targets=False``).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import want_labels, want_maps
from telltale.nn.contract import Evidence, Losses, want_images
from telltale.nn.xception import XceptionBlock, initialise

ATTENTIONS = ("sigmoid", "logit")


class Telltales(NamedTuple):
    """All that the network says of images; maps fine to coarse, 147, 37 and 19 for 299 pixels."""

    logit: Tensor  # (B,) log-odds of "forged"
    masks: tuple[Tensor, Tensor, Tensor]  # (B, 2, ·, ·) log-odds: manipulated, pristine
    noises: tuple[Tensor, Tensor, Tensor]  # (B, 1, ·, ·) residual, 0.5 for none


class DetectAndLocate(nn.Module):
    """Detects forged faces in crops (B, 3, S, S), float sRGB in [0, 1], and says where.

    Args:
        backbone: Trunk from images to three maps, with their ``widths`` and ``grids`` (sides), such
            as :class:`telltale.nn.xception.Xception`. All of it is trained.
        mask_weight: w1.
        noise_weight: w2.
        attention: How the coarsest mask weighs the features: "sigmoid", or "logit" for the raw one.
        flip: Share of the items that training mirrors.
        flip_targets: Whether mask and noise are mirrored with them.

    Raises:
        ValueError: If a setting is out of range, the trunk's last map has less than 15 cells a
            side or 16 channels, or images are not a float batch of RGB squares.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        mask_weight: float = 1.0,
        noise_weight: float = 0.1,
        attention: str = "sigmoid",
        flip: float = 0.5,
        flip_targets: bool = True,
    ) -> None:
        super().__init__()
        widths: tuple[int, ...] = getattr(backbone, "widths", ())
        grids: tuple[int, ...] = getattr(backbone, "grids", ())
        if len(widths) != 3 or len(grids) != 3:
            raise ValueError(
                f"want a backbone with three maps' widths and grids, got {type(backbone).__name__}"
            )
        if grids[-1] < 15 or widths[-1] < 16:
            raise ValueError(
                "want a last map of 15 cells a side and 16 channels or more, "
                f"got {grids[-1]} and {widths[-1]}"
            )
        if attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {ATTENTIONS}, got {attention!r}")
        if min(mask_weight, noise_weight) < 0 or not 0 <= flip <= 1:
            raise ValueError(
                f"want {mask_weight=} and {noise_weight=} of 0 or more, {flip=} in 0..1"
            )
        self.backbone = backbone
        fine, middle, coarse = widths
        self.mask1, self.noise1 = fine_head(fine, 2), fine_head(fine, 1)
        self.mask2, self.noise2 = middle_head(middle, 2), middle_head(middle, 1)
        features = min(64, coarse // 4)
        self.mask3_in, self.noise3_in = squeeze(coarse, features), squeeze(coarse, features)
        self.mask3_out, self.noise3_out = coarse_head(features, 2), coarse_head(features, 1)
        self.classifier = classifier(features, coarse, grids[-1])
        self.mask_weight = mask_weight
        self.noise_weight = noise_weight
        self.attention = attention
        self.flip = flip
        self.flip_targets = flip_targets
        for name, part in self.named_children():
            if name != "backbone":
                part.apply(initialise)

    def forward(self, images: Tensor) -> Evidence:
        """Weigh each face; the mask is the finest one, scaled to the images' size."""
        found = self.inspect(images)
        manipulated = found.masks[0][:, :1]
        mask = F.interpolate(manipulated, images.shape[-2:], mode="bilinear", align_corners=False)
        return Evidence(found.logit, mask)

    def loss(self, images: Tensor, labels: Tensor, masks: Tensor, noise: Tensor) -> Losses:
        """Terms to sum and minimise.

        Args:
            images: (B, 3, S, S).
            labels: (B,) int64, 0 real and 1 fake.
            masks: (B, 1, S, S), the manipulated share of each pixel in [0, 1]; a real face has
                none, whatever is given for it.
            noise: (B, 1, S, S) in [0, 1], the crops' :func:`telltale.nn.residuals.noise_map`, made
                before they were scaled or compressed again.
        """
        want_labels(labels, len(want_images(images)))
        want_maps(masks, images, "masks")
        want_maps(noise, images, "noise")
        masks = masks * labels.view(-1, 1, 1, 1)
        images, masks, noise = self.mirrored(images, masks, noise)
        found = self.inspect(images)
        mask = torch.stack(
            [
                F.binary_cross_entropy_with_logits(each, mask_target(masks, each.shape[-1]))
                for each in found.masks
            ]
        )
        residual = torch.stack(
            [F.l1_loss(each, scaled(noise, each.shape[-1])) for each in found.noises]
        )
        return {
            "bce": F.binary_cross_entropy_with_logits(found.logit, labels.to(found.logit.dtype)),
            "mask": self.mask_weight * mask.sum(),
            "noise": self.noise_weight * residual.sum(),
        }

    def inspect(self, images: Tensor) -> Telltales:
        """Logit, masks and noise maps."""
        fine, middle, coarse = self.backbone(want_images(images))
        semantic, low_level = self.mask3_in(coarse), self.noise3_in(coarse)
        masks = self.mask1(fine), self.mask2(middle), self.mask3_out(semantic)
        noises = self.noise1(fine), self.noise2(middle), self.noise3_out(low_level)
        weight = masks[2][:, :1]
        if self.attention == "sigmoid":
            weight = weight.sigmoid()
        logit = self.classifier(weight * torch.cat([semantic, low_level], 1))
        return Telltales(logit.squeeze(1), masks, noises)

    def mirrored(
        self, images: Tensor, masks: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The three of them with a random ``flip`` of the items turned left to right."""
        turned = torch.rand(len(images), 1, 1, 1, device=images.device) < self.flip
        images = torch.where(turned, images.flip(-1), images)
        if not self.flip_targets:
            return images, masks, noise
        return (
            images,
            torch.where(turned, masks.flip(-1), masks),
            torch.where(turned, noise.flip(-1), noise),
        )


# ── heads: nothing between their convolutions but the pooling, as in the authors' code ───────────


def fine_head(width: int, out: int) -> nn.Module:
    """(B, C, 147, 147) to (B, out, 147, 147), by way of 36 × 36."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1),
        nn.Conv2d(width, 2 * width, 1),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        nn.Conv2d(2 * width, 4 * width, 1),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(4 * width, width, 5, stride=2, padding=1),  # n to 2n + 1
        nn.ConvTranspose2d(width, out, 5, stride=2, padding=1),
    )


def middle_head(width: int, out: int) -> nn.Module:
    """(B, C, 37, 37) to (B, out, 37, 37), by way of 18 × 18."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1),
        nn.Conv2d(width, 2 * width, 1),
        nn.MaxPool2d(2),
        nn.ConvTranspose2d(2 * width, out, 5, stride=2, padding=1),
    )


def squeeze(width: int, features: int) -> nn.Module:
    """(B, C, n, n) to the features (B, f, n, n) that the last heads and the classifier share."""
    return nn.Sequential(
        nn.Conv2d(width, 4 * features, 3, padding=1), nn.Conv2d(4 * features, features, 1)
    )


def coarse_head(features: int, out: int) -> nn.Module:
    """(B, f, n, n) to (B, out, n, n)."""
    inner = features // 4
    return nn.Sequential(
        nn.ConvTranspose2d(features, inner, 3, padding=1),
        nn.ConvTranspose2d(inner, out, 3, padding=1),
    )


def classifier(features: int, width: int, grid: int) -> nn.Module:
    """(B, 2f, n, n) to (B, 1); n is ``grid``, ``width`` is that of the last map before the end."""
    double, fourfold = 2 * features, 4 * features
    side = ((grid + 1) // 2 - 2) // 2 - 2  # 2 for 19
    return nn.Sequential(
        XceptionBlock(double, double, stride=2),
        nn.Conv2d(double, double, 3),
        nn.Conv2d(double, fourfold, 1),
        nn.BatchNorm2d(fourfold),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(fourfold, fourfold, 3),
        nn.Conv2d(fourfold, width, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(width * side * side, 100),
        nn.Linear(100, 1),
    )


# ── targets ──────────────────────────────────────────────────────────────────────────────────────


def mask_target(masks: Tensor, side: int) -> Tensor:
    """Manipulated and pristine share, (B, 2, side, side), of masks (B, 1, S, S)."""
    share = scaled(masks, side)
    return torch.cat([share, 1 - share], 1)


def scaled(maps: Tensor, side: int) -> Tensor:
    """Maps (B, C, S, S) at another size, bilinear and without aliasing: means stay."""
    return F.interpolate(maps, (side, side), mode="bilinear", align_corners=False, antialias=True)

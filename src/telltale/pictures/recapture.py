"""Recapture: is a photographed document the paper itself, or a print or a screen that shows it?

    g = 0.299 R + 0.587 G + 0.114 B            bands b_k = IDCT(M_k ⊙ DCT(g)),  k = low, mid, high
    R' = R + softmax(Q_r K_fᵀ/√d) V_f          F' = F + softmax(Q_f K_rᵀ/√d) V_r       at 3 depths
    logits = Linear(mean(relu(BN([R'; F'] of all depths, at the last one's size))))

Two residual networks, of the picture and of its three frequency bands, tell each other at three
depths what they see: halftone and moiré lie in the bands, colour and blur in the picture.

Source: Li et al., "Two-branch Multi-scale Deep Neural Network for Generalized Document Recapture
Attack Detection", ICASSP 2023, arXiv:2211.16786. No code of the authors is known.
Assumed: bands by place in the coefficient plane (u + v < S/2.82, < S/2, the rest), as F3-Net's
(Qian et al., ECCV 2020) fixed filters; ``filters="magnitude"`` is a third-party reading. ResNet-50
after stages 1, 3 and 4, no shared weights, pixels in [0, 1] without normalisation.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import want_labels
from telltale.nn.contract import Evidence, Losses, want_images
from telltale.nn.cosine import dct, inverse_dct
from telltale.nn.resnets import ResNet

FILTERS = ("positional", "magnitude")
FUSIONS = ("attention", "concat", "rgb", "bands")
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601
EDGES = (1 / 2.82, 1 / 2)  # of the bands, in units of the side
STRENGTH = 10.0  # grey levels: "magnitude" parts coefficients at this and at twice this


class Recapture(nn.Module):
    """Detects recaptured documents in crops (B, 3, S, S): float, sRGB in [0, 1], native pixels.

    Crop, don't shrink: a smaller picture has lost halftone and moiré.

    Args:
        rgb: ResNet that sees the picture; trained whole.
        bands: ResNet that sees the three bands; as many channels a stage as ``rgb``.
        filters: "positional" bands, or "magnitude": coefficients by their size.
        scales: Stages (1 to 4) after which the networks meet.
        fusion: "attention"; "concat" in its place; or one network alone, "rgb" or "bands".
        reduction: Share of the channels that a 1 × 1 convolution leaves before they meet; 1: all.
        attention_side: Maps with a longer side are pooled to it before the attention; 0: none is.
        smoothing: Of the labels.

    Raises:
        ValueError: If a setting is out of range or images are not a float batch of RGB squares.
    """

    def __init__(
        self,
        rgb: nn.Module,
        bands: nn.Module,
        *,
        filters: str = "positional",
        scales: Sequence[int] = (1, 3, 4),
        fusion: str = "attention",
        reduction: float = 1.0,
        attention_side: int = 0,
        smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(rgb, ResNet) or not isinstance(bands, ResNet):
            kinds = f"{type(rgb).__name__} and {type(bands).__name__}"
            raise ValueError(f"want two ResNets of telltale.nn.resnets, got {kinds}")
        if rgb.widths != bands.widths:
            raise ValueError(f"want two alike, got widths {rgb.widths} and {bands.widths}")
        if filters not in FILTERS or fusion not in FUSIONS:
            raise ValueError(
                f"want filters of {', '.join(FILTERS)} and a fusion of {', '.join(FUSIONS)}, "
                f"got {filters!r} and {fusion!r}"
            )
        if not scales or not set(scales) <= {1, 2, 3, 4} or not 0 < reduction <= 1:
            raise ValueError(
                f"want scales of 1 to 4 and a reduction in 0..1, got {scales} and {reduction}"
            )
        if not 0 <= smoothing < 1 or attention_side < 0:
            raise ValueError(
                f"want smoothing in 0..1 and attention_side ≥ 0, got {smoothing}, {attention_side}"
            )
        self.rgb = rgb if fusion != "bands" else None
        self.bands = bands if fusion != "rgb" else None
        self.filters = filters
        self.scales = tuple(scales)
        self.smoothing = smoothing
        whole = [rgb.widths[scale - 1] for scale in self.scales]
        widths = [max(1, round(reduction * width)) for width in whole]
        both = fusion in ("attention", "concat")
        self.reducers = nn.ModuleList(
            nn.ModuleList(
                nn.Identity() if reduction == 1 else nn.Conv2d(before, after, 1)
                for before, after in zip(whole, widths, strict=True)
            )
            for _ in range(1 + both)
        )
        meets = [CrossAttention(width, attention_side) for width in widths]
        self.meetings = nn.ModuleList(meets if fusion == "attention" else [])
        channels = (1 + both) * sum(widths)
        self.norm = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, 2)

    def forward(self, images: Tensor) -> Evidence:
        logits = self.score(images)
        return Evidence(logits[:, 1] - logits[:, 0])

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        """Terms to sum and minimise.

        Args:
            images: (B, 3, S, S).
            labels: (B,) int64, 0 genuine and 1 recaptured.
        """
        want_labels(labels, len(images))
        ce = F.cross_entropy(self.score(images), labels, label_smoothing=self.smoothing)
        return {"ce": ce}

    def score(self, images: Tensor) -> Tensor:
        """Logits (B, 2)."""
        fused = self.fuse(images)
        size = fused[-1].shape[-2:]
        small = [
            part if part.shape[-2:] == size else F.interpolate(part, size, mode="bilinear")
            for part in fused
        ]
        x = F.relu(self.norm(torch.cat(small, 1)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits

    def fuse(self, images: Tensor) -> list[Tensor]:
        """Maps of each scale, [R'; F'] along the channels."""
        images = want_images(images)
        seen = []
        if self.rgb is not None:
            seen.append(self.rgb.maps(images))
        if self.bands is not None:
            seen.append(self.bands.maps(filter_bank(images, self.filters)))
        fused = []
        for number, scale in enumerate(self.scales):
            maps = [
                reducers[number](stages[scale - 1])  # type: ignore[index]
                for reducers, stages in zip(self.reducers, seen, strict=True)
            ]
            if len(self.meetings):
                maps = list(self.meetings[number](*maps))
            fused.append(torch.cat(maps, 1))
        return fused


class CrossAttention(nn.Module):
    """Two maps (B, C, h, w) attend to each other: one head of width C, and a residual."""

    def __init__(self, width: int, side: int = 0) -> None:
        super().__init__()
        self.rgb, self.bands = (nn.Conv2d(width, 3 * width, 1) for _ in range(2))  # q, k, v
        self.side = side

    def forward(self, rgb: Tensor, bands: Tensor) -> tuple[Tensor, Tensor]:
        shape = rgb.shape[-2:]
        small = [self._small(x) for x in (rgb, bands)]
        size = small[0].shape[-2:]
        q_r, k_r, v_r = tokens(self.rgb(small[0]))
        q_f, k_f, v_f = tokens(self.bands(small[1]))
        found = []
        for x, q, k, v in ((rgb, q_r, k_f, v_f), (bands, q_f, k_r, v_r)):
            seen = F.scaled_dot_product_attention(q, k, v)[:, 0].mT.reshape(x.shape[0], -1, *size)
            if size != shape:
                seen = F.interpolate(seen, shape, mode="bilinear")
            found.append(x + seen)
        return found[0], found[1]

    def _small(self, x: Tensor) -> Tensor:
        if not self.side or x.shape[-1] <= self.side:
            return x
        return F.adaptive_avg_pool2d(x, self.side)


def tokens(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Maps (B, 3C, h, w) as queries, keys and values (B, 1, h·w, C) of one head."""
    q, k, v = x.flatten(2).mT[:, None].chunk(3, -1)
    return q, k, v


def filter_bank(images: Tensor, filters: str = "positional") -> Tensor:
    """Low, middle and high band (B, 3, S, S) of the grey image; they sum up to it.

    Args:
        images: (B, 3, S, S) in [0, 1].
        filters: "positional" or "magnitude".
    """
    luma = images.new_tensor(LUMA).view(3, 1, 1)
    coefficients = dct(255 * (images * luma).sum(1, keepdim=True))  # grey levels
    side = images.shape[-1]
    if filters == "positional":
        place = torch.arange(side, device=images.device)
        place = place[:, None] + place[None]
        low, high = place < EDGES[0] * side, place >= EDGES[1] * side
    else:
        low, high = coefficients.abs() >= 2 * STRENGTH, coefficients.abs() < STRENGTH
    masks = [low, ~low & ~high, high]
    return torch.cat([inverse_dct(coefficients * mask) for mask in masks], 1) / 255

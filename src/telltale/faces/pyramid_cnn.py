"""Pyramid CNN: a small convolutional network, trained whole, whose map of evidence is its answer.

    z = V·ReLU(A·f₁₆ + up(B·f₃₂)) + b       logit = mean of z       L = CE + λ·mask

f₃₂ is the trunk's last map, f₁₆ the one before its last halving, A, B and V are 1 × 1 convolutions.
Every cell of z says for itself how much speaks for a forgery; the logit is *exactly* their mean, so
the map shows where the evidence lies without any further explanation method.

Source: ours, a reference: no paper has this network. The trunks are published (EfficientNet-Lite:
Google, Apache-2.0), two joined levels are those of Lin et al., "Feature Pyramid Networks for Object
Detection", CVPR 2017, and a convolutional network trained whole on blends is the usual reference of
the field, as in Shiohara & Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import balanced_cross_entropy, want_labels, want_maps
from telltale.nn.contract import Evidence, Losses, want_images
from telltale.nn.convnets import ConvNet


class PyramidCNN(nn.Module):
    """Detects forged faces in crops (B, 3, S, S): float, sRGB in [0, 1].

    Args:
        backbone: A :func:`telltale.nn.convnets.convnet`; all of it is trained.
        width: Channels in which the two levels are joined.
        mask_weight: λ, of the cells' own term.

    Raises:
        ValueError: If the backbone is of another kind or a setting is out of range.
    """

    def __init__(self, backbone: nn.Module, *, width: int = 128, mask_weight: float = 1.0) -> None:
        super().__init__()
        if not isinstance(backbone, ConvNet):
            raise ValueError(f"want a convolutional backbone, got {type(backbone).__name__}")
        if width < 1 or mask_weight < 0:
            raise ValueError(f"want width ≥ 1 and mask_weight ≥ 0, got {width} and {mask_weight}")
        self.backbone = backbone
        finer, coarser = backbone.widths[-2:]
        self.across = nn.Conv2d(finer, width, 1)
        self.down = nn.Conv2d(coarser, width, 1)
        self.head = nn.Conv2d(width, 1, 1)
        self.mask_weight = mask_weight

    def forward(self, images: Tensor) -> Evidence:
        """Weigh each face; the mean of the mask's cells is the logit."""
        cells = self.cells(images)
        side = images.shape[-1]
        # Nearest, since any smoother resampling would change the mean at the border.
        return Evidence(cells.mean((1, 2, 3)), F.interpolate(cells, size=side, mode="nearest"))

    def loss(self, images: Tensor, labels: Tensor, masks: Tensor | None = None) -> Losses:
        """Terms to sum and minimise.

        Args:
            images: (B, 3, S, S).
            labels: (B,) int64, 0 real and 1 fake.
            masks: (B, 1, S, S), the forged share of each pixel in [0, 1], if it is known.
        """
        want_labels(labels, len(images))
        cells = self.cells(images)
        logits = cells.mean((1, 2, 3))
        terms = {"ce": F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))}
        if masks is not None:
            share = F.adaptive_avg_pool2d(want_maps(masks, images), cells.shape[-1])
            terms["mask"] = self.mask_weight * balanced_cross_entropy(cells, share)
        return terms

    def cells(self, images: Tensor) -> Tensor:
        """Log-odds of "forged" for each cell (B, 1, h, w)."""
        finer, coarser = self.backbone.levels(want_images(images), 2)
        lifted = F.interpolate(self.down(coarser), size=finer.shape[-2:], mode="nearest")
        found: Tensor = self.head(F.relu(self.across(finer) + lifted))
        return found

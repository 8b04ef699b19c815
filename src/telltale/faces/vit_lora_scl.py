"""ViT-LoRA-SCL: a frozen vision transformer that learns forged faces by low-rank updates.

    L = CE + λ·SCL        SCL = M_real + max(M_real - M_fake + m·√C, 0)

M_real and M_fake are the mean distances of real and fake features f to a learnt centre; f is the
class token after the trunk, and a linear head reads two logits from it.

Source: Kong, Li, Wang, "Enhancing General Face Forgery Detection via Vision Transformer with
Low-Rank Adaptation", MIPR 2023, arXiv:2303.00917; SCL from Li et al., CVPR 2021.
Assumed, since the paper does not give them: r = 16, m = 0.01, λ = 0.01, a centre that starts at 0.
Departures: ``readout="patches"`` takes f as the mean of the patch tokens instead. Head and mean are
linear, so the logit is *exactly* the mean of the patches' own logits, and the mask says where the
evidence lies without any further explanation method. The default is the paper's class token.
With that read-out the loss takes the forgeries' masks too, if they are known, and asks each patch
for its own share: without, attention spreads the evidence and the mask points nowhere.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import balanced_cross_entropy, single_center, want_labels, want_maps
from telltale.nn.contract import Evidence, Losses, want_images
from telltale.nn.low_rank import adapt, fold


class ViTLoRASCL(nn.Module):
    """Detects forged faces in crops (B, 3, S, S): float, sRGB in [0, 1].

    Args:
        backbone: Pretrained ViT from images to tokens (B, 1 + N, C), with ``width`` C; frozen and
            adapted in place.
        rank: Rank r of the updates, 1 to C.
        targets: Which of the projections q, k, v are adapted; the LoRA paper's choice is "qv".
        margin: SCL's m, in units of √C.
        scl_weight: SCL's λ. Normed features are about √C long, so keep it small.
        readout: "cls", or "patches" for a mask that adds up to the logit.
        mask_weight: Weight of the patches' own term, if the loss is given masks.

    Raises:
        ValueError: If a setting is out of range or images are not a float batch of RGB squares.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        rank: int = 16,
        targets: str = "qkv",
        margin: float = 0.01,
        scl_weight: float = 0.01,
        readout: str = "cls",
        mask_weight: float = 1.0,
    ) -> None:
        super().__init__()
        width = getattr(backbone, "width", None)
        if not isinstance(width, int):
            raise ValueError(f"want a backbone with a width, got {type(backbone).__name__}")
        if readout not in ("cls", "patches"):
            raise ValueError(f"readout must be 'cls' or 'patches', got {readout!r}")
        if min(margin, scl_weight, mask_weight) < 0:
            raise ValueError(f"want {margin=}, {scl_weight=} and {mask_weight=} of 0 or more")
        adapt(backbone, rank, targets=targets)
        self.backbone = backbone
        self.head = nn.Linear(width, 2)
        self.center = nn.Parameter(self.head.weight.new_zeros(width))
        self.margin = margin
        self.scl_weight = scl_weight
        self.readout = readout
        self.mask_weight = mask_weight

    def forward(self, images: Tensor) -> Evidence:
        """Weigh each face; with ``readout="patches"`` the mask's mean is the logit."""
        tokens = self.backbone(want_images(images))
        if self.readout == "cls":
            return Evidence(self.weigh(tokens[:, 0]))
        patches = self.weigh(tokens[:, 1:])  # (B, N)
        side = round(patches.shape[1] ** 0.5)
        grid = patches.view(-1, 1, side, side)
        # Nearest, since any smoother resampling would change the mean at the border.
        mask = F.interpolate(grid, scale_factor=images.shape[-1] // side, mode="nearest")
        return Evidence(patches.mean(1), mask)

    def loss(self, images: Tensor, labels: Tensor, masks: Tensor | None = None) -> Losses:
        """Terms to sum and minimise.

        Args:
            images: (B, 3, S, S).
            labels: (B,) int64, 0 real and 1 fake.
            masks: (B, 1, S, S), the forged share of each pixel in [0, 1]; only with the read-out
                "patches", which then learns to locate.
        """
        want_labels(labels, len(images))
        if masks is not None:
            return self._locating_loss(images, labels, masks)
        features = self.embed(images)
        scl = single_center(features, labels, self.center, self.margin)
        return {"ce": F.cross_entropy(self.head(features), labels), "scl": self.scl_weight * scl}

    def _locating_loss(self, images: Tensor, labels: Tensor, masks: Tensor) -> Losses:
        if self.readout != "patches":
            raise ValueError('masks need readout="patches"')
        want_maps(masks, want_images(images))
        patches = self.backbone(images)[:, 1:]  # (B, N, C)
        side = round(patches.shape[1] ** 0.5)
        share = F.adaptive_avg_pool2d(masks, side).flatten(1)  # (B, N)
        mask = balanced_cross_entropy(self.weigh(patches), share)
        features = patches.mean(1)
        scl = single_center(features, labels, self.center, self.margin)
        return {
            "ce": F.cross_entropy(self.head(features), labels),
            "scl": self.scl_weight * scl,
            "mask": self.mask_weight * mask,
        }

    def embed(self, images: Tensor) -> Tensor:
        """The features (B, C) that the head and the centre see."""
        tokens: Tensor = self.backbone(want_images(images))
        return tokens[:, 0] if self.readout == "cls" else tokens[:, 1:].mean(1)

    def weigh(self, features: Tensor) -> Tensor:
        """Log-odds of "forged", (…), of features (…, C)."""
        logits: Tensor = self.head(features)
        return logits[..., 1] - logits[..., 0]

    def merge(self) -> None:
        """Fold all updates into the trunk, which is a plain ViT afterwards; for inference only."""
        fold(self.backbone)

"""Joint detection of physical and digital face attacks: one trunk, a verdict and the family.

    attack   logits (live, attack) of the trunk's features x: the joint verdict
    family   logits (live, physical, digital) of x
    L = CE(attack) + λ_f·CE(family) + λ_c·SCL(x),   SCL = M_live + max(M_live - M_attack + m, 0)

While it trains, some live faces become attacks: physical ones by moiré and colour jitter (SPSC),
digital ones by blending a face with a changed copy of itself (SDSC). So a family that the data lack
is not unheard of. :func:`either` is the reference of two experts asked apart.

Source: the survey of Kong, Wang, Li, "Digital and Physical Face Attacks", APSIPA Transactions 2023,
arXiv:2209.14692, argues for the joint task and has **no network of its own**: this one is a
reference built of published recipes. Simulated clues: He et al., winner of the 2024 unified
attack challenge. Low-rank adaptation and single centre as in `vit_lora_scl`.
Assumed: λ_f = 0.5, λ_c = 0.01; a tenth of live faces becomes an attack of each family.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import single_center, want_labels
from telltale.nn.clues import blend, draw_moire, jitter
from telltale.nn.contract import Evidence, Losses
from telltale.nn.low_rank import adapt
from telltale.nn.vit import ViT

FAMILIES = ("live", "physical", "digital")
LIVE, PHYSICAL, DIGITAL = range(3)
MARGIN = 0.01  # m of SCL, in units of √C


class JointAttacks(nn.Module):
    """Detects attacks of either family in face crops (B, 3, S, S): float, sRGB in [0, 1].

    Args:
        backbone: A trunk of width C that gives tokens or maps. A ViT is frozen and gets low-rank
            updates; any other is trained whole.
        rank: Of those updates.
        family_weight: λ_f.
        scl_weight: λ_c.
        physical_rate: Share of live faces that become physical attacks in training (SPSC).
        digital_rate: Share that become digital ones (SDSC).
        live_weight: Weight of live faces in the verdict's cross-entropy.

    Raises:
        ValueError: If a setting is out of range or images are not a float batch of RGB squares.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        rank: int = 16,
        family_weight: float = 0.5,
        scl_weight: float = 0.01,
        physical_rate: float = 0.1,
        digital_rate: float = 0.1,
        live_weight: float = 1.0,
    ) -> None:
        super().__init__()
        width = getattr(backbone, "width", None)
        if not isinstance(width, int):
            raise ValueError(f"want a backbone with a width, got {type(backbone).__name__}")
        if min(physical_rate, digital_rate) < 0 or physical_rate + digital_rate > 1:
            raise ValueError(
                f"want rates of 0 or more and 1 at most together, "
                f"got {physical_rate} and {digital_rate}"
            )
        if min(family_weight, scl_weight) < 0 or live_weight <= 0:
            raise ValueError(
                f"want weights of 0 or more and live_weight above 0, "
                f"got {family_weight}, {scl_weight} and {live_weight}"
            )
        if isinstance(backbone, ViT):
            adapt(backbone, rank)
        self.backbone = backbone
        self.attack = nn.Linear(width, 2)
        self.family = nn.Linear(width, len(FAMILIES)) if family_weight else None
        self.center = nn.Parameter(torch.zeros(width)) if scl_weight else None
        self.family_weight, self.scl_weight = family_weight, scl_weight
        self.rates = (physical_rate, digital_rate)
        self.live_weight = live_weight

    def forward(self, images: Tensor) -> Evidence:
        logits = self.attack(self.embed(images))
        return Evidence(logits[:, 1] - logits[:, 0])

    def families(self, images: Tensor) -> Tensor:
        """Probabilities (B, 3) of live, physical and digital.

        Raises:
            ValueError: If it was built without that head (``family_weight=0``).
        """
        if self.family is None:
            raise ValueError("want a family head: family_weight above 0")
        return torch.softmax(self.family(self.embed(images)), 1)

    def loss(self, images: Tensor, labels: Tensor, domains: Tensor) -> Losses:
        """Terms to sum and minimise; in training mode some live faces become attacks first.

        Args:
            images: (B, 3, S, S).
            labels: (B,) int64, 0 live and 1 attack.
            domains: (B,) int64 of :data:`FAMILIES`: 0 live, 1 physical, 2 digital.
        """
        want_labels(labels, len(images))
        if domains.shape != labels.shape or domains.dtype != torch.int64:
            shape = tuple(domains.shape)
            raise ValueError(f"want int64 domains ({len(labels)},), got {domains.dtype} {shape}")
        if domains.max() >= len(FAMILIES):
            raise ValueError(f"want domains 0 to 2 ({', '.join(FAMILIES)}), got {domains.max()}")
        if self.training:
            images, domains = self.with_clues(images, labels, domains)
            labels = torch.where(domains > LIVE, torch.ones_like(labels), labels)
        features = self.embed(images)
        weight = features.new_tensor([self.live_weight, 1.0])
        losses = {"ce": F.cross_entropy(self.attack(features), labels, weight)}
        if self.family is not None:
            family = torch.where(labels == 0, torch.zeros_like(domains), domains)
            losses["family"] = self.family_weight * F.cross_entropy(self.family(features), family)
        if self.center is not None:
            scl = single_center(features, labels, self.center, MARGIN)
            losses["scl"] = self.scl_weight * scl
        return losses

    def with_clues(self, images: Tensor, labels: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        """The batch with some live faces made attacks; what is an attack stays as it is."""
        physical, digital = self.rates
        draw = torch.rand(len(images), device=images.device)
        live = labels == 0
        by = {
            PHYSICAL: live & (draw < physical),
            DIGITAL: live & (draw >= physical) & (draw < physical + digital),
        }
        images, domains = images.clone(), torch.where(live, torch.zeros_like(domains), domains)
        for family, rows in by.items():
            if rows.any():
                chosen = images[rows]
                made = blend(chosen) if family == DIGITAL else jitter(draw_moire(chosen))
                images[rows] = made
                domains[rows] = family
        return images, domains

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, C): a ViT's class token, or the mean of a map."""
        found: Tensor = self.backbone(images)
        return found[:, 0] if found.ndim == 3 else found.mean((2, 3))


def either(physical: Tensor, digital: Tensor) -> Tensor:
    """P(attack) of two experts asked apart: 1 - (1 - p_p)(1 - p_d), both calibrated."""
    return 1 - (1 - physical) * (1 - digital)

"""S-Adapter: a frozen vision transformer reads the statistics of texture, whatever the camera.

    x ← x + MSA(LN₁ x) + s·A₁(LN₁ x)          x ← x + MLP(LN₂ x) + s·A₂(LN₂ x)
    A(y) = up·g([class; H(CDC_θ(patches))]),   [class; patches] = g(down·y)
    CDC_θ(Z) = conv(Z; w) - θ·Z·Σw             H: mean over 3 × 3 of exp(-γ²(z - μ)²)
    L = CE + λ·TSR,   TSR = mean over pairs of domains ‖G(Z_i) - G(Z_j)‖²,  G(Z) = Z Zᵀ/(CHW)

g is the quick GELU u·s(1.702u). Differences drop illumination, histograms keep how a texture's
answers are spread round a token and not each answer; TSR pulls together what bona fide faces of
different source domains look like in the last MLP's answer Z.

Source: Cai et al., "S-Adapter: Generalizing Vision Transformer for Face Anti-Spoofing with
Statistical Tokens", IEEE TIFS 2024, arXiv:2309.04038. The paper's equations by default; options
name what its code does: ``bins="linear_normalised"``, ``tsr="norm"`` with ``tsr_weight=1``.
Assumed: histogram centres start uniform in [-1, 1], widths at 1; λ = 0.1 on the squared norm.
Departures: stochastic depth is left out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import style_distance, want_labels
from telltale.nn.adapters import AdaptedBlock, beside_both, quick_gelu
from telltale.nn.contract import Evidence, Losses
from telltale.nn.difference import central
from telltale.nn.grid import to_map, to_patches
from telltale.nn.histogram import LocalHistogram
from telltale.nn.vit import ViT

BINS = ("gaussian", "linear_normalised", "none")


class SAdapter(nn.Module):
    """Detects presentation attacks in face crops (B, 3, S, S): float, sRGB in [0, 1].

    Args:
        backbone: Pretrained ViT of width C; frozen and adapted in place.
        dim: Width h inside an adapter.
        theta: θ in [0, 1]; 0 is a plain convolution.
        bins: The histogram's: "gaussian" (the paper's equation), "linear_normalised" (its code) or
            "none", which leaves the histogram out.
        scale: s, the weight of the adapters' answers.
        tsr_weight: λ.
        tsr: "squared" Frobenius norm, or "norm", as in the code.
        dropout: Inside an adapter.

    Raises:
        ValueError: If a setting is out of range or images are not a float batch of RGB squares.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        dim: int = 8,
        theta: float = 0.7,
        bins: str = "gaussian",
        scale: float = 1.0,
        tsr_weight: float = 0.1,
        tsr: str = "squared",
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, ViT):
            raise ValueError(f"want a ViT as backbone, got {type(backbone).__name__}")
        if not (dim >= 1 and 0 <= theta <= 1 and 0 <= dropout < 1 and tsr_weight >= 0):
            raise ValueError(
                f"want dim ≥ 1, theta in 0..1, dropout in 0..1 and tsr_weight ≥ 0, "
                f"got {dim}, {theta}, {dropout} and {tsr_weight}"
            )
        if bins not in BINS or tsr not in ("squared", "norm"):
            raise ValueError(
                f"want bins of {', '.join(BINS)} and tsr of squared or norm, "
                f"got {bins!r} and {tsr!r}"
            )
        backbone.requires_grad_(False)
        beside_both(backbone, lambda c: StatisticalAdapter(c, dim, theta, bins, scale, dropout))
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, 2)
        self.tsr_weight = tsr_weight
        self.tsr = tsr

    def forward(self, images: Tensor) -> Evidence:
        logits = self.head(self.embed(images)[0])
        return Evidence(logits[:, 1] - logits[:, 0])

    @property
    def idle(self) -> tuple[str, ...]:
        """Weights of the last block that change patches alone, which the head does not read."""
        last = f"backbone.blocks.{len(self.backbone.blocks) - 1}"
        parts = ("adapter",) if self.tsr_weight else ("adapter", "first")
        names = [name for name, _ in self.named_parameters()]
        texture = ("conv", "histogram.centers", "histogram.widths")
        wanted = [f"{last}.{part}.{name}" for part in parts for name in texture]
        return tuple(name for name in wanted if name in names)

    def loss(self, images: Tensor, labels: Tensor, domains: Tensor) -> Losses:
        """Terms to sum and minimise.

        Args:
            images: (B, 3, S, S).
            labels: (B,) int64, 0 bona fide and 1 attack.
            domains: (B,) int64, the source domain (dataset, camera) of each.
        """
        want_labels(labels, len(images))
        if domains.shape != labels.shape or domains.dtype != torch.int64:
            shape = tuple(domains.shape)
            raise ValueError(f"want int64 domains ({len(labels)},), got {domains.dtype} {shape}")
        features, maps = self.embed(images)
        losses = {"ce": F.cross_entropy(self.head(features), labels)}
        if self.tsr_weight:
            live = labels == 0
            distance = style_distance(maps[live], domains[live], squared=self.tsr == "squared")
            losses["tsr"] = self.tsr_weight * distance
        return losses

    def embed(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The class token (B, C) that the head reads, and the last MLP's patches (B, C, n, n)."""
        *blocks, last = self.backbone.blocks
        x = self.backbone.start(images)
        for block in blocks:
            x = block(x)
        if not isinstance(last, AdaptedBlock):
            raise ValueError(f"want the adapted trunk as it was built, got {type(last).__name__}")
        x, known = last.run(x)
        features: Tensor = self.backbone.norm(x)[:, 0]
        return features, to_map(known[:, 1:])


class StatisticalAdapter(nn.Module):
    """Tokens (B, 1 + N, C) through a bottleneck in which patches become statistics of texture.

    The class token passes convolution and histogram by. Starts at zero.
    """

    def __init__(
        self, width: int, dim: int, theta: float, bins: str, scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, dim)
        self.conv = nn.Parameter(torch.empty(dim, dim, 3, 3))
        self.histogram = nn.Identity() if bins == "none" else LocalHistogram(dim, bins=bins)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(dim, width)
        self.theta = theta
        self.scale = scale
        nn.init.xavier_uniform_(self.down.weight)
        nn.init.zeros_(self.down.bias)
        nn.init.dirac_(self.conv)  # the identity: CDC starts as (1 - θ)Z
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        x = quick_gelu(self.down(tokens))
        maps = central(to_map(x[:, 1:]), self.conv, theta=self.theta)
        x = torch.cat([x[:, :1], to_patches(self.histogram(maps))], dim=1)
        answer: Tensor = self.scale * self.up(self.dropout(quick_gelu(x)))
        return answer

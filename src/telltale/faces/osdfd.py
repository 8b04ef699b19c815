"""OSDFD: a frozen vision transformer that learns forgeries by small parts, their styles mixed.

    qkv(x) = W x + b + U D x                                   low-rank update: global traces
    x ← x + MLP(y) + up·g(CDC_θ(g(down·y))),  y = LN x         adapter: local traces
    F' = γ (F - μ)/σ + η   of fakes only, with the style of a fake of another kind
    L = CE + λ·SCL,   SCL = M_real + max(M_real - M_fake + m, 0)

CDC_θ is the central difference convolution over the patches, g the quick GELU u·s(1.702u) (s the
logistic function). Mixing the styles of forgery kinds shows the network kinds that it never saw;
the single centre keeps real faces together.

Source: Kong et al., "Open-Set Deepfake Detection: A Parameter-Efficient Adaptation Method with
Forgery Style Mixture", arXiv:2408.12791; mixing from Zhou et al., arXiv:2104.02008.
Assumed: tokens are mixed after the middle block, so that the class token, which the head reads, can
take it up from the patches; the centre of a batch without real faces is 0.
Departures: ``mode="paper"`` starts the adapters' last layer at zero, so that the network begins as
the pretrained one. ``mode="release"`` is the published code: rank 16, adapters after the MLP, all
small weights random, the style of the final class token mixed, a fixed random centre, λ = 0.01 and
a margin of 0.01·√C. The code's centre fits only widths of 192; here it has the backbone's. A
table as mode, such as ``{"adapter_mode": "sequential"}``, is the paper's but for what it names.
Fixed: what is added to the variances of styles, 1e-6 (``EPS`` in telltale.nn.styles).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import single_center, want_labels
from telltale.nn.adapters import beside_mlp, quick_gelu
from telltale.nn.contract import Evidence, Losses
from telltale.nn.difference import central
from telltale.nn.grid import to_map, to_patches
from telltale.nn.low_rank import LowRankAttention, adapt
from telltale.nn.styles import mix_styles, other_domain
from telltale.nn.vit import ViT


class Mode(NamedTuple):
    """What the paper and its code do differently, and what neither is sure of."""

    rank: int = 8
    adapter_mode: str = "parallel"  # reads the MLP's input; "sequential": its output
    zero_start: bool = True  # False: all small weights random
    fsm_level: str = "tokens"  # or "cls", the final class token
    fsm_block: int | None = None  # tokens are mixed after so many blocks; None: after half of them
    beta_alpha: float = 0.1  # both parameters of δ's Beta distribution: mostly near 0 or near 1
    center: str = "batch"
    scl_weight: float = 1.0
    margin: float = 0.01
    by_width: bool = False  # the margin is in units of √C


MODES = {
    "paper": Mode(),
    "release": Mode(
        rank=16,
        adapter_mode="sequential",
        zero_start=False,
        fsm_level="cls",
        center="fixed",
        scl_weight=0.01,
        by_width=True,
    ),
}


class OSDFD(nn.Module):
    """Detects forged faces in crops (B, 3, S, S): float, sRGB in [0, 1].

    Args:
        backbone: Pretrained ViT of width C; frozen and adapted in place.
        mode: "paper", "release", or a table of what is not as in the paper: fields of
            :class:`Mode`. Sets what is None below, and more.
        rank: Rank r of the updates of q, k and v.
        adapter_dim: Width inside an adapter.
        theta: θ of the central difference convolution, in [0, 1].
        mix_chance: Chance that a step mixes styles.
        center: SCL's centre: "batch" (mean of the batch's real faces), "learned" or "fixed".
        scl_weight: SCL's λ. Normed features are about √C long, so 1 outweighs the cross-entropy.

    Raises:
        ValueError: If a setting is out of range or images are not a float batch of RGB squares.
    """

    center: Tensor | None

    def __init__(
        self,
        backbone: nn.Module,
        *,
        mode: str | Mapping[str, Any] = "paper",
        rank: int | None = None,
        adapter_dim: int = 8,
        theta: float = 0.7,
        mix_chance: float = 0.5,
        center: str | None = None,
        scl_weight: float | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, ViT):
            raise ValueError(f"want a ViT as backbone, got {type(backbone).__name__}")
        self.mode = _want_mode(mode, len(backbone.blocks))
        kind = self.mode.center if center is None else center
        if kind not in ("batch", "learned", "fixed"):
            raise ValueError(f"center must be 'batch', 'learned' or 'fixed', got {kind!r}")
        if not (0 <= theta <= 1 and 0 <= mix_chance <= 1 and adapter_dim >= 1):
            raise ValueError(
                f"want theta and mix_chance in [0, 1] and adapter_dim of 1 or more, "
                f"got {theta}, {mix_chance} and {adapter_dim}"
            )
        self.scl_weight = self.mode.scl_weight if scl_weight is None else scl_weight
        if self.scl_weight < 0:
            raise ValueError(f"want scl_weight of 0 or more, got {self.scl_weight}")
        adapt(backbone, self.mode.rank if rank is None else rank)
        beside_mlp(
            backbone,
            lambda width: Adapter(width, adapter_dim, theta),
            after=self.mode.adapter_mode == "sequential",
        )
        self.backbone = backbone
        if not self.mode.zero_start:
            _randomise(backbone)
        width = backbone.width
        self.head = nn.Linear(width, 2)
        self.mix_chance = mix_chance
        self.margin = self.mode.margin / (1 if self.mode.by_width else width**0.5)  # of √C
        self.center = None
        if kind == "learned":
            self.center = nn.Parameter(torch.zeros(width))
        elif kind == "fixed":
            del self.center
            self.register_buffer("center", torch.randn(width))

    def forward(self, images: Tensor) -> Evidence:
        logits = self.head(self.embed(images))
        return Evidence(logits[:, 1] - logits[:, 0])

    @property
    def idle(self) -> tuple[str, ...]:
        """Weights that the paper counts as trained but that never learn.

        The last adapter's convolution reaches patches alone, and the head reads the class token.
        """
        return (f"backbone.blocks.{len(self.backbone.blocks) - 1}.adapter.conv",)

    def loss(self, images: Tensor, labels: Tensor, domains: Tensor) -> Losses:
        """Terms to sum and minimise; styles are mixed while the network is in training mode.

        Args:
            images: (B, 3, S, S).
            labels: (B,) int64, 0 real and 1 fake.
            domains: (B,) int64, the kind of forgery of each fake; real faces' are not looked at.
        """
        want_labels(labels, len(images))
        if domains.shape != labels.shape or domains.dtype != torch.int64:
            shape = tuple(domains.shape)
            raise ValueError(f"want int64 domains ({len(labels)},), got {domains.dtype} {shape}")
        features = self.embed(images, labels, domains)
        center = _mean_of_real(features, labels) if self.center is None else self.center
        scl = single_center(features, labels, center, self.margin)
        return {"ce": F.cross_entropy(self.head(features), labels), "scl": self.scl_weight * scl}

    def embed(
        self, images: Tensor, labels: Tensor | None = None, domains: Tensor | None = None
    ) -> Tensor:
        """The features (B, C) that the head and the centre see; mixed if labels are given."""
        x = self.backbone.start(images)
        blocks, mode = self.backbone.blocks, self.mode
        mixes = labels is not None and self.training and bool(torch.rand(()) < self.mix_chance)
        middle = len(blocks) // 2 if mode.fsm_block is None else mode.fsm_block
        for number, block in enumerate(blocks):
            if mixes and mode.fsm_level == "tokens" and number == middle:
                patches = mix_fakes(x[:, 1:], labels, domains, mode.beta_alpha)
                x = torch.cat([x[:, :1], patches], dim=1)
            x = block(x)
        features: Tensor = self.backbone.norm(x)[:, 0]
        if mixes and mode.fsm_level == "cls":
            features = mix_fakes(features, labels, domains, mode.beta_alpha)
        return features


class Adapter(nn.Module):
    """Tokens (B, 1 + N, C) through a bottleneck whose patches see their neighbours' differences.

    The class token passes the convolution by.
    """

    def __init__(self, width: int, dim: int, theta: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, dim)
        self.conv = nn.Parameter(torch.empty(dim, dim, 3, 3))
        self.up = nn.Linear(dim, width)
        self.theta = theta
        nn.init.kaiming_uniform_(self.conv, a=5**0.5)  # a convolution's usual start
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        low = quick_gelu(self.down(tokens))
        field = central(to_map(low[:, 1:]), self.conv, theta=self.theta)
        low = torch.cat([low[:, :1], to_patches(field)], dim=1)
        out: Tensor = self.up(quick_gelu(low))
        return out


def mix_fakes(
    features: Tensor, labels: Tensor | None, domains: Tensor | None, alpha: float = 0.1
) -> Tensor:
    """Forgery style mixture: fakes (rows of label 1) take styles of other domains; real rows stay.

    Args:
        features: (B, N, C) or (B, C).
        labels: (B,).
        domains: (B,).
        alpha: Of the Beta distribution of δ, the share of its own style that a fake keeps.
    """
    if labels is None or domains is None:
        raise ValueError("want labels and domains to mix the styles of fakes")
    rows = torch.nonzero(labels == 1).flatten()
    if not len(rows):
        return features
    fakes = features[rows]
    share = torch.distributions.Beta(alpha, alpha).sample((len(rows),)).to(features.device)
    mixed = mix_styles(fakes, other_domain(domains[rows]), share)
    return features.index_copy(0, rows, mixed)


def _want_mode(given: str | Mapping[str, Any], depth: int) -> Mode:
    """The mode of that name, or the paper's but for what ``given`` says, for ``depth`` blocks."""
    if isinstance(given, str):
        if given not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)} or a table, got {given!r}")
        return MODES[given]
    if unknown := sorted(set(given) - {*Mode._fields}):
        raise ValueError(f"mode has no {unknown[0]!r}; it has {', '.join(Mode._fields)}")
    mode = Mode(**given)
    if mode.adapter_mode not in ("parallel", "sequential"):
        raise ValueError(f"want adapter_mode parallel or sequential, got {mode.adapter_mode!r}")
    if mode.fsm_level not in ("tokens", "cls"):
        raise ValueError(f"want fsm_level tokens or cls, got {mode.fsm_level!r}")
    if not 0 <= (mode.fsm_block or 0) < depth:  # after the last, nothing would reach the head
        raise ValueError(f"want fsm_block in 0..{depth - 1}, got {mode.fsm_block}")
    if mode.beta_alpha <= 0 or mode.margin < 0:
        raise ValueError(
            f"want beta_alpha above 0 and margin of 0 or more, got {mode.beta_alpha} "
            f"and {mode.margin}"
        )
    return mode


def _mean_of_real(features: Tensor, labels: Tensor) -> Tensor:
    real = features[labels == 0]  # no product of matrices: autocast would round it to 8 bits
    return real.sum(0) / max(1, len(real))


def _randomise(vit: nn.Module) -> None:
    """The published code's start: every small linear layer normal with σ = 0.02, biases 0."""
    for module in vit.modules():
        if isinstance(module, LowRankAttention):
            nn.init.trunc_normal_(module.down, std=0.02)
            nn.init.trunc_normal_(module.up, std=0.02)
        if isinstance(module, Adapter):
            for layer in (module.down, module.up):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

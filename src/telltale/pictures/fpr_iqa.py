"""A picture's quality without its reference: features of the pristine picture are hallucinated.

    Fᴺᴿ = I(x), split into a and b       (F̂ᴰ, Fᴾᴿ) = INN(a, b)       Fᴰ = Q(x), Fᴿ = Q(reference)
    Q_FR = head(Fᴿ, Fᴰ)      Q_PR = the same head(Fᴾᴿ, F̂ᴰ)      Q_NR = another head(Fᴺᴿ)
    L = |Q_FR - y| + |Q_PR - y| + |Q_NR - y| + 20 T(Fᴰ, F̂ᴰ, ·) + 20 T(Fᴿ, Fᴾᴿ, ·)

INN: couplings y₁ = x₁ + f(x₂), s = 2σ(h(y₁)) - 1, y₂ = x₂ exp(s) + g(y₁). A head gives each patch a
score q and a weight w = relu(·) + 1e-8 by a GRU over the patches; the picture's score is Σqw/Σw.
T: triplets of margin 0.5, distances along the maps' rows.

Source: Chen, Zhu, Kong, Zhu, Wang, Li, "No-Reference Image Quality Assessment by Hallucinating
Pristine Features", IEEE TIP 31:6139-6151, 2022, arXiv:2108.04165.
Assumed: scores are 0 (perfect) to 100; cells and flips are drawn inside ``loss``.
Departures: patches stand in raster order, so that a picture has one score (the authors shuffle);
the authors' unused norm of 512 parameters is left out. ``negatives`` "code" takes the true other
feature as the triplets' negative, "paper" the hallucinated one.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.contract import Losses

NEGATIVES = ("code", "paper")
SLOPE = 0.2  # of the leaky ReLUs
LEAST = 1e-8  # weight of a patch, so that weights never sum to 0


class Features(NamedTuple):
    """The maps of N patches, each (N, C, s, s)."""

    distorted: Tensor
    reference: Tensor
    hallucinated: Tensor  # of the distortion
    pseudo: Tensor  # of the reference


class Scores(NamedTuple):
    """Three scores of each picture, (B,): 0 is perfect, 100 the worst."""

    full_reference: Tensor
    pseudo_reference: Tensor
    no_reference: Tensor


class FPR(nn.Module):
    """Rates pictures (B, 3, H, W), float sRGB in [0, 1]: 0 is perfect, 100 the worst.

    Args:
        width: Channels of the first convolution; all others are multiples of it.
        cell: Side of a patch in pixels, a multiple of 16.
        patches: Cells drawn of a picture at each step.
        couplings: Blocks of the invertible network.
        margin: Of the triplets.
        triplet_weight: Of each of the two triplet losses.
        negatives: "code" or "paper", see above.

    Raises:
        ValueError: If a setting is out of range or pictures are not float RGB of a cell or more.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        cell: int = 64,
        patches: int = 8,
        couplings: int = 3,
        margin: float = 0.5,
        triplet_weight: float = 20.0,
        negatives: str = "code",
    ) -> None:
        super().__init__()
        if width < 2 or width % 2 or cell < 48 or cell % 16 or patches < 1 or couplings < 1:
            raise ValueError(
                "want an even width, cells of 48 or more in steps of 16, patches and couplings of "
                f"1 or more, got {width}, {cell}, {patches}, {couplings}"
            )
        if margin < 0 or triplet_weight < 0 or negatives not in NEGATIVES:
            raise ValueError(
                f"want margin and triplet_weight of 0 or more and negatives of {NEGATIVES}, "
                f"got {margin}, {triplet_weight}, {negatives!r}"
            )
        w = width
        self.quality = nn.Sequential(
            double(3, w, pool=True), double(w, 2 * w, pool=True), double(2 * w, 4 * w, pool=True)
        )
        self.integrity = nn.Sequential(
            double(3, 2 * w, pool=True),
            double(2 * w, 4 * w),
            double(4 * w, 4 * w, pool=True),
            double(4 * w, 4 * w),
            double(4 * w, 8 * w, pool=True),
        )
        self.disentangle = Invertible(4 * w, couplings)
        self.pair_head = Aggregation(w, cell // 16)
        self.head = Aggregation(w, cell // 16)
        self.cell, self.patches, self.size = cell, patches, 2 * cell
        self.margin, self.triplet_weight, self.negatives = margin, triplet_weight, negatives
        self.apply(start)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B,) from all whole cells, without any reference."""
        cells = cut(images, self.cell)
        score: Tensor = self.head(self.integrity(cells.flatten(0, 1)), len(images))
        return score

    def loss(self, images: Tensor, partners: Tensor, scores: Tensor) -> Losses:
        """Terms to sum and minimise.

        Args:
            images: (B, 3, H, W) distorted.
            partners: (B, 3, H, W) their references; a pristine picture is its own.
            scores: (B,) 0 is perfect, 100 the worst.
        """
        if partners.shape != images.shape or scores.shape != (len(images),):
            raise ValueError(
                f"want partners {tuple(images.shape)} and scores ({len(images)},), "
                f"got {tuple(partners.shape)} and {tuple(scores.shape)}"
            )
        cells, references = drawn(images, partners, self.cell, self.patches)
        made, maps = self.learn(cells, references)
        negative_d, negative_r = (
            (maps.reference, maps.distorted)
            if self.negatives == "code"
            else (maps.pseudo, maps.hallucinated)
        )
        return {
            "full_reference": F.l1_loss(made.full_reference, scores),
            "pseudo_reference": F.l1_loss(made.pseudo_reference, scores),
            "no_reference": F.l1_loss(made.no_reference, scores),
            "distortion": self.triplet_weight
            * F.triplet_margin_loss(
                maps.distorted, maps.hallucinated, negative_d, margin=self.margin
            ),
            "reference": self.triplet_weight
            * F.triplet_margin_loss(maps.reference, maps.pseudo, negative_r, margin=self.margin),
        }

    def learn(self, cells: Tensor, references: Tensor) -> tuple[Scores, Features]:
        """All scores and maps of patches (B, n, 3, cell, cell) and those of the reference."""
        count, x = len(cells), cells.flatten(0, 1)
        distorted, reference = self.quality(x), self.quality(references.flatten(0, 1))
        own = self.integrity(x)
        hallucinated, pseudo = self.disentangle(*own.chunk(2, 1))
        # Reference first, for the true pair and for the hallucinated one: they share a head.
        true = self.pair_head(torch.cat([reference, distorted], 1), count)
        dreamt = self.pair_head(torch.cat([pseudo, hallucinated], 1), count)
        scores = Scores(true, dreamt, self.head(own, count))
        return scores, Features(distorted, reference, hallucinated, pseudo)


def double(width: int, out: int, *, pool: bool = False) -> nn.Module:
    """Two convolutions, then halved if ``pool``."""
    layers: list[nn.Module] = []
    for before in (width, out):
        layers += [nn.Conv2d(before, out, 3, padding=1), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


class Invertible(nn.Module):
    """Couplings of two maps (N, C, H, W) each."""

    def __init__(self, width: int, couplings: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Coupling(width) for _ in range(couplings))

    def forward(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            one, other = block(one, other)
        return one, other

    def inverse(self, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """What :meth:`forward` was given."""
        for block in reversed([*self.blocks]):
            if isinstance(block, Coupling):
                one, other = block.inverse(one, other)
        return one, other


class Coupling(nn.Module):
    """y₁ = x₁ + f(x₂), y₂ = x₂ exp(s(y₁)) + g(y₁)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.f, self.g, self.h = pointwise(width), pointwise(width), pointwise(width)

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        y1 = x1 + self.f(x2)
        return y1, x2 * self.log_scale(y1).exp() + self.g(y1)

    def inverse(self, y1: Tensor, y2: Tensor) -> tuple[Tensor, Tensor]:
        """x₁ and x₂ again."""
        x2 = (y2 - self.g(y1)) / self.log_scale(y1).exp()
        return y1 - self.f(x2), x2

    def log_scale(self, y1: Tensor) -> Tensor:
        """S in (-1, 1); its sum is the map's log-determinant."""
        s: Tensor = 2 * self.h(y1).sigmoid() - 1
        return s


def pointwise(width: int) -> nn.Module:
    """Four 1 × 1 convolutions, twice as wide inside."""
    widths = (width, 2 * width, 2 * width, 2 * width, width)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 1), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers[:-1])


class Aggregation(nn.Module):
    """Maps of all patches (B·n, 8w, s, s) to the scores of the pictures (B,)."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(8 * width, 2 * width, 3, padding=1)
        self.slim = nn.Conv2d(2 * width, width, 3)  # no padding and no activation
        flat = width * (side - 2) ** 2
        self.score = nn.Sequential(nn.Linear(flat, width // 2), nn.Linear(width // 2, 1))
        self.memory = nn.GRU(flat, width // 2, batch_first=True)
        self.weigh = nn.Linear(width // 2, 1)

    def forward(self, maps: Tensor, count: int) -> Tensor:
        scores, weights = self.parts(maps, count)
        return pooled(scores, weights)

    def parts(self, maps: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Score and weight of each patch, (B, n)."""
        x = F.max_pool2d(F.leaky_relu(self.wide(maps), SLOPE), 2)
        x = self.slim(x).flatten(1).view(count, len(maps) // count, -1)
        weights = self.weigh(self.memory(x)[0]).relu() + LEAST
        return self.score(x)[..., 0], weights[..., 0]


def pooled(scores: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over the patches (B, n)."""
    return (scores * weights).sum(1) / weights.sum(1)


def cut(images: Tensor, cell: int) -> Tensor:
    """Whole cells of pictures (B, 3, H, W) in raster order, (B, n, 3, cell, cell)."""
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[1] != 3 or min(shape[2:]) < cell or not images.is_floating_point():
        raise ValueError(
            f"want float (B, 3, H, W), sides {cell} or more, got {images.dtype} {shape}"
        )
    rows, columns = (length // cell for length in shape[2:])
    x = images[:, :, : rows * cell, : columns * cell]
    x = x.reshape(len(x), 3, rows, cell, columns, cell).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(len(x), rows * columns, 3, cell, cell)


def drawn(images: Tensor, partners: Tensor, cell: int, most: int) -> tuple[Tensor, Tensor]:
    """The same random cells of pictures and references, pairs mirrored or not."""
    both = torch.stack([cut(images, cell), cut(partners, cell)])
    count, n = both.shape[1:3]
    chosen = torch.rand(count, n).argsort(1)[:, :most].to(both.device)
    both = both[:, torch.arange(count, device=both.device)[:, None], chosen]
    flip = (torch.rand(count) < 0.5).to(both.device).view(1, -1, 1, 1, 1, 1)
    distorted, reference = torch.where(flip, both.flip(-1), both)
    return distorted, reference


def start(module: nn.Module) -> None:
    """The authors' initial weights: also of the couplings, which so don't start near identity."""
    if isinstance(module, nn.Conv2d):
        fan = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, (2 / fan) ** 0.5)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)

"""FA-ViT: a frozen vision transformer that two kinds of small modules make aware of forgeries.

    GAM, in every block      (Δq, Δk, Δv) = U conv(D x)         x the normed tokens, U zero at first
    LAM, before some blocks  x ← x + γ·LN(A(LN x, LN p))        p: patches of a CNN, γ zero at first
                             A_ij = (1-g)·softmax_j(w·r_ij) + g·softmax_j(q_i k_j/√d), g = s(eᵃ)
    FAL, on pairs            softplus(-24[α_p(s_p - ¾) - α_n(s_n - ¼)]), α_p = max(1¼ - s_p, 0), …

r_ij = (Δx, Δy, Δx² + Δy²) leads from patch i to patch j, s is the logistic function; the class
token's row of A has contents alone. s_p and s_n are the cosines of a real face and of its own
forgery with the head's row for "real", which has no bias and so is the prototype.

Source: Luo et al., "Generalized Face Forgery Detection via Adaptive Learning for Pre-trained Vision
Transformer", IEEE TCSVT 2024, arXiv:2309.11092; A from d'Ascoli et al., "ConViT",
arXiv:2103.10697.
Assumed: FAL's weight 1, since the paper does not give it.
Departures: ``train_norms``, on as in the published code, also trains the ViT's layer norms and
class token, which the paper's text keeps fixed. The CNN follows the patches, with the paper's
shapes for 16 pixels: the stem's stride is 2 for patches below 8 pixels, no stage makes its map
coarser than the ViT's grid, and a map that the grid does not divide (patches of 14) is resampled.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import circle, matched, want_labels
from telltale.nn.contract import Evidence, Losses
from telltale.nn.grid import convolve, to_patches
from telltale.nn.vit import Attention, ViT


class FAViT(nn.Module):
    """Detects forged faces in crops (B, 3, S, S): float, sRGB in [0, 1].

    Args:
        backbone: Pretrained ViT of width C; frozen and adapted in place.
        gam_dim: Width inside GAM; None is C/2.
        inject_layers: Blocks, from 0, before which LAM injects local features; three at most.
        locality_strength: How sharply LAM's heads look at their neighbour at first.
        fal_weight: Weight of the pairs' term.
        fal_scale: Its 24.
        fal_margin: Its ¼.
        train_norms: Whether the ViT's layer norms and class token train as well.

    Raises:
        ValueError: If a setting is out of range or images are not a float batch of RGB squares.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        gam_dim: int | None = None,
        inject_layers: Sequence[int] = (0, 3, 6),
        locality_strength: float = 1.0,
        fal_weight: float = 1.0,
        fal_scale: float = 24.0,
        fal_margin: float = 0.25,
        train_norms: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, ViT):
            raise ValueError(f"want a ViT as backbone, got {type(backbone).__name__}")
        depth, width = len(backbone.blocks), backbone.width
        layers = tuple(sorted({*inject_layers}))
        if not len(layers) == len(inject_layers) <= 3 or {*layers} - {*range(depth)}:
            raise ValueError(
                f"want at most 3 different inject_layers in 0..{depth - 1}, got {inject_layers}"
            )
        dim = width // 2 if gam_dim is None else gam_dim
        if dim < 1 or min(fal_weight, fal_scale) < 0:
            raise ValueError(
                f"want gam_dim of 1 or more, fal_weight and fal_scale of 0 or more, "
                f"got {dim}, {fal_weight} and {fal_scale}"
            )
        backbone.requires_grad_(False)
        for module in backbone.modules():
            if isinstance(module, nn.LayerNorm):
                module.requires_grad_(train_norms)
        backbone.cls_token.requires_grad_(train_norms)
        for block in backbone.blocks:
            attention = block.get_submodule("attn")
            block.attn = GlobalAttention(attention, dim)  # type: ignore[arg-type]
        self.backbone = backbone
        self.inject_layers = layers
        patch, heads = backbone.shape.patch, backbone.shape.heads
        self.stem = Stem(2 if patch < 8 else 4).requires_grad_(bool(layers))  # else read by nobody
        # How many cells of each stage's map a patch is wide: 4, 2 and 1 for patches of 16.
        cells = [max(1, round(patch / self.stem.stride / 2**n)) for n in range(len(layers))]
        self.stages = nn.ModuleList(
            Stage(32 * 2**n, width, backbone.grid, side, halve=n > 0 and side < cells[n - 1])
            for n, side in enumerate(cells)
        )
        self.injectors = nn.ModuleList(Injector(width, heads, locality_strength) for _ in layers)
        self.head = nn.Linear(width, 2, bias=False)
        self.fal_weight, self.fal_scale, self.fal_margin = fal_weight, fal_scale, fal_margin

    def forward(self, images: Tensor) -> Evidence:
        logits = self.head(self.embed(images))
        return Evidence(logits[:, 1] - logits[:, 0])

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        """Terms to sum and minimise.

        Args:
            images: (B, 3, S, S); the i-th real face and the i-th fake are a pair: a frame and the
                forgery made from it.
            labels: (B,) int64, 0 real and 1 fake, as many of each.
        """
        want_labels(labels, len(images))
        features = self.embed(images)
        cosines = F.cosine_similarity(features, self.head.weight[0], dim=-1)
        real, fake = matched(cosines, labels)
        fal = circle(real, fake, margin=self.fal_margin, scale=self.fal_scale)
        return {
            "ce": F.cross_entropy(self.head(features), labels),
            "fal": self.fal_weight * fal,
        }

    def embed(self, images: Tensor) -> Tensor:
        """The class token (B, C) after the trunk, which the head and FAL see."""
        x = self.backbone.start(images)
        field = self.stem((images - self.backbone.mean) / self.backbone.std)
        parts = zip(self.stages, self.injectors, strict=True)
        local = dict(zip(self.inject_layers, parts, strict=True))
        for number, block in enumerate(self.backbone.blocks):
            if number in local:
                stage, inject = local[number]
                field, patches = stage(field)
                x = inject(x, patches)
            x = block(x)
        tokens: Tensor = self.backbone.norm(x)
        return tokens[:, 0]


class GlobalAttention(nn.Module):
    """GAM: a frozen attention layer whose q, k and v gain a convolutional low-rank update."""

    def __init__(self, base: Attention, dim: int) -> None:
        super().__init__()
        width = base.qkv.in_features
        self.base = base
        self.down = nn.Linear(width, dim, bias=False)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)
        self.up = nn.Linear(dim, 3 * width, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base.attend(self.base.qkv(x) + self.update(x))

    def update(self, x: Tensor) -> Tensor:
        """(Δq, Δk, Δv) of tokens (B, 1 + N, C): (B, 1 + N, 3C); the class token sees itself."""
        out: Tensor = self.up(convolve(self.conv, self.down(x)))
        return out


class Stem(nn.Module):
    """Normalised images (B, 3, S, S) to maps (B, 32, S/4, S/4), or S/2 with a stride of 2."""

    def __init__(self, stride: int = 4) -> None:
        super().__init__()
        self.stride = stride
        self.layers = nn.Sequential(
            nn.Conv2d(3, 32, 4, stride, padding=(4 - stride) // 2, bias=False),
            nn.BatchNorm2d(32),
            nn.GELU(),
            nn.Conv2d(32, 32, 7, padding=3, groups=32, bias=False),
            nn.Conv2d(32, 32, 1, bias=False),
            nn.BatchNorm2d(32),
            nn.GELU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.layers(images)
        return out


class Stage(nn.Module):
    """Maps (B, w, H, H) to maps of twice the width, and to patches (B, N, C) for LAM.

    Args:
        width: w.
        tokens: C.
        grid: √N.
        side: Cells of the new map that a patch is wide.
        halve: Whether the new map has half of the cells a side.
    """

    def __init__(self, width: int, tokens: int, grid: int, side: int, *, halve: bool) -> None:
        super().__init__()
        twice, wide = 2 * width, 4 * width
        self.layers = nn.Sequential(
            nn.Conv2d(width, twice, 3, padding=1, bias=False),
            nn.BatchNorm2d(twice),
            nn.GELU(),
            nn.Conv2d(twice, wide, 3, 2 if halve else 1, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.GELU(),
            nn.Conv2d(wide, twice, 3, padding=1, bias=False),
            nn.BatchNorm2d(twice),
            nn.GELU(),
        )
        self.cells = grid * side
        self.fc = nn.Conv2d(twice, tokens, side, side)

    def forward(self, field: Tensor) -> tuple[Tensor, Tensor]:
        field = self.layers(field)
        shown = field
        if field.shape[-1] != self.cells:
            shown = F.interpolate(field, (self.cells, self.cells), mode="bilinear")
        return field, to_patches(self.fc(shown))


class Injector(nn.Module):
    """x + γ·LN(LAM(LN x, LN p)): tokens (B, 1 + N, C) take up local patches (B, N, C)."""

    def __init__(self, width: int, heads: int, locality_strength: float) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width, eps=1e-6)
        self.norm_patches = nn.LayerNorm(width, eps=1e-6)
        self.attention = LocalAttention(width, heads, locality_strength)
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.gamma = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor, patches: Tensor) -> Tensor:
        local: Tensor = self.attention(self.norm_tokens(x), self.norm_patches(patches))
        normed: Tensor = self.norm_out(local)
        return x + self.gamma * normed


class LocalAttention(nn.Module):
    """LAM: tokens look at the CNN's patches, by content and by where these lie."""

    def __init__(self, width: int, heads: int, locality_strength: float) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width, bias=False)
        self.proj = nn.Linear(width, width)
        self.position = nn.Parameter(torch.empty(heads, 3))  # w of each head
        self.gate = nn.Parameter(torch.zeros(heads))  # a of each head
        for weight in (self.q.weight, self.k.weight, self.proj.weight, self.position):
            nn.init.trunc_normal_(weight, std=0.02)
        nn.init.zeros_(self.proj.bias)
        nn.init.eye_(self.v.weight)
        side = int(heads**0.5)  # heads that look at the places of a side × side neighbourhood
        middle = (side - 1) / 2 if side % 2 == 0 else side // 2
        with torch.no_grad():
            for row in range(side):
                for column in range(side):
                    steps = (2 * (row - middle), 2 * (column - middle), -1.0)
                    self.position[column + side * row] = locality_strength * torch.tensor(steps)

    def forward(self, tokens: Tensor, patches: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.q, tokens), (self.k, patches), (self.v, patches))
        )
        mixed = self.weights(q, k) @ v
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out

    def weights(self, q: Tensor, k: Tensor) -> Tensor:
        """Rows that sum to 1, (B, h, 1 + N, N), of q (B, h, 1 + N, C/h) and k (B, h, N, C/h)."""
        content: Tensor = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        offsets = relative(round(k.shape[2] ** 0.5)).to(q)  # (N, N, 3)
        place = torch.einsum("ijc,hc->hij", offsets, self.position).softmax(-1)
        share = torch.sigmoid(self.gate.exp()).view(-1, 1, 1)  # in (½, 1): content always counts
        rest = (1 - share) * place + share * content[:, :, 1:]
        return torch.cat([content[:, :, :1], rest], dim=2)


def relative(grid: int) -> Tensor:
    """(Δx, Δy, Δx² + Δy²) from patch i to patch j of a grid × grid map, (N, N, 3)."""
    y, x = torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")
    dx = x.flatten()[None] - x.flatten()[:, None]
    dy = y.flatten()[None] - y.flatten()[:, None]
    return torch.stack([dx, dy, dx**2 + dy**2], -1).float()

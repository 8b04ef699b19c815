"""MTL-UE: pictures whose owner does not want them learnt from, whatever is learnt of them.

    δ = clamp(D([e¹_{y¹}, …, e^K_{y^K}, E(x)]), -ε, ε)       e^k_c learnt, for class c of task k
    L = L_b(surrogate, A(x + δ), y) + 10 · intra + 200 · inter
    intra = mean over tasks of 1 + mean_{m≠n} cos(e^k_m, e^k_n)
    inter = mean over tasks k < l and classes m, n of |cos(e^k_m, e^l_n)|

The same labels always bring the same pattern, so a model that learns from x + δ learns the pattern
and nothing of the picture. L_b comes from a base method: EM makes the surrogate's error small while
the surrogate learns in turn; TAP leads a trained surrogate to other labels; SEP leads several
states of its training there. For pictures that are one's own.

Source: Yu, Xia, Yang, Kong, Yang, Lu, Yap, Kot, "MTL-UE: Learning to Learn Nothing for Multi-Task
Learning", ICML 2025, arXiv:2505.05279. EM: Huang et al., ICLR 2021, arXiv:2101.04898; TAP: Fowl et
al., NeurIPS 2021, arXiv:2106.10807; SEP: Chen et al., ICLR 2023, arXiv:2303.15127.
Assumed: tasks of two classes and of more may be mixed; each then has its own form of L_b.
Departures: crops keep 64/70 of the side at any side; parts of ResNet-18 that nothing uses are not
built; no embeddings of dense maps.
"""

from collections.abc import Collection, Sequence
from copy import deepcopy
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.contract import Losses, want_images
from telltale.nn.multitask import MultiTask, augmented
from telltale.nn.residual_block import ResidualBlock, conv_norm

BASES, MODES = ("em", "tap", "sep"), ("sample", "class", "picture")
CHANNELS = 16  # of an embedding
LARGE = 224  # pixels from which maps are an eighth of the side, not a half


class MTLUE(nn.Module):
    """Perturbs pictures (B, 3, S, S), float sRGB in [0, 1], by their labels (B, K) int64.

    Args:
        surrogate: A trunk from images to maps (B, C, h, w) with its ``width`` C; a head for each
            task comes on top. It starts at random for EM and is to be trained first for the rest.
        classes: C_k, the number of each task's classes.
        size: S, even; a multiple of 8 from 224 on.
        eps: ε, bound of the change of any value, in [0, 1] of a pixel.
        base: L_b: "em", "tap" or "sep".
        mode: "sample"; "class": no picture is looked at; "picture": no labels are.
        width: Of the encoder's first stage.
        regularisation: Weights of intra and inter.

    Raises:
        ValueError: If a setting is out of range or a batch is not as it should be.
    """

    def __init__(
        self,
        surrogate: nn.Module,
        *,
        classes: Sequence[int] = (2,) * 40,
        size: int = 70,
        eps: float = 8 / 255,
        base: str = "tap",
        mode: str = "sample",
        width: int = 64,
        regularisation: Sequence[float] = (10.0, 200.0),
    ) -> None:
        super().__init__()
        trunk_width = getattr(surrogate, "width", None)
        if not isinstance(trunk_width, int):
            raise ValueError(
                f"want a trunk with its width as surrogate, got {type(surrogate).__name__}"
            )
        stride = 8 if size >= LARGE else 2
        if not classes or min(classes) < 2 or size < 8 or size % stride or width < 2:
            raise ValueError(
                f"want tasks of 2 classes or more, a size of 8 or more in multiples of {stride} "
                f"and a width of 2 or more; got {tuple(classes)}, {size} and {width}"
            )
        if not 0 < eps < 1 or base not in BASES or mode not in MODES:
            raise ValueError(
                f"want eps in (0, 1), a base of {', '.join(BASES)} and a mode of "
                f"{', '.join(MODES)}; got {eps}, {base!r} and {mode!r}"
            )
        if len(regularisation) != 2 or min(regularisation) < 0:
            raise ValueError(f"want two weights of 0 or more, got {tuple(regularisation)}")
        self.classes, self.size, self.eps = tuple(classes), size, eps
        self.base, self.mode = base, mode
        self.intra_weight, self.inter_weight = regularisation
        self.side = size // stride  # of maps
        channels = 0
        if mode != "picture":
            cells = CHANNELS * self.side**2
            self.embeddings = nn.ModuleList(nn.Embedding(count, cells) for count in classes)
            channels += CHANNELS * len(classes)
        if mode != "class":
            self.encoder = encoder(width, stride)
            channels += 2 * width
        self.decoder = decoder(channels, width, stride)
        self.surrogate = MultiTask(surrogate, self.classes)
        self.checkpoints = nn.ModuleList()  # frozen states of the surrogate, for SEP
        self.enter("generator")

    def forward(self, images: Tensor, attributes: Tensor) -> Tensor:
        """Protected pictures in [0, 1]."""
        return (images + self.perturb(images, attributes)).clamp(0, 1)

    def perturb(
        self, images: Tensor, attributes: Tensor, *, unprotected: Collection[int] = ()
    ) -> Tensor:
        """δ (B, 3, S, S); tasks in ``unprotected`` stay learnable: δ says nothing of their labels.

        Raises:
            ValueError: If images or attributes are not what the network was built for.
        """
        self.want(images, attributes)
        if wrong := [task for task in unprotected if not 0 <= task < len(self.classes)]:
            raise ValueError(f"want tasks of 0 to {len(self.classes) - 1}, got {wrong}")
        maps = []
        if self.mode != "picture":
            for task, table in enumerate(self.tables()):
                rows = table[attributes[:, task]]
                if task in unprotected:
                    rows = table.mean(0, keepdim=True).expand(len(images), -1)
                maps.append(rows.unflatten(1, (CHANNELS, self.side, self.side)))
        if self.mode != "class":
            maps.append(self.encoder(images))
        found: Tensor = self.decoder(torch.cat(maps, 1))
        return found.clamp(-self.eps, self.eps)

    def loss(self, images: Tensor, attributes: Tensor) -> Losses:
        """Terms of the stage to sum and minimise, see :meth:`enter`.

        Args:
            images: (B, 3, S, S).
            attributes: (B, K) int64, the class of each task.
        """
        self.want(images, attributes)
        if self.stage == "clean":
            return {"tasks": self.surrogate.error(augmented(images), attributes)}
        if self.stage == "surrogate":
            with torch.no_grad():
                changed = images + self.perturb(images, attributes)
            return {"tasks": self.surrogate.error(augmented(changed), attributes)}
        changed = augmented(images + self.perturb(images, attributes))
        judges = [*self.checkpoints] if self.base == "sep" and self.checkpoints else None
        judges = judges or [self.surrogate]
        terms = {"base": torch.stack([self.aim(net, changed, attributes) for net in judges]).sum()}
        if self.mode != "picture":
            # the authors' SEP adds them to each state's loss before it accumulates gradients
            times = len(judges)
            tables = self.tables()
            terms["intra"] = times * self.intra_weight * intra(tables)
            terms["inter"] = times * self.inter_weight * inter(tables)
        return terms

    def aim(self, judge: nn.Module, images: Tensor, attributes: Tensor) -> Tensor:
        """L_b against one state of the surrogate."""
        if not isinstance(judge, MultiTask):
            raise ValueError(f"want a MultiTask, got {type(judge).__name__}")
        if self.base == "em":
            return judge.error(images, attributes)
        others = shifted(attributes, self.classes)
        if self.base == "sep":
            return judge.error(images, others)
        terms = judge.errors(images, attributes), judge.errors(images, others)
        pairs = zip(*terms, self.classes, strict=True)
        return torch.stack([-true if k == 2 else other for true, other, k in pairs]).mean()

    def enter(self, stage: str) -> None:
        """Train one part and freeze the rest.

        Args:
            stage: "generator"; "surrogate": on perturbed pictures, EM's other half; "clean": the
                surrogate on pictures as they are, before TAP and SEP.

        Raises:
            ValueError: If it is another.
        """
        if stage not in ("generator", "surrogate", "clean"):
            raise ValueError(f"want stage generator, surrogate or clean, got {stage!r}")
        self.stage = stage
        self.requires_grad_(False)
        for part in self.parts() if stage == "generator" else [self.surrogate]:
            part.requires_grad_(True)
        self.train(self.training)

    def keep(self) -> None:
        """Add the surrogate as it is now to the states that SEP aims at."""
        self.checkpoints.append(deepcopy(self.surrogate).requires_grad_(False).eval())

    def train(self, mode: bool = True) -> "MTLUE":
        """Only what learns is in training mode: a frozen part's statistics stay, too."""
        super().train(mode)
        learns = self.parts() if self.stage == "generator" else [self.surrogate]
        for part in (*self.parts(), self.surrogate, self.checkpoints):
            part.train(mode and part in learns)
        return self

    def parts(self) -> list[nn.Module]:
        """What makes the perturbation."""
        names = ("embeddings", "encoder", "decoder")
        return [getattr(self, name) for name in names if hasattr(self, name)]

    def tables(self) -> list[Tensor]:
        """Each task's embeddings (C_k, 16 · h · w)."""
        return [table.get_parameter("weight") for table in self.embeddings]

    def want(self, images: Tensor, attributes: Tensor) -> None:
        """Raise ValueError if a batch is not what the network was built for."""
        if want_images(images).shape[-1] != self.size:
            raise ValueError(f"want images of {self.size} pixels, got {images.shape[-1]}")
        shape = (len(images), len(self.classes))
        if attributes.shape != shape or attributes.dtype != torch.int64:
            got = f"{attributes.dtype} {tuple(attributes.shape)}"
            raise ValueError(f"want int64 attributes {shape}, got {got}")
        limits = torch.tensor(self.classes, device=attributes.device)
        if ((attributes < 0) | (attributes >= limits)).any():
            raise ValueError(f"want attributes below {self.classes} and none below 0")


def encoder(width: int, stride: int) -> nn.Sequential:
    """A ResNet-18's stem and first two stages: images to maps (B, 2 · width, S / stride, …)."""
    stem: list[nn.Module] = [conv_norm(3, width), nn.ReLU()]
    if stride == 8:
        conv = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        stem = [conv, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    sizes = ((width, width), (width, width), (width, 2 * width), (2 * width, 2 * width))
    return nn.Sequential(*stem, *(ResidualBlock(*pair) for pair in sizes))


def decoder(channels: int, width: int, stride: int) -> nn.Sequential:
    """Maps (B, channels, S / stride, …) to changes (B, 3, S, S), not bounded yet."""
    size = 4 if stride == 8 else 3
    step = size - 2
    return nn.Sequential(
        nn.ConvTranspose2d(channels, width, 4, 2, 1),
        nn.ConvTranspose2d(width, width, 3, 1, 1),
        nn.InstanceNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, width // 2, size, step, 1),
        nn.InstanceNorm2d(width // 2),
        nn.ReLU(),
        nn.ConvTranspose2d(width // 2, 3, size, step, 1),
    )


def intra(tables: Sequence[Tensor]) -> Tensor:
    """How alike classes of one task are: 1 if orthogonal, 1 - 1/(C - 1) at the least."""
    found = []
    for table in tables:
        rows, count = F.normalize(table, dim=1), len(table)
        alike = rows @ rows.T
        found.append(1 + (alike.sum() - alike.diagonal().sum()) / (count * (count - 1)))
    return torch.stack(found).mean()


def inter(tables: Sequence[Tensor]) -> Tensor:
    """How much tasks overlap: 0 if they are orthogonal, 1 if all is along one line."""
    rows = [F.normalize(table, dim=1) for table in tables]
    found = [(one @ other.T).abs().flatten() for one, other in combinations(rows, 2)]
    return torch.cat(found).mean() if found else tables[0].sum() * 0.0


def shifted(attributes: Tensor, classes: Sequence[int]) -> Tensor:
    """Another class for each label: (y + ⌊C/2⌋) mod C."""
    counts = torch.tensor(classes, device=attributes.device)
    return (attributes + counts // 2) % counts

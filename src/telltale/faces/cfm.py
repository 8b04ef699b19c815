"""CFM: a detector that mines critical clues by comparing faces with their own forgeries.

    L = CE + λ₁·L_ins + λ₂·L_loc
    L_ins   circle loss of s_p = cos(u, k⁺), s_n = cos(u, k⁻): u of one view of a face, k of other
            views of the same face (+) and of its counterpart (-), from a slow copy of the network
    L_loc   mean_i(1 - S_p(i)) + mean over the ⌈ρHW⌉ least similar i of max(S_n(i) - (1 - β), 0)
    PLC     only the K(τ) components that tell the classes apart best pass; K grows to all of them

S_p, S_n are the cosines place by place: counterparts agree outside of the forged region, so only
where they agree least are they pushed apart. The slow copy follows by θ_p ← mθ_p + (1 - m)θ_q.

Source: Luo et al., "Beyond the Prior Forgery Knowledge: Mining Critical Clues for General Face
Forgery Detection", IEEE TIFS 2024, arXiv:2304.12489. Networks, sizes and constants are theirs.
Assumed: both losses' formulas, λ₁ = λ₂ = 1, ρ = ¼, the augmentations (`nn/views.py`) and PLC, since
neither the paper's text at hand nor its code gives them: a **reconstruction**, whose parts can be
chosen or weighed to nothing; the constants below are fixed.
Departures: the slow copy follows at the beginning of the next step instead of the end of this one,
which is the same but for the very last step. Pixels are normalised as the trunk's weights expect;
the authors' code has 0.5 ± 0.5 even for EfficientNet-B4. Both faces of a pair are anchors. Any
trunk that gives maps or tokens will do.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import circle, matched, want_labels
from telltale.nn.contract import Evidence, Losses, want_images
from telltale.nn.grid import to_map
from telltale.nn.views import degraded, geometry, moved

EMBEDDING = 128  # width of u and k
MARGIN, SCALE, PAIR_MARGIN = 0.25, 24.0, 1.5  # β, γ, and the margin of the other form
FIRST_SHARE, FIRST_STEPS = 0.25, 100  # of the components; steps until the class means are known:
# at most, in a short training a tenth of ``plc_steps``
MEAN_MOMENTUM = 0.99  # of the class means
QUEUE = 1024  # features that principal directions are taken from


class CFM(nn.Module):
    """Detects forged faces in crops (B, 3, S, S): float, sRGB in [0, 1].

    Args:
        backbone: Trunk from images to maps (B, C, H, W) or tokens (B, 1 + N, C), with ``width``
            C; trained whole.
        ins_loss: "circle", or "pair": max(1.5 + s_n - s_p, 0).
        local_ratio: ρ in (0, 1].
        plc: Progressive learning controller: "mask" passes channels; "pca" passes principal
            directions of the last 1024 features, at the cost of an SVD a step; "off".
        plc_steps: Steps after which all components pass: half of the training.
        momentum: m of the slow copy, in [0, 1].
        weights: λ₁ and λ₂.
        augment: Chance of each augmentation; 0 leaves the pictures as they are.

    Raises:
        ValueError: If a setting is out of range or images are not a float batch of RGB squares.
    """

    positive: Tensor
    negative: Tensor
    steps: Tensor
    queue: Tensor
    queued: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        *,
        ins_loss: str = "circle",
        local_ratio: float = 0.25,
        plc: str = "mask",
        plc_steps: int = 15_000,
        momentum: float = 0.999,
        weights: tuple[float, float] = (1.0, 1.0),
        augment: float = 0.5,
    ) -> None:
        super().__init__()
        width = getattr(backbone, "width", None)
        if not isinstance(width, int):
            raise ValueError(f"want a backbone with a width, got {type(backbone).__name__}")
        if ins_loss not in ("circle", "pair") or plc not in ("mask", "pca", "off"):
            raise ValueError(
                f"ins_loss must be 'circle' or 'pair' and plc 'mask', 'pca' or 'off', "
                f"got {ins_loss!r} and {plc!r}"
            )
        if not (0 < local_ratio <= 1 and 0 <= momentum <= 1 and 0 <= augment <= 1):
            raise ValueError(
                f"want local_ratio in (0, 1], momentum and augment in [0, 1], "
                f"got {local_ratio}, {momentum} and {augment}"
            )
        if plc_steps < 1 or min(weights) < 0:
            raise ValueError(f"want plc_steps ≥ 1 and weights ≥ 0, got {plc_steps} and {weights}")
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(width, 2))
        self.project = projection(width, width)
        self.project_places = projection(width, width, places=True)
        self.predict = projection(EMBEDDING, width)
        self.predict_places = projection(EMBEDDING, width, places=True)
        fast = nn.ModuleList([backbone, self.project, self.project_places])
        self.slow = as_buffers(copy.deepcopy(fast))
        self.register_buffer("positive", torch.zeros(width))
        self.register_buffer("negative", torch.zeros(width))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        if plc == "pca":
            self.register_buffer("queue", torch.zeros(QUEUE, width))
            self.register_buffer("queued", torch.zeros((), dtype=torch.int64))
        self.ins_loss, self.local_ratio, self.weights = ins_loss, local_ratio, weights
        self.plc, self.plc_steps = plc, plc_steps
        self.momentum, self.augment = momentum, augment

    def forward(self, images: Tensor) -> Evidence:
        logits = self.head(maps_of(self.backbone, images).mean((2, 3)))
        return Evidence(logits[:, 1] - logits[:, 0])

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        """Terms to sum and minimise; in training mode the slow copy and the class means move.

        Args:
            images: (B, 3, S, S); the i-th real face and the i-th fake are a pair: a frame and the
                forgery made from it.
            labels: (B,) int64, 0 real and 1 fake, as many of each.
        """
        want_labels(labels, len(want_images(images)))
        real, fake = matched(torch.arange(len(labels), device=labels.device), labels)
        counterpart = torch.empty_like(labels)
        counterpart[real], counterpart[fake] = fake, real
        if self.training and self.steps > 0:
            self.follow()
        first, second = self._views(images, real, fake)
        maps = maps_of(self.backbone, first)
        pooled = maps.mean((2, 3))
        if self.training:
            self._note(pooled.detach(), labels)
        pooled, maps = self.controlled(pooled, maps)
        u = self.predict(
            self.project(pooled)
        ).float()  # cosines near 1 need more than half precision
        places = self.predict_places(self.project_places(maps)).float()
        with torch.no_grad():
            slow = maps_of(self.slow[0], second)
            k, slow_places = self.slow[1](slow.mean((2, 3))).float(), self.slow[2](slow).float()
        alike = F.cosine_similarity(u, k, dim=1)
        unlike = F.cosine_similarity(u, k[counterpart], dim=1)
        agree = F.cosine_similarity(places, slow_places, dim=1)
        differ = F.cosine_similarity(places, slow_places[counterpart], dim=1)
        return {
            "ce": F.cross_entropy(self.head(pooled), labels),
            "ins": self.weights[0] * self._compare(alike, unlike),
            "loc": self.weights[1] * local_loss(agree, differ, self.local_ratio),
        }

    @torch.no_grad()
    def follow(self) -> None:
        """Move the slow copy towards the network: θ_p ← mθ_p + (1 - m)θ_q."""
        fast = (self.backbone, self.project, self.project_places)
        for slow, module in zip(self.slow, fast, strict=True):
            for name, weight in module.named_parameters():
                slow.get_buffer(name).lerp_(weight, 1 - self.momentum)

    def controlled(self, pooled: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """PLC: what passes of features (B, C) and of maps (B, C, H, W)."""
        if self.plc != "pca" or self._passing() == len(self.positive):
            mask = self.mask()
            return pooled * mask, maps * mask.view(1, -1, 1, 1)
        mean, onto = principal(self.queue[: int(self.queued)], self._passing())
        places = (maps.movedim(1, -1) - mean) @ onto @ onto.mT + mean
        return (pooled - mean) @ onto @ onto.mT + mean, places.movedim(-1, 1)

    def mask(self) -> Tensor:
        """1 for the channels (C,) that pass at this step, 0 for the others."""
        apart = (self.positive - self.negative).abs()
        return torch.zeros_like(apart).scatter(0, apart.topk(self._passing()).indices, 1.0)

    def _passing(self) -> int:
        """K(τ), once the class means are known; until then, and out of training, all."""
        width, step = len(self.positive), int(self.steps)
        known = step > min(FIRST_STEPS, self.plc_steps // 10)
        if self.plc == "off" or not self.training or not known:
            return width
        return components(step, width, self.plc_steps)

    def _views(self, images: Tensor, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Two degraded views; a face and its counterpart share where they were cut and flipped."""
        if not self.training or self.augment == 0:
            return images, images
        theta = torch.empty(len(images), 2, 3)
        theta[real.cpu()] = theta[fake.cpu()] = geometry(len(real), self.augment)
        # Half precision would move a picture off its pixels and erase what there is to find.
        with torch.autocast(images.device.type, enabled=False):
            still = moved(images, theta)
            return degraded(still, self.augment), degraded(still, self.augment)

    @torch.no_grad()
    def _note(self, pooled: Tensor, labels: Tensor) -> None:
        self.positive.lerp_(pooled[labels == 0].mean(0).to(self.positive), 1 - MEAN_MOMENTUM)
        self.negative.lerp_(pooled[labels == 1].mean(0).to(self.negative), 1 - MEAN_MOMENTUM)
        self.steps += 1
        if self.plc == "pca":
            self.queue.copy_(torch.cat([pooled.to(self.queue), self.queue])[:QUEUE])
            self.queued.add_(len(pooled)).clamp_(max=QUEUE)

    def _compare(self, alike: Tensor, unlike: Tensor) -> Tensor:
        if self.ins_loss == "circle":
            return circle(alike, unlike, margin=MARGIN, scale=SCALE)
        return F.relu(PAIR_MARGIN + unlike - alike).mean()


def projection(before: int, hidden: int, *, places: bool = False) -> nn.Sequential:
    """Two layers to an embedding of 128, of features (B, before) or of maps (B, before, H, W)."""
    if places:
        return nn.Sequential(
            nn.Conv2d(before, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, EMBEDDING, 1),
        )
    return nn.Sequential(
        nn.Linear(before, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, EMBEDDING)
    )


def maps_of(trunk: nn.Module, images: Tensor) -> Tensor:
    """Maps (B, C, H, W) of a trunk; a transformer's patches become one."""
    found: Tensor = trunk(images)
    return to_map(found[:, 1:]) if found.ndim == 3 else found


def as_buffers(module: nn.ModuleList) -> nn.ModuleList:
    """Turn parameters into buffers, in place: kept with the weights, never trained."""
    for part in module.modules():
        for name, weight in [*part.named_parameters(recurse=False)]:
            delattr(part, name)
            part.register_buffer(name, weight.detach().clone())
    return module


def local_loss(agree: Tensor, differ: Tensor, ratio: float) -> Tensor:
    """L_loc of cosines (B, H, W) with another view and with the counterpart."""
    places = differ.flatten(1)
    least = places.topk(math.ceil(ratio * places.shape[1]), dim=1, largest=False).values
    return (1 - agree).mean() + F.relu(least - (1 - MARGIN)).mean()


def components(step: int, width: int, steps: int) -> int:
    """K(τ): a quarter of the components at first, all after ``steps``."""
    return math.ceil(width * min(1.0, FIRST_SHARE + (1 - FIRST_SHARE) * step / steps))


def principal(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The mean (C,) of rows (N, C) and the directions (C, count) in which they vary most.

    N rows have N directions at most, so fewer than ``count`` may come back.
    """
    mean = rows.mean(0)
    return mean, torch.linalg.svd(rows - mean, full_matrices=False).Vh[:count].mT

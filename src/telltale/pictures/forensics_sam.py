"""ForensicsSAM: SAM learns to see forgery, and to stay right when its public encoder is attacked.

    y = W x + B A x + G · B_a A_a x        forgery experts always on, adversary experts if G
    G = 1[the adversary detector calls the picture attacked]
    stage 1, clean:   BCE_det + 0.7 Dice + 0.3 BCE_loc
    stage 2:          BCE_adv + 0.5 max(0, ‖f_a - f_p‖² - ‖f_a - f_n‖² + α)
    stage 3, pairs:   Σ ‖F^a - F^c‖² + 1 - cos(F^a, F^c)    global blocks and neck

Whoever has SAM's public weights can push its embedding away from where it was, and with it every
detector that was tuned on top. The third stage teaches larger experts in the global blocks to push
attacked features back onto those of the clean twin; on clean pictures they are switched off.

Source: Peng, Tan, Kong, Luo, Kot, Huang, "ForensicsSAM: Toward Robust and Unified Image Forgery
Detection and Localization Resisting to Adversarial Attack", arXiv:2508.07402.
Assumed: α = 0.3 on normalised embeddings; means, not sums, over elements in stage 3; the attack
starts from noise of a quarter of its bound, with μ = 1.
Departures: the gate is each picture's own (the authors' code sets one for the batch).
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.attacks import mi_fgsm
from telltale.losses import dice, want_labels, want_maps
from telltale.nn.contract import Evidence, Losses, want_images
from telltale.nn.resnets import ResNet
from telltale.nn.sam import Sam, at_size

STRENGTHS = (2, 4, 8)  # of 255, that stages 2 and 3 attack with
STEP = 2 / 255


class Features(NamedTuple):
    """What the encoder sees."""

    embedding: Tensor  # (B, C, g, g)
    blocks: list[Tensor]  # (B, g, g, width) after each global block


class ForensicsSAM(nn.Module):
    """Detects and localises forgery in pictures (B, 3, S, S), float sRGB in [0, 1], S of the SAM.

    Args:
        sam: A :class:`telltale.nn.sam.Sam`; frozen but for its mask decoder.
        adversary: A :class:`telltale.nn.resnets.ResNet` that tells attacked pictures from clean.
        rank: Of the forgery experts, in every block.
        adversary_rank: Of the adversary experts, in the global blocks.
        stage: What ``loss`` teaches, 1, 2 or 3; the rest is frozen. See :meth:`enter`.
        margin: α of the triplet loss.

    Raises:
        ValueError: If a setting is out of range or images are not a float batch of RGB squares.
    """

    def __init__(
        self,
        sam: nn.Module,
        adversary: nn.Module,
        *,
        rank: int = 8,
        adversary_rank: int = 64,
        stage: int = 1,
        margin: float = 0.3,
    ) -> None:
        super().__init__()
        if not isinstance(sam, Sam) or not isinstance(adversary, ResNet):
            kinds = f"{type(sam).__name__} and {type(adversary).__name__}"
            raise ValueError(f"want a Sam and a ResNet of telltale.nn, got {kinds}")
        if min(rank, adversary_rank) < 1 or margin < 0:
            raise ValueError(
                f"want ranks of 1 or more and a margin of 0 or more, got {rank}, "
                f"{adversary_rank} and {margin}"
            )
        self.sam = sam
        for number, block in enumerate(sam.blocks):
            larger = adversary_rank if number in sam.global_blocks else 0
            attention, mlp = block.get_submodule("attn"), block.get_submodule("mlp")
            attention.qkv = Expert(attention.get_submodule("qkv"), 3, rank, larger)
            mlp.lin1 = Expert(mlp.get_submodule("lin1"), 1, rank, larger)
        self.adversary = AdversaryDetector(adversary)
        self.detector = nn.Sequential(nn.Linear(sam.embedding, 512), nn.ReLU(), nn.Linear(512, 1))
        self.margin = margin
        self.size = sam.size
        self.enter(stage)

    def forward(self, images: Tensor) -> Evidence:
        """Log-odds of forgery and of each pixel; attacked pictures pass the adversary experts."""
        return self.judged(self.encode(images, self.attacked(images)), images)

    def loss(self, images: Tensor, labels: Tensor, masks: Tensor) -> Losses:
        """Terms of the stage to sum and minimise; attacks of stages 2 and 3 are made here.

        Args:
            images: (B, 3, S, S), clean.
            labels: (B,) int64, 0 authentic and 1 forged.
            masks: (B, 1, S, S), 0 or 1; an authentic picture has none, whatever is given for it.
        """
        want_labels(labels, len(want_images(images)))
        want_maps(masks, images)
        if self.stage == 1:
            masks = masks * labels.view(-1, 1, 1, 1)
            return self.forgery_loss(images, labels, masks)
        strength = STRENGTHS[int(torch.randint(len(STRENGTHS), ()))]
        attacked = self.attack(images, strength)
        if self.stage == 2:
            return self.adversary_loss(images, attacked)
        return self.restoring_loss(images, attacked)

    def forgery_loss(self, images: Tensor, labels: Tensor, masks: Tensor) -> Losses:
        """Stage 1."""
        features = self.encode(images, None)
        logits = self.sam.decode(features.embedding)
        target = F.interpolate(masks, logits.shape[-2:], mode="nearest")
        found = self.detector(features.embedding.mean((2, 3))).squeeze(1)
        return {
            "detection": F.binary_cross_entropy_with_logits(found, labels.to(found.dtype)),
            "dice": 0.7 * dice(logits, target).mean(),
            "location": 0.3 * F.binary_cross_entropy_with_logits(logits, target),
        }

    def adversary_loss(self, images: Tensor, attacked: Tensor) -> Losses:
        """Stage 2: clean and attacked pictures told apart, and kept apart."""
        logits, embedded = self.adversary(torch.cat([images, attacked]))
        labels = torch.arange(2, device=images.device).repeat_interleave(len(images))
        clean, other = embedded.chunk(2)
        apart = [
            triplet(one, one.roll(1, 0), two, self.margin)
            for one, two in ((clean, other), (other, clean))
        ]
        return {
            "adversary": F.cross_entropy(logits, labels),
            "triplet": 0.5 * torch.stack(apart).mean(),
        }

    def restoring_loss(self, images: Tensor, attacked: Tensor) -> Losses:
        """Stage 3: an attacked picture's features are to be those of its clean twin."""
        with torch.no_grad():
            wanted = self.encode(images, self.attacked(images))
        found = self.encode(attacked, self.attacked(attacked))
        pairs = [*zip(found.blocks, wanted.blocks, strict=True)]
        pairs.append((found.embedding.movedim(1, -1), wanted.embedding.movedim(1, -1)))
        return {
            "distance": torch.stack([F.mse_loss(a, c) for a, c in pairs]).sum(),
            "cosine": torch.stack([opposed(a, c) for a, c in pairs]).sum(),
        }

    def encode(self, images: Tensor, gate: Tensor | None) -> Features:
        """Features with the adversary experts on where ``gate`` (B,) is 1; None: nowhere."""
        for expert in self.experts():
            expert.gate = gate
        try:
            return Features(*self.sam.encode(images))
        finally:
            for expert in self.experts():
                expert.gate = None

    def judged(self, features: Features, images: Tensor) -> Evidence:
        """The answer of features; the mask at the images' size."""
        logit = self.detector(features.embedding.mean((2, 3))).squeeze(1)
        return Evidence(logit, at_size(self.sam.decode(features.embedding), images))

    def attacked(self, images: Tensor) -> Tensor:
        """1 for pictures that the adversary detector calls attacked, else 0, (B,)."""
        logits: Tensor = self.adversary(images)[0]
        return (logits[:, 1] > logits[:, 0]).to(images.dtype)

    def attack(self, images: Tensor, strength: float, steps: int | None = None) -> Tensor:
        """The transferable attack: SAM's own embedding, without experts, moved as far as it goes.

        Args:
            images: (B, 3, S, S).
            strength: φ, bound of the change in grey levels of 255.
            steps: T; φ of them by default.
        """
        for expert in self.experts():
            expert.plain = True
        try:
            with torch.no_grad():
                before = self.sam.encode(images)[0]
            return mi_fgsm(
                lambda x: (self.sam.encode(x)[0] - before).square().sum((1, 2, 3)),
                images,
                eps=strength / 255,
                step=min(STEP, strength / 255),
                steps=round(strength) if steps is None else steps,
                start=strength / 255 / 4,
            )
        finally:
            for expert in self.experts():
                expert.plain = False

    def enter(self, stage: int) -> None:
        """Train what a stage trains and freeze the rest.

        Raises:
            ValueError: If it is not 1, 2 or 3.
        """
        if stage not in (1, 2, 3):
            raise ValueError(f"want stage 1, 2 or 3, got {stage}")
        self.stage = stage
        self.requires_grad_(False)
        if stage == 1:
            for expert in self.experts():
                expert.forgery.requires_grad_(True)
            self.detector.requires_grad_(True)
            self.sam.mask_decoder.requires_grad_(True)
            self.sam.freeze_idle()
        elif stage == 2:
            self.adversary.requires_grad_(True)
        else:
            for expert in self.experts():
                if expert.adversary is not None:
                    expert.adversary.requires_grad_(True)

    @property
    def by_loss(self) -> bool:
        """Stages 2 and 3 do not change what is said of clean pictures: their loss must judge."""
        return self.stage > 1

    def experts(self) -> "list[Expert]":
        """All layers with experts, in order."""
        return [module for module in self.sam.modules() if isinstance(module, Expert)]


class Expert(nn.Module):
    """A frozen linear layer of ``parts`` outputs side by side, with low-rank updates of each."""

    def __init__(self, base: nn.Module, parts: int, rank: int, adversary_rank: int) -> None:
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise ValueError(f"want a linear layer, got {type(base).__name__}")
        self.base = base
        self.forgery = LowRank(base, parts, rank)
        self.adversary = LowRank(base, parts, adversary_rank) if adversary_rank else None
        self.gate: Tensor | None = None  # (B,), set for the time of one pass
        self.plain = False  # as the public encoder is, for attacks on it

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x)
        if self.plain:
            return out
        out = out + self.forgery(x)
        if self.adversary is not None and self.gate is not None:
            # Global blocks have no windows: the first axis is the batch.
            gate = self.gate.view(-1, *[1] * (x.ndim - 1))
            out = out + gate * self.adversary(x)
        return out


class LowRank(nn.Module):
    """B A x for each of a layer's parts; zero at the start."""

    def __init__(self, base: nn.Linear, parts: int, rank: int) -> None:
        super().__init__()
        each = base.out_features // parts
        self.down = nn.Parameter(torch.empty(parts, rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(parts, each, rank))
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [F.linear(F.linear(x, down), up) for down, up in zip(self.down, self.up, strict=True)],
            -1,
        )


class AdversaryDetector(nn.Module):
    """Images (B, 3, S, S) to two logits (clean, attacked) and an embedding of length 1 (B, 256)."""

    def __init__(self, trunk: ResNet) -> None:
        super().__init__()
        self.trunk = trunk
        self.embed = nn.Linear(trunk.width, 256)
        self.out = nn.Linear(256, 2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        found = F.relu(self.embed(self.trunk(images).mean((2, 3))))
        return self.out(found), F.normalize(found, dim=1)


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """max(0, ‖a - p‖² - ‖a - n‖² + α) of rows (B, C), averaged."""
    near, far = (anchor - positive).square().sum(1), (anchor - negative).square().sum(1)
    return (near - far + margin).clamp(min=0).mean()


def opposed(one: Tensor, other: Tensor) -> Tensor:
    """1 - cosine of tokens (…, C), averaged: 0 for alike, 2 for opposite."""
    return (1 - F.cosine_similarity(one, other, dim=-1)).mean()

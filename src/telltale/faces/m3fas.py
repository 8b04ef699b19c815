"""M3FAS: is the face before a phone alive, by its picture and by the echo of an inaudible chirp?

    q = W_q x,  k = W_k y,  v = W_v y,   CMA(x, y) = x + γ · v softmax(qᵀk)ᵀ          γ starts at 0
    m_l = [m_{l-1}'; CMA(v_l, a_l); CMA(a_l, v_l)]                     v_l, a_l on one grid, l = 1…3
    L = CE(fusion) + λ·(CE(vision) + CE(sound))

Three convolutional stages for the picture and three for the echo's spectrogram; at each the two
attend to each other and join what the stage before gave. Three heads learn together, so that either
sense can speak alone when the other is not there. An echo of NaN is none: the picture speaks alone.

Source: Kong et al., "M3FAS: An Accurate and Robust MultiModal Mobile Face Anti-Spoofing System",
IEEE TDSC 2024, arXiv:2301.12831; sizes as in its code. Front end: `telltale.media.sound`.
Assumed: the third level's first convolution pads by 1, which changes no shape; a picture without a
sound teaches the head for vision alone.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import want_labels
from telltale.nn.contract import Evidence, Losses, want_images

SIDE, ECHO = 128, (2, 33, 61)
HEADS = ("fusion", "vision", "sound")


class Logits(NamedTuple):
    """The three heads' answers, (B, 2) each."""

    fusion: Tensor
    vision: Tensor
    sound: Tensor


class M3FAS(nn.Module):
    """Detects presentation attacks in face crops (B, 3, 128, 128) and echoes (B, 2, 33, 61).

    Args:
        width: Channels of the first stage; 32 as in the paper.
        head_weight: λ of the two single heads.
        dropout: In the stages for sound.
        normalise: Bring each echo to a mean square of 1; the paper takes them raw.

    Raises:
        ValueError: If a setting is out of range, or pictures or echoes have another shape.
    """

    size = SIDE

    def __init__(
        self,
        *,
        width: int = 32,
        head_weight: float = 0.5,
        dropout: float = 0.5,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        if width < 4 or width % 4 or head_weight < 0 or not 0 <= dropout < 1:
            raise ValueError(
                f"want a width in multiples of 4, head_weight ≥ 0 and dropout in 0..1, "
                f"got {width}, {head_weight} and {dropout}"
            )
        seen, heard = (3, width, 2 * width, 8 * width), (2, width, 2 * width, 4 * width)
        joint = (2 * width, 4 * width, 8 * width)
        self.vision = nn.ModuleList(
            vision_stage(seen[k], seen[k + 1], pool=4 if k == 0 else 2) for k in range(3)
        )
        self.sound = nn.ModuleList(sound_stage(heard[k], heard[k + 1], dropout) for k in range(3))
        self.levels = nn.ModuleList(
            Level(number, seen[number], heard[number], joint[number - 1]) for number in (1, 2, 3)
        )
        self.fusion_head = nn.Sequential(
            nn.BatchNorm2d(32 * width), Mean(), nn.Linear(32 * width, 2)
        )
        self.vision_head = single_head(8 * width, 16 * width, size=3)
        self.sound_head = single_head(4 * width, 16 * width, size=1)
        self.head_weight = head_weight
        self.normalise = normalise

    def forward(self, images: Tensor, echoes: Tensor | None = None) -> Evidence:
        """The fusion head's answer, or that of vision where there is no echo."""
        if echoes is None:
            return self.answer(images)[0]
        heard = self.are_heard(echoes)
        found = self.heads(images, torch.where(heard[:, None, None, None], echoes, 0))
        logits = torch.where(heard[:, None], found.fusion, found.vision)
        return Evidence(logits[:, 1] - logits[:, 0])

    def answer(
        self, images: Tensor | None = None, echoes: Tensor | None = None
    ) -> tuple[Evidence, str]:
        """The answer from what there is, and the head that gave it: one of :data:`HEADS`.

        Raises:
            ValueError: If there is neither a picture nor an echo.
        """
        if images is not None and echoes is not None:
            return self(images, echoes), "fusion"
        if images is not None:
            logits, head = self.vision_head(self._seen(images)[-1]), "vision"
        elif echoes is not None:
            logits, head = self.sound_head(self._heard(echoes)[-1]), "sound"
        else:
            raise ValueError("want images, echoes or both, got neither")
        return Evidence(logits[:, 1] - logits[:, 0]), head

    def loss(self, images: Tensor, echoes: Tensor, labels: Tensor) -> Losses:
        """Terms to sum and minimise.

        Args:
            images: (B, 3, 128, 128) in [0, 1].
            echoes: (B, 2, 33, 61), NaN where there is no sound.
            labels: (B,) int64, 0 live and 1 attack.
        """
        want_labels(labels, len(images))
        heard = self.are_heard(echoes)
        seen = self._seen(images)
        losses = {"vision": self.head_weight * F.cross_entropy(self.vision_head(seen[-1]), labels)}
        if heard.any():
            joined = self._joined([maps[heard] for maps in seen], self._heard(echoes[heard]))
            for name, logits in zip(("fusion", "sound"), joined, strict=True):
                weight = 1.0 if name == "fusion" else self.head_weight
                losses[name] = weight * F.cross_entropy(logits, labels[heard])
        return losses

    def heads(self, images: Tensor, echoes: Tensor) -> Logits:
        """All three heads' logits."""
        seen = self._seen(images)
        fusion, sound = self._joined(seen, self._heard(echoes))
        return Logits(fusion, self.vision_head(seen[-1]), sound)

    def are_heard(self, echoes: Tensor) -> Tensor:
        """Which of the echoes are sounds, (B,) bool, and which stand for none."""
        want_echoes(echoes)
        return ~echoes.isnan().flatten(1).any(1)

    def _joined(self, seen: list[Tensor], heard: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of fusion and of sound."""
        joined: Tensor | None = None
        for level, v, a in zip(self.levels, seen, heard, strict=True):
            joined = level(v, a, joined)
        return self.fusion_head(joined), self.sound_head(heard[-1])

    def _seen(self, images: Tensor) -> list[Tensor]:
        x = (want_images(images) - 0.5) / 0.5
        if x.shape[-1] != SIDE:
            raise ValueError(f"want images of {SIDE} pixels, got {x.shape[-1]}")
        return through(self.vision, x)

    def _heard(self, echoes: Tensor) -> list[Tensor]:
        want_echoes(echoes)
        if self.normalise:
            power = echoes.square().mean((1, 2, 3), keepdim=True)
            echoes = echoes / (power + 1e-20).sqrt()
        return through(self.sound, echoes)


class Level(nn.Module):
    """Brings both senses to one grid, lets them attend to each other, and adds what came before."""

    def __init__(self, number: int, seen: int, heard: int, width: int) -> None:
        super().__init__()
        conv, pool = nn.Conv2d, nn.MaxPool2d
        # Linear maps to grids of 15 × 15, 6 × 6 and 3 × 3: no activation, no norm.
        if number == 1:
            self.seen = nn.Sequential(conv(seen, width, 3), pool(4))
            narrow = pool((1, 2), padding=(0, 1))
            self.heard = nn.Sequential(conv(heard, width, 3, padding=1), narrow)
        elif number == 2:
            self.seen = nn.Sequential(conv(seen, width, 5), pool(4))
            self.heard = nn.Sequential(conv(heard, width, 3, padding=1), pool((1, 2)))
        else:
            self.seen = nn.Sequential(conv(seen, width, 3, padding=1), pool(4))
            # a border of nothing but bias makes 4 × 7 of 2 × 5
            self.heard = nn.Sequential(conv(heard, width, 1, padding=1), pool(2, (1, 2)))
        self.before: nn.Module | None = None
        if number > 1:
            size = 5 if number == 2 else 3
            before = width if number == 2 else 2 * width
            self.before = nn.Sequential(conv(before, 2 * width, size, padding=1), pool(2))
        self.to_vision, self.to_sound = CrossAttention(width), CrossAttention(width)

    def forward(self, seen: Tensor, heard: Tensor, joined: Tensor | None) -> Tensor:
        v, a = self.seen(seen), self.heard(heard)
        parts = [self.to_vision(v, a), self.to_sound(a, v)]
        if self.before is not None:
            parts.insert(0, self.before(joined))
        return torch.cat(parts, 1)


class CrossAttention(nn.Module):
    """CMA: maps x (B, C, h, w) take from maps y of the same shape; starts as x itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k = (nn.Conv2d(width, max(1, width // 8), 1) for _ in range(2))
        self.v = nn.Conv2d(width, width, 1)
        self.gain = nn.Parameter(torch.zeros(1))  # γ
        for layer in (self.q, self.k, self.v):
            nn.init.xavier_normal_(layer.weight, gain=0.02)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        attended: Tensor = self.v(y).flatten(2) @ self.weights(x, y).mT
        return x + self.gain * attended.view_as(x)

    def weights(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, N, N): how much each place of x takes of each of y; not scaled by √d."""
        return torch.softmax(self.q(x).flatten(2).mT @ self.k(y).flatten(2), -1)


class Mean(nn.Module):
    """Maps (B, C, h, w) to their means (B, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def want_echoes(echoes: Tensor) -> None:
    """ValueError unless float (B, 2, 33, 61)."""
    if echoes.ndim != 4 or tuple(echoes.shape[1:]) != ECHO or not echoes.is_floating_point():
        raise ValueError(
            f"want float echoes (B, {', '.join(map(str, ECHO))}), "
            f"got {echoes.dtype} {tuple(echoes.shape)}"
        )


def vision_stage(into: int, out: int, *, pool: int) -> nn.Sequential:
    """Two convolutions, the second without padding, and a pool of stride 2."""
    return nn.Sequential(
        nn.Conv2d(into, out, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(out, out, 3),
        nn.BatchNorm2d(out),
        nn.ReLU(),
        nn.MaxPool2d(pool, 2),
    )


def sound_stage(into: int, out: int, dropout: float) -> nn.Sequential:
    """The same for spectrograms, with dropout before the norm."""
    return nn.Sequential(
        nn.Conv2d(into, out, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(out, out, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(dropout),
        nn.BatchNorm2d(out),
    )


def single_head(into: int, out: int, *, size: int) -> nn.Sequential:
    """One sense's own head."""
    return nn.Sequential(
        nn.Conv2d(into, out // 2, size),
        nn.ReLU(),
        nn.Conv2d(out // 2, out, size),
        nn.BatchNorm2d(out),
        Mean(),
        nn.Linear(out, 2),
    )


def through(stages: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """The maps after each stage."""
    found = []
    for stage in stages:
        x = stage(x)
        found.append(x)
    return found

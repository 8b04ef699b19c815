"""TUE: videos whose owner does not want trackers to learn from them.

    δ = ε · tanh(G(c(x, b), b̃))                       b̃ = (x/W, y/H, w/W, h/H), the box b's state
    x' = x + Φ(δ, b)                                   Φ puts δ into the window round the box
    min_θ min_w  L_trk(f_θ(z') ⋆ f_θ(x'), y) + λ L_cl   w, then θ, in turn
    L_cl = -log(e^{s(a, p)/T} / (e^{s(a, p)/T} + Σ_n e^{s(a, n)/T}))

A generator G, a DiT that takes one step and knows where the target is, makes what a small tracker
finds easiest to match: template and search region go together by their noise, and nothing is learnt
of what the target looks like. The contrast draws a target's protected template a and its protected
self p in another frame together, and away from all clean ones n. One pass a frame protects a new
video. For videos that are one's own.

Source: Wu, Yu, Kong, Liu, Wan, Li, Kot, Chan, "Temporal Unlearnable Examples: Preventing Personal
Video Data from Unauthorized Exploitation by Object Tracking", ICCV 2025, arXiv:2507.07483. DiT:
Peebles and Xie, ICCV 2023, arXiv:2212.09748.
Assumed: the state's normalisation, tanh as bound, T = 0.1, the mean over places as feature, the
contrast in the generator's turn only, and the tracker's norms by the batch in that turn, too.
Departures: noise goes into whole frames before template and search region are cut, as it is where a
tracker will be trained; the search region is moved at random by 15 % of its side at most.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.nn.contract import Losses
from telltale.nn.siamese import Tracker, crop, template_windows, want_boxes, want_clips
from telltale.nn.vit import MLP, Attention

TEMPERATURE = 0.1
HEAD = 64  # channels of an attention head


class TUE(nn.Module):
    """Perturbs frames (B, 3, H, W), float sRGB in [0, 1], round boxes (B, 4) of x, y, w, h pixels.

    Args:
        size: Side that windows are resized to for the generator, a multiple of ``patch``.
        patch: Pixels.
        width: Of the generator's tokens.
        depth: Its blocks.
        eps: ε, bound of the change of any value, in [0, 1] of a pixel.
        contrast: λ.
        tracker: The surrogate: "siamfc" or "toy"; it starts at random.
        context: Whether the noise covers the box's context, too; without, it hardly protects.

    Raises:
        ValueError: If a setting is out of range or a batch is not as it should be.
    """

    def __init__(  # a setting each
        self,
        *,
        size: int = 128,
        patch: int = 8,
        width: int = 384,
        depth: int = 12,
        eps: float = 8 / 255,
        contrast: float = 0.05,
        tracker: str = "siamfc",
        context: bool = True,
    ) -> None:
        super().__init__()
        if min(patch, depth) < 1 or size % patch or width < 4 or width % 4:
            raise ValueError(
                f"want a size in multiples of the patch, a width in multiples of 4 and a depth "
                f"of 1 or more; got {size}, {patch}, {width} and {depth}"
            )
        if not 0 < eps < 1 or contrast < 0:
            raise ValueError(
                f"want eps in (0, 1) and contrast of 0 or more, got {eps} and {contrast}"
            )
        self.size, self.eps, self.contrast, self.context = size, eps, contrast, context
        self.generator = Generator(size, patch, width, depth)
        self.tracker = Tracker(tracker, size=size)
        self.enter("generator")

    def forward(self, images: Tensor, boxes: Tensor) -> Tensor:
        """Protected frames in [0, 1]."""
        return (images + self.perturb(images, boxes)).clamp(0, 1)

    def perturb(self, images: Tensor, boxes: Tensor) -> Tensor:
        """The change (B, 3, H, W) of frames, 0 outside the windows round their boxes."""
        want_boxes(boxes, images)
        windows = template_windows(boxes)
        height, width = images.shape[-2:]
        state = boxes / boxes.new_tensor([width, height, width, height])
        noise = self.eps * self.generator(crop(images, windows, self.size), state).tanh()
        limits = boxes if not self.context else None
        return placed(noise, windows, (height, width), limits)

    def loss(self, clips: Tensor, tracks: Tensor) -> Losses:
        """Terms of the stage to sum and minimise, see :meth:`enter`.

        Args:
            clips: (B, 2, 3, H, W), two frames of a video, not far apart.
            tracks: (B, 2, 4), the target's boxes in them.
        """
        want_clips(clips, tracks)
        (first, second), (boxes, others) = clips.unbind(1), tracks.unbind(1)
        if self.stage == "tracker":
            with torch.no_grad():
                changed = self(first, boxes), self(second, others)
            return {"track": self.tracker.error(changed[0], boxes, changed[1], others)}
        # Not clipped to [0, 1]: a clipped value would get no gradient.
        one, two = first + self.perturb(first, boxes), second + self.perturb(second, others)
        terms = {"track": self.tracker.error(one, boxes, two, others)}
        if self.contrast:
            # As one batch: what is compared was normalised alike.
            frames, places = torch.cat([one, two, first, second]), torch.cat([boxes, others] * 2)
            anchors, positives, *clean = self.tracker.embed(frames, places).chunk(4)
            away = contrasted(anchors, positives, torch.cat(clean).detach())
            terms["contrast"] = self.contrast * away
        return terms

    def enter(self, stage: str) -> None:
        """Train one part and freeze the other.

        Args:
            stage: "generator", or "tracker": the surrogate, on protected pairs.

        Raises:
            ValueError: If it is another.
        """
        if stage not in ("generator", "tracker"):
            raise ValueError(f"want stage generator or tracker, got {stage!r}")
        self.stage = stage
        self.generator.requires_grad_(stage == "generator")
        self.tracker.requires_grad_(stage == "tracker")
        self.train(self.training)

    def train(self, mode: bool = True) -> "TUE":
        """A frozen part does not change, its statistics neither.

        While the generator learns, the tracker's norms go by the batch, as they do in the tracker's
        own turn and in whatever will be trained on protected videos. By running averages, which
        are far off at first, the loss is some hundreds: the noise then runs into its bound within a
        few steps, on a pattern that no tracker has to like, and tanh lets it out no more.
        """
        super().train(mode)
        self.generator.train(mode and self.stage == "generator")
        self.tracker.train(mode and self.stage == "tracker")
        for part in self.tracker.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.train(mode)
                part.track_running_stats = self.stage == "tracker"
        return self


class Generator(nn.Module):
    """A DiT from windows (B, 3, S, S) and states (B, 4) to noise (B, 3, S, S); 0 at first."""

    positions: Tensor

    def __init__(self, size: int, patch: int, width: int, depth: int) -> None:
        super().__init__()
        self.size, self.patch = size, patch
        side = size // patch
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.register_buffer("positions", waves(side, width), persistent=False)
        self.state = nn.Linear(4, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.last = Modulation(width, 2)
        self.out = nn.Linear(width, 3 * patch**2)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, windows: Tensor, state: Tensor) -> Tensor:
        x = self.embed(2 * windows - 1).flatten(2).mT + self.positions
        condition = self.state(state)
        for block in self.blocks:
            x = block(x, condition)
        shift, scale = self.last(condition)
        patches: Tensor = self.out(normed(x) * (1 + scale) + shift)
        return F.fold(patches.mT, (self.size, self.size), self.patch, stride=self.patch)


class Block(nn.Module):
    """Attention and an MLP whose norms and gates follow the condition; the identity at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = Modulation(width, 6)
        self.attention = Attention(width, max(1, width // HEAD))
        self.mlp = MLP(width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(condition)
        x = x + gate * self.attention(normed(x) * (1 + scale) + shift)
        y: Tensor = x + gate2 * self.mlp(normed(x) * (1 + scale2) + shift2)
        return y


class Modulation(nn.Module):
    """A condition (B, C) to ``count`` vectors (B, 1, C); zeros at first."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.linear = nn.Linear(width, count * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        found: Tensor = self.linear(F.silu(condition))[:, None]
        return found.chunk(self.count, -1)


def normed(x: Tensor) -> Tensor:
    """Tokens of mean 0 and deviation 1 each."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def waves(side: int, width: int) -> Tensor:
    """Sines and cosines of rows and columns, (side², width): places that need not be learnt."""
    rates = 1e4 ** -(torch.arange(width // 4) / (width // 4))
    angles = torch.outer(torch.arange(side), rates)
    line = torch.cat([angles.sin(), angles.cos()], 1)  # (side, width / 2)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)


def placed(
    noise: Tensor, windows: Tensor, size: tuple[int, int], limits: Tensor | None = None
) -> Tensor:
    """Φ: noise (B, 3, S, S) resized into windows (B, 3), middle and side, of frames; else 0.

    Args:
        noise: Its values are mixed bilinearly, so no bound of it is exceeded.
        windows: In pixels; they may lie partly outside.
        size: H and W of the frames.
        limits: Boxes (B, 4) outside which nothing is put.
    """
    height, width = size
    x = torch.arange(width, dtype=noise.dtype, device=noise.device) + 0.5
    y = torch.arange(height, dtype=noise.dtype, device=noise.device) + 0.5
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # (H, W, 2)
    grid = 2 * (places - windows[:, None, None, :2]) / windows[:, None, None, 2:]
    inside = (grid.abs() <= 1).all(-1)
    if limits is not None:
        apart = places - limits[:, None, None, :2]
        inside &= ((apart >= 0) & (apart <= limits[:, None, None, 2:])).all(-1)
    found = F.grid_sample(noise, grid, padding_mode="border", align_corners=False)
    return found * inside[:, None]


def contrasted(anchors: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """-log of the share of each anchor's positive among it and all negatives, averaged.

    Args:
        anchors: (B, C).
        positives: (B, C).
        negatives: (N, C), of all anchors alike.
    """
    rows = F.normalize(anchors, dim=1)
    near = (rows * F.normalize(positives, dim=1)).sum(1, keepdim=True)
    far = rows @ F.normalize(negatives, dim=1).T
    both = torch.cat([near, far], 1) / TEMPERATURE
    return -both.log_softmax(1)[:, 0].mean()

"""StegaFFD, a reconstruction: is a face forged, asked of a picture in which the face is hidden.

    s = round₈(hide(x, c))             the client hides the face x in a cover c and sends s alone
    F = R ⊙ (1 - g)                    LFAD: R of the high Haar bands of s, gate g of the low band
    A = softmax(Q Kᵀ/√d) - λ·softmax(Q_c K_cᵀ/√d)        SFDA: attention of s less that of its cover
    L = CE(s) + λ_a·SDA,   SDA = Σ (1 - cos(P f(s), f_raw(x))) / count + τ²·KL(p_raw(x) ‖ p(s))

LFAD drops what the cover dominates, SFDA cancels what cover and face share (in space, and among the
rows and columns of the spectrum), SDA leads the features towards those of a frozen teacher that saw
raw faces. The server needs no network that hides: it gets the exported detector, which has none,
and not the run's folder, whose weights hold all three networks.

Source: Ma et al., "StegaFFD: Privacy-Preserving Face Forgery Detection via Fine-Grained
Steganographic Domain Lifting", arXiv:2603.02886. Only the abstract could be read: names, purposes
and relations of the parts are the paper's, **every formula is ours**, and so is no figure the
paper's. The hiding network is HiNet's, λ of SFDA that of the Differential Transformer (Ye et al.,
arXiv:2410.05258).
Assumed: all else; above all the small CNN behind LFAD, and the spectral branch of SFDA: its
tokens are means of the log amplitude over rows and columns, its answer is the same for all places.
Departures: one training makes all three networks in turn, by numbers of steps.

Not encryption: see `telltale.nn.hiding`. JPEG destroys what is hidden: send PNG.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.losses import want_labels
from telltale.nn.contract import Evidence, Losses, want_images
from telltale.nn.differential import DifferentialAttention
from telltale.nn.grid import to_map, to_patches
from telltale.nn.hiding import HidingNetwork, mix, mix_bands
from telltale.nn.residual_block import ResidualBlock, conv_norm
from telltale.nn.spectrum import amplitude_tokens
from telltale.nn.wavelet import pyramid

HIDERS = ("hinet", "mix", "haar")
PARTS = ("lfad", "sfda", "sda")
TEMPERATURE = 2.0  # τ


class Features(NamedTuple):
    """What a detector sees in pictures."""

    logits: Tensor  # (B, 2)
    maps: tuple[Tensor, Tensor, Tensor]  # (B, w, S/4, S/4), (B, 2w, S/8, S/8), (B, 4w, S/16, S/16)


class StegaFFD(nn.Module):
    """Detects forged faces in stego pictures (B, 3, S, S), float sRGB in steps of 1/255.

    It learns in stages: the hiding network from faces and covers, the teacher from raw faces, then
    the detector. Hiding network and teacher stay as they are from then on.

    Args:
        hider: "hinet"; or without a network "mix", (1 - β)c + βx, or "haar", which puts the face's
            low band in the cover's high bands.
        strength: β of "mix" and "haar", in [0, 1]; 1 sends the face itself, 0 the cover.
        parts: Some of "lfad", "sfda" and "sda", with "+" between them; "" for none.
        sda_weight: λ_a.
        levels: Haar levels; S is a multiple of 2 to their power.
        width: w, channels of the first stage; the others have two and four times as many.
        hider_steps: Steps in which "hinet" learns; of several runs in turn, from the first one's.
        teacher_steps: Steps after these in which the teacher learns.

    Raises:
        ValueError: If a setting is out of range or pictures are not float batches of RGB squares.
    """

    done: Tensor

    def __init__(
        self,
        *,
        hider: str = "hinet",
        strength: float = 0.12,
        parts: str = "lfad+sfda+sda",
        sda_weight: float = 1.0,
        levels: int = 1,
        width: int = 64,
        hider_steps: int = 20_000,
        teacher_steps: int = 20_000,
    ) -> None:
        super().__init__()
        chosen = parts.split("+") if parts else []
        if unknown := sorted(set(chosen) - set(PARTS)):
            raise ValueError(f"want parts of {'+'.join(PARTS)}, got {'+'.join(unknown)}")
        if hider not in HIDERS:
            raise ValueError(f"hider must be one of {', '.join(HIDERS)}, got {hider!r}")
        if not 0 <= strength <= 1 or min(sda_weight, hider_steps, teacher_steps) < 0:
            raise ValueError(
                f"want {strength=} in 0..1, {sda_weight=}, {hider_steps=} and {teacher_steps=} ≥ 0"
            )
        has_sda = "sda" in chosen and sda_weight > 0
        self.detector = Detector(width, levels, lfad="lfad" in chosen, sfda="sfda" in chosen)
        self.hider = HidingNetwork() if hider == "hinet" else None
        self.teacher: Detector | None = None
        self.aligners = nn.ModuleList()  # P, one for each stage
        if has_sda:
            self.teacher = Detector(width, levels, lfad="lfad" in chosen, sfda="sfda" in chosen)
            self.aligners.extend(nn.Conv2d(n * width, n * width, 1) for n in (1, 2, 4))
            for conv in self.aligners:
                nn.init.dirac_(conv.get_parameter("weight"))  # each starts as the identity
                nn.init.zeros_(conv.get_parameter("bias"))
        self.kind = hider
        self.strength = strength
        self.sda_weight = sda_weight
        self.hider_steps = hider_steps if self.hider is not None else 0
        self.teacher_steps = teacher_steps if has_sda else 0
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))  # steps, for a resume

    def forward(self, images: Tensor) -> Evidence:
        """Weigh stego pictures: all that the server does."""
        logits = self.detector(images).logits
        return Evidence(logits[:, 1] - logits[:, 0])

    @torch.no_grad()
    def hide(self, faces: Tensor, covers: Tensor) -> Tensor:
        """Stego pictures (B, 3, S, S), in [0, 1] and steps of 1/255: what the client sends as PNG.

        Args:
            faces: (B, 3, S, S) in [0, 1].
            covers: The same shape: natural pictures, another one for every face, whatever its
                label. A cover that comes back gives away that something is hidden in it.
        """
        self._want_pairs(faces, covers)
        how = mix if self.kind == "mix" else mix_bands
        stego = self.hider(faces, covers)[0] if self.hider else how(faces, covers, self.strength)
        rounded: Tensor = (255 * stego).round().clamp(0, 255) / 255
        return rounded

    def protect(self, faces: Tensor, covers: Tensor, *, least_psnr: float = 25.0) -> Tensor:
        """The client's side: uint8 (B, 3, S, S), or an error if a face would show.

        Args:
            faces: As for :meth:`hide`, and so are the covers.
            covers: (B, 3, S, S).
            least_psnr: Of a stego picture to its cover, in dB.
        """
        stego = self.hide(faces, covers)
        error = (stego - (255 * covers).round() / 255).square().mean((1, 2, 3))
        worst = -10 * math.log10(max(float(error.max()), 1e-12))
        if worst < least_psnr:
            raise ValueError(f"a hidden face would show: PSNR {worst:.1f} dB, want {least_psnr:g}")
        return (255 * stego).round().to(torch.uint8)

    @torch.no_grad()
    def score(self, stego: Tensor) -> Tensor:
        """The server's side: P(forged), (B,), of uint8 pictures (B, 3, S, S)."""
        if stego.dtype != torch.uint8:
            raise ValueError(f"want uint8 pictures, got {stego.dtype}")
        self.detector.eval()
        p_fake: Tensor = torch.sigmoid(self(stego.to(self.detector.head.weight.dtype) / 255).logit)
        return p_fake

    @property
    def stage(self) -> str:
        """What a step trains: "hider", "teacher" or "detector"."""
        done = int(self.done)
        if done < self.hider_steps:
            return "hider"
        return "teacher" if done < self.hider_steps + self.teacher_steps else "detector"

    @property
    def turns(self) -> tuple[int, ...]:
        """Steps of the stages before the detector's, each of which has a schedule of its own."""
        return tuple(steps for steps in (self.hider_steps, self.teacher_steps) if steps)

    @property
    def decides(self) -> bool:
        """Whether the detector has learnt anything: until then no weights are the best."""
        return int(self.done) > sum(self.turns)

    def loss(self, images: Tensor, labels: Tensor, covers: Tensor) -> Losses:
        """Terms of the present stage, to sum and minimise; a call in training mode is a step.

        Args:
            images: Raw faces (B, 3, S, S).
            labels: (B,) int64, 0 real and 1 fake.
            covers: (B, 3, S, S), as for :meth:`hide`.
        """
        self._want_pairs(images, covers)
        want_labels(labels, len(images))
        stage = self.stage
        if self.training:
            self.done += 1
        if stage == "hider" and self.hider is not None:
            return self.hider.loss(images, covers)
        if stage == "teacher" and self.teacher is not None:
            return {"teacher": F.cross_entropy(self.teacher(images).logits, labels)}
        seen: Features = self.detector(self.hide(images, covers))
        losses = {"ce": F.cross_entropy(seen.logits, labels)}
        if self.teacher is not None:
            losses |= self.align(seen, images)
        return losses

    def align(self, seen: Features, faces: Tensor) -> Losses:
        """SDA: how far features and logits are from those of the teacher, which sees raw faces."""
        if self.teacher is None:
            raise ValueError("want a teacher: a StegaFFD whose parts include sda")
        self.teacher.eval()  # fit puts all of the network into training mode
        with torch.no_grad():
            raw: Features = self.teacher(faces)
        apart = [
            1 - F.cosine_similarity(aligner(mine), its, dim=1).mean()
            for aligner, mine, its in zip(self.aligners, seen.maps, raw.maps, strict=True)
        ]
        mine, its = (F.log_softmax(x.logits / TEMPERATURE, 1) for x in (seen, raw))
        kl = F.kl_div(mine, its, reduction="batchmean", log_target=True)
        return {
            "sda_features": self.sda_weight * torch.stack(apart).mean(),
            "sda_logits": self.sda_weight * TEMPERATURE**2 * kl,
        }

    def _want_pairs(self, faces: Tensor, covers: Tensor) -> None:
        want_images(faces, 2**self.detector.bands.levels)
        if covers.shape != faces.shape or not covers.is_floating_point():
            raise ValueError(
                f"want float covers {tuple(faces.shape)}, got {covers.dtype} {tuple(covers.shape)}"
            )


class Detector(nn.Module):
    """Pictures (B, 3, S, S) in [0, 1] to features and logits: LFAD, then a residual network."""

    def __init__(self, width: int, levels: int, *, lfad: bool, sfda: bool) -> None:
        super().__init__()
        if width < 2 or width % (16 if sfda and width > 8 else 2) or levels < 1:  # heads of 32
            even = "an even width, with SFDA up to 8 or a multiple of 16"
            raise ValueError(f"want levels ≥ 1 and {even}, got {levels} and {width}")
        self.bands = Bands(width // 2, levels, lfad=lfad, has_guide=lfad or sfda)
        self.stem = conv_norm(width // 2, width, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(ResidualBlock(into, out), ResidualBlock(out, out))
            for into, out in ((width, width), (width, 2 * width), (2 * width, 4 * width))
        )
        wider = (2, 4) if sfda else ()  # after the second and the third stage
        self.attentions = nn.ModuleList(SFDA(n * width, width // 2, n // 2) for n in wider)
        self.head = nn.Linear(4 * width, 2)

    def forward(self, pictures: Tensor) -> Features:
        x, guide = self.bands(want_images(pictures, 2**self.bands.levels))
        x, maps = F.relu(self.stem(x)), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if guide is not None and self.attentions:
                guide = F.avg_pool2d(guide, 3, 2, 1, count_include_pad=False)  # as large as x
                x = self.attentions[number - 1](x, guide) if number else x
            maps.append(x)
        return Features(self.head(x.mean((2, 3))), (maps[0], maps[1], maps[2]))


class Bands(nn.Module):
    """LFAD: pictures to maps (B, C, S/2, S/2) of their high bands, and a guide to the cover.

    Without ``lfad`` the maps are of all bands, none turned down.
    """

    def __init__(self, width: int, levels: int, *, lfad: bool, has_guide: bool) -> None:
        super().__init__()
        channels = 9 * levels + (0 if lfad else 3)
        self.levels = levels
        # Bands differ widely in size, stego ones and raw ones too: each detector has its own norm.
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.residual = nn.Conv2d(channels, width, 3, padding=1)
        self.guide = nn.Conv2d(3, width, 3, padding=1) if has_guide else None
        self.gate = nn.Conv2d(width, width, 1) if lfad else None

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor | None]:
        low, high = pyramid(pictures, self.levels)
        low, size = low / 2**self.levels, high[0].shape[-2:]  # the mean of its pixels
        used = high if self.gate is not None else [*high, low]
        x = self.residual(self.norm(torch.cat([F.interpolate(band, size) for band in used], 1)))
        if self.guide is None:
            return x, None
        guide = F.interpolate(self.guide(low), size)
        if self.gate is not None:
            x = x * (1 - torch.sigmoid(self.gate(guide)))
        return x, guide


class SFDA(nn.Module):
    """Adds to maps (B, C, h, w) what they attend to and the guide (B, G, h, w) does not."""

    def __init__(self, width: int, guide_width: int, layer: int) -> None:
        super().__init__()
        self.space = DifferentialAttention(width, guide_width, layer)
        self.spectrum = DifferentialAttention(width, guide_width, layer)
        self.balance = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        places: Tensor = to_map(self.space(to_patches(x), to_patches(guide)))
        waves = self.spectrum(amplitude_tokens(x), amplitude_tokens(guide)).mean(1)
        space, spectrum = torch.softmax(self.balance, 0)
        y: Tensor = x + space * places + spectrum * waves[..., None, None]
        return y

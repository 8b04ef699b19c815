"""The audit of one encoder: attack pictures, measure what defences leave of it, sum it up."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from telltale.audit.defences import DEFENCES, Defence, Pixels, five, square
from telltale.media import read_picture
from telltale.metrics import auc
from telltale.metrics.answers import wilson
from telltale.metrics.visibility import psnr, ssim

if TYPE_CHECKING:
    from torch import Tensor

    from telltale.robustness.prompt_injection import Features, PromptInjection

CROPPED, SMOOTHED = "mean of 5 crops", "smoothed, σ 0.1"
COPIES, SIGMA = 8, 0.1  # of smoothing


@dataclass(frozen=True, slots=True)
class Defended:
    """What a defence leaves of the change to one picture.

    Args:
        before: Cosine of the picture with the instruction.
        after: Of the changed picture.
        won_before: Whether the instruction is nearer to the picture than every decoy.
        won: The same of the changed picture.
        kept: Cosine of the defended picture with the undefended one: what the defence costs.
        seconds: That the defence took for a picture, the encoder's time with it.
    """

    before: float
    after: float
    won_before: bool
    won: bool
    kept: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Moved:
    """One picture's audit.

    Args:
        path: The picture.
        defences: Name to what is left.
        largest: Greatest change in levels of 255.
        psnr: In dB.
        ssim: Of the changed picture.
        unrest_before: Detector: 1 less the mean cosine of the picture's feature with its features
            after the defences on pixels. Changed pictures are less at rest.
        unrest: The same of the changed picture.
    """

    path: str
    defences: Mapping[str, Defended]
    largest: int
    psnr: float
    ssim: float
    unrest_before: float
    unrest: float


@dataclass(frozen=True, slots=True)
class Total:
    """Of one defence, over pictures: means, and the rate of success with its 95 % interval."""

    before: float
    after: float
    kept: float
    seconds: float
    rate_before: float
    rate: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Audit:
    """An attack on one's own encoder, ready for pictures; see :meth:`of`.

    Args:
        attack: With the encoder as its first surrogate, in eval mode.
        texts: The instruction's sentence, if there is a text tower.
        names: (K, C), features of the instruction and of the decoys, of length 1.
        size: S of the encoder's pictures.
        seed: Of the crops.
    """

    attack: "PromptInjection"
    texts: "Sequence[Features] | None"
    names: "Tensor"
    size: int
    seed: int = 0

    @classmethod
    def of(
        cls,
        *,
        own: bool,
        clip: str = "",
        recipe: Path | str | None = None,
        settings: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> "Audit":
        """Make ready.

        Args:
            own: That the encoder is one's own to audit.
            clip: In place of a recipe's encoder, a folder with a CLIP; where it has a text tower,
                too, the instruction's sentence is a target beside its picture.
            recipe: Of ``prompt_injection``, whose surrogate is the encoder.
            settings: "table.key" to value, over the recipe; ``surrogate.weights`` is a file.
            seed: Of the crops.

        Raises:
            ValueError: If ``own`` is not said, the encoder is an address, or settings are not
                right.
        """
        if not own:
            raise ValueError("audits are for models of your own: say so with --own")
        given = dict(settings or {})
        named = [value for key, value in given.items() if key.startswith("surrogate.")]
        for name in (clip, recipe or "", *named):
            if "://" in str(name):
                raise ValueError(f"{name}: audits run on local models only; want a folder or file")
        if clip and not Path(clip).is_dir():
            raise ValueError(f"{clip}: want a local folder with a CLIP")
        if not clip and recipe is None and "surrogate.name" not in given:
            raise ValueError("want an encoder: --clip FOLDER, --recipe, or --set surrogate.name=…")
        try:
            from telltale.audit.setup import made

            attack, texts, names, size = made(clip, recipe, given)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "telltale":
                raise
            extra = "language" if error.name in ("transformers", "tokenizers") else "train"
            raise ValueError(
                f"audits need {error.name}: pip install 'telltale-vision[{extra}]'"
            ) from None
        return cls(attack, texts, names, size, seed)

    def picture(self, path: Path) -> Moved:
        """Attack the encoder on the square in a picture's middle and measure what defences leave.

        Raises:
            MediaError: If the picture cannot be read.
        """
        import torch

        pixels = square(read_picture(path).pixels, self.size)
        random = torch.Generator().manual_seed(self.seed)
        found = self.attack.perturb(as_images([pixels]), generator=random, texts=self.texts)
        changed = (255 * found[0].permute(1, 2, 0)).round().byte().numpy()
        a, b = (x.transpose(2, 0, 1)[None] / 255 for x in (changed, pixels))
        clean, unrest_before = self.looked(pixels)
        moved, unrest = self.looked(changed)
        rows = {}
        for name, (feature, seconds) in clean.items():
            near, far = (self.names @ x for x in (feature, moved[name][0]))
            rows[name] = Defended(
                float(near[0]),
                float(far[0]),
                bool(near[0] > near[1:].max()),
                bool(far[0] > far[1:].max()),
                float(feature @ clean["none"][0]),
                seconds,
            )
        return Moved(
            os.fspath(path),
            rows,
            int(np.abs(changed.astype(int) - pixels).max()),
            float(psnr(a, b)[0]),
            float(ssim(a, b)[0]),
            unrest_before,
            unrest,
        )

    def looked(self, pixels: Pixels) -> "tuple[dict[str, tuple[Tensor, float]], float]":
        """The feature (C,) of a square under each defence with its seconds, and the unrest."""
        import torch
        import torch.nn.functional as F

        from telltale.robustness.feature_smoothing import FeatureSmoothing
        from telltale.robustness.prompt_injection import features

        encoder = self.attack.surrogates[0]
        smooth = FeatureSmoothing(
            encoder, sigma=SIGMA, samples=COPIES, purify=False, map_features=False
        )
        found = {}

        def clocked(name: str, see: "Callable[[], Tensor]") -> None:
            began = time.perf_counter()
            with torch.no_grad():
                found[name] = F.normalize(see().mean(0), dim=0), time.perf_counter() - began

        def plain(defend: Defence) -> "Tensor":
            return features(encoder, as_images([defend(pixels)])).whole

        for name, defend in DEFENCES.items():
            clocked(name, partial(plain, defend))
        clocked(CROPPED, lambda: features(encoder, as_images(five(pixels))).whole)
        random = torch.Generator().manual_seed(self.seed)
        clocked(SMOOTHED, lambda: smooth.encode(as_images([pixels]), COPIES, generator=random))
        others = [float(found[name][0] @ found["none"][0]) for name in DEFENCES if name != "none"]
        return found, 1 - float(np.mean(others))


def totals(found: Sequence[Moved]) -> dict[str, Total]:
    """Over pictures, by defence.

    Raises:
        ValueError: If there are none.
    """
    if not found:
        raise ValueError("want one picture or more")
    table = {}
    for name in found[0].defences:
        rows = [one.defences[name] for one in found]
        won = sum(row.won for row in rows)
        table[name] = Total(
            before=float(np.mean([row.before for row in rows])),
            after=float(np.mean([row.after for row in rows])),
            kept=float(np.mean([row.kept for row in rows])),
            seconds=float(np.mean([row.seconds for row in rows])),
            rate_before=float(np.mean([row.won_before for row in rows])),
            rate=won / len(rows),
            interval=wilson(won, len(rows)),
        )
    return table


def detected(found: Sequence[Moved]) -> float:
    """How well unrest tells changed pictures from the same ones unchanged: area under the ROC."""
    scores = [one.unrest_before for one in found] + [one.unrest for one in found]
    return float(auc(np.array(scores), np.repeat([0, 1], len(found))))


def as_images(squares: Sequence[Pixels]) -> "Tensor":
    """Squares as (B, 3, S, S) in [0, 1]."""
    import torch

    stacked = np.ascontiguousarray(np.stack(squares).transpose(0, 3, 1, 2))
    return torch.from_numpy(stacked).float() / 255

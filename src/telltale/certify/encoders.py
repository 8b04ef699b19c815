"""Certificates of encoders: how far the smoothed feature can be turned."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from telltale.audit.defences import square
from telltale.media import read_picture

if TYPE_CHECKING:
    from torch import nn

    from telltale.certify.run import Certified, Noise
    from telltale.robustness.feature_smoothing import FeatureSmoothing

USUAL = 224  # pixels, of an encoder that does not say


class Encoder:
    """Certifies the feature of the square in a picture's middle.

    Args:
        net: With σ and batch set.
        noise: How to sample.
    """

    kind = "cosine"

    def __init__(self, net: "FeatureSmoothing", noise: "Noise") -> None:
        import torch

        self.net, self.noise, self.side = net, noise, side_of(net.encoder)
        self.random = torch.Generator().manual_seed(noise.seed)

    def of(self, path: Path, sizes: Sequence[float]) -> "Certified":
        """Raises ValueError if the picture cannot be read."""
        import torch

        from telltale.certify.run import Certified

        pixels = square(read_picture(path).pixels, self.side)
        images = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)[None]
        made = self.net.certify(
            images, samples=self.noise.samples, alpha=self.noise.alpha, generator=self.random
        )
        cosines = tuple(float(made.cosine(size)[0]) for size in sizes)
        return Certified(path, float(made.score[0]), float(made.radius()[0]), cosines)


def network(what: "str | Path | nn.Module", noise: "Noise") -> "FeatureSmoothing":
    """The smoothed encoder that a name stands for.

    Raises:
        ValueError: If there is none.
    """
    from torch import nn

    from telltale.robustness.feature_smoothing import FeatureSmoothing

    if isinstance(what, nn.Module):
        encoder, found = what, what
    elif (Path(what) / "config.json").exists():  # transformers' file; a run's is another
        from telltale.nn.clip_tower import load_tower

        encoder = found = load_tower(Path(what))[0]
    elif Path(what).is_dir():
        from telltale.train import network_of

        found = network_of(Path(what))
        encoder = getattr(found, "backbone", None)  # type: ignore[assignment]
    else:
        return _named(str(what), noise)
    if isinstance(found, FeatureSmoothing):
        found.sigma, found.batch, found.autocast = noise.sigma, noise.batch, noise.bfloat16
        return found.eval()
    if encoder is None:
        raise ValueError(f"{what}: a {type(found).__name__} has no backbone to certify")
    return FeatureSmoothing(encoder, **_settings(noise)).eval()


def side_of(encoder: "nn.Module") -> int:
    """S of the images that an encoder takes, in pixels."""
    for holder in (encoder, getattr(encoder, "shape", None)):
        side = getattr(holder, "size", 0)
        if isinstance(side, int) and side > 0:
            return side
    return USUAL


def _named(trunk: str, noise: "Noise") -> "FeatureSmoothing":
    from telltale.catalog import build

    made: FeatureSmoothing = build(  # type: ignore[assignment]  # of any method
        "feature_smoothing", encoder=trunk, **_settings(noise)
    )
    return made.eval()


def _settings(noise: "Noise") -> dict[str, Any]:
    kept = {"sigma": noise.sigma, "batch": noise.batch, "bfloat16": noise.bfloat16}
    return {**kept, "purify": False, "map_features": False}

"""The verb: how far any small perturbation can turn what an encoder sees in your pictures."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from telltale.media import read_picture

SIZES = (0.05, 0.1, 0.25, 0.5)  # ε of the table, l2


@dataclass(frozen=True, slots=True)
class Certified:
    """What is certified of one picture.

    Args:
        path: The picture.
        score: Lower bound of the Gaussian robustness score; a half or less certifies nothing.
        radius: l2 size up to which the cosine stays at 0.5 or more.
        cosines: Lower bound of the cosine for each size; NaN where none is certified.
    """

    path: Path
    score: float
    radius: float
    cosines: tuple[float, ...]


def certify(
    what: str,
    pictures: Sequence[Path],
    *,
    sigma: float = 0.25,
    samples: int = 1000,
    alpha: float = 1e-3,
    sizes: Sequence[float] = SIZES,
    batch: int = 64,
    seed: int = 0,
) -> Iterator[Certified]:
    """Certify an encoder on pictures, one at a time; a square in each one's middle is looked at.

    Args:
        what: The folder of a run, of feature_smoothing or of any method on a backbone, whose
            encoder is then taken; or the name of a trunk, see :mod:`telltale.nn.backbones`.
        pictures: To certify on; the certificate is for the square at the encoder's size.
        sigma: σ of the noise, in [0, 1] of a pixel.
        samples: Noisy copies of each.
        alpha: Chance that a bound is too high.
        sizes: ε, l2 sizes of the perturbation, in [0, 1] of a pixel over the whole square.
        batch: Noisy copies in one pass: bounds the memory.
        seed: Of the noise.

    Raises:
        ValueError: If a setting is out of range, a picture cannot be read, or the run has no
            encoder; the text names it.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise ValueError("certifying needs torch: pip install 'telltale-vision[train]'") from None
    if any(size < 0 for size in sizes):
        raise ValueError(f"want sizes of 0 or more, got {list(sizes)}")
    net: Any = _network(what, sigma, batch)
    side = _side(net.encoder)
    draws = torch.Generator().manual_seed(seed)
    for path in pictures:
        pixels = _square(read_picture(path).pixels, side)
        images = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)[None]
        made = net.certify(images, samples=samples, alpha=alpha, generator=draws)
        cosines = tuple(float(made.cosine(size)[0]) for size in sizes)
        yield Certified(path, float(made.score[0]), float(made.radius()[0]), cosines)


def table(rows: Sequence[Certified], sizes: Sequence[float]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "score", "radius", *(f"cosine at {size:g}" for size in sizes)])
    for row in rows:
        numbers = (row.score, row.radius, *row.cosines)
        writer.writerow([row.path, *("" if n != n else f"{n:.6f}" for n in numbers)])
    return text.getvalue()


def _network(what: str, sigma: float, batch: int) -> Any:  # noqa: ANN401  # FeatureSmoothing
    from telltale.robustness.feature_smoothing import FeatureSmoothing

    plain: dict[str, Any] = {"sigma": sigma, "batch": batch}
    plain |= {"purify": False, "map_features": False}
    if Path(what).is_dir():
        from telltale.train import network_of

        found = network_of(Path(what))
        if isinstance(found, FeatureSmoothing):
            found.sigma, found.batch = sigma, batch
            return found
        encoder = getattr(found, "backbone", None)
        if encoder is None:
            raise ValueError(f"{what}: a {type(found).__name__} has no backbone to certify")
        return FeatureSmoothing(encoder, **plain)
    from telltale.catalog import build

    return build("feature_smoothing", encoder=what, **plain).eval()


def _side(encoder: Any) -> int:  # noqa: ANN401
    shape = getattr(encoder, "shape", None)
    return int(getattr(shape, "size", 0) or 224)


def _square(pixels: Any, side: int) -> Any:  # noqa: ANN401
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    middle = Image.fromarray(pixels[top : top + short, left : left + short])
    return np.asarray(middle.resize((side, side), Image.Resampling.BICUBIC))

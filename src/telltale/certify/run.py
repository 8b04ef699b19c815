"""The verb: pictures in, certificates out, by whatever stands behind a name."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from telltale.certify.verdicts import Verdicts
from telltale.data.manifest import read_manifest
from telltale.media.files import one_line

if TYPE_CHECKING:
    from torch import nn

    from telltale.detector import Detector

SIZES = (0.05, 0.1, 0.25, 0.5)  # ε of an encoder's table, l2
TIMES = (0.25, 0.5, 1.0, 2.0)  # of σ: ε of a detector's, which stands much less noise
Track = Callable[[Iterable[Any], int], Iterable[Any]]  # items and their number -> the items


@dataclass(frozen=True, slots=True)
class Noise:
    """How a certificate is sampled.

    Args:
        sigma: σ, in [0, 1] of a value.
        samples: Noisy copies of each picture.
        alpha: Chance that a bound is too high.
        batch: Copies in one pass of an encoder: bounds the memory. A detector sees one at a time.
        seed: Of the noise.
        bfloat16: Whether an encoder runs in bfloat16; the certificate is then that encoder's.

    Raises:
        ValueError: If one is out of range.
    """

    sigma: float = 0.25
    samples: int = 1000
    alpha: float = 1e-3
    batch: int = 64
    seed: int = 0
    bfloat16: bool = False

    def __post_init__(self) -> None:
        if not self.sigma > 0 or self.samples < 2 or self.batch < 1 or not 0 < self.alpha < 1:
            raise ValueError(
                f"want sigma above 0, two samples or more, a batch of 1 or more and alpha in "
                f"(0, 1), got {self.sigma}, {self.samples}, {self.batch} and {self.alpha}"
            )


@dataclass(frozen=True, slots=True)
class Certified:
    """What is certified of one picture.

    Args:
        path: The picture.
        score: Lower bound of the Gaussian robustness score; of a detector, of the share of noisy
            copies that get the verdict. A half or less certifies nothing.
        radius: l2 size up to which the cosine stays at 0.5 or more, or the verdict stays.
        bounds: For each size the lower bound of the cosine, or of the share of noisy copies that
            get the verdict; NaN where nothing is certified.
        verdict: Of a detector: whether most noisy copies speak for its claim.
        label: 1 = the claim holds, if that is known.
    """

    path: Path
    score: float
    radius: float
    bounds: tuple[float, ...]
    verdict: bool | None = None
    label: int | None = None


class Certifier(Protocol):
    """What certifies single pictures."""

    kind: str  # "cosine" or "verdict"

    def of(self, path: Path, sizes: Sequence[float]) -> Certified:
        """Raises ValueError if the picture cannot be read or shows nothing to look at."""
        ...


def certify(
    what: "str | Path | nn.Module | Detector",
    pictures: Sequence[Path],
    noise: Noise | None = None,
    *,
    sizes: Sequence[float] | None = None,
    on: str = "pictures",
) -> Iterator[Certified]:
    """Certify an encoder or a detector on pictures, one at a time.

    Args:
        what: The folder of a run, of feature_smoothing or of any method on a backbone, whose
            encoder is then taken; a folder with a CLIP, or its image tower; the name of a trunk,
            see :mod:`telltale.nn.backbones`; any ``nn.Module`` from images (B, 3, S, S) in [0, 1]
            to (B, C), tokens or maps, with its ``size`` S; a detector, its slug or its ``.onnx``.
        pictures: An encoder looks at the square in each one's middle, a detector at the largest
            subject.
        noise: Default: ``Noise()``.
        sizes: ε, l2 sizes of the perturbation, in [0, 1] of a value, of all that is looked at.
            Default: :func:`usual_sizes`.
        on: "pictures": a detector finds its subject; "crops": pictures are crops already.

    Raises:
        ValueError: If a setting is out of range, a picture cannot be read, or the run has no
            encoder; the text names it.
    """
    if any(size < 0 for size in sizes or ()):
        raise ValueError(f"want sizes of 0 or more, got {list(sizes or ())}")
    made = certifier(what, noise or Noise(), on)
    asked = usual_sizes(made.kind, (noise or Noise()).sigma) if sizes is None else sizes
    for path in pictures:
        yield made.of(path, asked)


def certify_split(
    what: "str | Path | nn.Module | Detector",
    data: Path | str,
    noise: Noise | None = None,
    *,
    split: str = "test",
    count: int = 100,
    on: str = "pictures",
    track: Track = lambda items, count: items,
) -> tuple[list[Certified], str, tuple[str, ...]]:
    """Rows for pictures of a split with their labels, the kind of certificate, and notes.

    Args:
        what: As for :func:`certify`.
        data: A manifest, a folder for each class, or a dataset of the field.
        noise: Default: ``Noise()``.
        split: Rows of the data.
        count: Pictures at most, spread over the split.
        on: As for :func:`certify`.
        track: Shows progress.

    Raises:
        ValueError: As for :func:`certify`, or if no picture has an answer.
    """
    made = certifier(what, noise or Noise(), on)
    listed = read_manifest(data).of_split(split).rows
    places = np.unique(np.linspace(0, len(listed) - 1, min(count, len(listed))).round().astype(int))
    rows, failed = [], []
    chosen = [listed[place] for place in places]
    for row in track(chosen, len(chosen)):
        try:
            found = made.of(row.path, usual_sizes(made.kind, (noise or Noise()).sigma))
        except (ValueError, OSError) as error:  # what a file can cause
            failed.append(f"{row.path.name}: {one_line(error, 300)}")
            continue
        rows.append(replace(found, label=row.label))
    if not rows:
        raise ValueError(f"no picture has an answer, e.g. {failed[0]}")
    notes = [f"{len(failed)} pictures have no answer, e.g. {failed[0]}"] if failed else []
    if len(listed) > len(chosen):
        notes.append(f"{len(chosen)} of the {len(listed)} pictures of the split")
    return rows, made.kind, tuple(notes)


def usual_sizes(kind: str, sigma: float) -> tuple[float, ...]:
    """ε of a table for certificates of this kind."""
    return SIZES if kind == "cosine" else tuple(sigma * times for times in TIMES)


def certifier(
    what: "str | Path | nn.Module | Detector", noise: Noise, on: str = "pictures"
) -> Certifier:
    """What certifies pictures by this name.

    Raises:
        ValueError: As for :func:`certify`.
    """
    from telltale.catalog import cards
    from telltale.detector import Detector
    from telltale.loading import load

    if on not in ("pictures", "crops"):
        raise ValueError(f"want certificates on pictures or on crops, got {on!r}")
    if isinstance(what, Detector):
        return Verdicts(what, noise, on)
    if isinstance(what, str | Path) and (
        str(what).lower().endswith(".onnx") or str(what) in cards()
    ):
        return Verdicts(load(what, threads=1), noise, on)
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError("certifying needs torch: pip install 'telltale-vision[train]'") from None
    from telltale.certify.encoders import Encoder, network

    return Encoder(network(what, noise), noise)

"""The field's databases of picture quality as they lie on disk, reference-wise splits, batches.

    read_manifest("kadid10k:/data/kadid10k")

Every row has a ``score`` from 0 (perfect) to 100, whatever the database's own scale, and pictures
that a reference was distorted into have that reference as ``partner`` and ``source``.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.data.manifest import Row
from telltale.data.quality import sets
from telltale.media import read_picture

Reader = Callable[[Path], Iterator[Row]]

READERS: dict[str, Reader] = {
    "live": sets.read_live,
    "live-all": partial(sets.read_live, copies=True),
    "tid2013": sets.read_tid2013,
    "tid2013-all": partial(sets.read_tid2013, synthetic=True),
    "csiq": sets.read_csiq,
    "kadid10k": sets.read_kadid10k,
    "livec": sets.read_livec,
    "koniq10k": sets.read_koniq10k,
}
SIGNS = {
    "live": ("dmos.mat",),
    "tid2013": ("mos_with_names.txt",),
    "csiq": ("dst_imgs",),
    "kadid10k": ("dmos.csv",),
    "livec": ("Data/AllMOS_release.mat",),
    "koniq10k": ("koniq10k_scores_and_distributions.csv",),
}


def by_reference(
    rows: Sequence[Row], repeat: int = 0, shares: tuple[float, float, float] = (0.6, 0.2, 0.2)
) -> list[Row]:
    """The rows with splits anew: all pictures of one reference are in the same.

    Args:
        rows: Of one database.
        repeat: Number of the random division; the papers report the median of ten.
        shares: Of the references, for train, val and test; (0.8, 0, 0.2) is the other custom.

    Raises:
        ValueError: If the shares don't sum to 1 or a split that is wanted gets no reference.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"want three shares that sum to 1, got {shares}")
    sources = sorted({row.source for row in rows})
    order = np.random.default_rng(repeat).permutation(len(sources))
    ends = [round(end * len(sources)) for end in (shares[0], shares[0] + shares[1], 1)]
    lengths = np.diff([0, *ends])
    if any(share and not length for share, length in zip(shares, lengths, strict=True)):
        raise ValueError(f"want a reference for each of {shares}, got {len(sources)} references")
    names = np.repeat(("train", "val", "test"), lengths)
    split = {sources[int(k)]: str(name) for k, name in zip(order, names, strict=True)}
    return [row._replace(split=split[row.source]) for row in rows]


def batch(
    rows: Sequence[Row], count: int, *, size: int, seed: Sequence[int]
) -> dict[str, NDArray[Any]]:
    """:func:`cuts` of so many rows, drawn with replacement."""
    rng = np.random.default_rng([*seed])
    return cuts([rows[int(index)] for index in rng.integers(len(rows), size=count)], size, rng)


def cuts(rows: Sequence[Row], size: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Random crops at the pictures' own resolution: ``images``, ``partners`` and ``scores``.

    Nothing is resized, as that would be a distortion of its own. A picture without a partner is
    its own.

    Raises:
        ValueError: If a picture is smaller than ``size`` or its reference has another size.
    """
    images: list[NDArray[np.float32]] = []
    partners: list[NDArray[np.float32]] = []
    for row in rows:
        one = read_picture(row.path).pixels
        other = read_picture(row.partner).pixels if row.partner else one
        if one.shape != other.shape or min(one.shape[:2]) < size:
            raise ValueError(
                f"{row.where}: want {size} pixels a side or more and a reference of the same size, "
                f"got {one.shape[:2]} and {other.shape[:2]}"
            )
        y, x = (int(rng.integers(n - size + 1)) for n in one.shape[:2])
        for pixels, kept in ((one, images), (other, partners)):
            crop = pixels[y : y + size, x : x + size].transpose(2, 0, 1)
            kept.append(crop.astype(np.float32) / np.float32(255))
    return {
        "images": np.stack(images),
        "partners": np.stack(partners),
        "scores": np.array([row.score for row in rows], np.float32),
    }

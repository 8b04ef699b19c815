"""Drawn references, each distorted in several ways at five levels: a database of quality in small.

A picture's score is 20 for each level of its distortion, with some noise: a **proxy** by
construction, no person was asked, and the same level of two kinds need not look alike bad.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from telltale.data.synth.distortions import LEVELS, distort
from telltale.data.synth.shapes import blob
from telltale.data.synth.textures import textures

USUAL = ("gaussian_blur", "white_noise", "jpeg", "contrast")
NOISE = 3.0  # of a score, its standard deviation


class ToyQuality(NamedTuple):
    """N distorted pictures and M references."""

    images: NDArray[np.uint8]  # (N, S, S, 3)
    references: NDArray[np.uint8]  # (M, S, S, 3)
    reference: NDArray[np.int64]  # (N,) which of them
    scores: NDArray[np.float32]  # (N,) 0 is perfect, 100 the worst
    kinds: NDArray[np.str_]  # (N,)


def toy_quality(
    references: Sequence[int], *, seed: int, size: int = 128, kinds: Sequence[str] = USUAL
) -> ToyQuality:
    """Every reference in every kind of distortion at every level.

    Args:
        references: Numbers of the references; the same number is the same picture.
        seed: Of all draws.
        size: S in pixels.
        kinds: Of :data:`telltale.data.synth.distortions.KINDS`.
    """
    clean = np.stack([_reference(size, np.random.default_rng([seed, n])) for n in references])
    images, which, scores, names = [], [], [], []
    for place, number in enumerate(references):
        rng = np.random.default_rng([seed, number, 1])
        for kind in kinds:
            for level in range(1, LEVELS + 1):
                images.append(distort(kind, clean[place], level, rng))
                which.append(place)
                scores.append(np.clip(20 * level + rng.normal(0, NOISE), 0, 100))
                names.append(kind)
    return ToyQuality(
        np.stack(images),
        clean,
        np.array(which, np.int64),
        np.array(scores, np.float32),
        np.array(names),
    )


def _reference(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A shade from side to side, a texture, and three shapes, one of them striped."""
    y, x = np.mgrid[:size, :size] / size
    angle = rng.uniform(0, 2 * np.pi)
    shade = np.cos(angle) * x + np.sin(angle) * y
    picture = textures(1, size, rng, smoothness=float(rng.uniform(0.7, 1.4)))[0].transpose(1, 2, 0)
    picture = picture + 0.3 * shade[..., None] * rng.uniform(-1, 1, 3)
    for number in range(3):
        inside = blob((size, size), rng)
        colour = rng.uniform(0.1, 0.9, 3)
        stripes = np.sin((np.cos(angle) * y - np.sin(angle) * x) * rng.uniform(40, 200))
        made = colour + (0.15 * stripes[..., None] if number == 0 else 0.3 * (picture - 0.5))
        picture = np.where(inside[..., None], made, picture)
    return np.asarray(np.rint(np.clip(picture, 0, 1) * 255), np.uint8)

"""Endless training batches of real faces and forgeries made from them as they are asked for.

Each real crop comes with a forgery of itself, and both go through the same camera-to-upload chain
(scale, blur, noise, JPEG with the same draw) and the same final cut, so that nothing but the
forgery tells them apart.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale import degrade
from telltale.data.crops import CONTEXT, Crop
from telltale.data.noise import noise_of
from telltale.data.synth.blend import self_blend
from telltale.data.synth.faceswap import swap
from telltale.data.synth.regenerate import regenerate
from telltale.data.synth.retouch import photometric
from telltale.media.facefinder import MARGIN
from telltale.media.regions import cut
from telltale.records import Region

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]


class Finished(NamedTuple):
    """A real face and its forgery as they are shown, real first."""

    pictures: list[Pixels]  # (S, S, 3)
    masks: list[Mask]  # (S, S) in [0, 1]
    noise: list[Mask]  # (S, S) in [0, 1], 0.5 for none; empty unless asked for


SEEN = {"self_blend": 0.6, "swap_alpha": 0.25, "regenerate": 0.15}  # kinds and their shares


def forge(
    kind: str, crop: Crop, partners: Sequence[Crop], rng: np.random.Generator
) -> tuple[Pixels, Pixels, Mask]:
    """A forgery of a kind made from ``crop``: (fake, its real counterpart, mask (S, S) in [0, 1]).

    Args:
        kind: "self_blend", "swap_alpha", "swap_poisson" or "regenerate".
        crop: The real face.
        partners: Faces of other people that a swap may take its source from.
        rng: Of all draws.

    Raises:
        ValueError: If the kind is not known.
    """
    if kind == "self_blend":
        blend = self_blend(crop.pixels, crop.points, rng)
        return blend.fake, blend.real, blend.mask
    if kind in ("swap_alpha", "swap_poisson"):
        source = _like(crop, partners, rng)
        made = swap(
            source.pixels,
            source.points,
            crop.pixels,
            crop.points,
            blending=kind.removeprefix("swap_"),
            rng=rng,
        )
        return made.fake, crop.pixels, made.mask
    if kind == "regenerate":
        again = regenerate(crop.pixels, crop.points, rng)
        return again.fake, crop.pixels, again.mask
    raise ValueError(f"unknown kind of forgery {kind!r}; want {sorted({*SEEN, 'swap_poisson'})}")


def batches(
    crops: Sequence[Crop],
    *,
    size: int,
    pairs: int,
    seed: int,
    kinds: Mapping[str, float] | None = None,
    start: int = 0,
    noise: bool = False,
) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Batches of ``pairs`` real faces and as many forgeries, without end.

    Args:
        crops: Real faces; swaps take both people from them.
        size: Side of the images in pixels.
        pairs: Real faces a batch; the batch is twice as long.
        seed: Of everything that is drawn; the same seed gives the same batches.
        kinds: Kind to its share; :data:`SEEN` by default.
        start: Batches to pass over, at no cost: a resumed run goes on with the next.
        noise: Whether to make noise maps, which cost as much as the rest.

    Yields:
        ``images`` (2·pairs, 3, S, S) float32 in [0, 1], ``labels`` (2·pairs,) int64,
        ``masks`` (2·pairs, 1, S, S) float32 in [0, 1], ``domains`` (2·pairs,) int64, 0 real and
        then the kinds as in ``kinds``, ``partners`` as ``images``, the real face of each; if asked
        for, ``noise`` as ``masks``.
    """
    names, shares = zip(*(kinds or SEEN).items(), strict=True)
    weights = np.array(shares) / sum(shares)
    for number in count(start):
        rng = np.random.default_rng([seed, number])  # of this batch alone, so that any can be next
        images: list[Pixels] = []
        masks: list[Mask] = []
        noises: list[Mask] = []
        domains: list[int] = []
        for place in range(number * pairs, (number + 1) * pairs):
            epoch, index = divmod(place, len(crops))
            crop = crops[int(_order(seed, epoch, len(crops))[index])]
            kind = str(rng.choice(names, p=weights))
            domains += [0, 1 + names.index(kind)]
            fake, real, mask = forge(kind, crop, crops, rng)
            made = finish(real, fake, mask, crop, size, rng, noise)
            images += made.pictures
            masks += made.masks
            noises += made.noise
        shown = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        batch: dict[str, NDArray[np.generic]] = {
            "images": shown,
            "labels": np.tile(np.array([0, 1], np.int64), pairs),
            "masks": np.stack(masks)[:, None],
            "domains": np.array(domains, np.int64),
            "partners": np.repeat(shown[0::2], 2, axis=0),
        }
        yield batch | ({"noise": np.stack(noises)[:, None]} if noise else {})


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch, length]).permutation(length)


def finish(
    real: Pixels,
    fake: Pixels,
    mask: Mask,
    crop: Crop,
    size: int,
    rng: np.random.Generator,
    with_noise: bool = False,
) -> Finished:
    """Both pictures through one random upload chain and one random cut."""
    side = len(real) / CONTEXT
    middle = (crop.points.min(0) + crop.points.max(0)) / 2 + rng.uniform(-0.05, 0.05, 2) * side
    wide = side * MARGIN * rng.uniform(0.9, 1.12)
    tilt = float(rng.uniform(-10, 10)) if rng.random() < 0.2 else 0.0
    scale = float(rng.uniform(0.5, 1.6)) if rng.random() < 0.5 else 1.0
    scale = max(scale, 0.45 * size / wide)  # faces below the operating range teach nothing
    blur = float(rng.uniform(0.3, 1.0)) if rng.random() < 0.15 else 0.0
    noise = float(rng.uniform(1, 5)) if rng.random() < 0.15 else 0.0
    quality = int(rng.integers(40, 100)) if rng.random() < 0.8 else 0
    seed = int(rng.integers(2**31))
    flip = rng.random() < 0.5
    grey = rng.random() < 0.05
    sharpen = float(rng.uniform(0.3, 2.0)) if rng.random() < 0.35 else 0.0
    retouch = rng.random() < 0.6
    left, top = (float(edge) for edge in middle - wide / 2)
    region = Region(left * scale, top * scale, wide * scale, wide * scale, tilt)
    made = Finished([], [], [])
    for pixels, area in ((real, np.zeros_like(mask)), (fake, mask)):
        if scale != 1:
            pixels = degrade.resize(pixels, scale)
        if retouch:  # step 8 of the self-blending recipe
            pixels = photometric(pixels, np.random.default_rng(seed))
        if sharpen:  # as cameras and phones do, which old press photographs lack
            soft = degrade.blur(pixels, 1.0).astype(np.float32)
            crisp = pixels + sharpen * (pixels - soft)
            pixels = np.rint(np.clip(crisp, 0, 255)).astype(np.uint8)
        if blur:
            pixels = degrade.blur(pixels, blur)
        if noise:
            pixels = degrade.noise(pixels, noise, np.random.default_rng(seed))
        if grey:
            pixels = np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))
        if quality:
            pixels = degrade.jpeg(pixels, quality)
        picture = cut(pixels, region, size)
        shown = np.repeat((area * 255).astype(np.uint8)[..., None], 3, axis=2)
        where = cut(shown, Region(left, top, wide, wide, tilt), size)[..., 0].astype(
            np.float32
        ) / np.float32(255)
        made.pictures.append(picture[:, ::-1] if flip else picture)
        made.masks.append(where[:, ::-1] if flip else where)
        if with_noise:  # before the cut, which scales
            residual = cut(noise_of(pixels[None])[0], region, size).clip(0, 1)
            made.noise.append(residual[:, ::-1] if flip else residual)
    return made


def _like(crop: Crop, partners: Sequence[Crop], rng: np.random.Generator) -> Crop:
    """Of eight other people's faces the one turned most like ``crop``: swaps need a like pose."""
    drawn = [partners[k] for k in rng.integers(len(partners), size=8)]
    others = [partner for partner in drawn if partner.source != crop.source]
    if not others:
        raise ValueError(f"a swap needs faces of people other than {crop.source}")
    unlike = [float(np.abs(_pose(partner) - _pose(crop)).sum()) for partner in others]
    nearest: Crop = others[int(np.argmin(unlike))]
    return nearest


def _pose(crop: Crop) -> Mask:
    """The mesh as a flat shape without place and size (936,)."""
    points = crop.points - crop.points.mean(0)
    shape: Mask = (points / points.std()).ravel()
    return shape

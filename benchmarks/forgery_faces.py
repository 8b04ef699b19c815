"""Faces for `forgery.py`: real ones, and six kinds of forgery of each made by different means.

    self_blend      a face blended with itself (Shiohara & Yamasaki's recipe)
    swap_alpha      another person's face warped in by landmarks, alpha blending
    swap_poisson    the same by Poisson blending
    restored        Real-ESRGAN (animevideov3) painted the face from 64 pixels
    inpainted       a patch of the face painted over by OpenCV (Telea, Navier-Stokes)
    generated       the whole face from a DCGAN

Both pictures of a pair go through the same random upload chain. People of Labeled Faces in the
Wild are split by a hash of their name; faces of all other sources are only tested on.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

KINDS = ("self_blend", "swap_alpha", "swap_poisson", "restored", "inpainted", "generated")
COUNTS = {"train": 700, "val": 80, "test": 100, "others": 120}  # faces, at most


class Faces(NamedTuple):
    """Pairs of one split.

    Args:
        real: Kind to (N, S, S, 3) uint8, as uploaded together with the forgery of that kind.
        fake: Kind to (N, S, S, 3) uint8.
        masks: Kind to (N, S, S) uint8, 255 where the forgery is.
        sources: (N,) who or what each face shows.
    """

    real: Mapping[str, NDArray[np.uint8]]
    fake: Mapping[str, NDArray[np.uint8]]
    masks: Mapping[str, NDArray[np.uint8]]
    sources: NDArray[np.str_]


def split_of(source: str) -> str:
    """train, val or test by a hash of the person; any source but LFW is among the others."""
    if not source.startswith("lfw:"):
        return "others"
    draw = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 100
    return "train" if draw < 80 else "val" if draw < 90 else "test"


def faces(cache: Path, split: str, size: int) -> Faces:
    """The pairs of a split, made once from the ``*.crops`` files of ``cache`` and kept there."""
    kept = cache / f"forgery-{split}-{size}.npz"
    if not kept.exists():
        made = make(cache, split, size)
        part = kept.with_suffix(".part.npz")
        np.savez_compressed(part, **made)
        part.replace(kept)
    with np.load(kept) as stored:
        found = {name: stored[name] for name in stored.files}
    tables = (
        {kind: found[f"{name} {kind}"] for kind in KINDS} for name in ("real", "fake", "mask")
    )
    return Faces(*tables, found["sources"])


def picked(data: Faces, wanted: Callable[[str], bool]) -> Faces:
    """The pairs of the families that are wanted."""
    rows = np.array([wanted(source.split(":")[0]) for source in data.sources])
    real, fake, masks = ({k: v[rows] for k, v in part.items()} for part in data[:3])
    return Faces(real, fake, masks, data.sources[rows])


def joined(parts: Sequence[Faces]) -> Faces:
    """The pairs of all parts."""
    tables = [{k: np.concatenate([p[n][k] for p in parts]) for k in KINDS} for n in range(3)]
    return Faces(*tables, np.concatenate([part.sources for part in parts]))


def make(cache: Path, split: str, size: int) -> dict[str, NDArray[Any]]:
    """Forge every face of a split in every way; one person gives one face."""
    from carriers import Generator, Restorer, inpaint

    from telltale.data.crops import load_crops
    from telltale.data.pairs import finish, forge

    first: dict[str, Any] = {}
    for path in sorted(cache.glob("*.crops")):
        for crop in load_crops(path):
            # Portraits whose terms forbid manipulation are not forged, not even to measure.
            if split_of(crop.source) == split and not crop.source.startswith("officials:"):
                first.setdefault(crop.source, crop)
    order = np.random.default_rng(0).permutation(len(first))[: COUNTS[split]]
    crops = [[*first.values()][k] for k in order]
    restore, generate = Restorer("animevideov3-x4"), Generator(seed=len(split))
    lists: dict[str, list[Any]] = {f"{n} {k}": [] for n in ("real", "fake", "mask") for k in KINDS}
    sources = []
    for number, crop in enumerate(crops):
        rng = np.random.default_rng([len(split), number])
        ways: dict[str, Any] = {
            "restored": lambda crop=crop: restore(crop),
            "inpainted": lambda crop=crop, rng=rng: inpaint(crop, rng),
            "generated": lambda crop=crop: generate(crop),
        }
        pairs = {}
        try:
            for kind in KINDS:
                if kind in ways:
                    fake, mask = ways[kind]()
                    real = crop.pixels
                else:
                    fake, real, mask = forge(kind, crop, crops, rng)
                pairs[kind] = finish(real, fake, mask, crop, size, rng)[:2]
        except ValueError:  # eight draws of the same person, or a mesh that leaves the crop
            continue
        sources.append(crop.source)
        for kind, ((one, other), (_, where)) in pairs.items():
            lists[f"real {kind}"].append(one)
            lists[f"fake {kind}"].append(other)
            lists[f"mask {kind}"].append((where * 255).astype(np.uint8))
    return {name: np.stack(found) for name, found in lists.items()} | {"sources": np.array(sources)}


def batches(
    data: Faces, kinds: Sequence[str], size: int, seed: int, covered: bool = False
) -> Iterator[dict[str, NDArray[Any]]]:
    """Endless batches of ``size``: real faces, then a forgery of each, kinds in equal shares."""
    rng = np.random.default_rng([seed + 1, 1])  # seed -1 chooses the rates
    number = {kind: 1 + KINDS.index(kind) for kind in KINDS}
    while True:
        rows = rng.choice(len(data.sources), size // 2, replace=False)
        drawn = [kinds[k] for k in (np.arange(size // 2) + rng.integers(len(kinds))) % len(kinds)]
        picked = [*zip(drawn, rows, strict=True)]
        real = np.stack([data.real[kind][row] for kind, row in picked])
        fake = np.stack([data.fake[kind][row] for kind, row in picked])
        masks = np.stack([data.masks[kind][row] for kind, row in picked])
        batch = {
            "images": floats(np.concatenate([real, fake])),
            "labels": np.repeat(np.array([0, 1], np.int64), size // 2),
            "masks": np.concatenate([np.zeros_like(masks), masks])[:, None].astype(np.float32)
            / 255,
            "domains": np.array([0] * (size // 2) + [number[kind] for kind in drawn], np.int64),
            "partners": floats(np.concatenate([real, real])),
        }
        if covered:  # drawing textures costs as much as a small network's step
            batch["covers"] = covers(size, int(rng.integers(2**31)), real.shape[1])
        yield batch


def floats(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, S, S, 3) bytes as (N, 3, S, S) in [0, 1]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)


def covers(count: int, seed: int, size: int = 70) -> NDArray[np.float32]:
    """Drawn textures (N, 3, S, S) in [0, 1] to hide faces in."""
    from telltale.data.synth.textures import textures

    return textures(count, size, np.random.default_rng([seed, 2])).astype(np.float32)

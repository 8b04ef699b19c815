"""Where a recipe's batches come from: a manifest, toy faces, or real pictures forged on the way.

Every source gives its ``number``-th batch on demand, so that a resumed run and several workers
need nothing but numbers, and a fixed list of batches to validate on.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from telltale.data.forgery import located
from telltale.data.manifest import Manifest, read_manifest, split_of
from telltale.data.order import places
from telltale.data.pictures import draw, read
from telltale.data.synth import toyfaces
from telltale.media import find_media

if TYPE_CHECKING:
    from telltale.data.crops import Crop

Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A recipe's table ``data``.

    Args:
        manifest: A CSV file or a folder for each class (:mod:`telltale.data.manifest`);
            ``"synth:toyfaces"``; or, with ``forge``, a folder of real pictures or a file of face
            crops (:mod:`telltale.data.crops`).
        batch: Images in a batch, half of them genuine: even.
        size: Side of the images in pixels. None: what the backbone was built for.
        forge: Kinds of forgery to make, a list or a table of kind to share.
        validation: Items to validate on, at most.
        scenes: Toy frames to learn from.
        workers: Processes that make batches ahead; 0 makes them in between the steps.
        license: Under which the weights may be used; whose data they are decides that.
    """

    manifest: str
    batch: int = 32
    size: int | None = None
    forge: Sequence[str] | Mapping[str, float] = field(default_factory=list)
    validation: int = 512
    scenes: int = 500
    workers: int = 0
    license: str = "unknown"

    def __post_init__(self) -> None:
        if self.batch < 2 or self.batch % 2:
            raise ValueError(f"data.batch: want an even number, 2 or more, got {self.batch}")
        if min(self.validation, self.scenes) < 1 or self.workers < 0:
            raise ValueError("data: want validation ≥ 1, scenes ≥ 1 and workers ≥ 0")

    @property
    def shares(self) -> dict[str, float]:
        """Kind to share of ``forge``; a list's kinds share alike."""
        if isinstance(self.forge, Mapping):
            return {kind: float(share) for kind, share in self.forge.items()}
        return dict.fromkeys(self.forge, 1.0)


class Source(Protocol):
    """Batches by number, batches to validate on, and what is worth knowing of the data."""

    about: dict[str, Any]

    def __getitem__(self, number: int) -> Batch: ...

    def validation(self) -> Iterator[Batch]: ...


def open_source(data: Data, *, fields: Sequence[str], size: int, seed: int, cache: Path) -> Source:
    """The source that ``data.manifest`` names.

    Args:
        data: The recipe's table.
        fields: Words that the method learns from.
        size: Side of the images in pixels.
        seed: Of orders and forgeries.
        cache: Folder for the faces cut out of pictures; they are cut once.

    Raises:
        ValueError: If the data are not there, not of that form, or lack a field.
    """
    kind, _, name = data.manifest.partition(":")
    if kind == "synth":
        if name != "toyfaces":
            raise ValueError(f"data.manifest: no synth:{name}; there is synth:toyfaces")
        return ToySource(data, fields, size, seed)
    name, path = located(data.manifest)
    if not path.exists():
        raise ValueError(f"data.manifest: no file or folder {path}")
    if data.forge and not name:
        return ForgedSource(data, path, fields, size, seed, cache)
    if data.forge:
        raise ValueError(f"data.forge: forges plain folders of real pictures, not a {name} dataset")
    return ManifestSource(data, read_manifest(data.manifest), fields, size, seed)


def absolute(manifest: str) -> str:
    """``data.manifest`` that means the same from every folder."""
    head, colon, rest = manifest.partition(":")
    if colon and not Path(manifest).exists():
        return f"{head}:{Path(rest).absolute()}" if Path(rest).exists() else manifest
    return str(Path(manifest).absolute()) if Path(manifest).exists() else manifest


class ManifestSource:
    """Splits train and val of a manifest."""

    def __init__(
        self, data: Data, manifest: Manifest, fields: Sequence[str], size: int, seed: int
    ) -> None:
        self.learn = read(manifest.of_split("train"), fields, size=size)
        self.check = read(manifest.of_split("val"), ("images", "labels"), size=size)
        for part, dataset in (("train", self.learn), ("val", self.check)):
            if len(set(dataset.labels.tolist())) < 2:
                raise ValueError(f"{manifest.name}: want both labels in split {part!r}")
        self.data, self.seed = data, seed
        self.about: dict[str, Any] = {
            "train": len(self.learn),
            "val": len(self.check),
            "kinds": list(manifest.kinds),
        }
        if divided := manifest.divided():
            self.about["note"] = f"{len(divided)} sources are in several splits, e.g. {divided[0]}"

    def __getitem__(self, number: int) -> Batch:
        return draw(self.learn, number, batch=self.data.batch, seed=self.seed)

    def validation(self) -> Iterator[Batch]:
        mixed = np.random.default_rng(0).permutation(len(self.check))
        half = max(1, self.data.validation // 2)
        halves = [mixed[self.check.labels[mixed] == label][:half] for label in (0, 1)]
        rows = np.sort(np.concatenate(halves))
        for start in range(0, rows.size, self.data.batch):
            yield self.check.batch(rows[start : start + self.data.batch])


class ToySource:
    """Toy faces: people 0–99 to learn from, 100–129 to validate on."""

    def __init__(self, data: Data, fields: Sequence[str], size: int, seed: int) -> None:
        known = {"images", "labels", "masks", "domains", "partners"}
        if unknown := sorted(set(fields) - known):
            raise ValueError(f"synth:toyfaces cannot give {unknown}; it has {sorted(known)}")
        if size != toyfaces.SIZE:
            raise ValueError(f"toy faces have {toyfaces.SIZE} pixels, the backbone wants {size}")
        self.kinds, self.shares = _kinds(data, toyfaces.KINDS, dict.fromkeys(toyfaces.KINDS, 1.0))
        self.fields, self.seed, self.pairs = _with_labels(fields), seed, data.batch // 2
        self.learn = toyfaces.toy_faces(data.scenes, seed=seed)
        checked = max(1, data.validation // 2)
        self.check = toyfaces.toy_faces(checked, seed=seed, identities=range(100, 130))
        self.about: dict[str, Any] = {
            "train": f"{data.scenes} scenes of 100 people",
            "val": f"{checked} scenes of 30 people",
            "kinds": list(self.kinds),
        }

    def __getitem__(self, number: int) -> Batch:
        rows = places(len(self.learn.identities), self.pairs, number, self.seed)
        rng = np.random.default_rng([self.seed, number])
        return self._batch(self.learn, rows, rng.choice(self.kinds, rows.size, p=self.shares))

    def validation(self) -> Iterator[Batch]:
        frames = np.arange(len(self.check.identities))
        for rows in np.array_split(frames, -(-frames.size // self.pairs)):
            kinds = np.array(self.kinds)[rows % len(self.kinds)]  # all alike, whatever the shares
            yield self._batch(self.check, rows, kinds)

    def _batch(
        self, frames: toyfaces.ToyFaces, rows: NDArray[np.int64], kinds: NDArray[np.str_]
    ) -> Batch:
        """The real frames of ``rows``, then a forgery of each."""
        names = ["real"] * rows.size + kinds.tolist()
        twice = np.concatenate([rows, rows])
        images = [frames.images[name][row] for name, row in zip(names, twice, strict=True)]
        masks = [frames.masks[name][row] for name, row in zip(names, twice, strict=True)]
        domains = [1 + toyfaces.KINDS.index(n) if n != "real" else 0 for n in names]
        whole: Batch = {
            "images": _channels_first(np.stack(images)),
            "labels": np.repeat(np.array([0, 1], np.int64), rows.size),
            "masks": np.stack(masks)[:, None].astype(np.float32),
            "domains": np.array(domains, np.int64),
            "partners": _channels_first(frames.images["real"][twice]),
        }
        return {field: whole[field] for field in self.fields}


class ForgedSource:
    """Real pictures whose faces are cut once and forged on the way (:mod:`data.pairs`)."""

    def __init__(
        self, data: Data, path: Path, fields: Sequence[str], size: int, seed: int, cache: Path
    ) -> None:
        from telltale.data import pairs  # wants OpenCV, which a manifest does not

        known = ("images", "labels", "masks")
        if unknown := sorted(set(fields) - {*known}):
            raise ValueError(f"forged faces cannot give {unknown}; they have {', '.join(known)}")
        kinds, shares = _kinds(data, (*pairs.SEEN, "swap_poisson"), pairs.SEEN)
        self.fields, self.size = _with_labels(fields), size
        self.shares = dict(zip(kinds, shares, strict=True))
        self.seed, self.pairs = seed, data.batch // 2
        self.checked = -(-data.validation // data.batch)  # batches
        crops = _faces(path, cache)
        self.crops = {
            part: [crop for crop in crops if split_of(crop.source) == part]
            for part in ("train", "val")
        }
        for part, found in self.crops.items():
            if len({crop.source for crop in found}) < 2:
                raise ValueError(
                    f"{path}: want faces of two people or more in split {part!r}, found "
                    f"{len(found)} of {len(crops)} faces; give more pictures, in a folder a person"
                )
        self.about: dict[str, Any] = {part: len(found) for part, found in self.crops.items()}
        self.about["kinds"] = list(kinds)

    def __getitem__(self, number: int) -> Batch:
        return self._batch("train", number, self.seed)

    def validation(self) -> Iterator[Batch]:
        for number in range(self.checked):
            yield self._batch("val", number, 0)  # the same whatever the run's seed

    def _batch(self, part: str, number: int, seed: int) -> Batch:
        from telltale.data.pairs import batches

        stream = batches(
            self.crops[part],
            size=self.size,
            pairs=self.pairs,
            seed=seed,
            kinds=self.shares,
            start=number,
        )
        batch = next(stream)
        # All real first, as in the other sources: two processes, taking every other row, would
        # get one class each.
        rows = np.r_[0 : 2 * self.pairs : 2, 1 : 2 * self.pairs : 2]
        return {field: batch[field][rows] for field in self.fields}


def _kinds(
    data: Data, known: Sequence[str], usual: Mapping[str, float]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Kinds of forgery and their shares, which sum to 1."""
    shares = data.shares or dict(usual)
    for kind, share in shares.items():
        if kind not in known:
            raise ValueError(f"data.forge: no kind {kind!r}; want some of {', '.join(known)}")
        if share <= 0:
            raise ValueError(f"data.forge: want shares > 0, got {share} for {kind}")
    weights = np.array([*shares.values()])
    return tuple(shares), weights / weights.sum()


def _faces(path: Path, cache: Path) -> "list[Crop]":
    """The faces of a folder of real pictures, cut out unless ``cache`` has them already.

    The person is the sub-folder's name or, without one, the file's name up to a last number.
    """
    from telltale.data.crops import Crop, cut_faces, load_crops, save_crops
    from telltale.media.facefinder import FaceFinder

    if path.is_file():
        return load_crops(path)
    pictures = [(file, _person(path, file)) for file in find_media([path])]
    seen = [(str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns) for f, _ in pictures]
    name = hashlib.sha256(repr(seen).encode()).hexdigest()[:16]
    kept = cache / f"{path.name}-{name}.crops"
    if not kept.exists():
        found = cut_faces(pictures, FaceFinder())
        save_crops(kept, (crop for crop in found if isinstance(crop, Crop)))
    return load_crops(kept)


def _person(folder: Path, file: Path) -> str:
    inner = file.relative_to(folder).parts
    return inner[0] if len(inner) > 1 else re.sub(r"[-_ ]?\d+$", "", file.stem) or file.stem


def _with_labels(fields: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*fields, "images", "labels")))


def _channels_first(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)

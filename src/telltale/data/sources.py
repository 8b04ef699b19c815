"""Where a recipe's batches come from: a manifest, toy faces, or real pictures forged on the way.

Every source gives its ``number``-th batch on demand, so that a resumed run and several workers
need nothing but numbers, and a fixed list of batches to validate on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from telltale.data.covers import Covered
from telltale.data.forgery import located
from telltale.data.manifest import Manifest, read_manifest
from telltale.data.noise import noise_of
from telltale.data.order import places
from telltale.data.pictures import draw, read
from telltale.data.synth import toyfaces

Batch = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A recipe's table ``data``.

    Args:
        manifest: A CSV file, a folder for each class or a dataset of the field
            (:mod:`telltale.data.manifest`); ``"synth:toyfaces"``, ``"synth:distorted"``; or,
            with ``forge``, a folder of real pictures or a file of face crops
            (:mod:`telltale.data.crops`).
        batch: Images in a batch: even, or a multiple of the domains if those are balanced.
        balance: "labels": half of a batch is genuine. "domains": genuine faces and each kind of
            forgery have the same number, in blocks, the genuine first. "pairs": genuine faces,
            then a forgery of each, made from the same frame (a manifest's ``partner``).
            "datasets": genuine faces and attacks of each dataset have the same number, and the
            domains are the datasets. "families": live faces, physical and digital attacks have the
            same number, and the domains are 0, 1 and 2.
        leave_out: Kinds of forgery that training must not see, neither must validation; or a whole
            family of attacks, "physical" or "digital".
        frames: Of each video, evenly spaced; 0 is all.
        covers: Folder of natural pictures, for methods that hide faces in them.
        size: Side of the images in pixels. None: what the backbone was built for.
        forge: Kinds of forgery to make, a list or a table of kind to share.
        validation: Items to validate on, at most.
        scenes: Toy frames, or references of distorted pictures, to learn from.
        workers: Processes that make batches ahead; 0 makes them in between the steps.
        license: Under which the weights may be used; whose data they are decides that.
    """

    manifest: str
    batch: int = 32
    balance: str = "labels"
    leave_out: Sequence[str] = field(default_factory=list)
    frames: int = 0
    covers: str = ""
    size: int | None = None
    forge: Sequence[str] | Mapping[str, float] = field(default_factory=list)
    validation: int = 512
    scenes: int = 500
    workers: int = 0
    license: str = "unknown"

    def __post_init__(self) -> None:
        if self.batch < 2 or (
            self.batch % 2 and self.balance not in ("domains", "datasets", "families")
        ):
            raise ValueError(f"data.batch: want an even number, 2 or more, got {self.batch}")
        if min(self.validation, self.scenes) < 1 or min(self.workers, self.frames) < 0:
            raise ValueError("data: want validation and scenes ≥ 1, workers and frames ≥ 0")
        if self.balance not in (known := ("labels", "domains", "pairs", "datasets", "families")):
            raise ValueError(f"data.balance: want {', '.join(known)}, got {self.balance!r}")

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
    if "covers" in fields:
        inner = tuple(field for field in fields if field != "covers")
        made = open_source(data, fields=inner, size=size, seed=seed, cache=cache)
        return Covered(made, data.covers, size, seed)
    kind, _, name = data.manifest.partition(":")
    if kind == "synth":
        return _synthetic(name, data, fields, size, seed)
    name, path = located(data.manifest)
    if not path.exists():
        raise ValueError(f"data.manifest: no file or folder {path}")
    if data.forge and not name:
        from telltale.data.forged import ForgedSource  # wants OpenCV, which a manifest does not

        return ForgedSource(data, path, fields, size, seed, cache)
    if data.forge:
        raise ValueError(f"data.forge: forges plain folders of real pictures, not a {name} dataset")
    if "scores" in fields:
        from telltale.data.quality.source import QualitySource

        return QualitySource(data, read_manifest(data.manifest), fields, size, seed)
    return ManifestSource(data, read_manifest(data.manifest), fields, size, seed)


def _synthetic(name: str, data: Data, fields: Sequence[str], size: int, seed: int) -> Source:
    """What is drawn and not read."""
    if name == "distorted":
        from telltale.data.quality.source import DistortedSource  # wants OpenCV

        return DistortedSource(data, fields, size, seed)
    if name != "toyfaces":
        raise ValueError(
            f"data.manifest: no synth:{name}; there is synth:toyfaces and synth:distorted"
        )
    return ToySource(data, fields, size, seed)


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
        manifest = manifest.without(data.leave_out) if data.leave_out else manifest
        manifest = manifest.thinned(data.frames) if data.frames else manifest
        self.learnt = sorted({row.source for row in manifest.of_split("train").rows})
        by = data.balance if data.balance in ("datasets", "families") else "kinds"
        self.learn = read(manifest.of_split("train"), fields, size=size, by=by)
        checked = ("images", "labels", *(("echoes",) if "echoes" in fields else ()))
        self.check = read(manifest.of_split("val"), checked, size=size)
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
        by = self.data.balance
        return draw(self.learn, number, batch=self.data.batch, seed=self.seed, balance=by)

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
        known = {"images", "labels", "masks", "noise", "domains", "partners"}
        if unknown := sorted(set(fields) - known):
            raise ValueError(f"synth:toyfaces cannot give {unknown}; it has {sorted(known)}")
        if size != toyfaces.SIZE:
            raise ValueError(f"toy faces have {toyfaces.SIZE} pixels, the backbone wants {size}")
        self.kinds, self.shares = shares_of(
            data, toyfaces.KINDS, dict.fromkeys(toyfaces.KINDS, 1.0)
        )
        self.fields, self.seed, self.pairs = with_labels(fields), seed, data.batch // 2
        self.domains = blocks(data, len(self.kinds))
        self.learn = toyfaces.toy_faces(data.scenes, seed=seed)
        checked = max(1, data.validation // 2)
        self.check = toyfaces.toy_faces(checked, seed=seed, identities=range(100, 130))
        self.about: dict[str, Any] = {
            "train": f"{data.scenes} scenes of 100 people",
            "val": f"{checked} scenes of 30 people",
            "kinds": list(self.kinds),
        }

    def __getitem__(self, number: int) -> Batch:
        length = len(self.learn.identities)
        if self.domains:
            kinds = ["real", *self.kinds]
            each = [places(length, self.domains, number, self.seed + k) for k in range(len(kinds))]
            return self._made(self.learn, np.concatenate(each), np.repeat(kinds, self.domains))
        rows = places(length, self.pairs, number, self.seed)
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
        names = np.array(["real"] * rows.size + kinds.tolist())
        return self._made(frames, np.concatenate([rows, rows]), names)

    def _made(
        self, frames: toyfaces.ToyFaces, rows: NDArray[np.int64], names: NDArray[np.str_]
    ) -> Batch:
        """Frame ``rows[i]`` as ``names[i]``, real or a kind."""
        images = [frames.images[name][row] for name, row in zip(names, rows, strict=True)]
        masks = [frames.masks[name][row] for name, row in zip(names, rows, strict=True)]
        domains = [1 + toyfaces.KINDS.index(n) if n != "real" else 0 for n in names.tolist()]
        whole: Batch = {
            "images": _channels_first(np.stack(images)),
            "labels": (names != "real").astype(np.int64),
            "masks": np.stack(masks)[:, None].astype(np.float32),
            "domains": np.array(domains, np.int64),
            "partners": _channels_first(frames.images["real"][rows]),
        }
        if "noise" in self.fields:  # nothing is scaled here
            whole["noise"] = noise_of(np.stack(images))[:, None]
        return {field: whole[field] for field in self.fields}


def shares_of(
    data: Data, known: Sequence[str], usual: Mapping[str, float]
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Kinds of forgery and their shares, which sum to 1, but for those to leave out."""
    shares = data.shares or dict(usual)
    for kind, share in shares.items():
        if kind not in known:
            raise ValueError(f"data.forge: no kind {kind!r}; want some of {', '.join(known)}")
        if share <= 0:
            raise ValueError(f"data.forge: want shares > 0, got {share} for {kind}")
    for kind in data.leave_out:
        if shares.pop(kind, None) is None or not shares:
            raise ValueError(
                f"data.leave_out: want some of {', '.join(known)}, not all; got {kind!r}"
            )
    weights = np.array([*shares.values()])
    return tuple(shares), weights / weights.sum()


def blocks(data: Data, kinds: int) -> int:
    """Items of each domain in a batch, the genuine one among them; 0 where they are not balanced.

    Raises:
        ValueError: If the batch does not divide.
    """
    if data.balance != "domains":
        return 0
    if data.batch % (1 + kinds):
        raise ValueError(
            f"data.batch: want a multiple of {1 + kinds}, genuine and {kinds} kinds, "
            f"got {data.batch}"
        )
    return data.batch // (1 + kinds)


def with_labels(fields: Sequence[str]) -> tuple[str, ...]:
    """The fields, with images and labels if they aren't among them."""
    return tuple(dict.fromkeys((*fields, "images", "labels")))


def _channels_first(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)

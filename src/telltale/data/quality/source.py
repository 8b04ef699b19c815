"""What a rater of quality learns from: a database or a table of scores, or drawn pictures.

    fit = { seed = 3 }             # the third division of a database's references into 60/20/20
    data = { manifest = "kadid10k:KADID-10k", leave_out = ["04"] }

Of the references one for every five pictures is learnt from as it is, with the score 0.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from telltale.data.manifest import Manifest, Row
from telltale.data.order import places
from telltale.data.quality import READERS, by_reference, cuts
from telltale.data.synth.distortions import KINDS
from telltale.data.synth.toyquality import USUAL, ToyQuality, toy_quality

if TYPE_CHECKING:
    from telltale.data.sources import Batch, Data

FIELDS = ("images", "partners", "scores")
PRISTINE = 5  # pictures for every reference that is learnt from as it is


class QualitySource:
    """Splits train and val of scored pictures, in random squares of ``size`` pixels.

    A table's splits are taken as they are; a database's references are divided by the seed.

    Raises:
        ValueError: If a picture has no score or a split no picture.
    """

    def __init__(
        self, data: "Data", manifest: Manifest, fields: Sequence[str], size: int, seed: int
    ) -> None:
        _want(fields, manifest.name)
        manifest = manifest.without(data.leave_out) if data.leave_out else manifest
        for row in manifest.rows:
            if np.isnan(row.score):
                raise ValueError(f"{row.where}: want a score")
        if all(row.dataset in READERS for row in manifest.rows):
            rows = by_reference(manifest.rows, seed)
        else:
            rows = [*manifest.rows]
        splits = {name: [row for row in rows if row.split == name] for name in ("train", "val")}
        for name, part in splits.items():
            if len({row.score for row in part}) < 2:
                raise ValueError(f"{manifest.name}: want several scores in split {name!r}")
        self.learn = splits["train"] + pristine(splits["train"], seed)
        mixed = np.random.default_rng(0).permutation(len(splits["val"]))[: data.validation]
        self.check = [splits["val"][int(k)] for k in np.sort(mixed)]
        self.count, self.size, self.seed = data.batch, size, seed
        self.fields = tuple(fields)
        self.about: dict[str, Any] = {
            "train": len(self.learn),
            "val": len(self.check),
            "kinds": list(manifest.kinds),
        }

    def __getitem__(self, number: int) -> "Batch":
        rows = places(len(self.learn), self.count, number, self.seed)
        rng = np.random.default_rng([self.seed, number])
        return self._of(cuts([self.learn[int(row)] for row in rows], self.size, rng))

    def validation(self) -> "Iterator[Batch]":
        """The validation pictures, cut at the same places each time."""
        for start in range(0, len(self.check), self.count):
            rng = np.random.default_rng([1, start])
            yield self._of(cuts(self.check[start : start + self.count], self.size, rng))

    def _of(self, batch: "Batch") -> "Batch":
        return {field: batch[field] for field in self.fields}


class DistortedSource:
    """Drawn pictures, distorted: references 0 to ``data.scenes`` to learn from, others to check.

    ``data.forge`` names kinds of distortion; four by default.
    """

    def __init__(self, data: "Data", fields: Sequence[str], size: int, seed: int) -> None:
        _want(fields, "synth:distorted")
        kinds = [kind for kind in data.shares or USUAL if kind not in data.leave_out]
        for kind in (*kinds, *data.leave_out):
            if kind not in KINDS:
                raise ValueError(f"data.forge: no kind {kind!r}; want some of {', '.join(KINDS)}")
        if not kinds:
            raise ValueError("data.leave_out: leaves no kind of distortion")
        checked = max(2, data.scenes // 3)
        whole = range(data.scenes), range(data.scenes, data.scenes + checked)
        learn, self.check = (toy_quality(n, seed=seed, size=size, kinds=kinds) for n in whole)
        self.learn = with_pristine(learn, seed)
        self.count, self.validated, self.seed = data.batch, data.validation, seed
        self.fields = tuple(fields)
        self.about: dict[str, Any] = {
            "train": f"{len(self.learn.scores)} pictures of {data.scenes} references",
            "val": f"{min(len(self.check.scores), data.validation)} of {checked} references",
            "kinds": kinds,
        }

    def __getitem__(self, number: int) -> "Batch":
        rows = places(len(self.learn.scores), self.count, number, self.seed)
        return self._batch(self.learn, rows)

    def validation(self) -> "Iterator[Batch]":
        rows = np.random.default_rng(0).permutation(len(self.check.scores))[: self.validated]
        for start in range(0, len(rows), self.count):
            yield self._batch(self.check, rows[start : start + self.count])

    def _batch(self, data: ToyQuality, rows: NDArray[np.int64]) -> "Batch":
        whole: Batch = {
            "images": floats(data.images[rows]),
            "partners": floats(data.references[data.reference[rows]]),
            "scores": data.scores[rows],
        }
        return {field: whole[field] for field in self.fields}


def pristine(rows: Sequence[Row], seed: int) -> list[Row]:
    """References as pictures of their own, score 0: one for every five rows that have one."""
    having = [row for row in rows if row.partner is not None]
    picked = np.random.default_rng([seed, 5]).integers(
        len(having) or 1, size=len(having) // PRISTINE
    )
    return [
        having[int(k)]._replace(path=having[int(k)].partner, partner=None, kind="", score=0.0)  # type: ignore[arg-type]
        for k in picked
    ]


def with_pristine(data: ToyQuality, seed: int) -> ToyQuality:
    """The same with references among the pictures, as :func:`pristine` has it."""
    count = len(data.scores) // PRISTINE
    picked = np.random.default_rng([seed, 5]).integers(len(data.references), size=count)
    return ToyQuality(
        np.concatenate([data.images, data.references[picked]]),
        data.references,
        np.concatenate([data.reference, picked]),
        np.concatenate([data.scores, np.zeros(count, np.float32)]),
        np.concatenate([data.kinds, np.repeat("pristine", count)]),
    )


def floats(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, S, S, 3) bytes as (N, 3, S, S) in [0, 1]."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def _want(fields: Sequence[str], name: str) -> None:
    if unknown := [field for field in fields if field not in FIELDS]:
        raise ValueError(f"{name}: cannot give {unknown}; it has {', '.join(FIELDS)}")

"""Real pictures whose faces are cut once and forged as batches are asked for."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from telltale.data.crops import Crop, cut_faces, load_crops, save_crops
from telltale.data.manifest import split_of
from telltale.data.pairs import SEEN, batches
from telltale.data.sources import Batch, Data, blocks, shares_of, with_labels
from telltale.media import find_media


class ForgedSource:
    """Real pictures whose faces are cut once and forged on the way (:mod:`telltale.data.pairs`)."""

    def __init__(
        self, data: Data, path: Path, fields: Sequence[str], size: int, seed: int, cache: Path
    ) -> None:
        known = ("images", "labels", "masks", "noise", "domains", "partners")
        if unknown := sorted(set(fields) - {*known}):
            raise ValueError(f"forged faces cannot give {unknown}; they have {', '.join(known)}")
        kinds, shares = shares_of(data, (*SEEN, "swap_poisson"), SEEN)
        self.fields, self.size = with_labels(fields), size
        self.domains = blocks(data, len(kinds))
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
        if not self.domains:
            return self._pairs("train", number, self.pairs, self.seed, self.shares)
        each = [
            self._pairs("train", number, self.domains, self.seed + k, {kind: 1.0})
            for k, kind in enumerate(self.shares)
        ]
        for domain, batch in enumerate(each, 1):
            if "domains" in batch:
                batch["domains"][self.domains :] = domain
        real, forged = slice(0, self.domains), slice(self.domains, None)
        return {
            field: np.concatenate([each[0][field][real], *(it[field][forged] for it in each)])
            for field in self.fields
        }

    def validation(self) -> Iterator[Batch]:
        for number in range(self.checked):
            yield self._pairs("val", number, self.pairs, 0, self.shares)  # whatever the run's seed

    def _pairs(
        self, part: str, number: int, pairs: int, seed: int, kinds: Mapping[str, float]
    ) -> Batch:
        stream = batches(
            self.crops[part],
            size=self.size,
            pairs=pairs,
            seed=seed,
            kinds=kinds,
            start=number,
            noise="noise" in self.fields,
        )
        batch = next(stream)
        # All real first, as in the other sources: two processes, taking every other row, would
        # get one class each.
        rows = np.r_[0 : 2 * pairs : 2, 1 : 2 * pairs : 2]
        return {field: batch[field][rows] for field in self.fields}


def _faces(path: Path, cache: Path) -> list[Crop]:
    """The faces of a folder of real pictures, cut out unless ``cache`` has them already.

    The person is the sub-folder's name or, without one, the file's name up to a last number.
    """
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

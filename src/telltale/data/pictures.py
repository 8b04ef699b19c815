"""A manifest's pictures as arrays, one by one or in endless batches."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.data.manifest import Manifest, read_manifest
from telltale.data.order import places
from telltale.media import read_picture

FIELDS = ("images", "labels", "masks", "domains", "partners")  # what a manifest can give


class Dataset:
    """A manifest's pictures as arrays, read when they are asked for.

    ``dataset[3]`` is one item: ``images`` (3, S, S) float32 in [0, 1], ``labels`` int64, ``masks``
    (1, S, S) float32 0 or 1, ``domains`` int64 (0 genuine, then the kinds as sorted), ``partners``
    (3, S, S): only the ``fields`` that were asked for. Pictures that are not square are cut to the
    square in their middle.
    """

    def __init__(self, manifest: Manifest, fields: Sequence[str], size: int) -> None:
        if unknown := [field for field in fields if field not in FIELDS]:
            raise ValueError(f"{manifest.name}: cannot give {unknown}; it has {', '.join(FIELDS)}")
        for row in manifest.rows:
            if "masks" in fields and row.label and row.mask is None:
                raise ValueError(f"{row.where}: a mask is wanted for each forged picture")
            if "partners" in fields and row.label and row.partner is None:
                raise ValueError(f"{row.where}: a partner is wanted for each forged picture")
        self.manifest = manifest
        self.labels = np.array([row.label for row in manifest.rows], np.int64)  # (N,)
        self.fields = tuple(fields)
        self.size = size

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        row = self.manifest.rows[index]
        makers: dict[str, Callable[[], NDArray[Any]]] = {
            "images": lambda: self._picture(row.path),
            "labels": lambda: np.array(row.label, np.int64),
            "masks": lambda: self._mask(row.mask),
            "domains": lambda: np.array(
                1 + self.manifest.kinds.index(row.kind) if row.label else 0, np.int64
            ),
            "partners": lambda: self._picture(row.partner or row.path),
        }
        return {field: makers[field]() for field in self.fields}

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Items stacked along a first axis B."""
        items = [self[int(index)] for index in indices]
        return {field: np.stack([item[field] for item in items]) for field in self.fields}

    def _picture(self, path: Path) -> NDArray[np.float32]:
        image = _square(read_picture(path).pixels, self.size, Image.Resampling.BILINEAR)
        return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255)

    def _mask(self, path: Path | None) -> NDArray[np.float32]:
        if path is None:
            return np.zeros((1, self.size, self.size), np.float32)
        grey = read_picture(path).pixels.max(-1)
        return (_square(grey, self.size, Image.Resampling.NEAREST) > 127).astype(np.float32)[None]


def read(manifest: Path | Manifest, fields: Sequence[str], *, size: int) -> Dataset:
    """The pictures of a manifest, or of its file, under the words of a batch in ``fields``.

    Args:
        manifest: Best one split of it: ``read_manifest(path).of_split("train")``.
        fields: Of :data:`FIELDS`.
        size: S in pixels.

    Raises:
        ValueError: That names the file, and the line if one is at fault.
    """
    made = manifest if isinstance(manifest, Manifest) else read_manifest(manifest)
    return Dataset(made, fields, size)


def draw(
    dataset: Dataset, number: int, *, batch: int, seed: int, balanced: bool = True
) -> dict[str, NDArray[Any]]:
    """The ``number``-th batch of :func:`batches`, at the cost of this batch alone."""
    if not balanced:
        return dataset.batch(places(len(dataset), batch, number, seed))
    classes = [np.flatnonzero(dataset.labels == label) for label in (0, 1)]
    if batch % 2 or not all(rows.size for rows in classes):
        raise ValueError(f"{dataset.manifest.name}: want both labels and an even batch to balance")
    halves = [rows[places(rows.size, batch // 2, number, seed)] for rows in classes]
    return dataset.batch(np.concatenate(halves))


def batches(
    dataset: Dataset, *, batch: int, seed: int, balanced: bool = True, start: int = 0
) -> Iterator[dict[str, NDArray[Any]]]:
    """Endless batches, the same for the same seed; half of each are genuine if ``balanced``.

    Args:
        dataset: Where from.
        batch: B.
        seed: Of the order, which is new in each epoch.
        balanced: Draw both classes alike, the genuine first; the smaller comes round more often.
        start: Batches to pass over, at no cost: a resumed run goes on with the next.

    Raises:
        ValueError: If classes are to be balanced and one is missing, or the batch is odd.
    """
    for number in count(start):
        yield draw(dataset, number, batch=batch, seed=seed, balanced=balanced)


def _square(pixels: NDArray[np.uint8], size: int, how: Image.Resampling) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    image = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(image if side == size else image.resize((size, size), how))

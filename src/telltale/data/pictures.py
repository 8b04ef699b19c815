"""A manifest's pictures as arrays, one by one or in endless batches."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale import taxonomy
from telltale.data.echoes import read_echo
from telltale.data.layout import STACKS, VIDEOS
from telltale.data.manifest import Manifest, Row, read_manifest
from telltale.data.noise import noise_of
from telltale.data.order import places
from telltale.data.tampering.layouts import fits
from telltale.media import read_picture
from telltale.media.regions import Value

# What a manifest can give.
FIELDS = ("images", "labels", "masks", "noise", "domains", "partners", "echoes")


class Dataset:
    """A manifest's pictures as arrays, read when they are asked for.

    ``dataset[3]`` is one item: ``images`` (3, S, S) float32 in [0, 1], ``labels`` int64, ``masks``
    (1, S, S) float32 0 or 1, ``noise`` (1, S, S) float32 in [0, 1], made from the picture at its
    own size and scaled then, ``domains`` int64 (0 genuine, then the kinds as sorted), ``partners``
    (3, S, S), ``echoes`` (2, 33, 61), NaN without a sound: only the ``fields`` that were asked for.
    Pictures that are not square are cut to the square in their middle.

    With ``by="datasets"`` the domains are the datasets, as sorted, whatever the label; with
    ``by="families"`` 0 genuine, 1 physical and 2 digital attacks, by the catalogue.
    """

    def __init__(
        self, manifest: Manifest, fields: Sequence[str], size: int, by: str = "kinds"
    ) -> None:
        if unknown := [field for field in fields if field not in FIELDS]:
            raise ValueError(f"{manifest.name}: cannot give {unknown}; it has {', '.join(FIELDS)}")
        for row in manifest.rows:
            if row.path.suffix.lower() in VIDEOS | STACKS:
                raise ValueError(
                    f"{row.where}: {row.path.name} is a video; cut its faces first: "
                    "telltale prepare"
                )
            if "masks" in fields and row.label and row.mask is None:
                raise ValueError(f"{row.where}: a mask is wanted for each forged picture")
            if "partners" in fields and row.label and row.partner is None:
                raise ValueError(f"{row.where}: a partner is wanted for each forged picture")
        if "echoes" in fields and all(row.sound is None for row in manifest.rows):
            raise ValueError(
                f"{manifest.name}: want a column 'sound' with a recording for some pictures or all"
            )
        self.manifest = manifest
        self.labels = np.array([row.label for row in manifest.rows], np.int64)  # (N,)
        numbers = {kind: 1 + number for number, kind in enumerate(manifest.kinds)}
        self.domains = np.array([numbers.get(row.kind, 0) for row in manifest.rows], np.int64)
        if by == "datasets":
            names = sorted({row.dataset for row in manifest.rows})
            self.domains = np.array([names.index(row.dataset) for row in manifest.rows], np.int64)
        elif by == "families":
            self.domains = np.array([_family(row) for row in manifest.rows], np.int64)
        self.fields = tuple(fields)
        self.size = size

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        row = self.manifest.rows[index]
        own = cache(lambda: read_picture(row.path).pixels)
        makers: dict[str, Callable[[], NDArray[Any]]] = {
            "images": lambda: self._scaled(own()),
            "labels": lambda: np.array(row.label, np.int64),
            "masks": lambda: self._mask(row, own().shape),
            "noise": lambda: self._noise(own()),
            "domains": lambda: self.domains[index],
            "partners": lambda: self._scaled(
                read_picture(row.partner).pixels if row.partner else own()
            ),
            "echoes": lambda: read_echo(row.sound),
        }
        return {field: makers[field]() for field in self.fields}

    @cached_property
    def forgeries(self) -> dict[int, list[int]]:
        """Each genuine picture's forgeries, by ``partner``; genuine ones without any are left out.

        Raises:
            ValueError: If no forged picture's partner is here.
        """
        rows = self.manifest.rows
        genuine = {os.path.normpath(r.path): i for i, r in enumerate(rows) if not r.label}
        found: dict[int, list[int]] = {}
        for index, row in enumerate(rows):
            behind = genuine.get(os.path.normpath(row.partner)) if row.partner else None
            if row.label and behind is not None:
                found.setdefault(behind, []).append(index)
        if not found:
            raise ValueError(f"{self.manifest.name}: want forged pictures with a genuine partner")
        return found

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Items stacked along a first axis B."""
        items = [self[int(index)] for index in indices]
        return {field: np.stack([item[field] for item in items]) for field in self.fields}

    def _scaled(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        image = _square(pixels, self.size, Image.Resampling.BILINEAR)
        return np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / np.float32(255)

    def _noise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        grey = _square(noise_of(pixels[None])[0], self.size, Image.Resampling.BILINEAR)
        return grey[None].clip(0, 1)

    def _mask(self, row: Row, shape: tuple[int, ...]) -> NDArray[np.float32]:
        if row.mask is None:
            return np.zeros((1, self.size, self.size), np.float32)
        grey = mask_of(row, shape).astype(np.uint8)
        return _square(grey, self.size, Image.Resampling.NEAREST).astype(np.float32)[None]


def grey_mask(path: Path, dataset: str) -> NDArray[np.uint8]:
    """A mask (H, W) at its own size, above 127 where the picture was changed, whatever the set."""
    return MASKS.get(dataset, _brightest)(read_picture(path).pixels)


def mask_of(row: Row, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask (h, w) of a changed row at its own size, which may be smaller than the picture's.

    Args:
        row: One with a mask.
        shape: H and W of its picture.

    Raises:
        ValueError: If the mask is turned against the picture, or of another shape: some public
            ground truths have such, CASIA v2's among them, and which way to turn is not known.
    """
    if row.mask is None:
        raise ValueError(f"{row.where}: want a mask, got none")
    found: NDArray[np.bool_] = grey_mask(row.mask, row.dataset) > 127
    (height, width), (high, wide) = shape[:2], found.shape
    if not fits(found.shape, (height, width)):
        turned = fits((wide, high), (height, width))
        what = "is turned against" if turned else "does not have the shape of"
        raise ValueError(
            f"{row.mask}: {wide} x {high} pixels, {what} its picture {row.path.name}, "
            f"{width} x {height}; mend the mask or leave the row out"
        )
    return found


def _brightest(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = pixels.max(-1)
    return grey


# Sets whose masks are not white where a picture was changed.
MASKS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "nist16": lambda pixels: np.uint8(255) - pixels.max(-1),  # black is changed
    "columbia": lambda pixels: np.where(pixels[..., 1] > pixels[..., 0], 255, 0).astype(np.uint8),
}


def read(
    manifest: Path | Manifest, fields: Sequence[str], *, size: int, by: str = "kinds"
) -> Dataset:
    """The pictures of a manifest, or of its file, under the words of a batch in ``fields``.

    Args:
        manifest: Best one split of it: ``read_manifest(path).of_split("train")``.
        fields: Of :data:`FIELDS`.
        size: S in pixels.
        by: What ``domains`` number: "kinds" of forgery, "datasets", or "families" of attacks.

    Raises:
        ValueError: That names the file, and the line if one is at fault.
    """
    made = manifest if isinstance(manifest, Manifest) else read_manifest(manifest)
    return Dataset(made, fields, size, by)


def draw(
    dataset: Dataset, number: int, *, batch: int, seed: int, balance: str = "labels"
) -> dict[str, NDArray[Any]]:
    """The ``number``-th batch of :func:`batches`, at the cost of this batch alone."""
    if not balance:
        return dataset.batch(places(len(dataset), batch, number, seed))
    if balance == "pairs":
        genuine = np.array([*dataset.forgeries], np.int64)
        behind = genuine[places(genuine.size, batch // 2, number, seed)]
        rng = np.random.default_rng([seed, number])
        forged = [rng.choice(dataset.forgeries[int(row)]) for row in behind]
        return dataset.batch(np.concatenate([behind, forged]))
    if balance == "labels":
        groups, wanted, what = dataset.labels, 2, "both labels"
    elif balance == "domains":
        kinds = dataset.manifest.kinds
        groups, wanted, what = dataset.domains, 1 + len(kinds), f"genuine and {kinds}"
    elif balance == "families":  # those that are there: one may have been left out
        there = np.unique(dataset.domains)
        groups, wanted = np.searchsorted(there, dataset.domains), there.size
        what = "live faces and each family of attacks"
    else:  # genuine and attacks of the first dataset, of the second, …
        groups = 2 * dataset.domains + dataset.labels
        wanted, what = 2 * (1 + int(dataset.domains.max())), "both labels of every dataset"
    members = [np.flatnonzero(groups == group) for group in range(wanted)]
    if batch % wanted or not all(rows.size for rows in members):
        raise ValueError(
            f"{dataset.manifest.name}: to balance want {what} and a batch that {wanted} "
            f"divides, got {batch} of {[rows.size for rows in members]}"
        )
    each = batch // wanted
    return dataset.batch(
        np.concatenate([rows[places(rows.size, each, number, seed)] for rows in members])
    )


def batches(
    dataset: Dataset, *, batch: int, seed: int, balance: str = "labels", start: int = 0
) -> Iterator[dict[str, NDArray[Any]]]:
    """Endless batches, the same for the same seed.

    Args:
        dataset: Where from.
        batch: B.
        seed: Of the order, which is new in each epoch.
        balance: "labels": half genuine, half forged; "domains": genuine and each kind alike; the
            genuine come first, and the smaller group comes round more often. "pairs": genuine
            ones, then a forgery of each, whichever kind is drawn. "datasets": genuine ones and
            attacks of each dataset alike. "families": live faces, physical and digital attacks
            alike. "": as they come.
        start: Batches to pass over, at no cost: a resumed run goes on with the next.

    Raises:
        ValueError: If a group is missing or does not divide the batch.
    """
    for number in count(start):
        yield draw(dataset, number, batch=batch, seed=seed, balance=balance)


def _family(row: Row) -> int:
    """0 genuine, 1 physical, 2 digital; an attack of both families cannot be learnt as one."""
    if not row.label:
        return 0
    try:
        family = taxonomy.family_of(row.kind)
    except ValueError as error:
        raise ValueError(f"{row.where}: {error}") from None
    if family == "hybrid":
        raise ValueError(f"{row.where}: {row.kind} is of both families; leave it out")
    return 1 if family == "physical" else 2


def _square(pixels: NDArray[Value], size: int, how: Image.Resampling) -> NDArray[Value]:
    height, width = pixels.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    image = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(image if side == size else image.resize((size, size), how))

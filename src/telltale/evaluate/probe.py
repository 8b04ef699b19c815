"""What else than the forgery predicts the label: size, container, JPEG quality, identity.

Data whose forgeries are all PNG, or all 256 pixels wide, or all of people who are never genuine,
measure who notices that. For each property the probe learns how often its values are forged from
the sources of four folds and predicts the fifth; what that alone is worth is an AUC with the same
interval as any other. Identity is asked item by item: how often are the source's *other* items
forged?
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from telltale import metrics
from telltale.evaluate.predictions import CALIBRATED, Predictions, Strings, as_numbers
from telltale.evaluate.protocol import Protocol
from telltale.media.quantisation import chroma_subsampling, jpeg_quality

FOLDS = 5
BINS = 10  # of a number with many values
WORDS = 20  # a column of more distinct words is a name, not a property
MOST = 5000  # files whose headers are read; more would not make the intervals matter
TELLS = 0.6  # an interval above it is a leak
FACTS = ("container", "width x height", "file bytes", "bytes per pixel", "jpeg quality", "colour")
NO_PROPERTY = frozenset(  # what follows from the label, or names the item
    ("kind", "split", "verdict", "error", "video", "mask", "partner", CALIBRATED)
)
TOGETHER = "all of these together"
IDENTITY = "identity (source)"


class Probe(NamedTuple):
    """What one property alone predicts: its AUC, 95 % interval, and how many items have it."""

    what: str
    auc: float
    low: float
    high: float
    items: int

    @property
    def tells(self) -> bool:
        """Whether it gives the label away."""
        return self.low > TELLS


def with_facts(predictions: Predictions, folder: Path) -> Predictions:
    """The predictions with what their files' headers say, as columns of :data:`FACTS`.

    Of more than :data:`MOST` items an evenly spread choice is read. Pixels are not decoded. A
    column of the same name is left as it is.

    Args:
        predictions: With paths relative to ``folder``, or absolute.
        folder: Where the files lie. Where none of them does, the predictions come back as they are.
    """
    chosen = np.unique(np.linspace(0, len(predictions) - 1, min(MOST, len(predictions))).round())
    found = {int(row): _facts(folder / str(predictions.paths[int(row)])) for row in chosen}
    columns = {
        name: np.array([found.get(row, {}).get(name, "") for row in range(len(predictions))])
        for name in FACTS
    }
    kept = {name: column for name, column in columns.items() if (column != "").any()}
    return replace(predictions, columns={**kept, **predictions.columns})


def probes(predictions: Predictions, protocol: Protocol) -> tuple[Probe, ...]:
    """What each property of the items predicts by itself, the strongest first.

    Properties are the further columns (but for what follows from the label), the file's ending,
    and the source. Of fewer than ``protocol.smallest`` items of a class, or than
    :data:`FOLDS` sources, nothing is said: chance does as well.
    """
    if np.bincount(predictions.labels, minlength=2).min() < protocol.smallest:
        return ()
    fold = _folds(predictions.sources, protocol.seed)
    found: list[Probe] = []
    evidence = np.zeros(len(predictions))
    told = 0
    for name, values in _properties(predictions):
        if fold is None:
            break
        known = values >= 0
        odds = _learnt(values, predictions.labels, fold)
        if (probe := _judged(name, odds, known, predictions, protocol)) is not None:
            found.append(probe)
            evidence += np.where(known, odds, 0.0)
            told += 1
    if told > 1 and fold is not None:
        whole = np.ones(len(predictions), bool)
        if (probe := _judged(TOGETHER, evidence, whole, predictions, protocol)) is not None:
            found.append(probe)
    identity, known = _of_others(predictions)
    if (probe := _judged(IDENTITY, identity, known, predictions, protocol)) is not None:
        found.append(probe)
    return tuple(sorted(found, key=lambda probe: -probe.auc))


def leaks(found: tuple[Probe, ...]) -> list[str]:
    """A sentence that names what gives the label away; none if nothing does."""
    told = [f"{it.what} (AUC {it.auc:.2f})" for it in found if it.tells and it.what != TOGETHER]
    if not told:
        return []
    return [
        "forged can be told from genuine without looking at the forgery, and the figures above may "
        f"measure that: by {', by '.join(told)}"
    ]


def _facts(path: Path) -> Mapping[str, str]:
    """What a file's header says, as text; nothing of a file that is not there."""
    try:
        if not path.is_file():  # a table may name anything, and a pipe would be waited for
            return {}
        size = path.stat().st_size
    except (OSError, ValueError):
        return {}
    try:
        with Image.open(path) as image:
            pixels = image.width * image.height
            quality = jpeg_quality(image)
            return {
                "container": image.format or "",
                "width x height": f"{image.width} x {image.height}",
                "file bytes": str(size),
                "bytes per pixel": f"{size / max(pixels, 1):.6g}",
                "jpeg quality": "" if quality is None else f"{quality:.0f}",
                "colour": chroma_subsampling(image) or image.mode,
            }
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return {"file bytes": str(size)}  # a video, or what no detector could read either


def _properties(predictions: Predictions) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Each property and the number of its value for each item (N,), -1 where it is not known."""
    columns = {k: v for k, v in predictions.columns.items() if k not in NO_PROPERTY}
    if "container" not in columns:
        suffixes = [Path(str(path)).suffix.lower() for path in predictions.paths]
        columns["file type"] = np.array(suffixes, np.str_)
    for name, column in columns.items():
        values = _binned(column, WORDS if name not in FACTS else len(column))
        if values is not None and np.unique(values[values >= 0]).size > 1:
            yield name, values


def _binned(column: Strings, words: int) -> NDArray[np.intp] | None:
    """The number of each item's value or decile (N,), -1 where empty; None for names."""
    known = column != ""
    numbers = as_numbers(column)
    distinct, which = np.unique(column, return_inverse=True)
    if numbers is None or distinct.size <= BINS:
        if distinct.size > words:
            return None
        return np.where(known, which, -1)
    edges = np.unique(np.nanquantile(numbers, np.linspace(0, 1, BINS + 1)[1:-1]))
    return np.where(known, np.searchsorted(edges, numbers, side="right"), -1)


def _folds(sources: Strings, seed: int) -> NDArray[np.intp] | None:
    """The fold of each item (N,), sources whole; None if they are too few."""
    names, which = np.unique(sources, return_inverse=True)
    if names.size < FOLDS:
        return None
    order = np.random.default_rng(seed).permutation(names.size)
    return np.asarray(order[which] % FOLDS, np.intp)


def _learnt(
    values: NDArray[np.intp], labels: NDArray[np.int64], fold: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Log-odds (N,) of being forged over the prior, by the value, learnt from the other folds."""
    odds = np.zeros(len(values))
    size = int(values.max()) + 1
    for held in range(FOLDS):
        seen, asked = (fold != held) & (values >= 0), (fold == held) & (values >= 0)
        if not asked.any() or not seen.any():
            continue
        prior = (labels[seen].sum() + 0.5) / (seen.sum() + 1)
        count = np.bincount(values[seen], minlength=size)
        forged = np.bincount(values[seen], labels[seen], size)
        rate = (forged + 2 * prior) / (count + 2)  # as if two more items had been seen
        told = np.log(rate / (1 - rate)) - np.log(prior / (1 - prior))
        odds[asked] = told[values[asked]]
    return odds


def _of_others(predictions: Predictions) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How often the other items of an item's source are forged, and where there are others.

    Frames of the same video are no others: they share its label.
    """
    has_videos = "video" in predictions.columns
    own = predictions.column("video") if has_videos else predictions.paths
    count, forged = np.zeros(len(own)), np.zeros(len(own))
    for groups, sign in ((predictions.sources, 1), (own, -1)):
        _, which = np.unique(groups, return_inverse=True)
        count += sign * np.bincount(which)[which]
        forged += sign * np.bincount(which, predictions.labels)[which]
    return forged / np.maximum(count, 1), count > 0


def _judged(
    what: str,
    scores: NDArray[np.float64],
    known: NDArray[np.bool_],
    predictions: Predictions,
    protocol: Protocol,
) -> Probe | None:
    """The AUC with its interval; None where one class or one source has the property alone."""
    if not known.any():
        return None
    rows = predictions.take(known)
    try:
        value, low, high = metrics.bootstrap(
            metrics.auc,
            scores[known],
            rows.labels,
            rows.sources,
            seed=protocol.seed,
            resamples=min(200, protocol.resamples),
        )
    except ValueError:
        return None
    return Probe(what, value, low, high, int(known.sum()))

"""The violation test of a detector's explanations, and the maps with what it found."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.data.manifest import read_manifest
from telltale.explaining.opening import Opened, opened
from telltale.media import find_media

Track = Callable[[Iterable[Any], int], Iterable[Any]]  # items and their number -> the items
Floats = NDArray[np.float32]

TRUSTED = 0.25  # ours, not the paper's: half of what a coin gives
BATCH = 8
FEW = 20


@dataclass(frozen=True, slots=True)
class Measured:
    """One explanation under the test.

    Args:
        method: Its name.
        violation: Share of samples and removals in which its strongest feature's sign was wrong.
        low: Of the 95 % interval, Wilson's over pictures.
        high: The same interval's other end.
        still: Share of changes below 1e-6: of these the test says nothing.
        comprehensiveness: Mean fall of the called class's probability without the top features;
            NaN if it was not measured.
        sufficiency: The same without the lowest.
        by_removal: Violation by each way of removing.
        trust: "yes", "no" or "not settled"; see :func:`faithfulness`.
    """

    method: str
    violation: float
    low: float
    high: float
    still: float
    comprehensiveness: float
    sufficiency: float
    by_removal: Mapping[str, float]
    trust: str


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """The test of all explanations of one model, the fewest violations first."""

    model: str
    claim: str  # what class 1 asserts, of a detector
    data: str
    pictures: int
    rows: tuple[Measured, ...]
    notes: tuple[str, ...]

    def best(self) -> Measured:
        """The explanation with the fewest violations; random weights do not compete."""
        return next(row for row in self.rows if row.method != "random")

    def of(self, method: str) -> Measured:
        """An explanation's row."""
        return next(row for row in self.rows if row.method == method)


@dataclass(frozen=True, slots=True)
class Explained:
    """One picture's maps.

    Args:
        path: The picture.
        crop: What the model was shown, (3, S, S) in [0, 1].
        score: Probability of the class that the model calls.
        called: That class.
        maps: By method, signed weights (g, g) for the called class.
    """

    path: Path
    crop: Floats
    score: float
    called: int
    maps: Mapping[str, Floats]


def faithfulness(
    what: str | Path | None,
    data: Path | str | Sequence[Path] | None = None,
    *,
    split: str = "test",
    on: str = "pictures",
    pictures: int = 100,
    grid: int | None = None,
    track: Track = lambda items, count: items,
) -> Faithfulness:
    """How often each explanation of a detector points the wrong way.

    "yes" is said of an explanation whose interval lies below a quarter, "no" of one that lies
    above, if at least half of the removals changed anything.

    Args:
        what: A run's folder, a slug or an exported ``.onnx``; the first shipped one by default.
        data: A manifest, or a folder of pictures, or pictures; a run's own validation data by
            default.
        split: Rows of a manifest.
        on: "pictures": what the detector looks at is found in them; "crops": the middle square.
        pictures: How many to look at, evenly spaced.
        grid: Blocks a side where features are blocks.
        track: Shows progress, as :func:`rich.progress.track` does.

    Raises:
        ValueError: That names the file or setting, and says what is wanted.
    """
    return _tested(opened(what, grid), data, split, on, pictures, track, shares=True)


def explain(
    paths: Sequence[Path],
    what: str | Path | None = None,
    data: Path | str | None = None,
    *,
    split: str = "test",
    on: str = "pictures",
    pictures: int = 32,
    grid: int | None = None,
    track: Track = lambda items, count: items,
) -> tuple[list[Explained], Faithfulness]:
    """Maps of pictures by every explanation that a detector allows, and the test of each.

    Args:
        paths: Pictures to explain.
        what: See :func:`faithfulness`.
        data: What to test on, see :func:`faithfulness`; of a file without validation data it is
            ``paths`` by default.
        split: Rows of a manifest.
        on: See :func:`faithfulness`.
        pictures: How many to test on.
        grid: Blocks a side where features are blocks.
        track: Shows progress.

    Raises:
        ValueError: As :func:`faithfulness`.
    """
    import torch

    from telltale.explain.changes import as_given

    if not paths:
        raise ValueError("want a picture or more to explain, got none")
    model = opened(what, grid)
    crops = [model.crop(path, on) for path in paths]  # wrong ones are said before the test
    tests = list(paths) if data is None and model.validation is None else data
    found = _tested(model, tests, split, on, pictures, track, shares=False)
    made = []
    for path, crop in zip(paths, crops, strict=True):
        sample = torch.from_numpy(crop)[None]
        maps = {
            name: way.explain(model.subject, sample)[0].float().numpy().reshape(2 * (model.grid,))
            for name, way in model.ways.items()
        }
        before = as_given(model.subject, sample)
        score, called = float(before.probability), int(before.chosen)
        made.append(Explained(path, crop, score, called, maps))
    return made, found


def _tested(  # what a test is made of
    model: Opened,
    data: Path | str | Sequence[Path] | None,
    split: str,
    on: str,
    pictures: int,
    track: Track,
    *,
    shares: bool,
) -> Faithfulness:
    import torch

    from telltale.explain.changes import as_given
    from telltale.explain.faithfulness import together, violations

    if pictures < 1 or on not in ("pictures", "crops"):
        raise ValueError(
            f"want one picture or more, on 'pictures' or 'crops'; got {pictures} and {on!r}"
        )
    name, images, notes = _images(model, data, split, on, pictures)
    batches = [torch.from_numpy(images[k : k + BATCH]) for k in range(0, len(images), BATCH)]
    made: dict[str, list[Any]] = {method: [] for method in model.ways}
    for batch in track(batches, len(batches)):
        before = as_given(model.subject, batch)
        for method, way in model.ways.items():
            one = violations(
                model.subject,
                way.explain,
                batch,
                removals=way.removals,
                shares=shares,
                before=before,
            )
            made[method].append(one)
    rows = [_measured(method, together(made[method]), len(images)) for method in model.ways]
    rows.sort(key=lambda row: (row.violation, row.still))
    if len(images) < FEW:
        notes += (f"{len(images)} pictures settle little; --data tests on more",)
    notes = (*model.notes, *notes)
    return Faithfulness(model.name, model.claim, name, len(images), tuple(rows), notes)


def _measured(method: str, verdict: Any, pictures: int) -> Measured:  # noqa: ANN401  # Verdict
    low, high = wilson(verdict.violation, pictures)
    trust = "yes" if high < TRUSTED else "no" if low > TRUSTED else "not settled"
    return Measured(
        method,
        verdict.violation,
        low,
        high,
        verdict.still,
        verdict.comprehensiveness,
        verdict.sufficiency,
        verdict.by_removal,
        trust if verdict.still <= 0.5 else "not settled",
    )


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share of ``count`` independent ones."""
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / count) ** 2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def _images(
    model: Opened, data: Path | str | Sequence[Path] | None, split: str, on: str, pictures: int
) -> tuple[str, Floats, tuple[str, ...]]:
    """A name of the data, images (N, 3, S, S), and what is to be said of them."""
    if data is None:
        if model.validation is None:
            raise ValueError(f"{model.name}: brings no data; name some to test on")
        whole = np.concatenate([*model.validation()])
        return "the run's validation data", whole[_spaced(len(whole), pictures)], ()
    name, paths = _paths(data, split)
    crops, failed = [], []
    for number in _spaced(len(paths), pictures):
        try:
            crops.append(model.crop(paths[number], on))
        except ValueError as error:
            failed.append(str(error))
    if not crops:
        raise ValueError(f"{name}: no picture can be tested on, e.g. {failed[0]}")
    notes = (f"{len(failed)} pictures were left out, e.g. {failed[0]}",) if failed else ()
    return name, np.stack(crops), notes


def _paths(data: Path | str | Sequence[Path], split: str) -> tuple[str, list[Path]]:
    if not isinstance(data, Path | str):
        return f"{len(data)} pictures that were named", list(data)
    folder = Path(data)
    if folder.is_dir() and not any(it.is_dir() for it in folder.iterdir()):
        if not (found := [*find_media([folder])]):
            raise ValueError(f"{folder}: there are no pictures in it")
        return folder.name, found
    manifest = read_manifest(data).of_split(split)
    return f"{manifest.name}, split {split}", [row.path for row in manifest.rows]


def _spaced(count: int, wanted: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))

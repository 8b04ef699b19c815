"""The violation test of a detector's explanations, and the maps with what it found."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.data.manifest import read_manifest
from telltale.detector.maps import LOT
from telltale.explaining.files import Shown
from telltale.explaining.opening import Opened, is_run, opened
from telltale.explaining.verdicts import Explained, Faithfulness, Measured, measured
from telltale.media import find_media

Track = Callable[[Iterable[Any], int], Iterable[Any]]  # items and their number -> the items

BATCH = 8
FEW = 20


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

    "no" is said of an explanation that does not violate clearly less than weights drawn by lot, or
    whose interval lies above a quarter; "yes" of one whose interval lies below, if at least half of
    the removals changed anything.

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
    return _tested(_model(what, grid), data, split, on, pictures, track, shares=True)


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
    if not paths:
        raise ValueError("want a picture or more to explain, got none")
    model = _model(what, grid)
    # wrong ones are said before the test
    crops: list[Any] = [model.crop(path, on) for path in paths]
    tests = list(paths) if data is None and model.validation is None else data
    found = _tested(model, tests, split, on, pictures, track, shares=False)
    made = []
    for path, crop in zip(paths, crops, strict=True):
        maps, score, called = model.explain(crop)
        shown = crop.transpose(2, 0, 1) / 255 if isinstance(model, Shown) else crop
        made.append(Explained(path, np.asarray(shown, np.float32), score, called, maps))
    return made, found


def _model(what: str | Path | None, grid: int | None) -> Opened | Shown:
    if what is not None and is_run(what):
        return opened(Path(what), grid)
    return Shown.of(what, grid)


def _tested(  # what a test is made of
    model: Opened | Shown,
    data: Path | str | Sequence[Path] | None,
    split: str,
    on: str,
    pictures: int,
    track: Track,
    *,
    shares: bool,
) -> Faithfulness:
    if pictures < 1 or on not in ("pictures", "crops"):
        raise ValueError(
            f"want one picture or more, on 'pictures' or 'crops'; got {pictures} and {on!r}"
        )
    name, images, notes = _images(model, data, split, on, pictures)
    run = _of_run if isinstance(model, Opened) else _of_file
    rows = [*run(model, images, track, shares)]  # type: ignore[arg-type]
    rows.sort(key=lambda row: (row.violation, row.still))
    if len(images) < FEW:
        notes += (f"{len(images)} pictures settle little; --data tests on more",)
    notes = (*model.notes, *notes)
    shown = name, len(images), model.grid, tuple(rows), notes
    return Faithfulness(model.name, model.claim, *shown)


def _of_file(model: Shown, crops: Any, track: Track, shares: bool) -> Iterator[Measured]:  # noqa: ANN401
    """The test of a file's maps, without torch."""
    tests = model.tested(track(crops, len(crops)), shares=shares)
    lot = dict(zip(tests[LOT].removals, tests[LOT].violated.T, strict=True))
    for method, it in tests.items():
        flags = dict(zip(it.removals, it.violated.T, strict=True))
        means = (float(x.mean()) for x in (it.still, it.comprehensive, it.sufficient))
        yield measured(method, flags, lot, *means)


def _of_run(model: Opened, images: Any, track: Track, shares: bool) -> Iterator[Measured]:  # noqa: ANN401
    """The test of a run's explanations, through torch."""
    import torch

    from telltale.explain.changes import as_given
    from telltale.explain.faithfulness import together, violations

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
    found = {method: together(verdicts) for method, verdicts in made.items()}
    flags = {
        method: dict(zip(it.by_removal, it.violated.numpy(), strict=True))
        for method, it in found.items()
    }
    for method, it in found.items():
        means = it.still, it.comprehensiveness, it.sufficiency
        yield measured(method, flags[method], flags[LOT], *means)


def _images(
    model: Opened | Shown,
    data: Path | str | Sequence[Path] | None,
    split: str,
    on: str,
    pictures: int,
) -> tuple[str, Any, tuple[str, ...]]:
    """A name of the data, what the model is shown (N, …), and what is to be said of it."""
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

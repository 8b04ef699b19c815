"""Predictions as other projects write them.

- ``.csv``: path, label, score and more; or path and score, with the truth elsewhere.
- ``.npz`` or ``.json``: what DeepfakeBench's ``get_test_metrics`` returns (``pred``, ``label``),
  with ``image``, the frames' paths, from the test set's ``data_dict``.
- ``.json``: IMDLBenCo's ``pred_label_combined.json``, a score for each file name.

DeepfakeBench itself pickles these dicts. A pickle can run anything, so none is opened here;
``examples/deepfakebench_predictions.py`` writes them as NPZ where they were made.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.data.forgery.frame_paths import places
from telltale.data.manifest import read_table, split_of
from telltale.evaluate.predictions import Predictions, number_of, read_predictions, unanswered

TABLES = (".csv", ".json", ".npz")
PICKLED = (".pickle", ".pkl", ".pth", ".pt", ".p")
NAMES = ("image", "img_names")  # DeepfakeBench's words for the frames' paths


def is_table(what: str | Path) -> bool:
    """Whether it names a table of predictions; ValueError for what would have to be unpickled.

    Raises:
        ValueError: That says what to do instead.
    """
    suffix = Path(what).suffix.lower()
    if suffix in PICKLED and Path(what).is_file():
        raise ValueError(
            f"{what}: pickles can run anything and are not opened; save pred, label and image as "
            ".npz where they were made (examples/deepfakebench_predictions.py does)"
        )
    if suffix == ".txt" and Path(what).is_file():
        raise ValueError(
            f"{what}: a log of averages has no predictions to judge; give scores as .csv, .json or "
            ".npz, or a folder of maps with --pixels"
        )
    return suffix in TABLES


def read_any(path: Path, data: Path | None = None) -> Predictions:
    """Read a table of predictions in any of the forms above.

    Args:
        path: The table.
        data: The truth, for a table that has only names and scores: a manifest, or a dataset such
            as ``imdlbenco:set.json``. Names are matched by path, else by file name.

    Raises:
        ValueError: That names the file and says what is wrong with it, or that truth is missing or
            there twice.
    """
    suffix = path.suffix.lower()
    labelled = suffix == ".csv" and "label" in read_table(path, ()).columns
    if labelled and data is not None:
        raise ValueError(f"{path}: predictions bring their own data; leave out {data}")
    if labelled:
        found: Predictions | Mapping[str, float] = read_predictions(path)
    elif suffix == ".csv":
        found = _named_scores(path)
    else:
        found = _of_dict(path, _arrays(path) if suffix == ".npz" else _json(path))
    if isinstance(found, Predictions):
        if data is not None:
            raise ValueError(f"{path}: predictions bring their own data; leave out {data}")
        return found
    if data is None:
        raise ValueError(
            f"{path}: has scores but no labels; give the truth with --data, a manifest or a dataset"
        )
    return _joined(path, found, data)


def _named_scores(path: Path) -> dict[str, float]:
    table = read_table(path, ("path", "score"))
    found: dict[str, float] = {}
    for row, line in zip(table.rows, table.lines, strict=True):
        if row["path"] in found:
            raise ValueError(f"{path}, line {line}: {row['path']!r} stands there twice")
        found[row["path"]] = number_of(row["score"], f"{path}, line {line}")
    return found


def _json(path: Path) -> Any:  # noqa: ANN401  # whatever a file may hold
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from None


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read as NPZ ({error})") from None


def _of_dict(path: Path, found: Any) -> Predictions | dict[str, float]:  # noqa: ANN401
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{path}: want an object with pred and label, or a score for each name")
    if "pred" in found:
        return _deepfakebench(path, found)
    if all(isinstance(value, int | float) for value in found.values()):
        return {str(name): float(value) for name, value in found.items()}
    raise ValueError(
        f"{path}: want pred, label and image as DeepfakeBench has them, or a score for each file "
        f"name as IMDLBenCo has them; there are {[*map(str, found)][:6]}"
    )


def _deepfakebench(path: Path, found: Mapping[str, Any]) -> Predictions:
    try:
        scores = np.asarray(found["pred"], np.float64).squeeze()
        labels = np.asarray(found.get("label", ()), np.float64).squeeze()
    except (TypeError, ValueError):
        raise ValueError(f"{path}: want numbers as pred and label") from None
    if scores.ndim != 1 or labels.shape != scores.shape or not np.isfinite(labels).all():
        raise ValueError(
            f"{path}: want a label for each pred, both (N,); got {labels.shape} and {scores.shape}"
        )
    forged = (labels > 0).astype(np.int64)  # it clips its labels of kinds to 0 and 1 as well
    given = next((found[name] for name in NAMES if name in found), None)
    if given is None:
        named = np.array([f"item {number}" for number in range(scores.size)])
        return Predictions(path.name, named, forged, scores, named)
    frames = [_first(frame) for frame in given]
    if len(frames) != scores.size:
        raise ValueError(f"{path}: {len(frames)} frames for {scores.size} predictions")
    where = places(frames)
    columns = {
        "video": np.array([place.video for place in where], np.str_),
        "kind": np.array(
            [place.kind if label else "" for place, label in zip(where, forged, strict=True)],
            np.str_,
        ),
        "dataset": np.array([place.dataset for place in where], np.str_),
    }
    if not columns["dataset"].astype(bool).any():
        del columns["dataset"], columns["kind"]
    sources = np.array([place.source for place in where], np.str_)
    return Predictions(path.name, np.array(frames, np.str_), forged, scores, sources, columns)


def _first(frame: Any) -> str:  # noqa: ANN401
    """A frame's path; of a clip, which is a list of them, the first one's."""
    if isinstance(frame, str):
        return frame
    return str(frame[0]) if len(frame) else ""


def _joined(path: Path, scores: Mapping[str, float], data: Path) -> Predictions:
    """The truth's rows with these scores; rows without one say so."""
    truth = unanswered(data)
    whole = {_plain(str(name)): row for row, name in enumerate(truth.paths)}
    by_name: dict[str, list[int]] = {}
    for name, row in whole.items():
        by_name.setdefault(PurePosixPath(name).name, []).append(row)
    values = np.full(len(truth), np.nan)
    errors = np.full(len(truth), "no prediction", dtype=np.dtype("U13"))
    unknown = []
    for name, score in scores.items():
        rows = [whole[_plain(name)]] if _plain(name) in whole else None
        rows = rows or by_name.get(PurePosixPath(_plain(name)).name, [])
        if len(rows) > 1:
            there = ", ".join(str(truth.paths[row]) for row in rows[:2])
            raise ValueError(f"{path}: {name!r} may be {there}; give paths as {data} has them")
        if not rows:
            unknown.append(name)
            continue
        if errors[rows[0]] == "":
            raise ValueError(f"{path}: two scores for {truth.paths[rows[0]]}")
        values[rows[0]], errors[rows[0]] = score, ""
    if unknown:
        count = f"{len(unknown)} of {len(scores)}"
        raise ValueError(f"{path}: {count} names are not in {data}, e.g. {unknown[0]!r}")
    columns = {**truth.columns, "error": errors}
    if all(map(str.__eq__, columns["split"].tolist(), map(split_of, truth.sources.tolist()))):
        del columns["split"]  # our own draw, not the set's: whoever predicted did not know it
    return replace(truth, name=path.name, scores=values, columns=columns)


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")

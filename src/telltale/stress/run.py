"""The verb: every file of a split under every degradation, on all cores, kept as it goes."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from telltale.data.manifest import Manifest, Row, read_manifest
from telltale.runs import log
from telltale.stress.degradations import LEVELS, Kind, kinds
from telltale.stress.figures import Items, Point, Stress, averaged, figure
from telltale.stress.kept import earlier, identity, names
from telltale.stress.scoring import Scorer

if TYPE_CHECKING:
    from telltale.detector import Detector

Track = Callable[[Iterable[Any], int], Iterable[Any]]  # items and their number -> the items
KEPT = "scores.jsonl"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is degraded, how, and which part of the data.

    Args:
        kinds: Codes of degradations; all by default. See :func:`telltale.stress.kinds`.
        on: "pictures": degrade the whole picture, then cut the faces; "crops": the pictures are
            faces that were cut already, e.g. by ``telltale prepare``.
        split: Rows of the data.
        seed: Of what is random in degradations, and of the intervals.
        resamples: Draws of whole sources for each interval.
        video_fps: Frames of a video to look at for each second.
    """

    kinds: tuple[str, ...] = ()
    on: str = "pictures"
    split: str = "test"
    seed: int = 0
    resamples: int = 1000
    video_fps: float = 1.0

    def __post_init__(self) -> None:
        if self.resamples < 1 or not 0 < self.video_fps < float("inf"):
            raise ValueError(
                f"want one resample or more and video_fps above 0, got {self.resamples} "
                f"and {self.video_fps}"
            )


def stress(
    detectors: "Mapping[str, Detector]",
    data: Path | str,
    plan: Plan | None = None,
    *,
    out: Path | None = None,
    workers: int | None = None,
    track: Track = lambda items, count: items,
) -> Stress:
    """How the AUC of detectors falls as pictures get worse.

        >>> found = stress({"shipped": telltale.load(threads=1)}, Path("manifest.csv"))
        >>> [point.auc.value for point in found.of("shipped", "GB")]

    Args:
        detectors: Those to compare, by the name that they go by in the result.
        data: A manifest, a folder for each class, or a dataset of the field.
        plan: Default: ``Plan()``.
        out: Folder to keep each file's scores in, so that a stopped run goes on; made if need be.
        workers: Threads; the number of cores by default.
        track: Shows progress, as :func:`rich.progress.track` does.

    Raises:
        ValueError: That names the file or setting, and says what is wanted.
    """
    plan = plan or Plan()
    if not detectors:
        raise ValueError("want a detector or more, got none")
    if workers is not None and workers < 1:
        raise ValueError(f"want one worker or more, got {workers}")
    chosen = kinds(plan.kinds)
    manifest = read_manifest(data).of_split(plan.split)
    if len({row.label for row in manifest.rows}) < 2:
        raise ValueError(f"{manifest.name}: split {plan.split!r} has one class; an AUC needs both")
    scorer = Scorer(
        detectors.values(), chosen, on=plan.on, seed=plan.seed, video_fps=plan.video_fps
    )
    made = made_with(detectors, manifest, plan, chosen)
    found = {} if out is None else earlier(out, made, KEPT)
    called = names(manifest)
    left = [row for row in manifest.rows if called[row.path] not in found]
    for record in track(scored(scorer, left, called, workers), len(left)):
        found[record["path"]] = record
        if out is not None:
            log(out / KEPT, record)
    return _judged(manifest, called, found, detectors, chosen, plan, made)


def detectors(whats: Iterable[str | Path]) -> "dict[str, Detector]":
    """Detectors by short names: slugs, or what exported files and runs' folders are called.

    Raises:
        ValueError: If one cannot be loaded, or is named twice.
    """
    from telltale.loading import load

    given = [str(what) for what in whats]
    short = [Path(what).name for what in given]
    names = [s if short.count(s) == 1 else w for s, w in zip(short, given, strict=True)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]}: is named twice")
    return {name: load(what, threads=1) for name, what in zip(names, given, strict=True)}


class Scores(Protocol):
    """Scores a file as an array, under the name that decides what is random."""

    def score(self, path: Path, name: str) -> NDArray[np.float64]: ...


def scored(
    scorer: Scores, rows: list[Row], names: Mapping[Path, str], workers: int | None
) -> Iterator[dict[str, Any]]:
    """A record for each row in order: its scores, or why there are none."""
    from telltale.media.files import one_line

    def work(row: Row) -> dict[str, Any]:
        name = names[row.path]
        try:
            return {"path": name, "scores": scorer.score(row.path, name).tolist()}
        except (ValueError, OSError, MemoryError) as error:  # what a file can cause
            return {"path": name, "error": one_line(error, 1000) or "not enough memory"}

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pool = ThreadPoolExecutor(workers or cores or 1, thread_name_prefix="telltale")
    try:
        yield from pool.map(work, rows)
    finally:
        pool.shutdown(cancel_futures=True)


def _judged(
    manifest: Manifest,
    names: Mapping[Path, str],
    found: Mapping[str, Mapping[str, Any]],
    detectors: Iterable[str],
    chosen: Mapping[str, Kind],
    plan: Plan,
    made_with: Mapping[str, str],
) -> Stress:
    rows = [row for row in manifest.rows if "scores" in found[names[row.path]]]
    failed = [r for r in (found[names[row.path]] for row in manifest.rows) if "error" in r]
    if len({row.label for row in rows}) < 2:
        why = f"e.g. {failed[0]['path']}: {failed[0]['error']}" if failed else "none is there"
        raise ValueError(f"{manifest.name}: genuine or forged items have no answer, {why}")
    frames = Items(
        np.array([row.label for row in rows], np.int64),
        np.array([row.source for row in rows], np.str_),
        np.array([found[names[row.path]]["scores"] for row in rows], np.float64),
    )
    items = averaged(frames, [row.clip for row in rows])
    clean, points = {}, []
    for d, detector in enumerate(detectors):
        whole = items.scores[:, d]
        given = whole[:, 0, 0]
        clean[detector] = figure(items, np.stack([given, given]), plan.seed, plan.resamples)[0]
        for k, code in enumerate(chosen):
            for level in LEVELS:
                both = np.stack([given, whole[:, k, level]])
                points.append(
                    Point(detector, code, level, *figure(items, both, plan.seed, plan.resamples))
                )
    forged = int(items.labels.sum())
    return Stress(
        data=manifest.name,
        titles={code: kind.title for code, kind in chosen.items()},
        clean=clean,
        points=tuple(points),
        genuine=len(items.labels) - forged,
        forged=forged,
        sources=np.unique(items.sources).size,
        notes=tuple(_notes(items, frames, failed, plan)),
        made_with=made_with,
    )


def _notes(
    items: Items, frames: Items, failed: list[Mapping[str, Any]], plan: Plan
) -> Iterator[str]:
    if plan.on == "crops":
        yield "degradations acted on face crops, which is milder than on whole pictures"
    else:
        yield "degradations acted on whole pictures; faces were cut where they stand undegraded"
    if len(items.labels) < len(frames.labels):
        yield f"{len(frames.labels)} frames were averaged to {len(items.labels)} videos"
    if np.unique(items.sources).size == len(items.labels):
        yield "no sources are shared: intervals treat each item as independent"
    if failed:
        first = failed[0]
        yield f"{len(failed)} files have no answer, e.g. {first['path']}: {first['error']}"


def made_with(
    detectors: "Mapping[str, Detector]", manifest: Manifest, plan: Plan, chosen: Mapping[str, Kind]
) -> dict[str, str]:
    """What figures depend on: versions, weights, data and settings."""
    from telltale import __version__  # the top of the package is above this row

    weights = {f"detector {name}": it.weights.sha256 for name, it in detectors.items()}
    settings = {k: str(v) for k, v in asdict(plan).items() if k not in ("kinds", "resamples")}
    degraded = ", ".join(f"{code} ({kind.title})" for code, kind in chosen.items())
    return {
        "telltale": __version__,
        "data": identity(manifest),
        **weights,
        **settings,
        "kinds": degraded,
    }

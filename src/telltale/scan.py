"""The verb: media in, reports out, with reading and networks overlapped.

Each worker thread takes one file from its bytes to its verdict. Decoders and networks release the
interpreter's lock, so threads fill the cores; each network call then runs on one thread, which
wastes less than splitting small layers over the cores. Reports come in the order of the files, so
that the same command gives the same output, and only a few files are ahead of the one that is
waited for, so that memory does not grow with their number.

What this file imports waits until it is needed: ``import telltale`` loads it.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from concurrent.futures import Future

    from telltale.detector import Detector
    from telltale.media import Frame
    from telltale.records import Failure, Report

PathLike = str | os.PathLike[str]

AHEAD = 16  # files a worker: while one long video runs, the other cores have this many to do
SOFTWARE = ("numpy", "pillow", "onnxruntime")  # decoders, resamplers, arithmetic: they move scores


Watch = Callable[[float, str], None]


def _unwatched(share: float, words: str) -> None:
    """For scans that nobody waits for."""


def scan(
    path: PathLike,
    *,
    survival: bool = True,
    detector: "Detector | Sequence[Detector] | None" = None,
    video_fps: float = 1.0,
    watch: Watch | None = None,
    anchors: PathLike | None = None,
) -> "Report":
    """Ask of one picture or video what the shipped detectors can tell.

        >>> report = telltale.scan("selfie.jpg")
        >>> report.verdict, [finding.score for finding in report.findings]

    Args:
        path: The file. Nothing is written next to it.
        survival: Ask again after each degradation; about seven times the work of the network.
        detector: One or several, each asked in turn; by default the shipped ones, one for each
            question. See :func:`telltale.load`.
        video_fps: Frames of a video to look at for each second.
        watch: Called with the share that is done, in [0, 1], and what is being done.
        anchors: PEM file of certificates whose content credentials are to be trusted.

    Raises:
        MediaError: If the file cannot be read; a ValueError whose text names the file.
        ValueError: If the shipped weights are missing or corrupt.
    """
    asked = _several(detector) or _shipped(0)
    how = _How(survival, video_fps, None if anchors is None else Path(anchors))
    return _report(path, asked, how, watch=watch or _unwatched)


def scan_many(
    paths: Iterable[PathLike],
    *,
    survival: bool = True,
    workers: int | None = None,
    video_fps: float = 1.0,
    done: Collection[PathLike] = (),
    detector: "Detector | Sequence[Detector] | None" = None,
    stop: threading.Event | None = None,
    anchors: PathLike | None = None,
) -> "Iterator[Report | Failure]":
    """Scan files and folders; one report or failure for each file, in their order.

    A file that cannot be read gives a failure, and the scan goes on. No file is scanned twice.

    Args:
        paths: Files, and folders to walk.
        survival: As in :func:`scan`.
        workers: Threads; the number of cores by default.
        video_fps: As in :func:`scan`.
        done: Files to pass over, because an earlier run scanned them.
        detector: One or several, shared by all threads; best are networks of one thread each. By
            default the shipped ones, made so.
        stop: When it is set, no new file begins; what is finished comes out, then the end.
        anchors: As in :func:`scan`.

    Raises:
        ValueError: If a setting is out of range, or the shipped weights are missing or corrupt.
    """
    if isinstance(paths, str | os.PathLike):
        raise ValueError(f"want a list of paths, got the single path {os.fspath(paths)!r}")
    workers = cores() if workers is None else workers
    if workers < 1 or not 0 < video_fps < float("inf"):
        raise ValueError(f"want workers >= 1 and video_fps above 0, got {workers} and {video_fps}")
    asked = _several(detector) or _shipped(1)
    how = _How(survival, video_fps, None if anchors is None else Path(anchors))
    stop, left = stop or threading.Event(), threading.Event()

    def is_over() -> bool:
        return stop.is_set() or left.is_set()

    def work(file: "Path | Failure") -> "Report | Failure | None":
        return _attempt(file, lambda path: _report(path, asked, how, is_over))

    return _in_order(files_in(paths, done), work, workers, stop, left)


def made_with(detectors: "Sequence[Detector]") -> dict[str, str]:
    """What a report's scores depend on besides the file: versions, methods, hashes of weights."""
    from telltale.media.facefinder import shipped

    used = [*(detector.weights for detector in detectors), *shipped()]
    weights = {f"weights {it.file}": it.sha256 for it in used}
    methods = ", ".join(detector.card.slug for detector in detectors)
    return {**_versions(), "method": methods, **weights}


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _How(NamedTuple):
    """How a file is scanned."""

    survival: bool
    video_fps: float
    anchors: Path | None


def _report(
    path: PathLike,
    detectors: "Sequence[Detector]",
    how: _How,
    is_over: Callable[[], bool] = lambda: False,
    watch: Watch = _unwatched,
) -> "Report":
    from datetime import UTC, datetime

    from telltale.detector.joined import joined
    from telltale.loading import task_of
    from telltale.media import kind_of, read_picture, read_video
    from telltale.media.provenance import provenance
    from telltale.records import Finding, Report

    findings: list[Finding] = []
    if kind_of(path) == "picture":
        picture = read_picture(path)
        subject, settings = picture.subject, {}
        told = provenance(Path(path), subject, picture.pixels, anchors=how.anchors)
        for number, detector in enumerate(detectors):
            watch(number / len(detectors), f"asking {detector.card.slug}")
            details = subject.details
            findings += detector.detect(picture.pixels, survival=how.survival, details=details)
    else:
        settings = {"video_fps": f"{how.video_fps:g}"}
        able = [detector for detector in detectors if detector.follows] or detectors
        for number, detector in enumerate(able):  # each reads the video anew: frames are not kept
            subject, frames = read_video(path, how.video_fps)

            def seen(
                seconds: float,
                words: str = f"asking {detector.card.slug}",
                done: int = number,
                length: float = subject.seconds,
            ) -> None:
                watch((done + min(seconds / length if length else 0.0, 1.0)) / len(able), words)

            findings += detector.detect_frames(_until(is_over, frames, seen))
        told = provenance(Path(path), subject, None, anchors=how.anchors)
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    tasks = {detector.card.slug: task_of(detector.card) for detector in detectors}
    findings = joined(findings, tasks)
    return Report(subject, tuple(findings), made_with(detectors) | settings, made_at, told)


def _several(detector: "Detector | Sequence[Detector] | None") -> "tuple[Detector, ...]":
    if detector is None:
        return ()
    return tuple(detector) if isinstance(detector, Sequence) else (detector,)


def _attempt(file: "Path | Failure", look: "Callable[[Path], Report]") -> "Report | Failure | None":
    """The file's report, the failure that says why there is none, or None if it was stopped."""
    from telltale.media.files import one_line, shown
    from telltale.records import Failure

    if isinstance(file, Failure):
        return file
    try:
        return look(file)
    except _StoppedError:
        return None
    except (ValueError, OSError, MemoryError) as error:  # what a file can cause
        text = one_line(error, 1000) or "there is not enough memory"
        return Failure(os.fspath(file), text if shown(file) in text else f"{shown(file)}: {text}")
    except Exception as error:  # a fault of ours: end the scan, and say where it was
        error.add_note(f"while scanning {shown(file)}")
        raise


def _in_order(
    files: "Iterator[Path | Failure]",
    work: "Callable[[Path | Failure], Report | Failure | None]",
    workers: int,
    stop: threading.Event,
    left: threading.Event,
) -> "Iterator[Report | Failure]":
    from concurrent.futures import ThreadPoolExecutor, wait

    waiting: deque[Future[Report | Failure | None]] = deque()

    def finished(most: int) -> "Iterator[Report | Failure]":
        """Results in order: those that are there, and more until ``most`` files are under way."""
        while waiting and not stop.is_set():
            if waiting[0].done():
                if record := waiting.popleft().result():
                    yield record
            elif len(waiting) > most:
                wait([waiting[0]], timeout=0.2)  # wakes up to look at ``stop``, and for Ctrl-C
            else:
                return

    pool = ThreadPoolExecutor(workers, thread_name_prefix="telltale")
    try:
        for file in files:
            waiting.append(pool.submit(work, file))
            yield from finished(AHEAD * workers)
            if stop.is_set():
                break
        yield from finished(0)
        pool.shutdown(cancel_futures=True)  # after ``stop``: what has begun ends, the rest doesn't
        yield from (record for it in waiting if not it.cancelled() and (record := it.result()))
    finally:
        left.set()  # whoever leaves the loop early need not wait for the end of a video
        pool.shutdown(cancel_futures=True)


def files_in(
    paths: Iterable[PathLike], done: Collection[PathLike] = ()
) -> "Iterator[Path | Failure]":
    """The files that :func:`scan_many` scans, each once; a failure for a path that is missing."""
    from telltale.media import MediaError, find_media
    from telltale.records import Failure

    seen = {os.path.abspath(path) for path in done}
    for path in paths:
        try:
            found: Iterator[Path | Failure] = find_media([path])
        except MediaError as error:
            found = iter([Failure(os.fspath(path), str(error))])
        for file in found:
            where = os.path.abspath(file.path if isinstance(file, Failure) else file)
            if where not in seen:
                seen.add(where)
                yield file


class _StoppedError(Exception):
    """A video was left in the middle, because the scan was stopped."""


def _until(
    is_over: Callable[[], bool], frames: "Iterable[Frame]", told: Callable[[float], None]
) -> "Iterator[Frame]":
    for frame in frames:
        if is_over():
            raise _StoppedError
        told(frame.seconds)
        yield frame


@cache
def _shipped(threads: int) -> "tuple[Detector, ...]":
    """Kept, because checking the hashes of weights takes longer than a small picture."""
    from telltale.loading import detectors

    return detectors(threads=threads)


@cache
def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from telltale import __version__

    return {"telltale": __version__, **{name: version(name) for name in SOFTWARE}}

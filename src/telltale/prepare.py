"""The verb: raw videos in, cut faces with a manifest out; in parallel, and goes on after a kill.

    OUT/faces/<dataset>/<kind>/<video>/<frame>.png   and masks likewise
    OUT/progress.jsonl                               the settings, then a line a video with its file
    OUT/manifest.csv   OUT/skipped.csv               written when every video has been tried

Which frames and which face are cut is in :mod:`telltale.data.clips`. What failed is named, and
tried again by the next run. A folder holds the faces of one command's datasets: a video's name says
neither its compression nor its root, and a manifest without the others would hide their faces.

Source of the settings (32 frames, 256 pixels, 1.3 times the face): DeepfakeBench (Yan et al.,
NeurIPS 2023).
"""

import csv
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path

from telltale.data.clips import Clip, Cut, Done, clips_of, cut_clip
from telltale.data.manifest import read_manifest
from telltale.runs import replace_text

PROGRESS, MANIFEST, SKIPPED = "progress.jsonl", "manifest.csv", "skipped.csv"
COLUMNS = ("path", "label", "source", "split", "kind", "mask", "partner", "video", "dataset")


def prepare(
    raws: Iterable[Path | str], out: Path, cut: Cut | None = None, *, workers: int | None = None
) -> tuple[int, Iterator[Done]]:
    """Cut the faces of datasets' videos.

    Args:
        raws: Datasets as :func:`~telltale.data.manifest.read_manifest` takes them.
        out: Folder to write to; one that an earlier run began goes on.
        cut: What to cut.
        workers: Processes; the number of cores by default. 1 stays in this process.

    Returns:
        How many clips are left to do, and an iterator that does them, in the order in which they
        end; when it is at its end, the manifest is written.

    Raises:
        ValueError: If a dataset cannot be read, two have a video of one name, the folder was begun
            with other settings or other datasets, or, at the end, no face was cut at all.
    """
    cut = cut or Cut()
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise ValueError(f"want one worker or more, got {workers}")
    clips: dict[str, Clip] = {}
    for raw in raws:
        for clip in clips_of(read_manifest(raw).rows):
            if clip.name in clips:
                raise ValueError(f"{clip.row.path}: {clip.name} comes from {raw} and from another")
            clips[clip.name] = clip
    done = _begun(out, cut, clips)
    todo = [clip for clip in clips.values() if clip.name not in done]
    return len(todo), _work(clips, todo, done, out, cut, workers)


def _work(
    clips: dict[str, Clip],
    todo: Sequence[Clip],
    done: dict[str, Done],
    out: Path,
    cut: Cut,
    workers: int,
) -> Iterator[Done]:
    with (out / PROGRESS).open("a", encoding="utf-8") as log:
        for result in _results(todo, out, cut, workers):
            done[result.name] = result
            if not result.error:  # what failed is tried again
                line = {**result._asdict(), "file": _origin(clips[result.name])}
                log.write(json.dumps(line) + "\n")
                log.flush()
            yield result
    _write_tables(out, clips, done)
    if not any(result.frames for result in done.values()):
        raise ValueError(f"{out}: no face was cut; {SKIPPED} there says why")


def _results(todo: Sequence[Clip], out: Path, cut: Cut, workers: int) -> Iterator[Done]:
    if workers == 1 or len(todo) < 2:
        yield from (cut_clip(clip, out, cut) for clip in todo)
        return
    context = multiprocessing.get_context("spawn")  # networks' threads do not survive a fork
    pool = ProcessPoolExecutor(workers, context, _leave_with_parent, (os.getpid(),))
    waiting: set[Future[Done]] = set()
    try:
        for clip in todo:
            waiting.add(pool.submit(cut_clip, clip, out, cut))
            if len(waiting) >= 4 * workers:
                ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ended)
        while waiting:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in ended)
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_with_parent(parent: int) -> None:
    """Ends this process when its parent was killed and can no longer say so."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# ── what is written ──────────────────────────────────────────────────────────────────────────────


def _begun(out: Path, cut: Cut, clips: dict[str, Clip]) -> dict[str, Done]:
    """What an earlier run did in this folder; a new folder gets its settings written."""
    path = out / PROGRESS
    text = path.read_text("utf-8") if path.exists() else ""
    whole, end, torn = text.rpartition("\n")  # a kill may have torn the last line
    if not end:
        out.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(asdict(cut)) + "\n")
        return {}
    try:
        settings, *lines = (json.loads(line) for line in whole.splitlines())
        done = {it["name"]: Done(it["name"], tuple(it["frames"]), it["dropped"]) for it in lines}
        origins = {it["name"]: it["file"] for it in lines if "file" in it}  # older lines have none
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); name another folder") from None
    if settings != asdict(cut):
        raise ValueError(f"{out}: was begun with {settings}; name another folder for {asdict(cut)}")
    for name in done:
        if name not in clips:
            raise ValueError(
                f"{out}: has faces of {name}, which this command does not name; name all datasets "
                "of a folder in one command, or another folder"
            )
        if (old := origins.get(name)) not in (None, new := _origin(clips[name])):
            raise ValueError(
                f"{out}: {name} was cut from {old}, not from {new}; name another folder"
            )
    if torn:
        replace_text(path, whole + "\n")
    # Frames of a folder once went by their place in it, not by their number: they are cut anew.
    return {name: it for name, it in done.items() if name in origins or not clips[name].of_frames}


def _origin(clip: Clip) -> str:
    """What tells a clip from that of the same name in another root, or at another compression."""
    return str(clip.row.path.resolve())


def _write_tables(out: Path, clips: dict[str, Clip], done: dict[str, Done]) -> None:
    crops = _crops(clips.values(), done)
    table: list[Sequence[object]] = []
    skipped: list[Sequence[object]] = []
    for name, clip in clips.items():
        result, frames = done[name], clip.numbered if clip.of_frames else {}
        if result.error or result.dropped:
            why = result.error or f"no face in {result.dropped} frames"
            skipped.append((name, str(clip.row.path), why))
        for number in result.frames:
            if clip.of_frames and number not in frames:
                continue  # a picture that was taken away since
            row, picture = frames.get(number, clip.row), f"{number:04}.png"
            mask = f"masks/{name}/{picture}"
            partner = crops.get((row.partner, number)) or crops.get((row.partner, None), "")
            table.append(
                (
                    *(f"faces/{name}/{picture}", row.label, row.source, row.split, row.kind),
                    mask if row.mask and (out / mask).is_file() else "",
                    *(partner, name, row.dataset),
                )
            )
    _write(out / SKIPPED, ("video", "file", "why"), skipped)
    _write(out / MANIFEST, COLUMNS, table)


def _crops(
    clips: Iterable[Clip], done: dict[str, Done]
) -> dict[tuple[Path | None, int | None], str]:
    """The crop of each picture by its path, of each frame of a video by its number as well."""
    found: dict[tuple[Path | None, int | None], str] = {}
    for clip in clips:
        frames = clip.numbered if clip.of_frames else {}
        for number in done[clip.name].frames:
            key = (frames[number].path, None) if number in frames else (clip.row.path, number)
            found[key] = f"faces/{clip.name}/{number:04}.png"
    return found


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    part.replace(path)

"""The same scan over a corpus: Ray Data feeds files to workers; JSON lines or Parquet come out.

Any Ray cluster serves, a local one by default. Each worker loads the networks once. A file that
cannot be read costs its own line and nothing else; a run that was stopped goes on, and knows files
by their content: what moved or was copied is not scanned twice. Paths may be folders of this
machine, or URIs that pyarrow opens (``s3://bucket/prefix``, ``gs://…``).
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from telltale.media import MediaError
from telltale.media.files import SUFFIXES, one_line, sha256
from telltale.records import Failure, Report
from telltale.report import JsonLines, read_jsonl

BATCH = 8  # files that a worker takes at once
PART = 2000  # rows of a Parquet file

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tally:
    """What a run came to.

    Args:
        scanned: Files with a report.
        failed: Files that could not be read.
        passed: Files whose content was done already.
        evidence: Reports with a verdict of "yes".
        seconds: From the first file to the last, without Ray's start.
    """

    scanned: int
    failed: int
    passed: int
    evidence: int
    seconds: float

    @property
    def rate(self) -> float:
        """Files a second."""
        return (self.scanned + self.failed) / max(self.seconds, 1e-9)


def scan_corpus(
    paths: Sequence[str | os.PathLike[str]],
    out: Path,
    *,
    workers: int = 2,
    survival: bool = False,
    video_fps: float = 1.0,
    task: str | None = None,
    address: str | None = None,
    watch: Callable[[int], None] = lambda count: None,
) -> Tally:
    """Scan files, folders and URIs with Ray Data.

    Args:
        paths: What to scan.
        out: ``.jsonl``: reports and failures as ``telltale scan --json`` writes them. Otherwise a
            folder of Parquet files with a row a file. What is in it is gone on with.
        workers: Processes, each with the networks.
        survival: As in :func:`telltale.scan`.
        video_fps: As in :func:`telltale.scan`.
        task: As in :func:`telltale.load`.
        address: Of a Ray cluster; by default one of this machine, which ends with the run.
        watch: Called with the number of files that are over.

    Raises:
        ValueError: If Ray is missing, there is nothing to scan, or ``out`` is another's file.
    """
    ray = _ray()
    files = sorted(set(_listed(paths)))
    if not files:
        raise ValueError(f"no pictures or videos in {', '.join(map(str, paths))}")
    done = known(out)
    mine = not ray.is_initialized()
    if mine:
        quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
        ray.init(address=address, **({} if address else {"num_cpus": workers + 1} | quiet))
    try:
        shared = ray.put(done)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        rows = ray.data.from_items([{"path": path} for path in files])
        rows = rows.repartition(max(workers, min(len(files) // BATCH, 1000)))
        answers = rows.map_batches(
            Worker,
            fn_constructor_args=(shared, survival, video_fps, task),
            compute=ray.data.ActorPoolStrategy(size=workers),
            batch_size=BATCH,
            num_cpus=1,
        )
        return _kept(answers.iter_rows(), out, done, watch)
    finally:
        if mine:
            ray.shutdown()


class Worker:
    """One process of the corpus: networks, and what it does with a batch of paths."""

    def __init__(self, done: Any, survival: bool, video_fps: float, task: str | None) -> None:  # noqa: ANN401
        import ray

        from telltale.loading import detectors

        self.done: set[str] = ray.get(done) if isinstance(done, ray.ObjectRef) else done
        self.survival, self.video_fps = survival, video_fps
        self.detectors = detectors(task=task, threads=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        rows = [self.row(str(path)) for path in batch["path"]]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def row(self, path: str) -> Row:
        """A file's row; whatever one file does stays in its row."""
        row: Row = {"path": path, "sha256": "", "verdict": "", "score": float("nan")}
        row |= {"error": "", "report": "", "seconds": 0.0}
        began = time.perf_counter()
        try:
            with _local(path) as file:
                row["sha256"] = sha256(file)
                if row["sha256"] in self.done:
                    return row | {"verdict": "passed"}
                report = self.report(file, path)
        except (ValueError, OSError, MemoryError) as error:
            row["error"] = one_line(error, 1000) or "there is not enough memory"
        else:
            row["report"] = json.dumps(report.to_json(), allow_nan=False, separators=(",", ":"))
            row["verdict"] = report.verdict
            row["score"] = report.gravest.score if report.gravest else float("nan")
        row["seconds"] = time.perf_counter() - began
        return row

    def report(self, file: Path, path: str) -> Report:
        from telltale.scan import scan

        found = scan(
            file, survival=self.survival, detector=self.detectors, video_fps=self.video_fps
        )
        return replace(found, subject=replace(found.subject, path=path))


class _local:  # a context manager, used like a function
    """A path as a file of this machine: itself, or a copy that is gone afterwards."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Path:
        if "://" not in self.path:
            return Path(self.path)
        from pyarrow import fs

        system, inner = fs.FileSystem.from_uri(self.path)
        self.folder = tempfile.TemporaryDirectory(prefix="telltale-")
        copy = Path(self.folder.name, "file" + Path(inner).suffix)
        with system.open_input_stream(inner) as source, copy.open("wb") as target:
            while piece := source.read(1 << 20):
                target.write(piece)
        return copy

    def __exit__(self, *_: object) -> None:
        if self.folder is not None:
            self.folder.cleanup()


def known(out: Path) -> set[str]:
    """SHA-256 of what an earlier run scanned; raises ValueError if ``out`` is not ours."""
    if out.suffix == ".jsonl":
        records = read_jsonl(out) if out.exists() else iter(())
        return {record.subject.sha256 for record in records if isinstance(record, Report)}
    if not out.exists():
        return set()
    if not out.is_dir():
        raise ValueError(f"{out}: want a folder for Parquet files, or a name that ends in .jsonl")
    from pyarrow import parquet

    found: set[str] = set()
    for part in sorted(out.glob("*.parquet")):
        table = parquet.read_table(part, columns=["sha256", "error"]).to_pylist()
        found |= {row["sha256"] for row in table if not row["error"]}
    return found


def _kept(rows: Iterable[Row], out: Path, done: set[str], watch: Callable[[int], None]) -> Tally:
    counts = dict.fromkeys(("scanned", "failed", "passed", "evidence"), 0)
    began = 0.0
    with _Jsonl(out) if out.suffix == ".jsonl" else _Parquet(out) as sink:
        for number, row in enumerate(rows, 1):
            began = began or time.perf_counter() - float(row["seconds"])
            if row["verdict"] == "passed" or row["sha256"] in done:
                counts["passed"] += 1  # done before, or the same content twice in this run
            else:
                counts["failed" if row["error"] else "scanned"] += 1
                counts["evidence"] += row["verdict"] == "yes"
                sink.write(row)
                if not row["error"]:
                    done.add(row["sha256"])
            watch(number)
    return Tally(**counts, seconds=time.perf_counter() - began if began else 0.0)


class _Jsonl:
    """Rows as the lines that a scan writes."""

    def __init__(self, out: Path) -> None:
        self._lines = JsonLines(out, resume=out.exists())

    def write(self, row: Row) -> None:
        if row["error"]:
            self._lines.write(Failure(row["path"], row["error"]))
        else:
            self._lines.write(Report.from_json(json.loads(row["report"])))

    def __enter__(self) -> "_Jsonl":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()


class _Parquet:
    """Rows in files of :data:`PART`, each renamed into place when it is whole."""

    def __init__(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._out, self._rows = out, list[Row]()
        self._number = len(list(out.glob("*.parquet")))

    def write(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) >= PART:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        if not self._rows:
            return
        path = self._out / f"part-{self._number:06d}.parquet"
        part = path.with_suffix(".tmp")
        parquet.write_table(pa.Table.from_pylist(self._rows), part)
        part.replace(path)
        self._rows, self._number = [], self._number + 1

    def __enter__(self) -> "_Parquet":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()  # after Ctrl-C, too: what was done is kept


def _listed(paths: Sequence[str | os.PathLike[str]]) -> Iterator[str]:
    from telltale.scan import files_in

    for path in (os.fspath(it) for it in paths):
        if "://" not in path:
            yield from (
                os.path.abspath(it.path if isinstance(it, Failure) else it)
                for it in files_in([path])
            )
            continue
        from pyarrow import fs

        try:
            system, inner = fs.FileSystem.from_uri(path)
            infos = system.get_file_info(fs.FileSelector(inner, recursive=True))
        except (OSError, ValueError) as error:
            raise MediaError(f"{path}: cannot be listed ({one_line(error)})") from None
        head = path.partition("://")[0]
        for info in infos:
            if info.is_file and Path(info.path).suffix.lower() in SUFFIXES:
                yield f"{head}://{info.path}"


def _ray() -> Any:  # noqa: ANN401  # the module
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--engine ray needs {error.name}: pip install 'telltale-vision[scale]'"
        ) from None
    return ray

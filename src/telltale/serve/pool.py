"""The worker processes and the threads that feed them: jobs from the store, reports into it.

A worker that crashes, runs out of time or is cancelled is killed and replaced; its job is told
why, and no other job is touched.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from telltale.serve.settings import Settings
from telltale.serve.store import Job, Store

STARTING = 60.0  # seconds that a worker may take to load the networks
PATIENCE = 1.5  # wall time over processor time: a scan may wait for the disk and other processes


class Pool:
    """Workers that empty the store's queue until :meth:`close`.

    Args:
        store: Where jobs come from and reports go to.
        settings: How many workers, and their limits.
        told: Called with a job's id whenever its state may have changed, from another thread.
    """

    def __init__(
        self, store: Store, settings: Settings, told: Callable[[str], None] = lambda _: None
    ) -> None:
        self._store, self._settings, self._told = store, settings, told
        self._wake = threading.Condition()
        self._pages: deque[tuple[Job, Future[None]]] = deque()
        self._closing = False
        self._busy: dict[str, _Worker] = {}  # by the id of the job that is scanned
        self._cancelled: set[str] = set()
        self._progress: dict[str, tuple[float, str]] = {}
        self._durations: deque[float] = deque([2.0], maxlen=50)
        self.restarts = 0
        self._threads = [
            threading.Thread(target=self._serve, name=f"telltale-{number}", daemon=True)
            for number in range(settings.workers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Say that a job was queued."""
        with self._wake:
            self._wake.notify()

    def progress(self, job: Job) -> tuple[float, str]:
        """Share of a running job that is done, in [0, 1], and what is being done."""
        return self._progress.get(job.id, (0.0, "waiting" if job.state == "queued" else "reading"))

    def seconds_ahead(self) -> float:
        """How long the queue would take, by the mean of the last scans."""
        mean = sum(self._durations) / len(self._durations)
        return mean * (self._store.count("queued") + 1) / self._settings.workers

    def cancel(self, job: Job) -> bool:
        """End a job that is not over; False if it was."""
        ended = self._store.end(job, "cancelled", "cancelled")
        with self._wake:
            if worker := self._busy.get(job.id):
                self._cancelled.add(job.id)
                worker.kill()
        self._told(job.id)
        return ended

    def render(self, job: Job) -> "Future[None]":
        """Have a done job's page written; goes before all scans that wait."""
        future: Future[None] = Future()
        with self._wake:
            self._pages.append((job, future))
            self._wake.notify()
        return future

    def close(self) -> None:
        """End all workers; what they were at is queued again."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
            for worker in self._busy.values():
                worker.kill()
        for thread in self._threads:
            thread.join(timeout=10)

    def _serve(self) -> None:
        worker: _Worker | None = None
        while True:
            task = self._next()
            if task is None:
                break
            if worker is None or not worker.is_alive():
                self.restarts += worker is not None
                worker = _Worker(self._settings)
            if isinstance(task, Job):
                self._scan(task, worker)
            else:
                self._page(*task, worker)
        if worker:
            worker.kill()

    def _next(self) -> "Job | tuple[Job, Future[None]] | None":
        with self._wake:
            while not self._closing:
                if self._pages:
                    return self._pages.popleft()
                if job := self._store.claim():
                    return job
                self._wake.wait(timeout=5)
        return None

    def _scan(self, job: Job, worker: "_Worker") -> None:
        with self._wake:
            self._busy[job.id] = worker
        self._told(job.id)
        began = time.monotonic()
        order = {
            "do": "scan",
            "file": os.fspath(self._store.upload(job)),
            "name": job.name,
            "task": job.options.get("task"),
            "survival": job.options.get("survival", self._settings.survival),
            "video_fps": job.options.get("video_fps", 1.0),
        }
        answer: dict[str, Any] = {}
        try:
            for answer in worker.ask(order):
                if "progress" in answer:
                    self._progress[job.id] = (answer["progress"], answer["says"])
                    self._told(job.id)
        finally:
            with self._wake:
                del self._busy[job.id]
                was_cancelled = job.id in self._cancelled
                self._cancelled.discard(job.id)
            self._progress.pop(job.id, None)
        self._durations.append(time.monotonic() - began)
        if "report" in answer:
            self._keep(job, answer["report"])
        elif self._closing:
            self._store.requeue(job)
        elif not was_cancelled:
            self._store.end(job, "failed", answer.get("error") or f"{job.name}: {worker.why()}")
        if not self._settings.keep_uploads:
            self._store.upload(job).unlink(missing_ok=True)
        self._told(job.id)

    def _keep(self, job: Job, report: dict[str, Any]) -> None:
        from telltale.records import Report
        from telltale.report.words import report_headline

        record = Report.from_json(report)
        gravest = record.gravest
        score = None if gravest is None or gravest.score != gravest.score else gravest.score
        self._store.finish(job, report, report_headline(record), score)

    def _page(self, job: Job, future: "Future[None]", worker: "_Worker") -> None:
        order = {
            "do": "render",
            "file": os.fspath(self._store.upload(job)),
            "name": job.name,
            "folder": os.fspath(self._store.place(job)),
            "report": self._store.report(job),
        }
        *_, answer = [{}, *worker.ask(order)]
        if "rendered" in answer:
            future.set_result(None)
        else:
            future.set_exception(ValueError(answer.get("error") or worker.why()))


class _Worker:
    """One process; see :mod:`telltale.serve.worker` for what is said to it."""

    def __init__(self, settings: Settings) -> None:
        self._seconds = settings.seconds
        self._killed_for = ""
        limits = [str(settings.memory), str(settings.seconds)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "telltale.serve.worker", *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is the server's; it ends its workers itself
        )
        self._ready = False

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self, why: str = "") -> None:
        self._killed_for = self._killed_for or why
        with suppress(ProcessLookupError):
            self._process.kill()

    def why(self) -> str:
        """Why the process is no more."""
        if self._killed_for:
            return self._killed_for
        code = self._process.wait()
        if code == -getattr(signal, "SIGXCPU", 0):
            return f"took more than {self._seconds:g} s of processor time"
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"reading it ended the decoder ({name}); the file is damaged or hostile"

    def ask(self, order: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Answers to an order; they stop early if the process ends or its time is up."""
        if not self._ready:
            self._ready = any("ready" in line for line in self._lines(STARTING, last="ready"))
        try:
            self._pipe().write(json.dumps(order) + "\n")
            self._pipe().flush()
        except OSError:  # it ended meanwhile; `why` says how
            return
        for answer in self._lines(PATIENCE * self._seconds):
            yield answer
            if "progress" not in answer:
                return

    def _pipe(self) -> Any:  # noqa: ANN401
        return self._process.stdin

    def _lines(self, seconds: float, last: str = "") -> Iterator[dict[str, Any]]:
        late = threading.Timer(seconds, self.kill, [f"took longer than {seconds:g} s"])
        late.daemon = True
        late.start()
        try:
            for line in self._process.stdout or ():
                answer = json.loads(line)
                yield answer
                if last in answer:
                    return
            self._process.wait()
        finally:
            late.cancel()

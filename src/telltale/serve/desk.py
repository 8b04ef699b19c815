"""What the routes share: the store, the workers, and those who wait for a job."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import Request

from telltale.serve.pool import Pool
from telltale.serve.settings import Settings
from telltale.serve.store import Job, Store
from telltale.serve.uploads import RefusedError, receive


class Desk:
    """One server's store, workers and counters; made when it starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.folder)
        self.owed = self.store.recover()
        self.pool = Pool(self.store, settings, self._told)
        self.figures = Figures(self)
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self.pool.start()

    def close(self) -> None:
        self.pool.close()
        self.store.close()

    async def take_in(self, request: Request, options: Mapping[str, Any]) -> list[Job]:
        """Receive a request's files and queue a job for each.

        Raises:
            RefusedError: 429 if the queue is full, and as :func:`telltale.serve.uploads.receive`.
        """
        self._check_room(1)
        received = await receive(
            request,
            self.store.incoming,
            most=self.settings.upload,
            files=self.settings.files,
        )
        try:
            self._check_room(len(received.files))
            jobs = [
                self.store.add(file.path, file.name, file.bytes, file.sha256, options)
                for file in received.files
            ]
        finally:
            received.drop()
        for job in jobs:
            self.figures.received.inc(job.bytes)
            self.pool.wake()
        return jobs

    async def over(self, job: Job, seconds: float) -> Job | None:
        """The job when it is over, or as it stands after a time; None if it was deleted."""
        event = asyncio.Event()
        self._waiting[job.id].add(event)
        until = time.monotonic() + seconds
        try:
            while (now := self.store.get(job.id)) and not now.is_over:
                left = until - time.monotonic()
                if left <= 0:
                    break
                try:
                    await asyncio.wait_for(event.wait(), left)
                except TimeoutError:
                    break
                event.clear()
            return self.store.get(job.id)
        finally:
            self._waiting[job.id].discard(event)
            if not self._waiting[job.id]:
                del self._waiting[job.id]

    async def article(self, job: Job) -> None:
        """Have a done job's page and article written, if they are not there yet.

        Raises:
            ValueError: If that fails, e.g. because the upload was not kept.
        """
        if not (self.store.place(job) / "article.html").exists():
            await asyncio.wrap_future(self.pool.render(job))

    def _check_room(self, count: int) -> None:
        if self.store.count("queued") + count > self.settings.queue:
            raise RefusedError(429, f"{self.settings.queue} files are waiting already; come later")

    def _told(self, job_id: str) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, job_id)

    def _wake(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()
        job = self.store.get(job_id)
        if job and job.is_over:
            self.figures.count(job)


class Figures:
    """Counters for Prometheus; of this server alone, for several may live in one process."""

    def __init__(self, desk: Desk) -> None:
        own = self.registry = CollectorRegistry()
        self.jobs = Counter("telltale_jobs", "Jobs that are over.", ["state"], registry=own)
        self.received = Counter("telltale_received_bytes", "Bytes received.", registry=own)
        self.seconds = Histogram(
            "telltale_scan_seconds",
            "From a worker's taking a job to its end.",
            buckets=(0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
            registry=own,
        )
        queued = Gauge("telltale_jobs_queued", "Jobs that wait now.", registry=own)
        queued.set_function(lambda: desk.store.count("queued"))
        running = Gauge("telltale_jobs_running", "Jobs that are scanned now.", registry=own)
        running.set_function(lambda: desk.store.count("running"))
        restarts = Gauge("telltale_worker_restarts", "Workers replaced so far.", registry=own)
        restarts.set_function(lambda: desk.pool.restarts)
        self._counted: set[str] = set()

    def count(self, job: Job) -> None:
        """Count a job that is over, once."""
        if job.id in self._counted:
            return
        self._counted.add(job.id)
        if len(self._counted) > 10_000:  # jobs are over soon after they are told of
            self._counted = {job.id}
        self.jobs.labels(job.state).inc()
        if job.state == "done" and job.started and job.ended:
            self.seconds.observe(job.ended - job.started)

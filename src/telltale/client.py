"""A Telltale server, asked from Python: the same reports as from :func:`telltale.scan`."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from telltale.records import Report

State = Literal["queued", "running", "done", "failed", "cancelled"]


class ServerError(ValueError):
    """What the server answered instead; ``status`` is HTTP's word for why, 0 if it gave none."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class RemoteJob:
    """One file on a server.

    Args:
        id: The server's name for it.
        name: The file's name.
        state: How far it is.
        progress: Share that is done, in [0, 1].
        doing: What is being done, in words.
        report: Once it is done.
        error: One line, if it failed.
    """

    id: str
    name: str
    state: State
    progress: float
    doing: str
    report: Report | None = None
    error: str | None = None

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        report = data.get("report")
        fields = {name: data[name] for name in ("id", "name", "state", "progress", "doing")}
        return cls(
            **fields,
            error=data.get("error"),
            report=Report.from_json(report) if report else None,
        )


class Client:
    """A connection to a server; to be used in a ``with`` block, or closed.

        >>> with Client("http://localhost:8000") as server:
        ...     print(server.scan("selfie.jpg").verdict)

    Args:
        url: Of the server.
        token: If it wants one.
        patience: Seconds to go on knocking where the server's queue is full.
    """

    def __init__(
        self, url: str = "http://localhost:8000", *, token: str = "", patience: float = 600.0
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(30, read=90))
        self._patience = patience

    def scan(
        self,
        path: str | os.PathLike[str],
        *,
        task: str | None = None,
        survival: bool | None = None,
        video_fps: float = 1.0,
    ) -> Report:
        """Send a file and wait for its report.

        Raises:
            ServerError: If the server refuses it or its scan failed; the text says why.
        """
        job = self.submit(path, task=task, survival=survival, video_fps=video_fps)
        return self.result(job)

    def submit(
        self,
        path: str | os.PathLike[str],
        *,
        task: str | None = None,
        survival: bool | None = None,
        video_fps: float = 1.0,
    ) -> RemoteJob:
        """Send a file and do not wait; raises ServerError if the server refuses it."""
        asked: dict[str, Any] = {"video_fps": video_fps}
        asked |= {} if task is None else {"task": task}
        asked |= {} if survival is None else {"survival": survival}
        until = time.monotonic() + self._patience
        while True:
            with Path(path).open("rb") as file:
                answer = self._send(
                    "POST", "/v1/jobs", params=asked, files={"file": (Path(path).name, file)}
                )
            if answer.status_code != 429 or time.monotonic() > until:
                return RemoteJob.of(_checked(answer)["jobs"][0])
            time.sleep(float(answer.headers.get("Retry-After", 1)))

    def job(self, job_id: str, *, wait: float = 0.0) -> RemoteJob:
        """A job as it stands, or after waiting at most so many seconds for its end."""
        answer = self._send("GET", f"/v1/jobs/{job_id}", params={"wait": min(wait, 60.0)})
        return RemoteJob.of(_checked(answer))

    def result(self, job: RemoteJob) -> Report:
        """The report of a job, waited for; raises ServerError if it failed or was cancelled."""
        while not job.is_over:
            job = self.job(job.id, wait=60)
        if job.report is None:
            raise ServerError(0, job.error or f"{job.name}: {job.state}")
        return job.report

    def jobs(self, words: str = "") -> Iterator[RemoteJob]:
        """The history, the newest first, without reports: those whose name or verdict fits."""
        start = 0
        while True:
            asked = {"q": words, "limit": 100, "offset": start}
            data = _checked(self._send("GET", "/v1/jobs", params=asked))
            yield from map(RemoteJob.of, data["jobs"])
            start += len(data["jobs"])
            if not data["jobs"] or start >= data["total"]:
                return

    def cancel(self, job: RemoteJob) -> RemoteJob:
        """End a job; raises ServerError if it is over already."""
        return RemoteJob.of(_checked(self._send("POST", f"/v1/jobs/{job.id}/cancel")))

    def delete(self, job: RemoteJob) -> None:
        """Have a job, its report and its file forgotten."""
        _checked(self._send("DELETE", f"/v1/jobs/{job.id}"))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            where = self._http.base_url
            raise ServerError(0, f"{where}: the server does not answer ({error})") from error


def _checked(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code == 204:
        return {}
    try:
        data = answer.json()
    except ValueError:
        raise ServerError(answer.status_code, f"{answer.url}: not a Telltale server") from None
    if answer.is_error:
        raise ServerError(answer.status_code, str(data.get("detail", data)))
    return dict(data)

"""Jobs and their reports in one SQLite file; what was sent lies beside it, a folder a job.

A job is queued, running, and then done, failed or cancelled. Each change is one transaction, so
that a killed server finds on its return which jobs it still owes.
"""

import json
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: tuple[State, ...] = ("queued", "running", "done", "failed", "cancelled")
OVER = ("done", "failed", "cancelled")
ATTEMPTS = 2  # a job that twice took the whole server with it is not tried a third time

_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT UNIQUE NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
    file TEXT NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, options TEXT NOT NULL,
    created REAL NOT NULL, started REAL, ended REAL, attempts INTEGER NOT NULL DEFAULT 0,
    verdict TEXT, says TEXT, score REAL, error TEXT, report TEXT
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, number);
CREATE INDEX IF NOT EXISTS jobs_by_hash ON jobs (sha256);
"""
_SHORT = (
    "id, name, state, file, bytes, sha256, options, created, started, ended, attempts, "
    "verdict, says, score, error"
)


@dataclass(frozen=True, slots=True)
class Job:
    """One file that was sent.

    Args:
        id: Ours, random; also the name of its folder.
        name: The file's name as its sender gave it, for people to read.
        state: See :data:`STATES`.
        file: Name in the job's folder, ours.
        bytes: Size of the file.
        sha256: Of the file.
        options: How to scan it: task, survival, video_fps.
        created: Unix time in seconds, like ``started`` and ``ended``.
        started: When a worker took it last.
        ended: When it was over.
        attempts: How often a worker took it.
        verdict: Of the report, if it is done.
        says: The verdict in words.
        score: The gravest finding's; None without one.
        error: One line that says why it failed.
    """

    id: str
    name: str
    state: State
    file: str
    bytes: int
    sha256: str
    options: Mapping[str, Any]
    created: float
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    verdict: str | None = None
    says: str | None = None
    score: float | None = None
    error: str | None = None

    @property
    def is_over(self) -> bool:
        return self.state in OVER


class Store:
    """The jobs of one server; safe to use from several threads.

    Args:
        folder: Made if it is missing.

    Raises:
        ValueError: If the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            for part in (self.jobs, self.incoming):
                part.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(folder / "history.sqlite", check_same_thread=False)
            self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _TABLE)
        except (OSError, sqlite3.Error) as error:
            raise ValueError(f"{folder}: cannot keep a history here ({error})") from error
        self._db.row_factory = sqlite3.Row
        self._lock = threading.RLock()

    @property
    def jobs(self) -> Path:
        return self.folder / "jobs"

    @property
    def incoming(self) -> Path:
        return self.folder / "incoming"

    def place(self, job: Job) -> Path:
        """The folder of a job."""
        return self.jobs / job.id

    def upload(self, job: Job) -> Path:
        """What was sent."""
        return self.place(job) / job.file

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def recover(self) -> int:
        """After a start: queue again what was running, drop halves of uploads; how many it owes."""
        for part in self.incoming.iterdir():
            part.unlink()
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state='failed', ended=?, error=? "
                "WHERE state='running' AND attempts>=?",
                (time.time(), "the server stopped each time it was scanned", ATTEMPTS),
            )
            db.execute("UPDATE jobs SET state='queued' WHERE state='running'")
        known = {row["id"] for row in self._rows("SELECT id FROM jobs")}
        for folder in self.jobs.iterdir():
            if folder.name not in known:  # the server died between the folder and its row
                shutil.rmtree(folder)
        return self.count("queued")

    def add(
        self, upload: Path, name: str, size: int, sha256: str, options: Mapping[str, Any]
    ) -> Job:
        """Take over a file that was received, and queue it."""
        job = Job(
            secrets.token_hex(12),
            name,
            "queued",
            f"upload{upload.suffix}",
            size,
            sha256,
            dict(options),
            time.time(),
        )
        self.place(job).mkdir(mode=0o700)
        upload.replace(self.upload(job))
        values = (job.id, name, job.file, size, sha256, json.dumps(job.options), job.created)
        with self._transaction() as db:
            db.execute(
                "INSERT INTO jobs (id, name, state, file, bytes, sha256, options, created) "
                "VALUES (?, ?, 'queued', ?, ?, ?, ?, ?)",
                values,
            )
        return job

    def claim(self) -> Job | None:
        """The job that has waited longest, now running; None if there is none."""
        with self._transaction() as db:
            row = db.execute(
                f"SELECT {_SHORT} FROM jobs WHERE state='queued' ORDER BY number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            db.execute(
                "UPDATE jobs SET state='running', started=?, attempts=attempts+1 WHERE id=?",
                (time.time(), row["id"]),
            )
        return self.get(row["id"])

    def finish(self, job: Job, report: Mapping[str, Any], says: str, score: float | None) -> bool:
        """Keep a report; False if the job is not running any more, e.g. because it was deleted."""
        with self._transaction() as db:
            return bool(
                db.execute(
                    "UPDATE jobs SET state='done', ended=?, report=?, verdict=?, says=?, score=? "
                    "WHERE id=? AND state='running'",
                    (time.time(), json.dumps(report), report["verdict"], says, score, job.id),
                ).rowcount
            )

    def end(self, job: Job, state: State, error: str) -> bool:
        """Let a job fail or be cancelled; False if it was over before."""
        with self._transaction() as db:
            return bool(
                db.execute(
                    "UPDATE jobs SET state=?, ended=?, error=? "
                    "WHERE id=? AND state IN ('queued', 'running')",
                    (state, time.time(), error, job.id),
                ).rowcount
            )

    def requeue(self, job: Job) -> None:
        """Give a running job back, as if no worker had taken it."""
        with self._transaction() as db:
            db.execute(
                "UPDATE jobs SET state='queued', attempts=attempts-1 "
                "WHERE id=? AND state='running'",
                (job.id,),
            )

    def delete(self, job: Job) -> None:
        """Forget a job: its row, its report and what was sent."""
        with self._transaction() as db:
            db.execute("DELETE FROM jobs WHERE id=?", (job.id,))
        shutil.rmtree(self.place(job), ignore_errors=True)

    def get(self, job_id: str) -> Job | None:
        rows = self._rows(f"SELECT {_SHORT} FROM jobs WHERE id=?", (job_id,))
        return _job(rows[0]) if rows else None

    def report(self, job: Job) -> dict[str, Any] | None:
        """The report's JSON, None unless the job is done."""
        rows = self._rows("SELECT report FROM jobs WHERE id=?", (job.id,))
        return json.loads(rows[0]["report"]) if rows and rows[0]["report"] else None

    def find(
        self, words: str = "", state: str = "", *, limit: int = 50, offset: int = 0
    ) -> tuple[list[Job], int]:
        """Jobs, the newest first, and how many there are: by a part of name, hash or verdict."""
        where, values = ["1"], []
        if words:
            like = "%" + "".join("\\" + c if c in "%_\\" else c for c in words) + "%"
            columns = ("name", "sha256", "says", "error")
            where.append("(" + " OR ".join(f"{c} LIKE ? ESCAPE '\\'" for c in columns) + ")")
            values += [like] * len(columns)
        if state:
            where.append("state=?")
            values.append(state)
        clause = " AND ".join(where)
        rows = self._rows(
            f"SELECT {_SHORT} FROM jobs WHERE {clause} ORDER BY number DESC LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        total = self._rows(f"SELECT COUNT(*) AS n FROM jobs WHERE {clause}", tuple(values))
        return [_job(row) for row in rows], int(total[0]["n"])

    def count(self, state: State) -> int:
        return int(self._rows("SELECT COUNT(*) AS n FROM jobs WHERE state=?", (state,))[0]["n"])

    def ahead(self, job: Job) -> int:
        """Jobs that wait before this one."""
        rows = self._rows(
            "SELECT COUNT(*) AS n FROM jobs WHERE state='queued' AND number < "
            "(SELECT number FROM jobs WHERE id=?)",
            (job.id,),
        )
        return int(rows[0]["n"])

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._db:
            yield self._db


def _job(row: sqlite3.Row) -> Job:
    return Job(**{**dict(row), "options": json.loads(row["options"])})

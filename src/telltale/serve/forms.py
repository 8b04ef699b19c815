"""What the REST API says, as pydantic models: they are its schema, too."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from telltale.records import Card
from telltale.serve.pool import Pool
from telltale.serve.store import Job


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str = Field(examples=["want at most 500,000,000 bytes, got 812,345,678"])


class JobForm(BaseModel):
    """One file that was sent, and how far its scan is."""

    id: str = Field(examples=["9f0c1c6f0a7d4c1b8e2d5a31"])
    name: str = Field(description="As its sender called it.", examples=["selfie.jpg"])
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    bytes: int
    sha256: str
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    progress: float = Field(ge=0, le=1, description="Share that is done.")
    doing: str = Field(description="What is being done, in words.")
    verdict: Literal["yes", "no", "can't tell"] | None = None
    says: str | None = Field(None, examples=["No evidence found"])
    score: float | None = Field(None, ge=0, le=1, description="Of the gravest finding.")
    error: str | None = None
    report: dict[str, Any] | None = Field(
        None, description="The report, once done; left out of lists. See `telltale scan --json`."
    )

    @classmethod
    def of(cls, job: Job, pool: Pool, report: dict[str, Any] | None = None) -> "JobForm":
        share, doing = (1.0, job.state) if job.is_over else pool.progress(job)
        return cls(
            id=job.id,
            name=job.name,
            state=job.state,
            bytes=job.bytes,
            sha256=job.sha256,
            created=_moment(job.created),
            started=None if job.started is None else _moment(job.started),
            ended=None if job.ended is None else _moment(job.ended),
            progress=share,
            doing=doing,
            verdict=job.verdict,  # type: ignore[arg-type]  # pydantic checks it
            says=job.says,
            score=job.score,
            error=job.error,
            report=report,
        )


class JobsForm(BaseModel):
    """Some jobs, the newest first, and how many there are."""

    jobs: list[JobForm]
    total: int


class HealthForm(BaseModel):
    status: Literal["ok"]
    version: str
    workers: int
    queued: int
    running: int


class MethodForm(BaseModel):
    """A method of the catalogue."""

    slug: str
    title: str
    source: str
    verb: str
    claim: str
    task: str
    weights: list[str] = Field(description="Files that this installation has.")
    limits: list[str]

    @classmethod
    def of(cls, card: Card) -> "MethodForm":
        return cls(
            slug=card.slug,
            title=card.title,
            source=card.source,
            verb=card.verb,
            claim=card.claim,
            task=card.task,
            weights=[weights.file for weights in card.weights],
            limits=list(card.limits),
        )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

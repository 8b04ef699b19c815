"""The REST API: files in, jobs and reports out; see ``/v1/openapi.json``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.routing import APIRoute
from prometheus_client import generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from telltale.catalog import cards
from telltale.loading import asked
from telltale.serve import pages
from telltale.serve.desk import Desk
from telltale.serve.forms import HealthForm, JobForm, JobsForm, MethodForm
from telltale.serve.guard import Guard
from telltale.serve.schema import PICTURE, body, refusals, task_schema
from telltale.serve.settings import Settings, version
from telltale.serve.store import Job
from telltale.serve.uploads import RefusedError

router = APIRouter(prefix="/v1")


def desk_of(request: Request) -> Desk:
    """The running server's."""
    desk = request.app.state.desk
    if not isinstance(desk, Desk):
        raise TypeError("the server has not started")
    return desk


def options(
    task: Annotated[
        str | None,
        Query(
            description="What to ask; by default what a scan asks.", json_schema_extra=task_schema
        ),
    ] = None,
    survival: Annotated[
        bool | None, Query(description="Ask again after degradations; as the server is set.")
    ] = None,
    video_fps: Annotated[float, Query(gt=0, le=60, description="Frames for each second.")] = 1.0,
) -> dict[str, Any]:
    """How to scan, checked before anything is received."""
    try:
        asked(task)
    except ValueError as error:
        raise RefusedError(400, str(error)) from None
    chosen: dict[str, Any] = {"task": task, "video_fps": video_fps}
    return chosen if survival is None else chosen | {"survival": survival}


At = Annotated[Desk, Depends(desk_of)]
Options = Annotated[dict[str, Any], Depends(options)]
Wait = Annotated[float, Query(ge=0, le=600, description="Seconds to wait for the end.")]


def job_of(job_id: str, desk: At) -> Job:
    """The job that a path names, or 404."""
    job = desk.store.get(job_id)
    if job is None:
        raise RefusedError(404, "there is no such job")
    return job


This = Annotated[Job, Depends(job_of)]


@router.post(
    "/scan",
    openapi_extra=body(PICTURE),
    responses={
        202: {"model": JobForm, "description": "Not done yet: ask for the job."},
        **refusals(400, 413, 429, 507),
    },
)
async def scan(
    request: Request, response: Response, desk: At, how: Options, wait: Wait = 60.0
) -> JobForm:
    """Scan one file and wait for its report."""
    jobs = await desk.take_in(request, how)
    if len(jobs) > 1:
        for job in jobs:
            desk.pool.cancel(job)
            desk.store.delete(job)
        raise RefusedError(400, f"want one file, got {len(jobs)}; /v1/jobs takes several")
    return await _told(desk, jobs[0], wait)


@router.post(
    "/jobs",
    status_code=202,
    openapi_extra=body({"type": "array", "items": PICTURE, "minItems": 1}),
    responses=refusals(400, 413, 429, 507),
)
async def add_jobs(request: Request, desk: At, how: Options) -> JobsForm:
    """Queue a scan for each file, and do not wait."""
    jobs = await desk.take_in(request, how)
    return JobsForm(jobs=[JobForm.of(job, desk.pool) for job in jobs], total=len(jobs))


@router.get("/jobs", responses=refusals())
def list_jobs(
    desk: At,
    q: Annotated[str, Query(max_length=200, description="Part of a name, hash, verdict.")] = "",
    state: Literal["", "queued", "running", "done", "failed", "cancelled"] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
) -> JobsForm:
    """The history, the newest first."""
    jobs, total = desk.store.find(q, state, limit=limit, offset=offset)
    return JobsForm(jobs=[JobForm.of(job, desk.pool) for job in jobs], total=total)


@router.get("/jobs/{job_id}", responses=refusals(404))
async def get_job(desk: At, job: This, wait: Wait = 0.0) -> JobForm:
    """A job, with its report once it is done."""
    return await _told(desk, job, wait)


@router.post("/jobs/{job_id}/cancel", responses=refusals(404, 409))
async def cancel(desk: At, job: This) -> JobForm:
    """End a job that is not over."""
    if not desk.pool.cancel(job):
        raise RefusedError(409, f"the job is {job.state} already")
    return await _told(desk, job, 0)


@router.delete("/jobs/{job_id}", status_code=204, responses=refusals(404))
def delete(desk: At, job: This) -> None:
    """Forget a job, its report and its file."""
    desk.pool.cancel(job)
    desk.store.delete(job)


@router.get("/jobs/{job_id}/report", responses=refusals(404, 409))
def report(desk: At, job: This) -> Response:
    """The report alone, as ``telltale scan --json`` writes it."""
    found = desk.store.report(job)
    if found is None:
        raise RefusedError(409, f"the job is {job.state}; there is no report")
    return JSONResponse(found, headers=_attached(job, "json"))


@router.get(
    "/jobs/{job_id}/page",
    response_class=FileResponse,
    responses={200: {"content": {"text/html": {}}}, **refusals(404, 409)},
)
async def page(desk: At, job: This) -> FileResponse:
    """The report as one HTML file."""
    place = await _written(desk, job)
    headers = _attached(job, "html")
    return FileResponse(place / "report.html", media_type="text/html", headers=headers)


@router.get(
    "/jobs/{job_id}/pdf",
    response_class=FileResponse,
    responses={200: {"content": {"application/pdf": {}}}, **refusals(404, 409, 501)},
)
async def pdf(desk: At, job: This) -> FileResponse:
    """The report as a PDF, printed by this machine's browser."""
    from telltale.report.pdf import browser, write_pdf

    if browser() is None:
        raise RefusedError(501, "this server has no browser to print with; print the page instead")
    place = await _written(desk, job)
    if not (place / "report.pdf").exists():
        await run_in_threadpool(write_pdf, place / "report.html", place / "report.pdf")
    headers = _attached(job, "pdf")
    return FileResponse(place / "report.pdf", media_type="application/pdf", headers=headers)


@router.get("/methods", responses=refusals())
def methods() -> list[MethodForm]:
    """The methods of the catalogue, and which of them are ready here."""
    return [MethodForm.of(card) for card in cards().values()]


@router.get("/health")
def health(desk: At) -> HealthForm:
    """Whether the server works; needs no token."""
    return HealthForm(
        status="ok",
        version=version(),
        workers=desk.settings.workers,
        queued=desk.store.count("queued"),
        running=desk.store.count("running"),
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **refusals()},
)
def figures(desk: At) -> Response:
    """Counters in Prometheus's text format."""
    return Response(generate_latest(desk.figures.registry), media_type="text/plain; version=0.0.4")


def create_app(settings: Settings) -> FastAPI:
    """The server as an ASGI application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.desk = Desk(settings)
        yield
        await run_in_threadpool(app.state.desk.close)

    app = FastAPI(
        title="Telltale",
        version=version(),
        description="Can this picture or video be believed, where not, and how sure is that?",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(Guard, settings=settings)
    app.include_router(router)
    app.include_router(pages.router)
    app.add_exception_handler(RefusedError, _refuse)
    app.add_exception_handler(405, _not_so)
    return app


def _refuse(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RefusedError) else 400
    headers = {}
    if status == 429:
        headers["Retry-After"] = str(max(1, round(desk_of(request).pool.seconds_ahead() / 2)))
    if request.url.path.startswith("/v1/"):
        return JSONResponse({"detail": str(error)}, status, headers)
    return pages.problem(status, str(error))


def _not_so(request: Request, error: Exception) -> Response:
    """405 that names every method of the path, not only those of its first route."""
    allowed = {
        method
        for route in [*router.routes, *pages.router.routes]
        if isinstance(route, APIRoute) and route.path_regex.match(request.url.path)
        for method in route.methods or ()
    }
    return JSONResponse(
        {"detail": f"{request.method} is not for this path"},
        405,
        {"Allow": ", ".join(sorted(allowed))},
    )


async def _told(desk: Desk, job: Job, wait: float) -> JobForm:
    now = await desk.over(job, wait)
    if now is None:
        raise RefusedError(404, "the job was deleted meanwhile")
    return JobForm.of(now, desk.pool, desk.store.report(now))


async def _written(desk: Desk, job: Job) -> Path:
    if job.state != "done":
        raise RefusedError(409, f"the job is {job.state}; there is no report")
    try:
        await desk.article(job)
    except ValueError as error:
        raise HTTPException(409, str(error)) from None
    return desk.store.place(job)


def _attached(job: Job, suffix: str) -> dict[str, str]:
    """So that a browser saves it under the job's name and never runs it as a page of ours."""
    from urllib.parse import quote

    name = quote(f"{Path(job.name).stem}-telltale.{suffix}", safe="")
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}

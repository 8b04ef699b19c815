"""The web page: what the API gives, for people. Every page works without a script, but upload."""

import tempfile
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from telltale.catalog import cards
from telltale.loading import task_of
from telltale.records import Report
from telltale.report import bind_articles, layout, renumbered
from telltale.serve.desk import Desk
from telltale.serve.guard import COOKIE, Guard
from telltale.serve.settings import version
from telltale.serve.store import OVER, Job
from telltale.serve.uploads import RefusedError

if TYPE_CHECKING:
    import jinja2

router = APIRouter(include_in_schema=False)

SHOWN = 50  # jobs on one page of the history
ASSETS = {
    "page.css": "report",
    "page.js": "report",
    "app.css": "serve",
    "app.js": "serve",
    "camera.js": "serve",
    "recorder.js": "serve",
}
QUESTIONS = {  # what a person may ask, where a shipped detector can answer
    "faces": "Was a face forged?",
    "spoof": "Is a face presented by a print, a screen or a mask?",
    "documents": "Is it a photograph of a print or of a screen?",
    "tampering": "Was a part of the picture changed?",
}
_KINDS = {".css": "text/css", ".js": "text/javascript"}


def _desk(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


At = Annotated[Desk, Depends(_desk)]


@router.get("/")
def home(
    desk: At, q: Annotated[str, Query(max_length=200)] = "", start: Annotated[int, Query(ge=0)] = 0
) -> HTMLResponse:
    """Where files are dropped, and the history."""
    jobs, total = desk.store.find(q, limit=SHOWN, offset=start)
    asked = _questions()
    return _page(
        "index.html", desk, questions=asked, jobs=jobs, total=total, q=q, start=start, step=SHOWN
    )


@router.post("/")
async def send(request: Request, desk: At) -> RedirectResponse:
    """Upload from a browser that runs no scripts."""
    jobs = await desk.take_in(request, {})
    return RedirectResponse(f"/r/{jobs[0].id}" if len(jobs) == 1 else "/", 303)


@router.get("/r/{job_id}")
async def result(job_id: str, desk: At) -> Response:
    """One job: how far it is, or its report."""
    job = _job(desk, job_id)
    article, trouble = await _article(desk, job)
    return _page("result.html", desk, job=job, article=article, trouble=trouble)


@router.post("/r/{job_id}/delete")
def forget(job_id: str, desk: At) -> RedirectResponse:
    """Delete from the history."""
    job = _job(desk, job_id)
    desk.pool.cancel(job)
    desk.store.delete(job)
    return RedirectResponse("/", 303)


@router.post("/r/{job_id}/cancel")
def stop(job_id: str, desk: At) -> RedirectResponse:
    """End a job that is not over."""
    desk.pool.cancel(_job(desk, job_id))
    return RedirectResponse(f"/r/{job_id}", 303)


@router.get("/compare")
async def compare(desk: At, job_id: Annotated[list[str], Query(alias="id")]) -> Response:
    """Two reports side by side."""
    from markupsafe import Markup

    if len(job_id) != 2:
        raise RefusedError(400, f"want two files to compare, got {len(job_id)}")
    jobs = [_job(desk, name) for name in job_id]
    sides = []
    for number, job in enumerate(jobs, 1):
        if job.state != "done":
            raise RefusedError(409, f"{job.name} is {job.state}; there is nothing to compare")
        article, trouble = await _article(desk, job)
        sides.append((job, Markup(renumbered(str(article), number)), trouble))
    reports = [Report.from_json(desk.store.report(job) or {}) for job in jobs]
    return _page("compare.html", desk, sides=sides, rows=_differences(*reports))


@router.get("/case")
async def bound(desk: At, job_id: Annotated[list[str], Query(alias="id")]) -> Response:
    """One page on several files, with a summary first, to be saved."""
    if len(job_id) > SHOWN:
        raise RefusedError(400, f"want {SHOWN} files or fewer on one page, got {len(job_id)}")
    parts = []
    for job in [_job(desk, name) for name in dict.fromkeys(job_id)]:
        if job.state != "done":
            raise RefusedError(409, f"{job.name} is {job.state}; it has no report")
        article, trouble = await _article(desk, job)
        if trouble:
            raise RefusedError(409, f"{job.name}: {trouble}")
        parts.append((Report.from_json(desk.store.report(job) or {}), str(article)))
    with tempfile.TemporaryDirectory(dir=desk.store.incoming) as folder:
        path = Path(folder, "case.html")
        await run_in_threadpool(bind_articles, path, parts)
        text = await run_in_threadpool(path.read_bytes)
    name = {"Content-Disposition": 'attachment; filename="telltale-case.html"'}
    return Response(text, media_type="text/html", headers=name)


@router.get("/camera")
def camera(desk: At) -> HTMLResponse:
    """A selfie check with this device's camera, and a chirp's echo."""
    known = dict(_questions())
    asked = [(task, known[task]) for task in ("spoof", "faces") if task in known]
    return _page("camera.html", desk, questions=asked)


@router.get("/assets/chirp.wav")
def chirp() -> Response:
    """The probing signal of M3FAS, 16-bit mono."""
    return Response(_chirp(), media_type="audio/wav")


@router.get("/assets/{name}")
def asset(name: str) -> FileResponse:
    """Style sheets and scripts."""
    if name not in ASSETS:
        raise RefusedError(404, "there is no such file")
    folder = "report/templates" if ASSETS[name] == "report" else "serve/page"
    path = Path(str(files("telltale"))) / folder / name
    return FileResponse(path, media_type=_KINDS[path.suffix])


@router.get("/login")
def ask(desk: At) -> HTMLResponse:
    """Asks for the token."""
    return _page("login.html", desk, wrong=False)


@router.post("/login")
def login(request: Request, desk: At, token: Annotated[str, Form()] = "") -> Response:
    """Takes the token and gives a cookie."""
    if not Guard(request.app, desk.settings).knows(token):
        return _page("login.html", desk, 401, wrong=True)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE,
        token,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
        max_age=7 * 24 * 3600,
    )
    return answer


@router.post("/logout")
def logout() -> RedirectResponse:
    """Forget the token in this browser."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE)
    return answer


def problem(status: int, text: str) -> HTMLResponse:
    """A page that says what went wrong."""
    return HTMLResponse(
        _templates()
        .get_template("problem.html")
        .render(text=text, version=version(), guarded=False, keeps=True),
        status,
    )


@cache
def _templates() -> "jinja2.Environment":
    """The report's templates and filters, and the server's own pages."""
    import jinja2

    package = Path(str(files("telltale")))
    folders = [package / "serve/page", package / "report/templates"]
    return layout.templates().overlay(loader=jinja2.FileSystemLoader(folders))


def _page(name: str, desk: Desk, status: int = 200, **values: object) -> HTMLResponse:
    always = {
        "version": version(),
        "guarded": bool(desk.settings.token),
        "keeps": desk.settings.keep_uploads,
    }
    return HTMLResponse(_templates().get_template(name).render(**always, **values), status)


@cache
def _questions() -> list[tuple[str, str]]:
    """Tasks that this installation has weights for, in words."""
    there = {task_of(card) for card in cards().values() if card.weights}
    return [(task, says) for task, says in QUESTIONS.items() if task in there]


def _job(desk: Desk, job_id: str) -> Job:
    job = desk.store.get(job_id)
    if job is None:
        raise RefusedError(404, "there is no such file in the history; it may have been deleted")
    return job


async def _article(desk: Desk, job: Job) -> tuple[str, str]:
    """The report's HTML, marked as safe, and why there is none."""
    from markupsafe import Markup

    if job.state not in OVER or job.state != "done":
        return "", job.error or ""
    try:
        await desk.article(job)
        html = (desk.store.place(job) / "article.html").read_text("utf-8")
    except (ValueError, OSError) as error:
        return "", str(error)
    return Markup(html), ""  # from our templates, which escape


def _differences(one: Report, other: Report) -> list[tuple[str, str, str, bool]]:
    """What two reports say of the same things; the last tells whether it differs."""
    from telltale.report import words

    def facts(report: Report) -> dict[str, str]:
        subject = report.subject
        found = {
            "Verdict": words.report_headline(report),
            "SHA-256": subject.sha256,
            "Format": subject.format,
            "Pixels": f"{subject.width} × {subject.height}",
            "Bytes": f"{subject.bytes:,}",
            **{words.measure(k).capitalize(): v for k, v in subject.details.items()},
        }
        for finding in report.findings:
            name = f"{finding.claim}: {finding.about}"
            found[name[:1].upper() + name[1:]] = f"{finding.verdict}, {words.score(finding.score)}"
        return found

    left, right = facts(one), facts(other)
    return [
        (name, left.get(name, "–"), right.get(name, "–"), left.get(name) != right.get(name))
        for name in {**left, **right}
    ]


@cache
def _chirp() -> bytes:
    import tempfile

    from telltale.media.sound import probe, write_wav

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "chirp.wav")
        write_wav(path, probe())
        return path.read_bytes()

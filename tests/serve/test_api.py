"""The REST API of a real server process: scans, jobs, limits, tokens, and what it refuses."""

import hashlib
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import telltale
from serving import MEDIA, Server, running
from telltale.client import Client, RemoteJob, ServerError
from telltale.records import Report


def test_a_scan_says_what_the_library_says(server: Server, selfie: bytes) -> None:
    with server.client() as http:
        answer = http.post("/v1/scan", files={"file": ("selfie.jpg", selfie)})
    assert answer.status_code == 200
    report = Report.from_json(answer.json()["report"])
    own = telltale.scan(MEDIA / "astronaut.jpg", survival=False)
    assert report.subject.path == "selfie.jpg"
    assert report.subject.sha256 == hashlib.sha256(selfie).hexdigest() == own.subject.sha256
    assert [f.score for f in report.findings] == pytest.approx(
        [f.score for f in own.findings], abs=1e-6
    )
    assert {f.verdict for f in report.findings} == {f.verdict for f in own.findings}


def test_survival_and_task_are_the_requests(server: Server, selfie: bytes) -> None:
    with server.client() as http:
        asked = http.post(
            "/v1/scan", params={"survival": True, "task": "faces"}, files={"file": selfie}
        )
        wrong = http.post("/v1/scan", params={"task": "face"}, files={"file": selfie})
    assert asked.json()["report"]["findings"][0]["survival"]
    assert wrong.status_code == 400
    assert "faces" in wrong.json()["detail"]


def test_a_body_without_a_form_is_a_file(server: Server, selfie: bytes) -> None:
    with server.client() as http:
        answer = http.post("/v1/scan", content=selfie, headers={"X-Filename": "a/b\\c.jpg"})
    assert answer.json()["report"]["subject"]["path"] == "c.jpg"


def test_several_files_are_several_jobs(server: Server, selfie: bytes, grey: Path) -> None:
    with Client(server.url) as client, server.client() as http:
        files = [("file", ("several-one.jpg", selfie)), ("file", ("several-two.png", b"no"))]
        jobs = http.post("/v1/jobs", files=files).json()["jobs"]
        good, bad = (client.job(job["id"], wait=60) for job in jobs)
        assert good.state == "done"
        assert good.report
        assert bad.state == "failed"
        assert bad.error == (
            "several-two.png: is no picture or video; want JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, "
            "AVIF, or a video file"
        )
        assert str(server.folder) not in json.dumps(http.get(f"/v1/jobs/{bad.id}").json())
        names = [job.name for job in client.jobs("several-")]
        assert names == ["several-two.png", "several-one.jpg"]
        refused = http.post("/v1/scan", files=files)
        assert refused.status_code == 400
        assert [job.name for job in client.jobs("several-")] == names  # nothing stays behind


def test_client_scans_cancels_and_deletes(server: Server, grey: Path) -> None:
    with Client(server.url) as client:
        report = client.scan(grey)
        assert report.subject.path == "grey.png"
        (job,) = client.jobs(report.subject.sha256)
        with pytest.raises(ServerError, match="is done already"):
            client.cancel(job)
        client.delete(job)
        with pytest.raises(ServerError, match="no such job") as refused:
            client.job(job.id)
        assert refused.value.status == 404
        assert not list(client.jobs(report.subject.sha256))
    assert not (server.folder / "jobs" / job.id).exists()


def test_report_page_and_article(server: Server, selfie: bytes) -> None:
    with server.client() as http:
        job = http.post("/v1/scan", files={"file": ("<b>x</b>.jpg", selfie)}).json()
        report = http.get(f"/v1/jobs/{job['id']}/report")
        page = http.get(f"/v1/jobs/{job['id']}/page")
        shown = http.get(f"/r/{job['id']}")
    assert report.json() == job["report"]
    assert "attachment" in report.headers["content-disposition"]
    assert page.text.startswith("<!doctype html>")
    assert "data:image/jpeg" in shown.text
    for html in (page.text, shown.text):
        assert "<b>x</b>" not in html
    assert "script-src 'self'" in shown.headers["content-security-policy"]


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "..\\..\\boot.ini", "a\0b.jpg", "…" * 500, "", "con", "\u202e"]
)
def test_a_name_never_reaches_a_path(server: Server, selfie: bytes, name: str) -> None:
    disposition = f'form-data; name="file"; filename="{name}"'.encode()
    body = b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + selfie + b"\r\n--b--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    with server.client() as http:
        job = http.post("/v1/jobs", content=body, headers=kind).json()["jobs"][0]
        assert job["name"].isprintable()
        assert not set(job["name"]) & set("/\\\0")
        assert len(job["name"]) <= 200
        stored = [path.name for path in (server.folder / "jobs" / job["id"]).iterdir()]
        http.delete(f"/v1/jobs/{job['id']}")
    assert all(path.startswith("upload") for path in stored)


def test_too_much_is_refused_and_leaves_nothing(server: Server) -> None:
    incoming = server.folder / "incoming"
    with server.client() as http:
        declared = http.post("/v1/jobs", files={"file": bytes(6_000_000)})
        streamed = http.post("/v1/jobs", content=(bytes(1_000_000) for _ in range(8)))
        empty = http.post("/v1/jobs", files={"file": ("e.jpg", b"")})
        none = http.post("/v1/jobs", data={"task": "faces"})
        broken = http.post(
            "/v1/jobs",
            content=b"--x\r\nfoo",
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
    assert [r.status_code for r in (declared, streamed, empty, none, broken)] == [
        413, 413, 400, 400, 400,
    ]  # fmt: skip
    assert all(r.json()["detail"] for r in (declared, streamed, empty, none, broken))
    assert not list(incoming.iterdir())


def test_other_sites_and_other_hosts_are_refused(server: Server) -> None:
    with server.client() as http:
        foreign = http.post(
            "/v1/jobs", files={"file": b"x"}, headers={"Origin": "https://evil.example"}
        )
        rebound = http.get("/v1/jobs", headers={"Host": "evil.example"})
    assert foreign.status_code == 403
    assert rebound.status_code == 421


def test_health_methods_and_metrics(server: Server) -> None:
    with server.client() as http:
        health = http.get("/v1/health").json()
        methods = http.get("/v1/methods").json()
        metrics = http.get("/v1/metrics").text
    assert health["status"] == "ok"
    assert health["version"] == telltale.__version__
    assert {card.slug for card in telltale.cards().values()} == {m["slug"] for m in methods}
    assert "telltale_scan_seconds_bucket" in metrics


def test_a_token_is_wanted_where_one_is_set(tmp_path: Path, selfie: bytes) -> None:
    with running(tmp_path / "s", "--token", "a-secret", "--workers", "1") as server:
        with server.client() as http:
            assert http.get("/v1/jobs").status_code == 401
            assert http.get("/v1/health").status_code == 200
            assert http.get("/").headers["location"] == "/login"
            assert http.post("/login", data={"token": "wrong"}).status_code == 401
            assert http.post("/login", data={"token": "a-secret"}).status_code == 303
            assert http.get("/").status_code == 200  # by the cookie
        with Client(server.url, token="a-secret") as client:
            assert client.scan(MEDIA / "astronaut.jpg", survival=False).findings
        with Client(server.url, token="a-sekret") as client, pytest.raises(ServerError):
            client.scan(MEDIA / "astronaut.jpg")


def test_others_are_let_in_only_with_a_token(tmp_path: Path) -> None:
    from telltale.serve import Settings

    with pytest.raises(ValueError, match="want a token"):
        Settings(tmp_path, host="0.0.0.0")


def big(path: Path, noise: NDArray[np.uint8], side: int) -> Path:
    Image.fromarray(np.tile(noise, (side // 64, side // 96, 1))).save(path, quality=60)
    return path


def test_a_full_queue_says_when_to_come_again(
    tmp_path: Path, noise: NDArray[np.uint8], selfie: bytes
) -> None:
    slow = big(tmp_path / "slow.jpg", noise, 3840).read_bytes()
    options = ("--queue", "2", "--workers", "1")
    with running(tmp_path / "s", *options) as server, server.client() as http:
        answers = [http.post("/v1/jobs", files={"file": slow}) for _ in range(6)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
        taken = [answer.json()["jobs"][0]["id"] for answer in answers if answer.status_code == 202]
        states = {
            http.get(f"/v1/jobs/{name}", params={"wait": 100}).json()["state"] for name in taken
        }
        assert states == {"done"}


def test_cancelling_frees_the_worker(tmp_path: Path, noise: NDArray[np.uint8], grey: Path) -> None:
    slow = big(tmp_path / "slow.jpg", noise, 5760)
    with running(tmp_path / "s", "--workers", "1") as server, Client(server.url) as client:
        job = client.submit(slow)
        while client.job(job.id).state == "queued":
            time.sleep(0.02)
        assert client.cancel(job).state == "cancelled"
        assert client.scan(grey).findings is not None
        assert client.job(job.id).state == "cancelled"


def test_a_hostile_file_fails_alone(tmp_path: Path, noise: NDArray[np.uint8], grey: Path) -> None:
    """More memory than a scan may have, and more time: one job fails, the next is answered."""
    huge = big(tmp_path / "huge.png", noise, 9600)
    options = ("--workers", "1", "--memory-mb", "250", "--seconds", "30")
    with running(tmp_path / "s", *options) as server, Client(server.url) as client:
        with pytest.raises(ServerError, match=r"memory|damaged or hostile"):
            client.scan(huge)
        assert client.scan(grey)
    options = ("--workers", "1", "--seconds", "0.5")
    with running(tmp_path / "t", *options) as server, Client(server.url) as client:
        with pytest.raises(ServerError, match="took"):
            client.scan(big(tmp_path / "long.jpg", noise, 9600))
        assert client.job(client.submit(grey).id, wait=30).state in ("done", "failed")


def test_a_killed_server_owes_its_jobs(
    tmp_path: Path, noise: NDArray[np.uint8], selfie: bytes
) -> None:
    folder = tmp_path / "s"
    slow = big(tmp_path / "slow.jpg", noise, 3840)
    with running(folder, "--workers", "1") as server, Client(server.url) as client:
        jobs: list[RemoteJob] = [client.submit(slow) for _ in range(3)]
        while client.job(jobs[0].id).state == "queued":
            time.sleep(0.02)
        server.stop(signal.SIGKILL)
    (folder / "incoming" / "half").write_bytes(b"an upload that the kill cut off")
    with running(folder, "--workers", "2", "--no-survival") as server, Client(server.url) as client:
        assert [client.job(job.id, wait=60).state for job in jobs] == ["done"] * 3
        assert not list((folder / "incoming").iterdir())
        assert server.stop() == 0


def test_forgetting_uploads(tmp_path: Path, selfie: bytes) -> None:
    options = ("--workers", "1", "--forget", "--no-survival")
    with running(tmp_path / "s", *options) as server, server.client() as http:
        job = http.post("/v1/scan", files={"file": ("me.jpg", selfie)}).json()
        assert not list((tmp_path / "s/jobs" / job["id"]).glob("upload*"))
        page = http.get(f"/r/{job['id']}")
        assert page.status_code == 200
        assert "me.jpg" in page.text


def test_several_files_on_one_page(server: Server, selfie: bytes) -> None:
    with server.client() as http:
        jobs = [
            http.post("/v1/scan", files={"file": (name, selfie)}).json()
            for name in ("a.jpg", "<i>b</i>.jpg")
        ]
        ids = [job["id"] for job in jobs]
        page = http.get("/case", params={"id": ids})
        assert http.get("/case", params={"id": ["nothing"]}).status_code == 404
        assert http.get("/case", params={"id": ids * 26}).status_code == 400
        assert http.get("/case").status_code == 422
    assert "attachment" in page.headers["content-disposition"]
    assert page.text.count("<article") == 2
    for number in (1, 2):
        assert f'href="#f{number}"' in page.text
        assert f'id="f{number}"' in page.text
    assert "<i>b</i>" not in page.text
    assert page.text.rstrip().endswith("</html>")
    assert not [name for name in (server.folder / "incoming").iterdir() if name.is_dir()]

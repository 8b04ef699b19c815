"""The page of a video: each face's close-up from its own frame, outlines on the frame shown."""

import base64
import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moving import HEIGHT, WIDTH, film
from telltale.records import Finding, Region, Report, Subject
from telltale.report import drawing, reread, write_article, write_html

GREYS = (40, 100, 160, 220)  # of the frames at 0, 0.5, 1 and 1.5 s


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """Two faces: one scored highest at 0.5 s, the other, and above it, at 1.5 s."""
    frames = [np.full((HEIGHT, WIDTH, 3), grey, np.uint8) for grey in GREYS for _ in range(5)]
    path = film(tmp_path / "greys.mp4", frames)
    first = Finding(
        *("m", "the face was digitally forged", 0.5, "can't tell", "face 1"),
        region=Region(40, 60, 100, 100),
        timeline=((0.0, 0.3), (0.5, 0.7), (1.0, float("nan"))),
        notes=("the score is within the doubt",),
    )
    second = Finding(
        *("m", "the face was digitally forged", 0.8, "yes", "face 2"),
        region=Region(300, 60, 100, 100),
        timeline=((1.0, 0.7), (1.5, 0.9)),
    )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    subject = Subject(str(path), digest, 9, "video", "MP4", WIDTH, HEIGHT, 2.0)
    return Report(subject, (first, second), {"video_fps": "2"}, "2026-11-23T04:41:00Z")


def test_frames_are_read_again_at_the_findings_peaks(report: Report) -> None:
    stills = list(drawing.stills(report))
    assert [seconds for seconds, _ in stills] == [0.5, 1.5]
    greys = [float(pixels.mean()) for _, pixels in stills]
    assert greys == pytest.approx([100, 220], abs=3)
    assert float(reread(report).mean()) == pytest.approx(220, abs=3)


def test_each_close_up_is_of_its_own_frame(report: Report, tmp_path: Path) -> None:
    write_html(tmp_path / "page.html", [report])
    page = (tmp_path / "page.html").read_text()
    shown = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]*)"', page)
    greys = {
        alt: float(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))).mean())
        for data, alt in shown
    }
    whole, first, second = greys
    assert whole == "The video that was scanned; 2: face 2, Evidence of forgery"
    assert first == "Close-up of face 1, turned upright, at 0.5 s"
    assert second == "Close-up of face 2, turned upright, at 1.5 s"
    assert list(greys.values()) == pytest.approx([220, 100, 220], abs=4)
    boxes = re.findall(r'<rect class="box \w+" x="([\d.]+)"', page)
    assert boxes == ["300"]  # the other face was elsewhere, or not there, in this frame


def test_a_video_that_lies_elsewhere_gives_all_its_frames(report: Report, tmp_path: Path) -> None:
    write_html(tmp_path / "page.html", [report])
    moved = Path(report.subject.path).rename(tmp_path / "upload")
    write_article(tmp_path / "article.html", report, file=moved)
    write_html(tmp_path / "again.html", [report], file=moved)
    page, again, article = (
        re.findall(r"data:image/jpeg;base64,[^\"]+", (tmp_path / name).read_text())
        for name in ("page.html", "again.html", "article.html")
    )
    assert len(page) == 3  # the whole, and a close-up of each face from its own frame
    assert page == again == article
    moved.unlink()
    with pytest.raises(ValueError, match="upload"):
        write_article(tmp_path / "article.html", report, file=moved)


def test_timelines_share_the_videos_time(report: Report) -> None:
    lines = [drawing.timeline(finding, 2.0)[0] for finding in report.findings]
    assert lines == ["M0.0 70.0h0L250.0 30.0", "M500.0 30.0h0L750.0 10.0"]
    many = Finding("m", "c", 0.5, "no", timeline=tuple((float(k), 0.5) for k in range(101)))
    assert drawing.timeline(many, 100.0)[1] == ""


def test_a_video_that_is_gone_is_told(report: Report, tmp_path: Path) -> None:
    Path(report.subject.path).unlink()
    write_html(tmp_path / "page.html", [report])
    assert "The picture is not shown" in (tmp_path / "page.html").read_text()

"""Two people in a video: a finding for each, whose score is the mean over its own frames."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

import telltale
from moving import film, head, scene
from redness import redness
from telltale.detector import Detector
from telltale.media import Frame
from telltale.records import Finding, Report

STEPS = 12  # frames at two a second


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return redness(tmp_path_factory.mktemp("weights"))


def crossing(k: int) -> np.ndarray:
    """The astronaut goes right behind the commodore, who goes left and leaves at the end."""
    placed = [(head("astronaut"), 80 + 29 * k, 128), (head("commodore"), 400 - 29 * k, 128)]
    return scene(*(placed if k < 10 else placed[:1]))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, detector: Detector) -> Report:
    path = tmp_path_factory.mktemp("video") / "crossing.mp4"
    frames = [crossing(k) for k in range(STEPS) for _ in range(5)]  # still for half a second each
    return telltale.scan(film(path, frames), detector=detector, video_fps=2)


def by_name(report: Report) -> dict[str, Finding]:
    """The findings by who it is: the commodore is in the first frames on the right."""
    commodore, astronaut = sorted(report.findings, key=lambda found: found.timeline[-1][0])
    return {"commodore": commodore, "astronaut": astronaut}


def test_each_person_is_a_finding_with_its_own_times(report: Report) -> None:
    assert len(report.findings) == 2
    found = by_name(report)
    assert found["commodore"].timeline[0][0] == 0
    assert found["commodore"].timeline[-1][0] == pytest.approx(4.5, abs=0.05)
    assert found["astronaut"].timeline[-1][0] == pytest.approx(5.5, abs=0.05)
    assert "0.0 to 4.5 s" in found["commodore"].about
    assert [f.about[:6] for f in report.findings] == ["face 1", "face 2"]
    hidden = [t for t, score in found["astronaut"].timeline if math.isnan(score)]
    assert 0 < len(hidden) < 5  # behind the other
    assert not any(math.isnan(score) for _, score in found["commodore"].timeline)


def test_a_score_is_the_mean_of_the_frames_that_show_the_face(
    report: Report, detector: Detector
) -> None:
    for name, x in (("commodore", 400), ("astronaut", 80)):
        alone = detector.detect(scene((head(name), x, 128)), survival=False)[0].score
        found = by_name(report)[name]
        known = [score for _, score in found.timeline if not math.isnan(score)]
        assert found.score == pytest.approx(np.mean(known), abs=1e-9)
        assert known[0] == pytest.approx(alone, abs=0.02)
        assert f"seen in {len(known)} of 12 frames" in " ".join(found.notes)
    assert abs(by_name(report)["commodore"].score - by_name(report)["astronaut"].score) > 0.05


def test_a_video_that_ranks_is_the_mean_of_frames_beyond_the_limit(tmp_path: Path) -> None:
    detector = redness(tmp_path)
    limited = dataclasses.replace(detector.calibration, limit=0.01)
    frames = [Frame(k / 2, crossing(0)) for k in range(2)]
    told = detector.detect_frames(frames)
    detector.calibration = limited
    held = detector.detect_frames(frames)
    assert {round(it.score, 6) for it in held} == {round(1 / (1 + 10**-0.01), 6)}
    detector.ranks = True
    ranked = detector.detect_frames(frames)
    assert [it.score for it in ranked] == pytest.approx([it.score for it in told])
    assert [it.verdict for it in ranked] == [it.verdict for it in held]
    assert [it.log10_lr for it in ranked] == [it.log10_lr for it in held]


def test_a_region_is_where_the_face_was_when_it_scored_highest(report: Report) -> None:
    for name, start, speed in (("commodore", 400, -58), ("astronaut", 80, 58)):
        found = by_name(report)[name]
        known = [(score, t) for t, score in found.timeline if not math.isnan(score)]
        assert found.region is not None
        middle = found.region.x + found.region.width / 2
        assert middle == pytest.approx(start + speed * max(known)[1], abs=15)


def test_a_face_in_one_frame_is_counted_beside_others_and_told_alone(detector: Detector) -> None:
    astronaut, commodore = head("astronaut"), head("commodore")
    both = scene((astronaut, 110, 128), (commodore, 370, 128))
    one = scene((astronaut, 110, 128))
    (finding,) = detector.detect_frames([Frame(0.0, one), Frame(1.0, both), Frame(2.0, one)])
    assert finding.about == "the face, 0.0 to 2.0 s"
    assert "faces seen in one frame only, and left out: 1" in " ".join(finding.notes)
    assert len(detector.detect_frames([Frame(0.0, both)])) == 2

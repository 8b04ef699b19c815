"""Questions that a scan asks on request: which detector answers, and what it says of a page."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import telltale
from telltale.cli import run
from telltale.data.synth.camera import draw_camera
from telltale.data.synth.pages import page
from telltale.data.synth.recapture import attacked, bona_fide
from telltale.detector import Detector
from telltale.detector.joined import joined
from telltale.loading import detectors, load, task_of
from telltale.records import Finding


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page as a camera sees it, and a screen that shows a photograph of it."""
    folder, rng = tmp_path_factory.mktemp("pages"), np.random.default_rng(3)
    sheet, camera = page((900, 640), rng), draw_camera(rng)
    Image.fromarray(bona_fide(sheet, rng, camera)).save(folder / "genuine.png")
    shown = attacked(bona_fide(sheet, rng, camera), "display", rng, camera)
    Image.fromarray(shown).save(folder / "screen.png")
    return folder


def test_the_context_of_capture_adds_its_question() -> None:
    plain = [it.card.slug for it in detectors()]
    assert not {"joint_attacks", "recapture"} & set(plain)
    for context, slug in (("selfie", "joint_attacks"), ("document", "recapture")):
        assert {it.card.slug for it in detectors(context=context)} == {*plain, slug}
    with pytest.raises(ValueError, match="no context 'selfy', did you mean"):
        detectors(context="selfy")
    with pytest.raises(ValueError, match="context 'selfie' adds questions; leave out faces"):
        detectors(task="faces", context="selfie")
    assert run(["scan", "x.jpg", "--context", "selfie", "--engine", "ray"]) == 2


def test_a_task_names_its_detector() -> None:
    assert load(task="documents").card.slug == "recapture"
    assert load(task="spoof").card.slug == "joint_attacks"
    assert [it.card.slug for it in detectors()] == ["vit_lora_scl", "pim"]  # what a scan asks
    with pytest.raises(ValueError, match="no detector for the task 'document', did you mean"):
        load(task="document")


def test_a_page_and_a_screen_that_shows_it(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["scan", str(pages / "genuine.png"), "--task", "documents"]) == 0
    assert "No evidence found that the document was photographed" in capsys.readouterr().out
    assert run(["scan", str(pages / "screen.png"), "--task", "documents"]) == 1
    shown = capsys.readouterr().out
    assert "Evidence that the document was photographed from a print or a screen" in shown
    assert "half size" not in shown  # halftone and moiré are gone by then


def test_a_finding_on_a_page(pages: Path) -> None:
    detector = Detector.load("recapture", threads=1)
    report = telltale.scan(pages / "screen.png", detector=detector)
    (finding,) = report.findings
    assert finding.about == "the page"
    assert set(finding.survival) == {"JPEG 95", "JPEG 75", "crop"}
    assert finding.quality["page_pixels"] >= 600
    genuine = telltale.scan(pages / "genuine.png", detector=detector).findings[0]
    assert genuine.score < 0.3 < 0.9 < finding.score


def test_identical_crops_give_the_score_of_one(pages: Path) -> None:
    detector = Detector.load("recapture", threads=1)
    with Image.open(pages / "screen.png") as image:
        crop = np.asarray(image.convert("RGB"))[100:212, 100:212]
    one, many = (detector.weigh(np.stack([crop] * count)).logits for count in (1, 5))
    assert many.mean() == pytest.approx(one[0], abs=1e-9)


def test_a_page_that_was_shrunk_is_out_of_range(pages: Path, tmp_path: Path) -> None:
    with Image.open(pages / "screen.png") as image:
        image.resize((160, 225), Image.Resampling.BOX).save(tmp_path / "small.png")
    (finding,) = telltale.scan(tmp_path / "small.png", detector=load(task="documents")).findings
    assert finding.verdict == "can't tell"
    assert any("page_pixels" in note or "page pixels" in note for note in finding.notes)


def test_all_tasks_are_asked_of_one_file_each_by_one_method() -> None:
    every = detectors(task="all", threads=1)
    tasks = [task_of(detector.card) for detector in every]
    assert len(tasks) == len({*tasks})
    assert {"faces", "spoof", "documents", "tampering"} <= {*tasks}
    with pytest.raises(ValueError, match="want one task"):
        load(task="all")
    with pytest.raises(ValueError, match="want one task"):
        detectors("pim", task="all")


def test_one_that_is_asked_aside_says_that_others_decide() -> None:
    sure, unsure = Finding("a", "b", 0.1, "no"), Finding("c", "d", 0.5, "can't tell", aside=True)
    assert "rests on the other findings" in joined([sure, unsure], {})[1].notes[-1]
    nothing = Finding("a", "b", math.nan, "can't tell")
    for alone in ([unsure], [nothing, unsure]):
        assert joined(alone, {}) == alone
    certain = Finding("c", "d", 0.9, "yes", aside=True)
    assert joined([sure, certain], {}) == [sure, certain]

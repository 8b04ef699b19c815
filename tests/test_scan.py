"""Scanning: order, bad files, stopping, what a report says of itself."""

import hashlib
import math
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import telltale
from redness import redness, save_empty, save_face, write_redness
from telltale.detector import Detector
from telltale.engine import weights_folder
from telltale.loading import load
from telltale.media import Frame
from telltale.media.facefinder import shipped
from telltale.records import Card, Failure, Finding, Report
from telltale.scan import AHEAD, files_in, scan, scan_many


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    return redness(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A red and a blue face, a picture without one, and a file that ends in the middle."""
    folder = tmp_path_factory.mktemp("pictures")
    save_face(folder / "a_red.png")
    save_face(folder / "b_blue.png", blue=True)
    whole = save_empty(folder / "d_empty.png").read_bytes()
    (folder / "c_broken.png").write_bytes(whole[: len(whole) // 2])
    return folder


class Scripted:
    """Stands in for a detector: does what a test says, with the card of one."""

    follows = True

    def __init__(self, like: Detector, answer: object = None, delay: float = 0.0) -> None:
        self.card, self.weights = like.card, like.weights
        self.answer, self.delay = answer, delay
        self.begun = threading.Event()
        self.frames = 0

    def detect(self, pixels: np.ndarray, **_: object) -> tuple[Finding, ...]:
        self.begun.set()
        time.sleep(self.delay * pixels.shape[0])
        if isinstance(self.answer, Exception):
            raise self.answer
        return (Finding("redness", "it is red", math.nan, "can't tell"),)

    def detect_frames(self, frames: Iterable[Frame]) -> tuple[Finding, ...]:
        for _ in frames:
            self.frames += 1
            self.begun.set()
            time.sleep(self.delay)
        return (Finding("redness", "it is red", math.nan, "can't tell"),)


def save_video(path: Path, frames: int) -> Path:
    av = pytest.importorskip("av", reason="needs the extra video")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            pixels = np.full((48, 64, 3), number % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def names(records: Iterable[Report | Failure]) -> list[str]:
    paths = (r.path if isinstance(r, Failure) else r.subject.path for r in records)
    return [Path(path).name for path in paths]


def test_a_report_says_what_was_found_in_what_and_with_what(
    pictures: Path, detector: Detector
) -> None:
    path = pictures / "a_red.png"
    report = scan(path, detector=detector)
    assert report.verdict == "yes"
    (finding,) = report.findings
    assert finding.score == pytest.approx(0.706, abs=0.02)
    assert finding.region is not None
    assert set(finding.survival) >= {"JPEG 50", "half size", "crop"}
    assert report.subject.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report.made_with["telltale"] == telltale.__version__
    assert report.made_with["method"] == "redness"
    assert report.made_with["weights redness.onnx"] == detector.weights.sha256
    assert {"weights centerface.onnx", "weights face_mesh.onnx"} <= set(report.made_with)
    assert report.made_at.endswith("+00:00")
    assert Report.from_json(report.to_json()) == report


def test_other_pictures_other_verdicts(pictures: Path, detector: Detector) -> None:
    blue = scan(pictures / "b_blue.png", detector=detector, survival=False)
    empty = scan(pictures / "d_empty.png", detector=detector)
    assert blue.verdict == "no"
    assert not blue.findings[0].survival
    assert empty.verdict == "can't tell"
    assert empty.findings[0].notes == ("no face found",)


def test_a_folder_goes_on_past_what_cannot_be_read(pictures: Path, detector: Detector) -> None:
    missing = pictures / "nowhere.jpg"
    records = list(scan_many([pictures, missing], detector=detector, survival=False))
    assert names(records) == [*sorted(p.name for p in pictures.iterdir()), "nowhere.jpg"]
    failures = [record for record in records if isinstance(record, Failure)]
    assert [Path(failure.path).name for failure in failures] == ["c_broken.png", "nowhere.jpg"]
    for failure in failures:
        assert failure.path in failure.error
        assert "\n" not in failure.error


def test_each_file_once_and_none_that_is_done(pictures: Path, detector: Detector) -> None:
    red = pictures / "a_red.png"
    done = [pictures / "b_blue.png", str(pictures / "c_broken.png")]
    records = list(scan_many([red, pictures, red], done=done, detector=detector, survival=False))
    assert names(records) == ["a_red.png", "d_empty.png"]
    assert [path.name for path in files_in([red, pictures], done)] == ["a_red.png", "d_empty.png"]


def test_order_is_that_of_the_files_whichever_ends_first(
    tmp_path: Path, detector: Detector
) -> None:
    heights = [90, 10, 60, 5, 30, 1, 80, 2]  # the stand-in sleeps a millisecond a row
    for number, height in enumerate(heights):
        Image.new("RGB", (4, height)).save(tmp_path / f"{number}.png")
    slow = Scripted(detector, delay=0.001)
    records = list(scan_many([tmp_path], workers=4, detector=slow))
    assert names(records) == [f"{number}.png" for number in range(8)]
    assert [record.subject.height for record in records] == heights


def test_workers_change_nothing_but_the_time(pictures: Path, detector: Detector) -> None:
    one, three = (
        [
            record.to_json() | {"made_at": ""}
            for record in scan_many([pictures], workers=workers, detector=detector)
        ]
        for workers in (1, 3)
    )
    assert one == three


def test_only_a_few_files_are_ahead(tmp_path: Path, detector: Detector) -> None:
    asked = 0

    def paths() -> Iterator[Path]:
        nonlocal asked
        for asked in range(1, 100):
            path = tmp_path / f"{asked}.png"
            Image.new("RGB", (4, 100 if asked == 1 else 1)).save(path)
            yield path

    # the first takes a second, in which there would be time to ask for all
    results = scan_many(paths(), workers=1, detector=Scripted(detector, delay=0.01))
    next(results)
    assert asked <= AHEAD + 2
    assert len(list(results)) == 98


def test_stop_lets_finish_what_has_begun(tmp_path: Path, detector: Detector) -> None:
    for number in range(50):
        save_empty(tmp_path / f"{number:02}.png")
    stop = threading.Event()
    records = []
    for record in scan_many([tmp_path], detector=Scripted(detector), workers=2, stop=stop):
        records.append(record)
        if len(records) == 5:
            stop.set()
    assert 5 <= len(records) < 50
    assert names(records) == [f"{number:02}.png" for number in range(len(records))]


def test_a_video_is_left_in_the_middle_when_stopped(tmp_path: Path, detector: Detector) -> None:
    video = save_video(tmp_path / "long.mp4", 200)
    slow = Scripted(detector, delay=0.05)
    stop = threading.Event()
    threading.Thread(target=lambda: slow.begun.wait(60) and stop.set()).start()
    assert list(scan_many([video], detector=slow, video_fps=25, stop=stop)) == []
    assert 1 <= slow.frames < 200


def test_leaving_the_loop_leaves_the_video(tmp_path: Path, detector: Detector) -> None:
    picture, video = save_empty(tmp_path / "a.png"), save_video(tmp_path / "b.mp4", 200)
    slow = Scripted(detector, delay=0.02)
    results = scan_many([picture, video], workers=2, detector=slow, video_fps=25)
    next(results)
    results.close()
    assert slow.frames < 200


def test_a_video_is_one_finding_sampled_by_time(tmp_path: Path, detector: Detector) -> None:
    video = save_video(tmp_path / "two_seconds.mp4", 50)
    counting = Scripted(detector)
    report = scan(video, detector=counting, video_fps=5)
    assert counting.frames == 10
    assert report.subject.kind == "video"
    assert report.made_with["video_fps"] == "5"


def test_bad_input_of_a_file_is_its_failure(tmp_path: Path, detector: Detector) -> None:
    picture = save_empty(tmp_path / "it.png")
    refusing = Scripted(detector, answer=ValueError("too\n small"))
    (record,) = scan_many([picture], detector=refusing)
    assert record == Failure(str(picture), f"{picture}: too small")


def test_a_fault_of_ours_is_raised_and_says_where(tmp_path: Path, detector: Detector) -> None:
    picture = save_empty(tmp_path / "it.png")
    broken = Scripted(detector, answer=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug") as caught:
        list(scan_many([picture], detector=broken))
    assert any("it.png" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"paths": "one.jpg"}, "list of paths"),
        ({"workers": 0}, "workers"),
        ({"video_fps": 0.0}, "video_fps"),
        ({"video_fps": math.nan}, "video_fps"),
        ({"video_fps": math.inf}, "video_fps"),
    ],
)
def test_wrong_settings_fail_at_once(
    wrong: dict[str, object], says: str, detector: Detector
) -> None:
    with pytest.raises(ValueError, match=says):
        scan_many(**({"paths": ["x"], "detector": detector} | wrong))


def test_load_takes_an_exported_file_with_its_card(tmp_path: Path) -> None:
    path = write_redness(tmp_path, "mine")
    assert load(path).card.slug == "mine"
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match=r"mine\.onnx: SHA-256"):
        load(path)
    path.with_suffix(".toml").unlink()
    with pytest.raises(ValueError, match=r"mine\.toml: wanted as the card"):
        load(str(path))


def test_load_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'vit_lora_scl'"):
        telltale.load("vit_lora_slc")
    with pytest.raises(ValueError, match="both"):
        load("vit_lora_scl", task="faces")


def test_the_default_is_the_first_that_ships_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_redness(tmp_path)
    card = load(path).card
    unready = Card("aaa", "t", "s", "telltale.faces.aaa:A", "detect", "c")
    monkeypatch.setattr("telltale.catalog.cards", lambda: {"aaa": unready, "redness": card})
    for weights in shipped():
        (tmp_path / weights.file).symlink_to(weights_folder() / weights.file)
    monkeypatch.setattr("telltale.engine.weights_folder", lambda: tmp_path)
    assert load().card == card
    assert load(task="faces").card == card
    with pytest.raises(ValueError, match="'face', did you mean 'faces'"):
        load(task="face")


def test_importing_the_module_leaves_the_function(pictures: Path, detector: Detector) -> None:
    import telltale.scan  # would hide the function if it had not been loaded before

    assert callable(telltale.scan)
    report = telltale.scan(pictures / "d_empty.png", detector=detector)
    assert isinstance(report, telltale.Report)


def test_several_detectors_are_asked_in_turn(pictures: Path, detector: Detector) -> None:
    path = pictures / "a_red.png"
    report = scan(path, detector=[detector, detector], survival=False)
    once = scan(path, detector=detector, survival=False)
    assert len(report.findings) == 2 * len(once.findings)
    assert report.made_with["method"] == "redness, redness"


def test_of_a_picture_two_questions_are_asked_and_of_a_video_one(
    pictures: Path, tmp_path: Path
) -> None:
    found = scan(pictures / "a_red.png", survival=False).findings
    assert {it.slug: it.aside for it in found} == {"vit_lora_scl": False, "pim": True}
    assert found[-1].slug == "pim"
    assert found[-1].heatmap is not None
    video = scan(save_video(tmp_path / "a.mp4", 30))
    assert {it.slug for it in video.findings} == {"vit_lora_scl"}

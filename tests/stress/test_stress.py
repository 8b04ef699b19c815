"""AUC under degradations: figures known beforehand, resumed runs, pictures, crops and videos."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from moving import film, head, scene
from redness import redness, save_empty, save_face
from telltale import stress as verb
from telltale.degrade import CRF
from telltale.detector import Detector
from telltale.stress import Plan
from telltale.stress.scoring import Scorer

Run = Callable[..., tuple[int, str, str]]
RED, BLUE = (200, 100, 50), (50, 100, 200)  # forged and genuine: the detector sees red
CROPS = Plan(kinds=("CS", "CC"), on="crops", resamples=20)


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    return redness(tmp_path)


def save_crops(folder: Path, count: int = 6, header: str = "", cells: str = "") -> Path:
    """Flat pictures, forged ones red and genuine ones blue, in a manifest of one split."""
    lines = [f"path,label,source,split{header}"]
    for number in range(count):
        name, label = f"{number}.png", number % 2
        Image.new("RGB", (48, 40), RED if label else BLUE).save(folder / name)
        lines.append(f"{name},{label},person {number},test{cells.format(number // 4, label)}")
    path = folder / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_auc_and_drop_by_hand(tmp_path: Path, detector: Detector) -> None:
    found = verb.stress({"red": detector}, save_crops(tmp_path), CROPS)
    assert (found.genuine, found.forged, found.sources) == (3, 3, 6)
    assert found.clean["red"] == (1, 1, 1)
    colours = found.of("red", "CS")
    # less colour ranks the same until there is none: then all tie
    assert [point.auc.value for point in colours] == [1, 1, 1, 1, 0.5]
    assert [point.drop.value for point in colours] == [0, 0, 0, 0, 0.5]
    assert colours[4].drop == (0.5, 0.5, 0.5)
    assert [point.auc.value for point in found.of("red", "CC")] == [1] * 5
    assert found.mean("red", "CS") == 0.9
    assert found.mean("red") == 0.95
    assert any("face crops" in note for note in found.notes)


def test_a_score_is_the_chance_at_even_odds_of_the_degraded_crop(
    tmp_path: Path, detector: Detector
) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (48, 40), RED).save(path)
    scores = Scorer([detector], verb.kinds(["CC"]), on="crops").score(path, "a")
    assert scores.shape == (1, 1, 6)
    odds = 8 * (200 - 50) / 255
    # 0.85·200 and 0.85·50, truncated, and so on to 0.35
    less = [8 * (red - blue) / 255 for red, blue in ((170, 42), (145, 36), (120, 30), (95, 23))]
    expected = 1 / (1 + np.exp(-np.array([odds, *less, 8 * (70 - 17) / 255])))
    assert scores[0, 0] == pytest.approx(expected, abs=1e-6)


def test_the_seed_decides_what_is_random(tmp_path: Path, detector: Detector) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (48, 40), (120, 100, 110)).save(path)

    def scores(seed: int, name: str = "a") -> np.ndarray:
        return Scorer([detector], verb.kinds(["GNC"]), on="crops", seed=seed).score(path, name)

    assert np.array_equal(scores(3), scores(3))
    assert not np.array_equal(scores(3), scores(4))
    assert not np.array_equal(scores(3), scores(3, "b"))
    assert np.unique(scores(3)).size == 6


def test_detectors_are_compared_on_the_same_pixels(tmp_path: Path, detector: Detector) -> None:
    plan = Plan(kinds=("GNC",), on="crops", resamples=5)
    found = verb.stress({"a": detector, "b": detector}, save_crops(tmp_path), plan)
    assert [p.auc for p in found.of("a", "GNC")] == [p.auc for p in found.of("b", "GNC")]
    assert list(found.clean) == ["a", "b"]


def test_a_stopped_run_goes_on(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out = save_crops(tmp_path), tmp_path / "out"
    whole = verb.stress({"red": detector}, manifest, CROPS, out=out)
    kept = (out / "scores.jsonl").read_text()
    lines = kept.splitlines(keepends=True)
    (out / "scores.jsonl").write_text("".join(lines[:4]) + lines[4][:20])  # the fourth is torn
    asked = []
    score = Scorer.score
    monkeypatch.setattr(
        Scorer, "score", lambda self, path, name: asked.append(name) or score(self, path, name)
    )
    again = verb.stress({"red": detector}, manifest, CROPS, out=out)
    assert again == whole
    assert sorted(asked) == ["3.png", "4.png", "5.png"]
    assert (out / "scores.jsonl").read_text() == kept
    with pytest.raises(ValueError, match=r"scores\.jsonl: was made with another seed"):
        verb.stress({"red": detector}, manifest, Plan(("CS", "CC"), "crops", seed=1), out=out)


def test_a_run_does_not_go_on_with_other_data_of_the_same_names(
    tmp_path: Path, detector: Detector
) -> None:
    here, there, out = tmp_path / "here", tmp_path / "there", tmp_path / "out"
    for folder in (here, there):
        folder.mkdir()
        save_crops(folder)

    def judged(data: Path) -> verb.Stress:
        return verb.stress({"red": detector}, data, CROPS, out=out)

    first = judged(here / "manifest.csv")
    assert judged(there / "manifest.csv") == first  # the same files elsewhere are the same data
    Image.new("RGB", (48, 40), BLUE).save(there / "1.png")  # forged, and no longer red
    with pytest.raises(ValueError, match=r"scores\.jsonl: was made with another data; name anoth"):
        judged(there / "manifest.csv")
    relabelled = (here / "manifest.csv").read_text().replace("5.png,1,", "5.png,0,")
    (here / "manifest.csv").write_text(relabelled)
    with pytest.raises(ValueError, match="was made with another data"):
        judged(here / "manifest.csv")
    lines = (out / "scores.jsonl").read_text().splitlines(keepends=True)
    about = json.loads(lines[0])
    about["made_with"]["data"] = "manifest.csv"  # as records were before they had a hash
    (out / "scores.jsonl").write_text("".join([json.dumps(about) + "\n", *lines[1:]]))
    with pytest.raises(ValueError, match="was made with another data"):
        judged(here / "manifest.csv")


def test_what_was_kept_outlives_a_write_that_fails(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, out = save_crops(tmp_path), tmp_path / "out"
    verb.stress({"red": detector}, manifest, CROPS, out=out)
    kept = (out / "scores.jsonl").read_text()

    def fail(path: Path, text: str, *given: object, **named: object) -> None:
        with path.open("w") as file:
            file.write(text[:20])
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="disk is full"):
        verb.stress({"red": detector}, manifest, CROPS, out=out)
    assert (out / "scores.jsonl").read_text() == kept


def test_frames_of_a_video_count_as_one(tmp_path: Path, detector: Detector) -> None:
    manifest = save_crops(tmp_path, 8, ",video", ",clip {0} {1}")
    text = manifest.read_text()
    found = verb.stress({"red": detector}, manifest, CROPS)
    assert (found.genuine, found.forged) == (2, 2)
    assert "8 frames were averaged to 4 videos" in found.notes
    manifest.write_text(text.replace("clip 0 1", "clip 0 0"))  # one id in two kinds is two videos
    again = verb.stress({"red": detector}, manifest, CROPS)
    assert (again.genuine, again.forged) == (2, 2)


def test_faces_are_cut_where_a_degradation_moved_them(tmp_path: Path, detector: Detector) -> None:
    path = save_face(tmp_path / "a.png")
    kinds = verb.kinds(["RESIZE", "SHARED"])
    scores = Scorer([detector], kinds).score(path, "a")
    assert scores[0, 0, 0] > 0.6
    assert scores[0].ravel() == pytest.approx([scores[0, 0, 0]] * 12, abs=0.03)
    with pytest.raises(ValueError, match="no face found"):
        Scorer([detector], kinds).score(save_empty(tmp_path / "b.png"), "b")


def test_what_has_no_answer_is_left_out_and_told(tmp_path: Path, detector: Detector) -> None:
    manifest = save_crops(tmp_path)
    (tmp_path / "5.png").write_bytes(b"torn")
    found = verb.stress({"red": detector}, manifest, CROPS)
    assert found.forged == 2
    assert any("1 files have no answer, e.g. 5.png: " in note for note in found.notes)
    for number in (1, 3):
        (tmp_path / f"{number}.png").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"genuine or forged items have no answer, e\.g\. 1\.png"):
        verb.stress({"red": detector}, manifest, CROPS)


def test_a_video_is_compressed_as_a_whole(
    tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    astronaut = head("astronaut")
    frames = [scene((astronaut, 200 + k, 128)) for k in range(0, 40, 2)]
    path = film(tmp_path / "a.mp4", frames, rate=20)
    scores = Scorer([detector], verb.kinds(["VC", "CC"]), video_fps=2).score(path, "a")
    by_kind = dict(zip(("CC", "VC"), scores[0], strict=True))
    assert by_kind["VC"] == pytest.approx([by_kind["VC"][0]] * 6, abs=0.05)
    assert len(np.unique(by_kind["VC"])) == 6
    taken = []

    def passed_on(frames: object, crf: int, *, rate: float) -> object:
        for pixels in frames:
            taken.append((crf, rate))
            yield pixels

    monkeypatch.setattr("telltale.stress.scoring.h264", passed_on)
    scores = Scorer([detector], verb.kinds(["VC"]), video_fps=2).score(path, "a")
    assert scores[0, 0] == pytest.approx([scores[0, 0, 0]] * 6, abs=1e-6)  # the very same frames
    assert [taken.count((crf, 20.0)) for crf in CRF] == [20] * 5


def test_without_a_codec_video_compression_says_that_it_is_approximate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("telltale.stress.degradations.has_h264", lambda: False)
    kind = verb.kinds(["VC"])["VC"]
    assert "approximated by JPEG" in kind.title
    assert not kind.coded


def test_the_curves_are_a_picture_of_every_point(tmp_path: Path, detector: Detector) -> None:
    pair = {"a <b>": detector, "c & d": detector}
    found = verb.stress(pair, save_crops(tmp_path), CROPS)
    root = ElementTree.fromstring(verb.to_svg(found))
    lines = [e for e in root.iter() if e.tag.endswith("polyline")]
    assert len(lines) == 4
    corners = [place.split(",") for place in lines[0].attrib["points"].split()]
    heights = [float(y) for _, y in corners]
    assert heights[:5] == [0.0] * 5
    assert heights[5] == pytest.approx(140 * 0.5 / 0.6, abs=0.1)  # AUC 0.5 between 1 and 0.4
    assert "prefers-color-scheme: dark" in verb.to_svg(found)
    assert "".join(root.itertext()).count("a <b>") == 2  # legend and description


def test_the_command_writes_tables_and_curves(tmp_path: Path, run: Run, method: Path) -> None:
    manifest, out = save_crops(tmp_path), tmp_path / "out"
    words = ("--data", manifest, "--on", "crops", "--kinds", "cs,gb", "--resamples", 10)
    code, told, err = run("stress", method, *words, "--out", out)
    assert (code, "stress.svg" in err) == (0, True)
    assert "GB: blur" in told
    with (out / "stress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1 + 2 * 5
    assert list(rows[5].values()) == ["redness.onnx", "CS", "5"] + ["0.5"] * 6
    text = (out / "stress.md").read_text()
    assert "| CS | +0.000 [+0.000, +0.000] |" in text
    assert "| CS: colour saturation | 1.000 | 1.000 | 1.000 | 1.000 | 0.500 | 0.900 |" in text
    assert "made_with" in json.loads((out / "scores.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--kinds", "TRUE_JPG"), "no kind 'TRUE_JPG', did you mean 'TRUE_JPEG'"),
        (("--on", "faces"), "on pictures or on crops, got 'faces'"),
        (("--split", "val"), "no row has split 'val'; there are test"),
        (("--resamples", 0), "one resample or more"),
        (("--video-fps", 0), "video_fps above 0"),
        (("--workers", 0), "one worker or more, got 0"),
        (("--out", "{}/manifest.csv"), "manifest.csv: is no folder to write to"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, run: Run, method: Path, words: tuple[str, ...], message: str
) -> None:
    manifest = save_crops(tmp_path)
    words = tuple(str(word).format(tmp_path) for word in words)
    code, _, err = run("stress", method, "--data", manifest, *words)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_what_cannot_be_compared_is_named(tmp_path: Path, run: Run, method: Path) -> None:
    manifest = save_crops(tmp_path)
    code, _, err = run("stress", "vit_lora_slc", "--data", manifest)
    assert (code, "did you mean 'vit_lora_scl'" in err) == (2, True)
    code, _, err = run("stress", method, method, "--data", manifest)
    assert (code, "is named twice" in err) == (2, True)
    manifest.write_text(manifest.read_text().replace(",0,", ",1,"))
    code, _, err = run("stress", method, "--data", manifest)
    assert (code, "has one class; an AUC needs both" in err) == (2, True)
    with pytest.raises(ValueError, match="want a detector or more"):
        verb.stress({}, manifest)

"""A run judges one split of a file or a detector, at a threshold from elsewhere."""

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from redness import redness
from telltale import evaluate as verb
from telltale import metrics
from telltale.detector import Detector
from telltale.doctor import draw_face
from telltale.evaluate import Predictions, Protocol
from telltale.records import Finding, Weights


def written(folder: Path, predictions: Predictions, name: str = "predictions.csv") -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(verb.predictions_csv(predictions))
    return path


def test_a_threshold_is_chosen_on_validation_and_never_on_test(data: Predictions) -> None:
    val = data.of_split("val")
    chosen = verb.choose_threshold(data, Protocol(select="fpr=0.05"))
    assert chosen == metrics.threshold_at_fpr(val.scores, val.labels, 0.05)
    by_eer = verb.choose_threshold(data, Protocol(select="eer"))
    assert by_eer == metrics.threshold_at_eer(val.scores, val.labels)
    for split in ("test", "Test_public", "held-out-test"):
        with pytest.raises(ValueError, match="choose it on validation data"):
            Protocol(select="eer", select_split=split)
    with pytest.raises(ValueError, match="flatters the figures of 'val'"):
        Protocol(select="eer", split="val")  # the same split for both
    for rule in ("youden", "fpr=many", "fpr=7", "eer=1"):
        with pytest.raises(ValueError, match="select ="):
            verb.choose_threshold(data, Protocol(select=rule))
    with pytest.raises(ValueError, match="no row has split 'dev'; there are 'test', 'val'"):
        verb.choose_threshold(data, Protocol(select="eer", select_split="dev"))


def test_test_items_do_not_move_the_chosen_threshold(tmp_path: Path, data: Predictions) -> None:
    protocol = Protocol(select="eer", resamples=5, slices=())
    first = verb.evaluate(written(tmp_path, data), protocol=protocol)
    data.scores[data.columns["split"] == "test"] **= 3
    second = verb.evaluate(written(tmp_path, data), protocol=protocol)
    assert first.threshold == second.threshold
    assert first.rows[0].measures["accuracy"] != second.rows[0].measures["accuracy"]


def test_a_file_is_judged_on_its_split(tmp_path: Path, data: Predictions) -> None:
    path = written(tmp_path, data)
    found = verb.evaluate(path, protocol=Protocol(threshold=0.5, resamples=5))
    test = data.of_split("test")
    assert found.rows[0].measures["auc"].value == metrics.auc(test.scores, test.labels)
    assert found.threshold == 0.5
    assert len(found.made_with["predictions.csv"]) == len("SHA-256 ") + 64
    assert found.made_with["split"] == "test"
    again = verb.evaluate(path, protocol=Protocol(threshold=0.5, resamples=5))
    assert verb.to_json(again) == verb.to_json(found)


def test_items_and_sources_in_both_splits_are_noticed(tmp_path: Path, data: Predictions) -> None:
    protocol = Protocol(select="eer", resamples=5, slices=())
    data.sources[:] = "person 1"
    data.sources[::2] = "person 2"
    found = verb.evaluate(written(tmp_path, data), protocol=protocol)
    assert any("2 sources are in 'test' and in 'val'" in note for note in found.notes)
    data.paths[:] = "same.jpg"
    with pytest.raises(ValueError, match=r"1 paths are in 'test' and in 'val', e\.g\. same"):
        verb.evaluate(written(tmp_path, data), protocol=protocol)


def test_a_protocol_comes_from_a_file_that_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "protocol.toml"
    path.write_text('split = "test"\nselect = "eer"\nslices = ["kind"]\nthreshold = 1\n')
    assert Protocol.from_toml(path) == Protocol(select="eer", slices=("kind",), threshold=1)
    for text, message in (
        ("sed = 3", "unknown sed; a protocol has"),
        ("seed = 'a'", "want seed as int, got 'a'"),
        ("slices = 'kind'", "want slices as list"),
        ("resamples = 0", "one resample or more"),
        ("threshold = inf", "finite threshold"),
        ('select = "eer"\nselect_split = "test"', "choose it on validation data"),
        ("seed = ", "cannot be read as TOML"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"protocol\.toml: .*" + message):
            Protocol.from_toml(path)


class Brightness:
    """A detector whose score is the mean brightness; black has no face."""

    card = SimpleNamespace(slug="brightness", task="faces")
    weights = Weights("b.onnx", "ab", "Apache-2.0", "nothing", threshold=0.4)

    def detect(
        self, media: np.ndarray, *, survival: bool, details: Mapping[str, str]
    ) -> tuple[Finding, ...]:
        score = float(media.mean() / 255)
        if score == 0:
            return (Finding("b", "c", math.nan, "can't tell", notes=("no face found",)),)
        verdict = "yes" if score > 0.4 else "no"
        low = Finding("b", "c", score / 2, "no", quality={"sharpness": 1.0})
        return (low, Finding("b", "c", score, verdict, quality={"sharpness": 2.5}))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    lines = ["path,label,source,split,kind"]
    for number, (grey, label) in enumerate([(20, 0), (60, 0), (200, 1), (240, 1), (90, 1)]):
        Image.new("RGB", (8, 8), (grey,) * 3).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{label},person {number},test,{'dye' if label else ''}")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    (tmp_path / "torn.png").write_bytes(b"torn")
    lines += ["x.png,0,person 8,test,", "torn.png,0,person 9,test,", "more.png,1,p,train,dye"]
    Image.new("RGB", (8, 8)).save(tmp_path / "more.png")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_detector_is_run_over_the_split_and_judged_at_its_cards_threshold(
    manifest: Path,
) -> None:
    kept = manifest.parent / "kept.csv"
    seen = []

    def track(items: Iterable[object], count: int) -> Iterator[object]:
        for item in items:
            seen.append(count)
            yield item

    found = verb.evaluate_detector(
        Brightness(), manifest, Protocol(resamples=20), keep=kept, track=track
    )
    assert seen == [7] * 7
    whole = found.rows[0].measures
    assert found.threshold == 0.4
    assert whole["auc"].value == 1
    assert whole["apcer"].value == pytest.approx(1 / 3)  # grey 90 is missed
    assert whole["unanswered"].value == pytest.approx(2 / 7)
    assert whole["forged_called_genuine"].value == pytest.approx(1 / 3)
    back = verb.read_predictions(kept)
    assert "2 of 7 items have no answer, e.g. x.png: no face found" in found.notes
    assert back.columns["error"].tolist()[5] == "no face found"
    assert "torn.png" in back.columns["error"].tolist()[6]
    assert back.columns["sharpness"].tolist()[0] == "2.5"  # of the gravest finding
    again = verb.evaluate(kept, protocol=Protocol(resamples=20, threshold=0.4))
    assert again.rows == found.rows


@pytest.fixture
def reds(tmp_path: Path) -> Path:
    """Faces whose logits, by :mod:`redness`, are all beyond a limit of 0.2 in log10: ±0.46."""
    lines = ["path,label,source,split"]
    for number, (label, red) in enumerate([(0, 0.55), (1, 0.7), (0, 0.85), (1, 1.0)]):
        pixels = draw_face(480).astype(float)
        pixels[..., 2] *= red  # less blue: redder
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{label},person {number},test")
    path = tmp_path / "reds.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_detectors_figures_rank_what_its_calibration_holds_to_one_limit(
    reds: Path, tmp_path: Path
) -> None:
    whole = redness(tmp_path)
    calibration = dict(whole.weights.calibration) | {"limit": 0.2}
    held = Detector(whole.card, replace(whole.weights, calibration=calibration), folder=tmp_path)
    told = [held.detect(reds.parent / f"{n}.png", survival=False)[0].score for n in range(4)]
    assert told == [pytest.approx(1 / (1 + 10**-0.2))] * 4
    free = [whole.detect(reds.parent / f"{n}.png", survival=False)[0].score for n in range(4)]
    kept = tmp_path / "kept.csv"
    found = verb.evaluate_detector(held, reds, Protocol(resamples=5, survival=False), keep=kept)
    back = verb.read_predictions(kept)
    assert back.scores == pytest.approx(free)  # the limit of 3 in log10 is not reached
    assert free == sorted(free, reverse=True)
    assert found.rows[0].measures["auc"].value == 0.25
    assert [float(it) for it in back.columns["calibrated"]] == pytest.approx(told)
    wanted = metrics.brier(told, back.labels)  # of what a user is told
    assert found.rows[0].measures["brier"].value == pytest.approx(wanted)
    assert not held.ranks  # it is the caller's, and stays as it was


def test_faces_that_were_cut_already_are_shown_whole(
    tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    lines = ["path,label,split"]
    for number in range(4):  # flat: there is no face to find, and the sides are not the square's
        pixels = np.zeros((32, 48, 3), np.uint8)
        pixels[:, 8:40] = (40 * number, 0, 90)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number // 2},test")
    manifest, kept = tmp_path / "cut.csv", tmp_path / "kept.csv"
    manifest.write_text("\n".join(lines) + "\n")
    detector = redness(tmp_path)
    found = verb.evaluate_detector(detector, manifest, Protocol(resamples=5, on="crops"), keep=kept)
    odds = np.array([8 * (40 * number - 90) / 255 for number in range(4)])
    assert verb.read_predictions(kept).scores == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)
    assert "pictures were taken as faces that were cut already" in found.notes
    named = (tmp_path / "redness.onnx", "--data", manifest)
    suite = tmp_path / "intra.csv"
    words = ("--protocol", "intra", "--on", "crops", "--out", suite, "-q")
    assert run("evaluate", *named, *words)[0] == 0
    assert "cut.csv,item,2,2,auc,1.0" in suite.read_text()
    assert "no item was answered" in verb.evaluate(*named[::2], Protocol(resamples=5)).notes
    for words, message in (
        ((*named, "--on", "faces"), "on pictures or on crops, got 'faces'"),
        ((kept, "--on", "crops"), "has its scores; on = 'crops' is for detectors"),
        ((kept, "--protocol", "intra", "--on", "crops"), "is for detectors"),
        (("pim", "--data", manifest, "--on", "crops"), "pim: looks at no faces"),
    ):
        code, _, err = run("evaluate", *words)
        assert (code, message in err) == (2, True)


def test_what_cannot_be_evaluated_raises(manifest: Path) -> None:
    with pytest.raises(ValueError, match="a detector needs data"):
        verb.evaluate("vit_lora_scl")
    with pytest.raises(ValueError, match="predictions bring their own data"):
        verb.evaluate(manifest, manifest)
    with pytest.raises(ValueError, match="no row has split 'dev'"):
        verb.evaluate_detector(Brightness(), manifest, Protocol(split="dev"))


def test_what_cannot_be_loaded_raises_and_is_named(manifest: Path, tmp_path: Path) -> None:
    def asked(name: str) -> None:
        verb.evaluate(tmp_path / name, manifest)

    with pytest.raises(ValueError, match=r"run\.safetensors: give the folder of the run"):
        asked("run.safetensors")
    with pytest.raises(ValueError, match=r"mine\.toml: wanted as the card of mine\.onnx"):
        asked("mine.onnx")
    card = tmp_path / "mine.toml"
    card.write_text("title = 'x'\nsed = 1\n")
    with pytest.raises(ValueError, match=r"mine\.toml: .*unknown sed"):
        asked("mine.onnx")
    card.write_text(
        "title = 'x'\nsource = 'x'\nnetwork = 'x:X'\nverb = 'detect'\nclaim = 'x'\n"
        "[[weights]]\nfile = 'other.onnx'\nsha256 = '0'\nlicense = 'MIT'\ntrained_on = 'x'\n"
    )
    with pytest.raises(ValueError, match=r"mine\.toml: has no weights entry for mine\.onnx"):
        asked("mine.onnx")


def test_a_folder_for_each_class_is_a_manifest_too(tmp_path: Path) -> None:
    for number in range(200):  # a hash of the source puts a tenth of them in "test"
        place = tmp_path / ("real" if number % 2 else "swap")
        place.mkdir(exist_ok=True)
        Image.new("RGB", (2, 2), (40 if number % 2 else 200,) * 3).save(place / f"{number}.png")
    found = verb.evaluate_detector(Brightness(), tmp_path, Protocol(resamples=5))
    assert found.rows[0].measures["auc"].value == 1
    assert 5 < found.rows[0].genuine + found.rows[0].forged < 50
    with pytest.raises(ValueError, match=r"run\.json: not the record of a run"):
        verb.evaluate(tmp_path, tmp_path)

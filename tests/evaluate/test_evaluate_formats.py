"""What DeepfakeBench and IMDLBenCo write is read; pickles are not opened."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from telltale import evaluate as verb
from telltale.data.forgery.frame_paths import places
from telltale.evaluate import Protocol

Run = Callable[..., tuple[int, str, str]]

FF = "datasets/rgb/FaceForensics++"
FRAMES = [
    f"{FF}/original_sequences/youtube/c23/frames/071/000.png",
    f"{FF}/original_sequences/youtube/c23/frames/071/010.png",
    f"{FF}\\manipulated_sequences\\Deepfakes\\c23\\frames\\071_054\\000.png",
    f"{FF}/manipulated_sequences/FaceSwap/c23/frames/002_003/000.png",
    "x/Celeb-DF-v2/Celeb-synthesis/frames/id0_id1_0000/000.png",
    f"{FF}/manipulated_sequences/DeepFakeDetection/c40/frames/01_02__walk/000.png",
]


def test_a_frames_path_says_where_it_belongs() -> None:
    found = places(FRAMES)
    assert [it.dataset for it in found[2:]] == [
        *("FaceForensics++", "FaceForensics++", "Celeb-DF-v2", "DeepFakeDetection")
    ]
    assert [it.kind for it in found[2:5]] == ["Deepfakes", "FaceSwap", "Celeb-synthesis"]
    assert found[0].video == found[1].video == "FaceForensics++/youtube/071"
    # the pair ties the real video 071 to the forged one
    assert found[0].source == found[2].source == "ff:054+071"
    assert found[4].source == "Celeb-DF-v2:id0"
    assert found[5].source == "DeepFakeDetection:01"
    assert places(["mine/clip7/3.jpg", "3.jpg"])[0].source == "mine/clip7"
    assert places(["mine/clip7/3.jpg", "3.jpg"])[1].video == "3.jpg"


@pytest.mark.parametrize("suffix", [".npz", ".json"])
@pytest.mark.parametrize("word", ["image", "img_names"])
def test_deepfakebenchs_dict(tmp_path: Path, suffix: str, word: str) -> None:
    scores, labels = [0.1, 0.2, 0.9, 0.8, 0.7, 0.6], [0, 0, 1, 2, 1, 1]
    found = {"acc": 0.5, "auc": 1.0, "pred": scores, "label": labels, word: FRAMES}
    path = tmp_path / f"metrics{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(found))
    else:
        np.savez(path, **found)
    rows = verb.read_any(path)
    np.testing.assert_allclose(rows.scores, scores)
    assert rows.labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert rows.columns["kind"].tolist()[:3] == ["", "", "Deepfakes"]
    assert rows.columns["dataset"].tolist()[4] == "Celeb-DF-v2"
    assert len(rows.averaged("video")) == 5
    whole = verb.evaluate(path, protocol=Protocol(resamples=20, average_by="video")).rows[0]
    assert whole.measures["auc"].value == 1
    assert whole.sources == 4


def test_deepfakebenchs_clips_and_unnamed_items(tmp_path: Path) -> None:
    path = tmp_path / "clips.json"
    clips = [FRAMES[:2], FRAMES[2:3]]
    path.write_text(json.dumps({"pred": [[0.1], [0.9]], "label": [0, 1], "image": clips}))
    assert verb.read_any(path).columns["video"].tolist()[0] == "FaceForensics++/youtube/071"
    path.write_text(json.dumps({"pred": [0.1, 0.9], "label": [0, 1]}))
    rows = verb.read_any(path)
    assert rows.paths.tolist() == ["item 0", "item 1"]
    assert not rows.columns


def test_several_datasets_of_deepfakebench_side_by_side(tmp_path: Path, run: Run) -> None:
    rng = np.random.default_rng(0)
    tables = []
    for name, kind in (("Celeb-DF-v2", "Celeb-synthesis"), ("DFDCP", "method_A")):
        labels = np.arange(80) // 2 % 2
        ends = [".png" if label else ".jpg" for label in labels]
        frames = [
            f"{name}/{kind if label else 'real'}/frames/id{k // 2}_0/{k % 2}{ends[k]}"
            for k, label in enumerate(labels)
        ]
        path = tmp_path / f"{name}.npz"
        np.savez(path, pred=rng.random(80) / 2 + labels / 4, label=labels, image=frames)
        tables.append(path)
    code, told, _ = run("evaluate", *tables, "--protocol", "cross-dataset", "-q")
    assert (code, told) == (0, "")
    out = tmp_path / "out.json"
    named = [f"{path.stem}={path}" for path in tables]
    assert run("evaluate", *named, "--protocol", "cross-dataset", "--out", out)[0] == 0
    grid = json.loads(out.read_text())
    levels = [(cell["test"], cell["level"], cell["forged"]) for cell in grid["cells"]]
    assert ("DFDCP", "frame", 40) in levels
    assert ("DFDCP", "video", 20) in levels
    assert any(
        "DFDCP: forged can be told" in note and "file type" in note for note in grid["notes"]
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"pred": [0.1], "label": [0, 1]}', "want a label for each pred"),
        ('{"pred": [0.1, 0.2]}', "want a label for each pred"),
        ('{"pred": ["a"], "label": [0]}', "want numbers as pred and label"),
        ('{"pred": [0.1, 0.2], "label": [0, 1], "image": ["a"]}', "1 frames for 2 predictions"),
        ('{"acc": "high"}', "there are ['acc']"),
        ("[1, 2]", "want an object with pred and label"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_what_is_neither_is_named(tmp_path: Path, run: Run, text: str, says: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text)
    code, _, err = run("evaluate", path)
    assert code == 2
    assert "odd.json: " in err
    assert says in err


def test_a_pickle_is_not_opened(tmp_path: Path, run: Run) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    for name in ("metric_dict_best.pickle", "scores.npz"):
        path = tmp_path / name
        if name.endswith("npz"):
            np.savez(path, pred=np.array([Trap(), Trap()], object), label=np.array([0, 1]))
        else:
            path.write_bytes(pickle.dumps(Trap()))
        code, _, err = run("evaluate", path)
        assert code == 2
        assert name in err
        assert not (tmp_path / "sprung").exists()
    assert "cannot be read as NPZ" in err
    log = tmp_path / "log.txt"
    log.write_text('{"test_pixel-level F1": 0.5, "epoch": 3}\n')
    assert "a log of averages has no predictions" in run("evaluate", log)[2]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """IMDLBenCo's list of [picture, mask], three of each."""
    listed = []
    for number in range(6):
        path = tmp_path / "set" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (40 * number,) * 3).save(path)
        mask = "Negative"
        if number % 2:
            mask = str(path.with_suffix(".png"))
            Image.new("L", (8, 8), 255).save(mask)
        listed.append([str(path), mask])
    path = tmp_path / "set.json"
    path.write_text(json.dumps(listed))
    return path


def test_imdlbencos_scores_meet_their_labels(truth: Path, tmp_path: Path, run: Run) -> None:
    path = tmp_path / "pred_label_combined.json"
    scores = {f"{n}.jpg": n % 2 * 0.5 + n / 100 for n in range(5)}
    path.write_text(json.dumps(scores))
    data = Path(f"imdlbenco:{truth}")
    rows = verb.read_any(path, data)
    assert rows.labels.tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_allclose(rows.scores[:5], list(scores.values()))
    assert np.isnan(rows.scores[5])
    assert rows.columns["error"].tolist()[5] == "no prediction"
    assert "split" not in rows.columns  # the set has none of its own
    code, told, _ = run("evaluate", path, "--data", data)
    assert code == 0
    assert "1 of 6 items have no answer" in told
    assert "has scores but no labels; give the truth with --data" in run("evaluate", path)[2]
    path.write_text(json.dumps({"other.jpg": 0.5}))
    assert "1 of 1 names are not in" in run("evaluate", path, "--data", data)[2]
    path.write_text(json.dumps({"1.jpg": 0.5, "./set/1.jpg": 0.5}))
    assert "two scores for" in run("evaluate", path, "--data", data)[2]


def test_scores_alone_in_a_csv_meet_a_manifest(tmp_path: Path) -> None:
    lines = ["path,label,source,split,kind"]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / folder / "x.png")
        lines.append(f"{folder}/x.png,{int(folder == 'b')},{folder},test,")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    table = tmp_path / "scores.csv"
    table.write_text("path,score\na\\x.png,0.25\nb/x.png,0.75\n")
    assert verb.read_any(table, manifest).scores.tolist() == [0.25, 0.75]
    for text, says in (
        ("path,score\nx.png,0.5\n", "'x.png' may be a/x.png, b/x.png"),
        ("path,score\na/x.png,0.5\na/x.png,0.5\n", "line 3: 'a/x.png' stands there twice"),
        ("path,score\na/x.png,low\n", "line 2: want a number as score"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=says):
            verb.read_any(table, manifest)


def test_the_example_turns_deepfakebenchs_pickles_into_npz(tmp_path: Path) -> None:
    folder = tmp_path / "Celeb-DF-v2"
    folder.mkdir()
    scores = np.linspace(0, 1, len(FRAMES))
    metric = {"auc": 1.0, "pred": scores, "label": np.array([0, 0, 1, 1, 1, 1])}
    (folder / "metric_dict_best.pickle").write_bytes(pickle.dumps(metric))
    listed = {"image": FRAMES, "label": [0, 0, 1, 1, 1, 1]}
    (folder / "data_dict_test.pickle").write_bytes(pickle.dumps(listed))
    example = Path(__file__).parents[2] / "examples/deepfakebench_predictions.py"
    out = tmp_path / "celebdf.npz"
    subprocess.run([sys.executable, example, folder, out], check=True)
    rows = verb.read_any(out)
    np.testing.assert_array_equal(rows.scores, scores)
    assert rows.columns["kind"].tolist()[2] == "Deepfakes"

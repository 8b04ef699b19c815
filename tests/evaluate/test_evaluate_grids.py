"""Comparisons as papers make them: frames and videos, kind by kind, dataset by dataset."""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as peer

from telltale import evaluate as verb
from telltale.evaluate import Cell, Grid, Predictions, Protocol, comparing
from telltale.records import Finding, Weights

QUICK = Protocol(resamples=30)
KINDS = ("Deepfakes", "FaceSwap")


def made(dataset: str = "ffpp", seed: int = 0, videos: int = 30, frames: int = 6) -> Predictions:
    """Real videos and two kinds of forgery of each, as FaceForensics++ names them; two persons a
    pair, so two videos a source; the frames of a video agree about as much as videos do."""
    rng = np.random.default_rng(seed)
    rows = []
    for pair in range(videos // 2):
        ids = (f"{2 * pair:03}", f"{2 * pair + 1:03}")
        for one, other in (ids, ids[::-1]):
            for kind, strength in (("original", 0.0), ("Deepfakes", 2.5), ("FaceSwap", 1.0)):
                clip = one if kind == "original" else f"{one}_{other}"
                of_video = strength + rng.normal()
                for frame in range(frames):
                    score = 1 / (1 + math.exp(1 - of_video - rng.normal()))
                    rows.append((kind, clip, frame, "+".join(ids), score))
    kinds, clips, numbers, sources, scores = zip(*rows, strict=True)
    label = np.array([kind != "original" for kind in kinds]).astype(int)
    paths = [f"{k}/{c}/{n}.png" for k, c, n in zip(kinds, clips, numbers, strict=True)]
    columns = {
        "kind": np.where(label == 1, kinds, ""),
        "video": np.array([f"{dataset}/{k}/{c}" for k, c in zip(kinds, clips, strict=True)]),
        "dataset": np.full(len(rows), dataset),
        "split": np.full(len(rows), "test"),
    }
    return Predictions(
        dataset, np.array(paths), label, np.array(scores), np.array(sources), columns
    )


def cell(grid: Grid, test: str, level: str) -> Cell:
    (found,) = [it for it in grid.cells if (it.test, it.level) == (test, level)]
    return found


def by_video(data: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Labels and mean scores, one loop over names: slow and obvious."""
    names = sorted(set(data.columns["video"].tolist()))
    mine = [data.columns["video"] == name for name in names]
    return np.array([data.labels[it][0] for it in mine]), np.array(
        [data.scores[it].mean() for it in mine]
    )


def test_intra_agrees_with_scikit_learn_on_frames_and_videos() -> None:
    data = made()
    grid = verb.intra(data, QUICK)
    assert [(it.test, it.level) for it in grid.cells] == [("ffpp", "frame"), ("ffpp", "video")]
    frame, video = grid.cells
    assert (frame.genuine, frame.forged, video.genuine, video.forged) == (180, 360, 30, 60)
    for it, (labels, scores) in ((frame, (data.labels, data.scores)), (video, by_video(data))):
        values = {name: figure.value for name, figure in it.measures.items()}
        assert values["auc"] == pytest.approx(peer.roc_auc_score(labels, scores), abs=1e-9)
        wanted = peer.average_precision_score(labels, scores)
        assert values["average_precision"] == pytest.approx(wanted, abs=1e-9)
        wanted = peer.accuracy_score(labels, scores >= 0.5)
        assert values["accuracy"] == pytest.approx(wanted, abs=1e-9)
        fpr, tpr, _ = peer.roc_curve(labels, scores)
        step = np.interp(0, tpr + fpr - 1, fpr)  # where 1 - x = TPR(x)
        assert values["eer"] == pytest.approx(step, abs=1e-9)
        assert all(f.low <= f.value <= f.high for f in it.measures.values())
    assert "accuracy is at a score of ½, as papers report it" in grid.notes


def test_intervals_draw_whole_sources_or_whole_videos() -> None:
    data = made(frames=20)
    wide = []
    for by in ("source", "video"):
        grid = verb.intra(data, replace(QUICK, interval_by=by, resamples=200))
        figure = cell(grid, "ffpp", "frame").measures["auc"]
        wide.append(figure.high - figure.low)
    items = replace(data, columns=dict(data.columns) | {"item": data.paths})
    narrow = verb.intra(items, replace(QUICK, interval_by="item", resamples=200)).cells[0]
    alone = narrow.measures["auc"].high - narrow.measures["auc"].low
    assert min(wide) > 2 * alone  # frames of a video are no independent items
    with pytest.raises(ValueError, match="no column 'person'"):
        verb.intra(data, replace(QUICK, interval_by="person"))
    assert "intervals resample whole values of video" in (
        verb.intra(data, replace(QUICK, interval_by="video")).notes
    )


def test_each_manipulation_meets_all_genuine_items() -> None:
    data = made()
    grid = verb.cross_manipulation(data, QUICK)
    assert [it.test for it in grid.cells] == ["Deepfakes"] * 2 + ["FaceSwap"] * 2 + ["mean"] * 2
    own = (data.columns["kind"] == "FaceSwap") | (data.labels == 0)
    wanted = peer.roc_auc_score(data.labels[own], data.scores[own])
    assert cell(grid, "FaceSwap", "frame").measures["auc"].value == pytest.approx(wanted, abs=1e-9)
    assert cell(grid, "FaceSwap", "video").genuine == 30
    for level in ("frame", "video"):
        mean = cell(grid, "mean", level).measures["auc"]
        two = [cell(grid, kind, level).measures["auc"].value for kind in KINDS]
        assert mean.value == pytest.approx(sum(two) / 2)
        assert mean.low is None


def test_leave_one_out_takes_each_kind_from_its_own_detector() -> None:
    first, second = made(seed=1), made(seed=2)
    grid = verb.leave_one_out({"Deepfakes": first, "FaceSwap": second}, QUICK)
    one = verb.cross_manipulation(first, QUICK)
    two = verb.cross_manipulation(second, QUICK)
    assert cell(grid, "Deepfakes", "video") == cell(one, "Deepfakes", "video")
    assert cell(grid, "FaceSwap", "video") == cell(two, "FaceSwap", "video")
    with pytest.raises(ValueError, match="ffpp: no forgery is of kind 'Face2Face'"):
        verb.leave_one_out({"Face2Face": first}, QUICK)


def test_datasets_are_judged_one_by_one_from_several_tables_or_one() -> None:
    one, two = made("celebdf", 1), made("dfd", 2)
    apart = verb.cross_dataset({"celebdf": one, "dfd": two}, QUICK)
    both = Predictions(
        "both",
        np.concatenate([one.paths, two.paths]),
        np.concatenate([one.labels, two.labels]),
        np.concatenate([one.scores, two.scores]),
        np.concatenate([one.sources, two.sources]),
        {name: np.concatenate([one.columns[name], two.columns[name]]) for name in one.columns},
    )
    assert verb.cross_dataset({"both": both}, QUICK).cells == apart.cells
    assert {it.test for it in apart.cells} == {"celebdf", "dfd", "mean"}


def test_videos_of_one_id_are_told_apart_by_dataset_and_kind(tmp_path: Path) -> None:
    rows = [
        ("a", 1, 0.2, "Deepfakes", "071_054", "ff"),
        ("b", 1, 0.8, "FaceSwap", "071_054", "ff"),
        ("c", 0, 0.2, "", "071_054", "ff"),
        ("d", 0, 0.8, "", "071_054", "dfd"),
        ("e", 0, 0.8, "", "071_054", "dfd"),
    ]
    lines = [f"{path},{label},p,{score},{rest}" for path, label, score, *more in rows
             for rest in [",".join(more)]]  # fmt: skip
    table = tmp_path / "one_id.csv"
    table.write_text("\n".join(["path,label,source,score,kind,video,dataset", *lines]) + "\n")
    data = verb.read_predictions(table)
    video = cell(verb.intra(data, QUICK), "one_id.csv", "video")
    assert (video.genuine, video.forged, video.measures["auc"].value) == (2, 2, 0.5)
    judged = verb.measure(data, replace(QUICK, average_by="video")).rows[0]
    assert (judged.genuine, judged.forged, judged.measures["auc"].value) == (2, 2, 0.5)
    assert data.thinned(1, "even").paths.tolist() == ["a", "b", "c", "d"]
    assert data.averaged("video").paths.tolist() == [
        "dfd/0/071_054", "ff/0/071_054", "ff/Deepfakes/071_054", "ff/FaceSwap/071_054",
    ]  # fmt: skip


def test_an_item_without_a_video_is_one_of_its_own(tmp_path: Path) -> None:
    lines = ["path,label,score,video", "a,0,0.1,", "b,0,0.9,", "c,1,0.5,v", "d,1,0.7,v"]
    table = tmp_path / "empty.csv"
    table.write_text("\n".join(lines) + "\n")
    data = verb.read_predictions(table)
    assert len(data.thinned(1, "even")) == 3
    data.sources[2:] = "v"
    assert data.averaged("video").paths.tolist() == ["a", "b", "v"]


def test_grouping_by_folder_mixes_the_kinds_as_some_benchmarks_do() -> None:
    data = made()
    grid = verb.intra(data, replace(QUICK, average_by="folder"))
    assert cell(grid, "ffpp", "video").forged == 30  # and not 60: two kinds have one folder name
    folders = data.column("folder")
    mine = data.averaged("folder")
    assert mine.scores[mine.paths == "001_000"] == pytest.approx(
        data.scores[folders == "001_000"].mean()
    )
    own = made().columns | {"folder": np.full(len(data), "x")}
    assert set(replace(data, columns=own).column("folder").tolist()) == {"x"}


def test_frames_are_chosen_before_they_are_averaged() -> None:
    data = made(frames=6)
    thin = data.thinned(2, "even")
    assert {Path(str(path)).stem for path in thin.paths} == {"0", "3"}
    assert {Path(str(path)).stem for path in data.thinned(2, "first").paths} == {"0", "1"}
    assert data.thinned(0, "even") is data
    grid = verb.intra(data, replace(QUICK, frames=2))
    assert cell(grid, "ffpp", "frame").forged == 120
    labels, scores = by_video(thin)
    wanted = peer.roc_auc_score(labels, scores)
    assert cell(grid, "ffpp", "video").measures["auc"].value == pytest.approx(wanted, abs=1e-9)
    judged = verb.measure(thin, QUICK).rows[0]
    assert judged.genuine + judged.forged == 180


def test_one_class_alone_is_told_and_why_so_little_is_shown() -> None:
    data = made()
    forged = data.take(data.labels == 1)
    grid = verb.intra(forged, replace(QUICK, threshold=0.4))
    told = "all answered items are forged: AUC, EER and AP want both classes and are left out"
    assert f"ffpp: {told}" in grid.notes
    assert "auc" not in grid.cells[0].measures
    assert (grid.cells[0].threshold, "apcer" in grid.cells[0].measures) == (0.4, True)
    assert not any("no threshold" in note for note in grid.notes)  # it is shown above them
    assert any("the threshold that the protocol fixed" in note for note in grid.notes)
    assert told in verb.measure(forged, QUICK).notes
    for whole in (verb.intra(data, QUICK), verb.measure(data, QUICK)):
        assert not any("both classes" in note for note in whole.notes)
    genuine = replace(data, scores=np.where(data.labels == 1, math.nan, data.scores))
    assert any(
        "all answered items are genuine" in note for note in verb.intra(genuine, QUICK).notes
    )
    without = verb.intra(replace(data, columns={"kind": np.full(len(data), "print")}), QUICK)
    assert any("no threshold of development data" in note for note in without.notes)


def test_video_files_are_videos_and_have_no_frames_to_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made(frames=1)
    films = replace(data, paths=np.array([f"{path[:-4]}.mp4" for path in data.paths]))
    for columns in (data.columns, {"kind": data.columns["kind"]}):
        (only,) = verb.intra(replace(films, columns=columns), QUICK).cells
        assert (only.level, only.genuine, only.forged) == ("video", 30, 60)
    assert only.measures["auc"] == verb.intra(data, QUICK).cells[0].measures["auc"]
    with pytest.raises(ValueError, match=r"0\.mp4: frames = 2 chooses among frames that were cut"):
        verb.intra(films, replace(QUICK, frames=2))
    for name in ("Celeb-real", "Celeb-synthesis"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "id0_0000.mp4").write_bytes(b"film")
    listed = "1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_0000.mp4\n"
    (tmp_path / "List_of_testing_videos.txt").write_text(listed)
    monkeypatch.setattr(comparing, "load", lambda what, threads: Brightness())
    celebdf = Path(f"celebdf:{tmp_path}")
    with pytest.raises(ValueError, match="video_fps says how many"):
        verb.compare(
            {"b": "b"},
            [celebdf],
            Protocol(suite="intra", frames=2),
            track=lambda items, count: pytest.fail("it ran"),
        )


def test_items_without_videos_logits_and_no_answer() -> None:
    data = made()
    plain = replace(data, columns={"kind": data.columns["kind"]})
    assert [it.level for it in verb.intra(plain, QUICK).cells] == ["item"]
    logits = replace(data, scores=np.log(data.scores / (1 - data.scores)))
    assert "accuracy" not in verb.intra(logits, QUICK).cells[0].measures
    at = verb.intra(logits, replace(QUICK, threshold=0.0)).cells[0].measures
    assert at["accuracy"] == verb.intra(data, QUICK).cells[0].measures["accuracy"]
    data.scores[:5] = math.nan
    grid = verb.intra(data, QUICK)
    assert grid.notes[0] == "ffpp: 5 of 540 items have no answer and are left out"
    data.scores[:] = math.nan
    assert verb.intra(data, QUICK).cells[0].measures == {}


@pytest.fixture
def grid() -> Grid:
    found = verb.cross_manipulation(made(), QUICK)
    strange = found.cells[0]._replace(test="a_b & 50 % {x} | <y>\\")
    return found._replace(cells=(strange, *found.cells[1:]), made_with={"seed": "0"})


def test_markdown_csv_latex_and_json_hold_the_figures(grid: Grid, tmp_path: Path) -> None:
    figure = grid.cells[0].measures["auc"]
    text = f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
    markdown = verb.grid_markdown(grid)
    assert f"| 180 | 180 | {text} |" in markdown.replace("| frames |", "|")
    assert r"\| &lt;y>" in markdown
    assert "Made with seed 0." in markdown
    lines = list(csv.DictReader(io.StringIO(verb.grid_csv(grid))))
    assert len(lines) == sum(len(it.measures) for it in grid.cells)
    assert (float(lines[0]["value"]), float(lines[0]["low"])) == (figure.value, figure.low)
    latex = verb.grid_latex(grid)
    assert rf"a\_b \& 50 \% \{{x\}} | <y>\textbackslash{{}} & frames & 180 & 180 & {text}" in latex
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(body) == 1 + len(grid.cells)
    assert {line.replace(r"\&", "").count("&") for line in body} == {7}
    assert latex.count(r"\begin{tabular}{lrrrrrrr}") == latex.count(r"\end{tabular}") == 1
    back = json.loads(verb.grid_json(grid))
    assert back["cells"][0]["measures"]["auc"] == list(figure)
    for suffix, whole in ((".md", markdown), (".csv", verb.grid_csv(grid)), (".tex", latex)):
        verb.write(grid, tmp_path / f"x{suffix}")
        assert (tmp_path / f"x{suffix}").read_text("utf-8") == whole
    verb.write(grid, tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == back


def test_an_evaluation_has_a_latex_form_too(data: Predictions, tmp_path: Path) -> None:
    found = verb.measure(data, Protocol(resamples=10, slices=("kind",)), threshold=0.5)
    verb.write(found, tmp_path / "x.tex")
    latex = (tmp_path / "x.tex").read_text("utf-8")
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(body) == 1 + len(found.rows)
    assert f"{found.rows[0].measures['auc'].value:.3f}" in body[1]
    assert latex.startswith("% made\n% ")


Run = Callable[..., tuple[int, str, str]]


def saved(path: Path, predictions: Predictions) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(verb.predictions_csv(predictions))
    return path


def test_the_command_line_compares_by_name_or_file(tmp_path: Path, run: Run) -> None:
    table = saved(tmp_path / "ffpp.csv", made(videos=8, frames=3))
    code, told, _ = run("evaluate", table, "--protocol", "intra", "--out", tmp_path / "x.tex")
    assert code == 0
    assert "% intra" in (tmp_path / "x.tex").read_text("utf-8")
    assert "videos" in told
    other = saved(tmp_path / "dfd.csv", made("dfd", 1, videos=8, frames=3))
    for name, words in (
        ("cross-manipulation", (table,)),
        ("cross-dataset", (f"a={table}", f"b={other}")),
        ("leave-one-out", (f"Deepfakes={table}", f"FaceSwap={other}")),
    ):
        toml = tmp_path / f"{name}.toml"
        toml.write_text(f'suite = "{name}"\nresamples = 20\n')
        code, told, _ = run("evaluate", *words, "--protocol", toml)
        assert code == 0
        assert "mean" in told
    assert run("evaluate", table, "--protocol", toml.with_name("cross-dataset.toml"), "-q")[1] == ""
    toml = tmp_path / "p.toml"
    toml.write_text(
        'suite = "intra"\nframes = 2\nchoose = "first"\naverage_by = "folder"\nresamples = 20\n'
    )
    out = tmp_path / "x.csv"
    assert run("evaluate", table, "--protocol", toml, "--out", out)[0] == 0
    assert "ffpp.csv,video,8,8,auc" in out.read_text()
    for words, says in (
        ((table, other), "want one detector"),
        ((table, other, "--protocol", "intra"), "intra judges one detector"),
        ((table, "--data", table, "--protocol", "intra"), "bring their own data"),
        (("vit_lora_scl", "--protocol", "intra"), "needs data: one manifest; got 0"),
        ((table, "--protocol", "intra", "--select", "eer"), "--select is for one table of figures"),
        ((table, "--protocol", "inter"), "inter: cannot be read as TOML"),
    ):
        code, _, err = run("evaluate", *words)
        assert code == 2
        assert says in err


def test_a_path_may_have_an_equals_sign_in_it(tmp_path: Path, run: Run) -> None:
    place = tmp_path / "a=b"
    place.mkdir()
    table = saved(place / "ffpp.csv", made(videos=8, frames=3))
    assert run("evaluate", table, "--protocol", "intra", "-q")[0] == 0
    words = (f"Deepfakes={table}", "--protocol", "leave-one-out")
    assert run("evaluate", *words, "--out", tmp_path / "x.csv")[0] == 0
    assert "Deepfakes,video,8,8,auc" in (tmp_path / "x.csv").read_text()


class Brightness:
    """A detector whose score is the mean brightness."""

    card = SimpleNamespace(slug="brightness", task="faces")
    weights = Weights("b.onnx", "ab", "Apache-2.0", "nothing", threshold=0.4)

    def detect(self, media: np.ndarray, **settings: object) -> tuple[Finding, ...]:
        return (Finding("b", "c", float(media.mean() / 255), "no"),)


def test_a_detector_runs_over_datasets_of_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root, shift in (("one", 0), ("two", 60)):
        for name, grey in (("real_test", 40 + shift), ("fake_test", 140)):
            for clip in range(3):
                for frame in range(4):
                    path = tmp_path / root / name / str(clip) / "0" / f"{frame}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (4, 4), (grey + clip,) * 3).save(path)
    monkeypatch.setattr(comparing, "load", lambda what, threads: Brightness())
    datas = [tmp_path / "one", Path(f"wilddeepfake:{tmp_path / 'two'}")]
    protocol = Protocol(suite="cross-dataset", frames=2, resamples=20)
    grid = verb.compare({"b": "b"}, datas, protocol)
    names = [it.test for it in grid.cells]
    second = f"wilddeepfake ({datas[1]})"
    assert names == ["wilddeepfake"] * 2 + [second] * 2 + ["mean"] * 2
    first = cell(grid, "wilddeepfake", "frame")
    assert (first.genuine, first.forged, first.measures["auc"].value) == (6, 6, 1)
    assert cell(grid, "wilddeepfake", "video").genuine == 3
    assert grid.made_with["method"] == "brightness"
    with pytest.raises(ValueError, match="keeps the predictions of one detector on one dataset"):
        verb.compare({"b": "b"}, datas, protocol, keep=tmp_path / "x.csv")
    with pytest.raises(ValueError, match="want a suite of intra"):
        verb.compare({"b": "b"}, datas, Protocol())
    with pytest.raises(ValueError, match="intra needs data: one manifest; got 2"):
        verb.compare({"b": "b"}, datas, Protocol(suite="intra"))


def test_leave_one_out_asks_a_runs_record_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = SimpleNamespace(data=SimpleNamespace(leave_out=["FaceSwap"]))
    monkeypatch.setattr("telltale.runs.read_run", lambda path: record)
    comparing.check_left_out(tmp_path, "FaceSwap")
    with pytest.raises(ValueError, match=r"judge on Deepfakes: it left out \['FaceSwap'\]"):
        comparing.check_left_out(tmp_path, "Deepfakes")


def one_by_one(folder: Path, greys: tuple[int, ...] = (40, 80, 120, 160)) -> Path:
    """A manifest of grey pictures, every second one a forgery, of two kinds in turn."""
    folder.mkdir()
    lines = ["path,label,source,split,kind"]
    for number, grey in enumerate(greys):
        Image.new("RGB", (4, 4), (grey,) * 3).save(folder / f"{number}.png")
        kind = KINDS[number // 2 % 2] if number % 2 else ""
        lines.append(f"{number}.png,{number % 2},{number},test,{kind}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def test_leave_one_out_asks_a_card_what_was_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, asked = one_by_one(tmp_path / "data"), []

    def detector(*learnt: str) -> Brightness:
        made = Brightness()
        made.weights = replace(Brightness.weights, learnt=learnt)
        made.detect = lambda media, **how: asked.append(0) or Brightness.detect(made, media, **how)
        return made

    shelf = {
        "a.onnx": detector("FaceSwap"),
        "b.onnx": detector("Deepfakes", "mine"),
        "c.onnx": detector(),
        "d.onnx": detector("digital"),
    }
    monkeypatch.setattr(comparing, "load", lambda what, threads: shelf[what])
    protocol = Protocol(suite="leave-one-out", resamples=5)
    whats = {"Deepfakes": "a.onnx", "FaceSwap": "b.onnx"}
    assert len(verb.compare(whats, [manifest], protocol).cells) == 3
    asked.clear()
    for wrong, learnt in (("b.onnx", "Deepfakes, mine"), ("d.onnx", "digital")):
        with pytest.raises(ValueError, match=rf"{wrong}: is no .* on Deepfakes: .* from {learnt}"):
            verb.compare({"FaceSwap": "b.onnx", "Deepfakes": wrong}, [manifest], protocol)
    assert asked == []  # it is said before the first one runs
    notes = verb.compare({"Deepfakes": "c.onnx"}, [manifest], protocol).notes
    assert "nothing says whether c.onnx learnt from Deepfakes" in notes


def test_a_comparison_asks_once_and_names_all_that_it_was_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survival = []

    class Asked(Brightness):
        def detect(self, media: np.ndarray, **settings: object) -> tuple[Finding, ...]:
            survival.append(settings["survival"])
            return super().detect(media, **settings)

    monkeypatch.setattr(comparing, "load", lambda what, threads: Asked())
    one = one_by_one(tmp_path / "one")
    two = one_by_one(tmp_path / "two", (40, 80, 120, 160, 200, 240))
    grid = verb.compare({"b": "b"}, [one, two], Protocol(suite="cross-dataset", resamples=5))
    assert survival == [False] * 10
    hashes = {name: it for name, it in grid.made_with.items() if "manifest.csv" in name}
    assert [*hashes] == ["manifest.csv", f"manifest.csv ({two})"]
    assert len({*hashes.values()}) == 2
    survival.clear()
    verb.compare({"b": "b"}, [one], Protocol(suite="intra", resamples=5), keep=tmp_path / "k.csv")
    assert survival == [True] * 4  # the verdicts that are kept are those of a scan


def test_a_protocol_is_checked() -> None:
    for wrong in ({"suite": "all"}, {"frames": -1}, {"choose": "last"}):
        with pytest.raises(ValueError, match="want"):
            Protocol(**wrong)  # type: ignore[arg-type]

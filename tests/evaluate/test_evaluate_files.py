"""What is read is checked, what is written holds every figure."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from telltale import evaluate as verb
from telltale.evaluate import Predictions, Protocol


def written(folder: Path, predictions: Predictions, name: str = "predictions.csv") -> Path:
    path = folder / name
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(verb.predictions_csv(predictions))
    return path


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1]),
            st.floats(allow_nan=True, allow_infinity=False),
            st.text("ab, \"'é\n", max_size=6),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_predictions_survive_the_file(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, float, str]]
) -> None:
    labels, scores, names = zip(*rows, strict=True)
    text = np.array(names, np.str_)
    data = Predictions("x", text, np.array(labels), np.array(scores), text, {"kind": text})
    back = verb.read_predictions(written(tmp_path_factory.mktemp("csv"), data))
    np.testing.assert_array_equal(back.scores, data.scores)
    np.testing.assert_array_equal(back.labels, data.labels)
    assert back.columns["kind"].tolist() == list(names)
    assert back.sources.tolist() == list(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na,0\n", "want the columns score"),
        ("", "want the columns path, label, score"),
        ("path,label,score\n", "there are no rows"),
        ("path,label,score\na,0,0.5\nb,2,0.5\n", "line 3: want a label .* got '2'"),
        ("path,label,score\na,0,high\n", "line 2: want a number as score, got 'high'"),
        ("path,label,score\na,0\n", "line 2: want 3 fields"),
        ("path,label,score\na,0,1,7\n", "line 2: want 3 fields"),
        ('path,label,score\n"a,0,1\n', "cannot be read as CSV"),
    ],
)
def test_a_bad_file_raises_and_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bad\.csv.*" + message):
        verb.read_predictions(path)


def test_words_and_foreign_encodings(tmp_path: Path) -> None:
    path = tmp_path / "words.csv"
    path.write_text("path,label,score\na,Real,0.1\nb,fake,\n", encoding="utf-8-sig")
    found = verb.read_predictions(path)
    assert found.labels.tolist() == [0, 1]
    assert math.isnan(found.scores[1])
    path.write_bytes(b"path,label,score\n\xff\xfe,0,1\n")
    with pytest.raises(ValueError, match=r"words\.csv: cannot be read as CSV"):
        verb.read_predictions(path)
    with pytest.raises(ValueError, match=r"none\.csv: cannot be read"):
        verb.read_predictions(tmp_path / "none.csv")


@pytest.fixture
def evaluation(data: Predictions) -> verb.Evaluation:
    return verb.measure(data, Protocol(resamples=20, slices=("kind",)), threshold=0.5)


def test_json_holds_every_figure(evaluation: verb.Evaluation) -> None:
    back = json.loads(json.dumps(verb.to_json(evaluation), allow_nan=False))
    assert back["rows"][0]["measures"]["auc"] == list(evaluation.rows[0].measures["auc"])
    assert back["worst"]["auc"][0] == "kind = gan"
    hopeless = evaluation._replace(worst={"cllr": ("all", math.inf)})
    assert verb.to_json(hopeless)["worst"]["cllr"] == ["all", "inf"]


def test_csv_holds_every_figure(evaluation: verb.Evaluation) -> None:
    lines = list(csv.DictReader(io.StringIO(verb.to_csv(evaluation))))
    assert len(lines) == sum(len(row.measures) for row in evaluation.rows)
    first = next(line for line in lines if line["measure"] == "eer")
    figure = evaluation.rows[0].measures["eer"]
    assert (float(first["value"]), float(first["low"]), float(first["high"])) == figure


def test_markdown_is_a_table_that_strange_names_do_not_break(evaluation: verb.Evaluation) -> None:
    strange = evaluation.rows[1]._replace(slice="kind = a|b\n<script>")
    text = verb.to_markdown(evaluation._replace(rows=(evaluation.rows[0], strange)))
    figure = evaluation.rows[0].measures["auc"]
    assert f"| AUC | {figure.value:.3f} | [{figure.low:.3f}, {figure.high:.3f}] |" in text
    assert r"kind = a\|b &lt;script>" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = {line.replace(r"\|", "").count("|") for line in tables[-2:]}
    assert len(widths) == 1


def test_the_terminal_shows_names_as_they_are(evaluation: verb.Evaluation) -> None:
    console = Console(file=io.StringIO(), width=200)
    strange = evaluation.rows[1]._replace(slice="kind = [bold]x[/]")
    for table in verb.to_tables(evaluation._replace(rows=(evaluation.rows[0], strange))):
        console.print(table)
    shown = console.file.getvalue()
    assert "[bold]x[/]" in shown
    assert f"[{evaluation.rows[0].measures['auc'].low:.3f}," in shown


@pytest.mark.parametrize("suffix", [".md", ".csv", ".json"])
def test_files_are_replaced_whole(evaluation: verb.Evaluation, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"result{suffix}"
    path.write_text("old")
    verb.write(evaluation, path)
    assert "auc" in path.read_text("utf-8").lower()
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_a_file_that_cannot_be_written_is_named(
    evaluation: verb.Evaluation, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"x\.txt: want a name that ends in \.md"):
        verb.write(evaluation, tmp_path / "x.txt")
    with pytest.raises(ValueError, match=r"x\.md: cannot be written"):
        verb.write(evaluation, tmp_path / "no folder" / "x.md")

"""Readers of described moments, on files of the published forms."""

import json
from pathlib import Path

import numpy as np
import pytest

from telltale.data.moments import (
    Described,
    by_video,
    read_activitynet,
    read_charades,
    read_features,
    read_qvhighlights,
    write_predictions,
)


def test_charades_clips_ends_and_leaves_out_what_is_empty(tmp_path: Path) -> None:
    lines, lengths = tmp_path / "test.txt", tmp_path / "test.csv"
    lines.write_text(
        "AMT7R 4.3 12.5##a person puts it down.\nYVKIV 4.4 99.0##the end.\nYVKIV 31 32##late.\n\n"
    )
    lengths.write_text("id,subject,length\nAMT7R,X,30.1\nYVKIV,Y,20.0\n")
    found = read_charades(lines, lengths)
    assert found == [
        Described("AMT7R", "a person puts it down.", ((4.3, 12.5),), 30.1),
        Described("YVKIV", "the end.", ((4.4, 20.0),), 20.0),
    ]
    lines.write_text("AMT7R 4.3 12.5##fine.\nAMT7R four 12##x\n")
    with pytest.raises(ValueError, match=r"test\.txt:2: want VIDEO start end"):
        read_charades(lines, lengths)
    lines.write_text("NOONE 1 2##x\n")
    with pytest.raises(ValueError, match="no video 'NOONE'"):
        read_charades(lines, lengths)
    lengths.write_text("id,seconds\nAMT7R,3\n")
    with pytest.raises(ValueError, match=r"test\.csv:2: want columns id and length"):
        read_charades(lines, lengths)


def test_activitynet(tmp_path: Path) -> None:
    path = tmp_path / "val_1.json"
    entry = {"duration": 82.7, "timestamps": [[0.8, 19.9], [90, 60]], "sentences": ["A.", " B. "]}
    path.write_text(json.dumps({"v_x": entry}))
    assert read_activitynet(path) == [
        Described("v_x", "A.", ((0.8, 19.9),), 82.7),
        Described("v_x", "B.", ((60.0, 82.7),), 82.7),
    ]
    path.write_text(json.dumps({"v_x": {"duration": 1, "timestamps": [[0, 1]], "sentences": []}}))
    with pytest.raises(ValueError, match="v_x: want duration, timestamps and sentences"):
        read_activitynet(path)
    path.write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        read_activitynet(path)


def test_qvhighlights_and_back(tmp_path: Path) -> None:
    path = tmp_path / "val.jsonl"
    entry = {"qid": 7, "query": "A dog", "vid": "x_0_150", "duration": 150}
    known = entry | {"relevant_windows": [[26, 36], [40, 52]]}
    path.write_text(f"{json.dumps(known)}\n{json.dumps(entry)}\n")
    one, hidden = read_qvhighlights(path)
    assert one == Described("x_0_150", "A dog", ((26, 36), (40, 52)), 150, "7")
    assert hidden.windows == ()
    write_predictions(tmp_path / "out.jsonl", [one], [[[26.0, 36.0, 0.91234567]]])
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {
        "qid": 7, "query": "A dog", "vid": "x_0_150", "pred_relevant_windows": [[26, 36, 0.9123]],
    }  # fmt: skip
    path.write_text('{"qid": 7}\n')
    with pytest.raises(ValueError, match=r"val\.jsonl:1: want qid"):
        read_qvhighlights(path)


def test_parts_share_no_video() -> None:
    pairs = [Described(f"v{k // 3}", str(k), ((0, 1),), 2) for k in range(60)]
    parts = by_video(pairs, {"train": 0.5, "test": 0.25}, seed=1)
    videos = {name: {p.video for p in part} for name, part in parts.items()}
    assert len(videos["train"]) == 10
    assert len(videos["test"]) == 5
    assert not videos["train"] & videos["test"]
    assert sum(map(len, parts.values())) == 45
    assert parts == by_video(pairs, {"train": 0.5, "test": 0.25}, seed=1)
    with pytest.raises(ValueError, match="want shares"):
        by_video(pairs, {"a": 0.9, "b": 0.2}, seed=1)


def test_features_are_arrays_never_pickles(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 2), np.float16))
    assert read_features(tmp_path / "a.npy").dtype == np.float32
    np.save(tmp_path / "b.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "c.npy", np.ones((3, 2), int))
    for name in ("b", "c", "none"):
        with pytest.raises(ValueError, match=f"{name}.npy"):
            read_features(tmp_path / f"{name}.npy")

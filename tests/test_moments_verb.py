# ruff: noqa: F401, F811 - fixtures of other files
"""Labels by a machine, learning from them and measuring it, also from the command line."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from telltale.annotate import annotate, events, sentence
from telltale.data.moments import Described, read_qvhighlights, write_labels
from telltale.find import Watched
from telltale.language.vid_morp import VidMorp
from telltale.moments import (
    Course,
    Examples,
    gathered,
    judge,
    learn,
    read_labels,
    similarities,
    weigh,
)
from telltale.records import Subject
from test_describe import folder as llava  # a miniature LLaVA in a folder
from test_find import folder, video  # a miniature CLIP, a drawn video

Run = Callable[..., tuple[int, str, str]]
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore")]


def toy(count: int, seed: int, wrong: float = 0.0) -> tuple[Examples, torch.Tensor]:
    """A concept shown over a part of 16 clips; some sentences are another's."""
    random = torch.Generator().manual_seed(seed)
    concepts = torch.nn.functional.normalize(torch.randn(6, 12, generator=random), dim=1)
    which = torch.randint(6, (count,), generator=random)
    length = torch.randint(3, 8, (count,), generator=random)
    start = (torch.rand(count, generator=random) * (17 - length)).long()
    at = torch.arange(16)
    inside = (at >= start[:, None]) & (at < (start + length)[:, None])
    clips = inside[..., None] * concepts[which][:, None]
    clips = clips + 0.1 * torch.randn(count, 16, 12, generator=random)
    mixed = torch.rand(count, generator=random) < wrong
    said = torch.where(mixed, (which + 1) % 6, which)
    spans = torch.stack([start, start + length], 1) / 16
    windows = tuple((tuple(row),) for row in (32 * spans).tolist())
    every = torch.arange(count)
    found = Examples(clips, every, concepts[said], spans, torch.full((count,), 32.0), windows)
    return found, mixed


def small() -> VidMorp:
    torch.manual_seed(0)
    return VidMorp(width=12, sentence_width=12, channels=12, clips=16, floor=0.2)


COURSE = Course(epochs=8, batch=32, lr=5e-3, seed=0)


def test_people_s_labels_are_kept_and_learnt_from() -> None:
    examples, _ = toy(256, 0)
    network = small()
    noted: list[int] = []
    labels, kept = learn(
        network, examples, course=COURSE, note=lambda epoch, loss: noted.append(epoch)
    )
    assert torch.equal(labels, examples.spans)
    assert kept.all()
    assert noted == [1, 2, 3, 4, 5, 6, 7, 8]
    table = judge(network, toy(64, 0)[0])
    assert table["network"]["mIoU"] > 0.5 > table["whole video"]["mIoU"]
    assert {"R@1 IoU 0.7 (+1)", "mAP average"} <= {*table["network"]}


def test_evidence_is_weighed_on_what_was_set_apart() -> None:
    network, held = small(), toy(64, 3)[0]
    network.eval()
    before = judge(network, held)["network"]["mIoU"]
    chosen = weigh(network, held)
    assert chosen == network.evidence.item() > 0  # nothing was learnt: the towers know more
    assert judge(network, held)["network"]["mIoU"] > before
    with pytest.raises(ValueError, match="towers of one CLIP"):
        weigh(VidMorp(width=8, sentence_width=6, channels=4, clips=8), held)


def test_a_machine_s_labels_are_cleaned() -> None:
    examples, mixed = toy(256, 1, wrong=0.2)
    labels, kept = learn(small(), examples, machine=True, course=COURSE)
    assert mixed[~kept].float().mean() > 0.6  # what is dropped does not match
    assert kept.sum() == 192
    assert not torch.equal(labels[kept], examples.spans[kept])
    only_second = COURSE._replace(stages=(False, True))
    labels, kept = learn(small(), examples, machine=True, course=only_second)
    assert kept.all()
    other = examples._replace(sentences=examples.sentences[:, :8])
    with pytest.raises(ValueError, match="of one CLIP"):
        learn(small(), other, machine=True)
    with pytest.raises(ValueError, match="epochs ≥ 1"):
        learn(small(), examples, course=Course(epochs=0))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(2, 9), min_size=1, max_size=5), st.integers(0, 99))
def test_events_are_cut_where_the_picture_changes(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    shown = np.eye(len(lengths))[np.repeat(np.arange(len(lengths)), lengths)]
    rows = np.concatenate([shown, 0.01 * rng.normal(size=(len(shown), 3))], 1)
    ends = np.cumsum(lengths).tolist()
    expected = list(zip([0, *ends[:-1]], ends, strict=True))
    assert events(rows.astype(np.float32), shortest=2) == expected
    assert events(rows.astype(np.float32), shortest=99) == [(0, len(rows))]
    assert events(rows.astype(np.float32), strength=1e9) == [(0, len(rows))]


def test_events_say_what_they_want() -> None:
    with pytest.raises(ValueError, match="want frames"):
        events(np.zeros((0, 4), np.float32))
    assert sentence(" A dog\nruns. It is brown.") == "A dog runs"
    assert sentence("...") == ""


def test_what_is_said_twice_is_one_event_and_nothing_is_none() -> None:
    def frame(level: int) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", (16, 16), (level, level, level)).save(out, "JPEG")
        return out.getvalue()

    levels = [10] * 6 + [90] * 6 + [170] * 6 + [250] * 6
    codes = np.repeat(np.eye(4, dtype=np.float32), 6, axis=0)
    subject = Subject("park.mp4", "0" * 64, 1, "video", "MP4", 16, 16, 12.0)
    thumbnails = tuple(frame(v) for v in levels)
    watched = Watched(subject, "drawn", 2, np.arange(24) / 2, codes, thumbnails)
    told: list[int] = []

    def say(pixels: np.ndarray, question: str, words: int) -> str:
        told.append(int(pixels.mean()) // 80)
        return ["A dog runs.", "A dog runs. It barks.", "", "A cat sleeps"][told[-1]]

    found = annotate(watched, say)
    assert told == [0, 1, 2, 3]
    assert found == [
        Described("park", "A dog runs", ((0.0, 6.0),), 12.0),
        Described("park", "A cat sleeps", ((9.0, 12.0),), 12.0),
    ]


def test_labels_are_written_as_they_are_read(tmp_path: Path) -> None:
    pairs = [Described("a", "ein Hund läuft", ((0.5, 2.25), (4.0, 5.0)), 9.5)]
    write_labels(tmp_path / "l.jsonl", pairs)
    (again,) = read_qvhighlights(tmp_path / "l.jsonl")
    assert again == pairs[0]._replace(query="1")
    with pytest.raises(ValueError, match=r"ends in \.txt, \.json or \.jsonl"):
        read_labels(tmp_path / "l.csv")
    (tmp_path / "l.txt").write_text("")
    with pytest.raises(ValueError, match="--durations"):
        read_labels(tmp_path / "l.txt")
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(19, 6)))
    read = lambda texts: torch.ones(len(texts), 6)  # noqa: E731
    every = gathered(pairs, tmp_path, read, clips=8, every_window=True)
    assert every.video.tolist() == [0, 0]
    torch.testing.assert_close(every.spans * 9.5, torch.tensor([[0.5, 2.25], [4.0, 5.0]]))
    first = gathered(pairs, tmp_path, read, clips=8)
    assert first.truths == (pairs[0].windows,)
    assert similarities(first).shape == (1, 8)
    np.save(tmp_path / "b.npy", np.ones((3, 5)))
    two = [*pairs, pairs[0]._replace(video="b")]
    with pytest.raises(ValueError, match="features of one width"):
        gathered(two, tmp_path, read, clips=8)


def test_from_videos_to_figures(
    run: Run,
    video: Path,
    folder: Path,
    llava: Path,
    tmp_path: Path,
) -> None:
    """annotate, train with --machine, go on from that, evaluate: with models of random weights."""
    labels, seen = tmp_path / "pseudo.jsonl", tmp_path / "features"
    more = ("--model", folder, "--features", seen)
    words = ("moments", "annotate", video, "--writer", llava, "--out", labels, *more)
    code, out, err = run(*words, "--shortest", 1, "--decoding", "greedy")
    assert code == 0, err
    assert "walls: " in err
    pairs = read_qvhighlights(labels)
    assert str(len(pairs)) in out
    starts = {round(pair.windows[0][0]) for pair in pairs}
    assert starts <= {0, 4, 7}  # the wall is red, green, red
    assert pairs[0].sentence
    before = labels.read_bytes()
    assert run(*words, "--decoding", "greedy")[0] == 0  # a stopped run goes on: nothing to do
    assert labels.read_bytes() == before

    people = tmp_path / "people.jsonl"
    write_labels(people, [Described("walls", "green wall", ((4.0, 7.0),), 12.0)] * 6)
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    few = ("--epochs", 2, "--batch", 4)
    code, out, err = run(
        "moments", "train", people, *more, "--machine", "--out", first, "--clips", 8, *few
    )
    assert code == 0, err
    assert "learnt from 5 of 6 spans" in out
    code, _, err = run("moments", "train", people, *more, "--from", first, "--out", second, *few)
    assert code == 0, err
    told = tmp_path / "told.jsonl"
    asked = ("moments", "evaluate", people, *more, "--network", second)
    code, out, err = run(*asked, "--json", "--predictions", told)
    assert code == 0, err
    table = json.loads(out)
    assert [*table] == ["network", "whole video", "first 30 %", "middle third"]
    assert table["whole video"]["mIoU"] == pytest.approx(0.25)
    assert len(told.read_text().splitlines()) == 6
    assert "| middle third |" in run(*asked)[1]
    code, _, err = run("moments", "features", video, video, "--model", folder, "--out", seen)
    assert code == 2
    assert "twice" in err
    code, _, err = run("moments", "features", video, "--model", folder, "--out", tmp_path / "new")
    assert code == 0, err
    assert np.array_equal(np.load(tmp_path / "new/walls.npy"), np.load(seen / "walls.npy"))

"""A folder of videos becomes a manifest of faces, in parallel, and goes on where it was stopped."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from filmed import film
from telltale.data.clips import Cut
from telltale.data.manifest import read_manifest
from telltale.media.frames import read_frames
from telltale.prepare import MANIFEST, PROGRESS, SKIPPED, prepare

Run = Callable[..., tuple[int, str, str]]
QUICK = Cut(frames=2, size=64)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FaceForensics++ of one pair: two originals, a swap with its mask, and a broken one."""
    root = tmp_path_factory.mktemp("ffpp")
    for name, photo in (("071", "astronaut"), ("054", "commodore")):
        film(root / f"original_sequences/youtube/c23/videos/{name}.mp4", frames=6, photograph=photo)
    fakes = root / "manipulated_sequences/Deepfakes"
    film(fakes / "c23/videos/071_054.mp4", frames=6)
    film(fakes / "masks/videos/071_054.mp4", frames=6, mask=True)
    (fakes / "c23/videos/054_071.mp4").write_bytes(b"cut off")
    for split in ("train", "val", "test"):
        pairs = [["071", "054"]] if split == "train" else []
        (root / f"{split}.json").write_text(json.dumps(pairs))
    return root


def rows(out: Path) -> list[dict[str, str]]:
    with (out / MANIFEST).open(newline="") as file:
        return [*csv.DictReader(file)]


def test_faces_masks_partners_and_what_was_skipped(raw: Path, tmp_path: Path) -> None:
    count, results = prepare([raw], tmp_path, QUICK, workers=1)
    done = {it.name: it for it in results}
    assert count == len(done) == 4
    assert "is no picture or video" in done["ffpp/Deepfakes/054_071"].error
    table = rows(tmp_path)
    assert len(table) == 6
    fake = next(row for row in table if row["kind"] == "Deepfakes" and "0005" in row["path"])
    assert fake == {
        "path": "faces/ffpp/Deepfakes/071_054/0005.png",
        "label": "1",
        "source": "ff:054+071",
        "split": "train",
        "kind": "Deepfakes",
        "mask": "masks/ffpp/Deepfakes/071_054/0005.png",
        "partner": "faces/ffpp/original/071/0005.png",
        "video": "ffpp/Deepfakes/071_054",
        "dataset": "ffpp",
    }
    found = read_manifest(tmp_path / MANIFEST)  # every file is there
    assert {row.video for row in found.rows if not row.label} == {
        "ffpp/original/054",
        "ffpp/original/071",
    }
    skipped = (tmp_path / SKIPPED).read_text().splitlines()
    assert len(skipped) == 2
    assert "ffpp/Deepfakes/054_071" in skipped[1]
    assert not list(tmp_path.glob("*.part"))


def test_two_processes_write_what_one_does(raw: Path, tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        _, results = prepare([raw], tmp_path / name, QUICK, workers=workers)
        assert len([*results]) == 4
    one, two = tmp_path / "one", tmp_path / "two"
    assert (one / MANIFEST).read_text() == (two / MANIFEST).read_text()
    for row in rows(one):
        assert (one / row["path"]).read_bytes() == (two / row["path"]).read_bytes()


def test_a_stopped_run_goes_on_and_tries_again_what_failed(raw: Path, tmp_path: Path) -> None:
    _, results = prepare([raw], tmp_path, QUICK, workers=1)
    first = next(it for it in results if not it.error)
    results.close()  # type: ignore[attr-defined]
    assert not (tmp_path / MANIFEST).exists()
    with (tmp_path / PROGRESS).open("a") as log:
        log.write('{"name": "ffpp/orig')  # torn by a kill
    when = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(f"{first.name}/*.png")}
    count, results = prepare([raw], tmp_path, QUICK, workers=1)
    names = {it.name for it in results}
    assert first.name not in names
    assert count == len(names) == 3
    assert all(path.stat().st_mtime_ns == then for path, then in when.items())
    assert len(rows(tmp_path)) == 6
    count, results = prepare([raw], tmp_path, QUICK, workers=1)
    assert [it.name for it in results] == ["ffpp/Deepfakes/054_071"]
    assert len(rows(tmp_path)) == 6
    with pytest.raises(ValueError, match=r"was begun with .*'size': 64.*; name another folder"):
        prepare([raw], tmp_path, Cut(frames=2, size=96))


def test_a_folder_keeps_to_the_files_that_it_was_begun_with(tmp_path: Path) -> None:
    root, out = tmp_path / "ffpp", tmp_path / "out"
    for level, photo in (("c23", "astronaut"), ("c40", "commodore")):
        video = root / f"original_sequences/youtube/{level}/videos/071.mp4"
        film(video, frames=2, photograph=photo)
    list(prepare([f"ffpp-c23:{root}"], out, QUICK, workers=1)[1])
    before = (out / MANIFEST).read_text()
    with pytest.raises(ValueError, match=r"was cut from .*c23.*, not from .*c40.*another folder"):
        prepare([f"ffpp-c40:{root}"], out, QUICK, workers=1)
    moved = root.rename(tmp_path / "other")
    with pytest.raises(ValueError, match=r"was cut from .*/ffpp/.*, not from .*/other/"):
        prepare([f"ffpp-c23:{moved}"], out, QUICK, workers=1)
    lines = (out / PROGRESS).read_text().splitlines()
    older = {key: value for key, value in json.loads(lines[1]).items() if key != "file"}
    (out / PROGRESS).write_text(f"{lines[0]}\n{json.dumps(older)}\n")
    assert prepare([f"ffpp-c23:{moved}"], out, QUICK, workers=1)[0] == 0  # an older line says none
    assert (out / MANIFEST).read_text() == before


def test_another_dataset_does_not_take_the_place_of_the_first(raw: Path, tmp_path: Path) -> None:
    celeb, out = tmp_path / "celeb", tmp_path / "out"
    film(celeb / "Celeb-real/id0_0000.mp4", frames=2)
    list(prepare([raw], out, QUICK, workers=1)[1])
    before = (out / MANIFEST).read_text()
    with pytest.raises(ValueError, match=r"has faces of ffpp/.*; name all datasets of a folder in"):
        prepare([f"celebdf:{celeb}"], out, QUICK, workers=1)
    assert (out / MANIFEST).read_text() == before
    list(prepare([raw, f"celebdf:{celeb}"], out, QUICK, workers=1)[1])  # more of them go on
    assert {row["dataset"] for row in rows(out)} == {"ffpp", "celebdf-v2"}


def test_frames_keep_the_partner_and_the_mask_of_their_number(tmp_path: Path) -> None:
    """FaceForensics++ as frames, of which a forgery's folder lacks one."""
    fakes = tmp_path / "raw/manipulated_sequences/Deepfakes"
    for folder, numbers, mask in (
        (tmp_path / "raw/original_sequences/youtube/c23/frames/071", (0, 5, 10), False),
        (fakes / "c23/frames/071_054", (0, 10), False),
        (fakes / "masks/frames/071_054", (0, 10), True),
    ):
        for frame in read_frames(film(tmp_path / "film.mp4", frames=11, mask=mask), numbers):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame.pixels).save(folder / f"{frame.number:03}.png")
    out = tmp_path / "out"
    list(prepare([tmp_path / "raw"], out, Cut(frames=8, size=64), workers=1)[1])
    fake = [(row["path"], row["partner"], row["mask"]) for row in rows(out) if row["label"] == "1"]
    assert fake == [
        tuple(
            f"{head}/{number}.png"
            for head in (
                "faces/ffpp/Deepfakes/071_054",
                "faces/ffpp/original/071",
                "masks/ffpp/Deepfakes/071_054",
            )
        )
        for number in ("0000", "0010")
    ]
    assert [row["path"][-8:] for row in rows(out) if row["label"] == "0"] == [
        "0000.png",
        "0005.png",
        "0010.png",
    ]
    read_manifest(out / MANIFEST)  # every file is there
    head, *lines = map(json.loads, (out / PROGRESS).read_text().splitlines())
    for line in lines:
        del line["file"]
    older = [json.dumps(it) + "\n" for it in (head, *lines)]
    (out / PROGRESS).write_text("".join(older))
    assert prepare([tmp_path / "raw"], out, Cut(frames=8, size=64))[0] == 2  # by place: cut anew


def test_a_kill_at_the_first_line_leaves_a_folder_to_go_on_with(raw: Path, tmp_path: Path) -> None:
    for torn in ("", '{"frames": 2, "si'):
        (tmp_path / PROGRESS).write_text(torn)
        count, _ = prepare([raw], tmp_path, QUICK, workers=1)
        assert count == 4
        assert json.loads((tmp_path / PROGRESS).read_text())["size"] == 64


def test_going_on_does_not_write_the_progress_anew(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill while the file is written would lose hours of work."""
    list(prepare([raw], tmp_path, QUICK, workers=1)[1])
    with (tmp_path / PROGRESS).open("a") as log:
        log.write('{"name": "ffpp/orig')
    before = (tmp_path / PROGRESS).read_text()

    def killed(path: Path, to: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare([raw], tmp_path, QUICK, workers=1)
    assert (tmp_path / PROGRESS).read_text() == before
    assert prepare([raw], tmp_path, QUICK, workers=1)[0] == 1
    assert (tmp_path / PROGRESS).read_text() == before.rpartition("\n")[0] + "\n"


def test_a_killed_run_leaves_no_process_and_no_half_manifest(raw: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "telltale", "prepare", str(raw), "--out", str(tmp_path / "out")]
    process = subprocess.Popen([*words, "--workers", "2", "--frames", "6", "-q"])
    until = time.monotonic() + 60
    while not list((tmp_path / "out").rglob("*.png")) and time.monotonic() < until:
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / MANIFEST).exists()
    until = time.monotonic() + 20
    while any(_alive(child) for child in children) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [child for child in children if _alive(child)]
    assert subprocess.run([*words, "--frames", "6", "-q"], check=False).returncode == 0
    assert len(rows(tmp_path / "out")) == 18


def _alive(pid: str) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_the_command_line_names_bad_videos_and_counts(raw: Path, tmp_path: Path, run: Run) -> None:
    words = ("--out", tmp_path, "--frames", 1, "--size", 64, "--workers", 1)
    code, out, err = run("prepare", f"ffpp:{raw}", *words)
    assert code == 0
    assert "3 faces of 3 videos cut now; 1 videos gave none" in out
    assert "ffpp/Deepfakes/054_071" in err
    assert "published figures" not in err  # its split files are there
    celeb = film(tmp_path / "celeb/Celeb-real/id0_0000.mp4", frames=1).parents[1]
    words = (f"celebdf:{celeb}", "--size", 64, "--out", tmp_path / "c", "--workers", 1)
    code, _, err = run("prepare", *words)
    assert code == 0
    assert "celeb: without List_of_testing_videos.txt a hash of each person splits it" in err
    assert "published figures" not in run("prepare", *words, "--quiet")[2]
    code, _, err = run("prepare", raw, "--out", tmp_path / "x", "--frames", 0)
    assert code == 2
    assert "want frames ≥ 1" in err
    code, _, err = run("prepare", tmp_path / "gone", "--out", tmp_path / "x")
    assert code == 2
    assert "gone" in err


def test_no_face_at_all_is_an_error(tmp_path: Path) -> None:
    film(tmp_path / "raw/real/a.mp4", frames=2, mask=True)
    _, results = prepare([tmp_path / "raw"], tmp_path / "out", QUICK, workers=1)
    with pytest.raises(ValueError, match=r"no face was cut; skipped\.csv there says why"):
        list(results)
    assert "no face in 2 frames" in (tmp_path / "out" / SKIPPED).read_text()


def test_the_same_dataset_twice_and_no_worker_are_refused(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="and from another"):
        prepare([raw, f"ffpp:{raw}"], tmp_path, QUICK)
    with pytest.raises(ValueError, match="one worker or more, got 0"):
        prepare([raw], tmp_path, QUICK, workers=0)
    assert os.listdir(tmp_path) == []

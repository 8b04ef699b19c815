"""``telltale protect``: originals stay, copies are within the bound, and a stopped run goes on."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from telltale.data.memory import batches
from telltale.media import read_picture
from telltale.protect import protect_pictures
from telltale.protect.copies import Copy, Difference, budget, changed, names
from telltale.protect.effects import compared
from telltale.protect.learning import learn
from telltale.protect.pictures import fresh, turns_of
from telltale.protect.videos import read_boxes

Run = Callable[..., tuple[int, str, str]]
QUICK = ("--set", "fit.steps=2", "--set", "method.size=16", "--set", "method.width=4")
ONE = {"OMP_NUM_THREADS": "1"}
QUICK_VIDEO = ("--set", "fit.steps=2", "--set", "method.width=16")


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Small tensors."""


def photos(folder: Path, count: int = 4) -> Path:
    """Pictures of two classes; the first is a turned JPEG with EXIF."""
    for number in range(count):
        place = folder / ("red", "blue")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        if number:
            Image.fromarray(pixels).save(place / f"{number}.png")
            continue
        exif = Image.Exif()
        exif[0x0110], exif[0x0112] = "Camera 7", 6
        Image.fromarray(pixels).save(place / "0.jpg", exif=exif, quality=95)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_copies_are_within_the_bound_and_keep_metadata(tmp_path: Path, run: Run) -> None:
    given, out = photos(tmp_path / "in"), tmp_path / "out"
    before = hashes(given)
    words = ("protect", given, "--method", "mtl_ue", "--out", out, *QUICK)
    code, said, err = run(*words)
    assert code == 0, err
    assert "4 protected copies" in said
    assert "too few pictures" in err
    assert hashes(given) == before
    for line in (out / "protect.jsonl").read_text().splitlines():
        record = json.loads(line)
        original, copy = (
            read_picture(path).pixels.astype(int)
            for path in (Path(record["source"]), out / record["copy"])
        )
        assert np.abs(original - copy).max() == record["largest"]
        assert 0 < record["largest"] <= 8
        assert 25 < record["psnr"] < 60
    with Image.open(out / "red/0.png") as image:
        assert image.size == (40, 60)  # upright
        assert image.getexif()[0x0110] == "Camera 7"
        assert image.getexif()[0x0112] == 1
        assert "protected by telltale" in image.text["Comment"]
    report = (out / "report.md").read_text()
    assert "| red/0.png |" in report


def test_a_stopped_run_goes_on_and_ends_alike(tmp_path: Path, run: Run) -> None:
    given = photos(tmp_path / "in")
    settings = {"fit.steps": 2, "method.size": 16, "method.width": 4}
    whole = tmp_path / "whole"
    list(protect_pictures(given, whole, settings=settings))
    out = tmp_path / "out"
    results = protect_pictures(given, out, settings=settings)
    next(results)
    next(results)
    results.close()
    with (out / "protect.jsonl").open("a") as file:
        file.write('{"source": "cut o')  # a kill in the middle of a line
    first = out / json.loads((out / "protect.jsonl").read_text().splitlines()[0])["copy"]
    stamp = first.stat().st_mtime_ns
    with pytest.raises(ValueError, match="there is a run already"):
        next(protect_pictures(given, out, settings=settings))
    with pytest.raises(ValueError, match="other settings"):
        next(protect_pictures(given, out, settings=settings | {"fit.steps": 3}, resume=True))
    again = list(protect_pictures(given, out, settings=settings, resume=True))
    assert len(again) == 4
    assert first.stat().st_mtime_ns == stamp
    assert hashes(out) == hashes(whole)


KILLED = """
import os, signal, sys
from telltale import cli
from telltale.protect import copies, learning

def kill(*words):
    os.kill(os.getpid(), signal.SIGKILL)

where, *words = sys.argv[1:]
learning.PAUSE = 0.0  # a state after each step
if where == "training":
    keep, calls = learning._keep, []
    def kept(*given):
        keep(*given)
        calls.append(given)
        len(calls) == 3 and kill()
    learning._keep = kept
elif where == "copying":
    keep = copies.keep
    copies.keep = lambda out, record: (keep(out, record), kill())
else:  # while a video is half written
    changed, calls = copies.changed, []
    def counted(*given):
        calls.append(given)
        return changed(*given) if len(calls) < 3 else kill()
    copies.changed = counted
sys.exit(cli.run(words))
"""


@pytest.mark.parametrize(
    ("method", "where"),
    [("mtl_ue", "copying"), ("tue", "training"), ("tue", "writing")],
)
def test_a_killed_run_loses_nothing(method: str, where: str, tmp_path: Path, run: Run) -> None:
    """A process is killed for good; what goes on ends with the same bytes as one that was not."""
    if method == "mtl_ue":
        given = photos(tmp_path / "in")
        words = [given, "--method", method, *QUICK]
    else:
        given = tmp_path / "walk.mkv"
        film(given, sound=False)
        given.with_suffix(".txt").write_text("20,16,12,10\n" * 5)
        words = [given, "--method", method, *QUICK_VIDEO]
    words = ["protect", *words, "--no-effect", "--out"]
    out, whole = tmp_path / "out", tmp_path / "whole"
    line = [sys.executable, "-c", KILLED, where, *map(str, words), str(out)]
    done = subprocess.run(line, check=False, capture_output=True, env={**os.environ, **ONE})
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = {path.name for path in out.rglob("*") if path.is_file()}
    assert ("training.safetensors" in left) == (where == "training")
    assert ("generator.safetensors" in left) == (where != "training")
    assert not (out / "walk.mkv").exists()
    finished = {p: p.stat().st_mtime_ns for p in out.rglob("*.png")}
    assert len(finished) == (where == "copying")
    code, _, err = run(*words, out, "--resume", "--quiet")
    assert code == 0, err
    assert all(path.stat().st_mtime_ns == then for path, then in finished.items())
    assert run(*words, whole, "--quiet")[0] == 0
    assert hashes(out) == hashes(whole)


@pytest.mark.parametrize("base", ["em", "sep"])
def test_turns_go_on_with_the_same_bits(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bases with several turns, stopped in each part of them."""
    monkeypatch.setattr("telltale.protect.learning.PAUSE", 0.0)
    method = {"size": 16, "width": 4, "classes": (2,), "base": base}
    plan = {"fit": {"seed": 0}, "surrogate": {"name": "resnet_toy"}, "method_settings": method}
    random = torch.Generator().manual_seed(1)
    columns = {
        "images": torch.rand(12, 3, 16, 16, generator=random),
        "attributes": torch.randint(2, (12, 1), generator=random),
    }
    turns = turns_of(base, 10)[:6]

    def made(kept: Path, stops: int) -> torch.nn.Module:
        network = fresh(plan)

        def feed() -> Iterator[dict[str, torch.Tensor]]:
            for number, batch in enumerate(batches(columns, 4, seed=0)):
                if number == stops:
                    raise KeyboardInterrupt
                yield batch

        learn(network, turns, feed(), kept, lr=1e-3, clip=5.0)
        return network

    whole = made(tmp_path / "whole", -1).state_dict()
    for stops in (1, 6, 11):
        kept = tmp_path / f"{stops}.safetensors"
        with pytest.raises(KeyboardInterrupt):
            made(kept, stops)
        again = made(kept, -1).state_dict()
        assert again.keys() == whole.keys()
        assert all(torch.equal(again[key], value) for key, value in whole.items())
    kept.write_bytes(b"cut off")
    with pytest.raises(ValueError, match="is no state of this run"):
        made(kept, -1)


def test_the_effect_with_intervals(tmp_path: Path, run: Run) -> None:
    given, out = photos(tmp_path / "in", 48), tmp_path / "out"
    code, _, err = run("protect", given, "--method", "mtl_ue", "--out", out, *QUICK)
    assert code == 0, err
    lines = (out / "report.md").read_text().splitlines()
    (first,) = [line for line in lines if line.startswith("| originals |")]
    assert first.endswith("| 0.000 | 0.000 to 0.000 |")  # what is lost to itself
    for name in ("protected", "protected, JPEG 10", "random noise"):
        (row,) = [line for line in lines if line.startswith(f"| {name} |")]
        right, ends, drop, _ = (cell.strip() for cell in row.split("|")[2:6])
        low, high = (float(end) for end in ends.split(" to "))
        assert low <= float(right) <= high
        assert -1 <= float(drop) <= 1


def test_what_is_lost_by_hand() -> None:
    right = np.array([1.0, 1, 1, 1, 0, 0, 1, 1])
    found = compared({"all": np.ones(8), "some": right})
    assert found["all"] == {"right": (1, 1, 1), "drop": (0, 0, 0)}
    value, low, high = found["some"]["drop"]
    assert value == 0.25
    assert 0 <= low < 0.25 < high <= 0.75
    assert found["some"]["right"][0] == 0.75


def test_a_damaged_copy_is_made_again(tmp_path: Path) -> None:
    given, out = photos(tmp_path / "in"), tmp_path / "out"
    settings = {"fit.steps": 1, "method.size": 16, "method.width": 4}
    list(protect_pictures(given, out, settings=settings))
    before = hashes(out)
    (out / "blue/1.png").write_bytes(b"cut off")
    list(protect_pictures(given, out, settings=settings, resume=True))
    after = hashes(out)
    assert {k: v for k, v in after.items() if k != "protect.jsonl"} == {
        k: v for k, v in before.items() if k != "protect.jsonl"
    }


@pytest.mark.parametrize("where", ["in", "in/red", "."])
def test_originals_are_never_written_to(where: str, tmp_path: Path, run: Run) -> None:
    given = photos(tmp_path / "in")
    before = hashes(given)
    out = tmp_path / where
    code, _, err = run("protect", given, "--method", "mtl_ue", "--out", out, *QUICK)
    assert code == 2
    assert "has originals in it" in err
    assert hashes(given) == before


def test_labels_by_a_table(tmp_path: Path, run: Run) -> None:
    given = photos(tmp_path / "in")
    table = tmp_path / "labels.csv"
    table.write_text("path,who,where\nred/0.jpg,ann,in\nblue/1.png,ben,in\nred/2.png,cat,out\n")
    words = ("protect", given, "--method", "mtl_ue", "--out", tmp_path / "out", "--labels", table)
    code, said, err = run(*words, *QUICK)
    assert code == 0, err
    assert "3 protected copies" in said
    plan = json.loads((tmp_path / "out/protect.json").read_text())
    assert plan["method_settings"]["classes"] == [3, 2]
    for text, says in (
        ("path\n", "want columns path and"),
        ("path,who\nred/0.jpg\n", "line 2: want 2 values"),
        ("path,who\n../x.png,a\n", "inside"),
        ("path,who\nred/0.jpg,a\n", "want two classes"),
    ):
        table.write_text(text)
        words = (*words[:5], tmp_path / "other", "--labels", table)
        code, _, err = run(*words, *QUICK)
        assert code == 2
        assert says in err


def test_differences_by_hand() -> None:
    apart = Difference()
    one = np.full((20, 20, 3), 100, np.uint8)
    other = one.copy()
    other[0, 0, 0] = 95
    apart.add(one, other)
    assert apart.largest == 5
    assert apart.psnr == pytest.approx(-10 * np.log10(25 / 1200 / 255**2))
    assert 0.9 < apart.ssim < 1
    assert budget(8 / 255) == 8
    with pytest.raises(ValueError, match="1/255 or more"):
        budget(0.003)
    delta = np.array([[[0.5, -0.5, 3.6 / 255]]], np.float32)
    levels = changed(np.array([[[250, 4, 10]]], np.uint8), delta, 8)
    assert levels.tolist() == [[[255, 0, 14]]]


def test_no_two_copies_have_one_name() -> None:
    root = Path("in")
    found = names([root / "a.jpg", root / "a.png", root / "b.jpg"], root, ".png")
    assert [str(p) for p in found.values()] == ["a.jpg.png", "a.png.png", "b.png"]


def test_a_copy_over_the_bound_is_refused() -> None:
    from telltale.protect.copies import checked

    with pytest.raises(ValueError, match="differs from its original by 9 levels"):
        checked(Copy("a", "b", "0", 9, 30.0, 0.9), 8)


def film(path: Path, *, frames: int = 5, sound: bool = True) -> list[np.ndarray]:
    """A lossless video with a clock of its own and a tone."""
    av = pytest.importorskip("av", reason="needs the extra video")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(frames)]
    with av.open(path, "w") as container:
        container.metadata["title"] = "A walk"
        video = container.add_stream("ffv1", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "bgr0"
        video.codec_context.time_base = Fraction(1, 1000)
        tone = container.add_stream("pcm_s16le", rate=8000, layout="mono") if sound else None
        for number, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = number * 100 + 7 * (number > 2), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if tone is not None:
            samples = np.arange(4000, dtype=np.int16)[None]
            heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            heard.sample_rate, heard.pts = 8000, 0
            container.mux(tone.encode(heard))
            container.mux(tone.encode())
    return pictures


def test_a_video_keeps_clock_sound_and_all_outside_the_window(tmp_path: Path, run: Run) -> None:
    av = pytest.importorskip("av", reason="needs the extra video")
    video, out = tmp_path / "walk.mkv", tmp_path / "out"
    pictures = film(video)
    rows = ["20,16,12,10"] * 3 + ["0 0 0 0", "22\t16\t12\t10"]
    (tmp_path / "walk.txt").write_text("\n".join(rows) + "\n")
    before = video.read_bytes()
    code, said, err = run(
        "protect", video, "--method", "tue", "--out", out, "--no-effect", *QUICK_VIDEO,
        "--set", "fit.lr=0.05",
    )  # fmt: skip
    assert code == 0, err
    assert "1 protected copies" in said
    assert video.read_bytes() == before
    with av.open(out / "walk.mkv") as container:
        assert container.metadata["title"] == "A walk"
        assert "TUE" in container.metadata["COMMENT"]
        frames = [*container.decode(container.streams.video[0])]
    with av.open(out / "walk.mkv") as container:
        heard = [f.to_ndarray() for f in container.decode(container.streams.audio[0])]
    assert [round(f.time, 3) for f in frames] == [0, 0.1, 0.2, 0.307, 0.407]
    assert (np.concatenate(heard, 1)[0] == np.arange(4000)).all()
    found = [f.to_ndarray(format="rgb24").astype(int) for f in frames]
    apart = [np.abs(a - b) for a, b in zip(found, pictures, strict=True)]
    assert [bool(a.any()) for a in apart] == [True, True, True, False, True]
    assert max(a.max() for a in apart) <= 8
    assert not apart[0][:, :14].any()  # the window is 22 pixels round (26, 21)
    assert not apart[0][:, 38:].any()
    record = json.loads((out / "protect.jsonl").read_text())
    assert record["largest"] == max(a.max() for a in apart)
    assert record["frames"] == 5


def test_boxes_that_are_too_few_or_wrong(tmp_path: Path, run: Run) -> None:
    video = tmp_path / "walk.mkv"
    film(video, sound=False)
    boxes = tmp_path / "boxes.txt"
    boxes.write_text("1 2 10 10\n")
    words = ("protect", video, "--method", "tue", "--boxes", boxes, "--no-effect", *QUICK_VIDEO)
    code, _, err = run(*words, "--out", tmp_path / "out")
    assert code == 2
    assert "more frames than the 1 boxes" in err
    assert not [*(tmp_path / "out").glob("*.mkv")]
    for text, says in (("1 2 3\n", "line 1: want x, y, w, h"), ("", "has no boxes")):
        boxes.write_text(text)
        with pytest.raises(ValueError, match=says):
            read_boxes(boxes)
    with pytest.raises(ValueError, match="boxes cannot be read"):
        read_boxes(tmp_path / "none.txt")

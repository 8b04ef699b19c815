"""Faces are cut from the frames that are asked for, upright or aligned, masks with them."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from filmed import SIZE, film
from telltale.data.clips import Clip, Cut, clips_of, cut_clip, evenly
from telltale.data.manifest import Row
from telltale.media import MediaError
from telltale.media.alignment import MESH, TEMPLATE, aligned_region
from telltale.media.frames import count_frames, read_frames
from telltale.media.regions import cut

QUICK = Cut(frames=3, size=64)


def row(path: Path, **changes: object) -> Row:
    return Row(path, 1, "s", "train", "swap", None, None, str(path), "d/swap/a")._replace(**changes)


def test_even_frames_are_those_of_linspace_rounded_down() -> None:
    assert evenly(300, 32) == np.linspace(0, 299, 32).astype(int).tolist()
    assert evenly(4, 32) == [0, 1, 2, 3]
    assert evenly(9, 1) == [0]
    assert evenly(0, 5) == []


@given(st.integers(1, 2000), st.integers(1, 64))
def test_even_frames_hold_both_ends(length: int, count: int) -> None:
    found = evenly(length, count)
    assert found == sorted(set(found))
    assert found[0] == 0
    assert len(found) == min(length, count)
    assert count == 1 or found[-1] == length - 1


def test_chosen_frames_are_those_of_their_number(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", frames=9)
    assert count_frames(path) == 9
    every = {frame.number: frame.pixels for frame in read_frames(path, range(20))}
    assert [*every] == [*range(9)]
    some = [*read_frames(path, {7, 2})]
    assert [frame.number for frame in some] == [2, 7]
    assert all(np.array_equal(frame.pixels, every[frame.number]) for frame in some)
    moved = np.abs(every[7][:, :-5].astype(int) - every[2][:, 5:]).mean()
    assert moved < 3 < np.abs(every[7].astype(int) - every[2]).mean()
    with pytest.raises(MediaError, match="is a picture"):
        count_frames(Path(__file__).parents[2] / "examples/media/astronaut.jpg")


def test_a_clips_faces_and_masks_are_cut(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4")
    mask = film(tmp_path / "mask.mp4", mask=True)
    clip = Clip("d/swap/a", (row(path, mask=mask),))
    done = cut_clip(clip, tmp_path, QUICK)
    assert done == ("d/swap/a", (0, 5, 11), 0, "")
    face = np.asarray(Image.open(tmp_path / "faces/d/swap/a/0005.png"))
    shown = np.asarray(Image.open(tmp_path / "masks/d/swap/a/0005.png"))
    assert face.shape == (64, 64, 3)
    assert set(np.unique(shown)) == {0, 255}
    assert shown[:, 0].all()  # white on the left, black on the right, as the film
    assert not shown[:, -1].any()


def test_a_forgery_takes_the_frame_numbers_of_its_real_video(tmp_path: Path) -> None:
    real = film(tmp_path / "real.mp4", frames=12)
    fake = film(tmp_path / "fake.mp4", frames=10)
    paired = cut_clip(Clip("f", (row(fake, partner=real),)), tmp_path, QUICK)
    alone = cut_clip(Clip("f", (row(fake),)), tmp_path, QUICK)
    assert paired.frames == (0, 5)  # of 0, 5, 11
    assert alone.frames == (0, 4, 9)
    short = film(tmp_path / "short.mp4", frames=3)
    assert cut_clip(Clip("f", (row(short, partner=real),)), tmp_path, QUICK).frames == (
        0,
        1,
        2,
    )


def test_a_protocol_may_take_the_first_frames_alone(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", frames=12)
    done = cut_clip(Clip("f", (row(path, first=5),)), tmp_path, QUICK)
    assert done.frames == (0, 2, 4)  # of the first five, not of twelve


def pictures(folder: Path, numbers: Sequence[int], *, mask: bool = False) -> list[Path]:
    """Frames of a film, each under its number."""
    film(folder / "film.mp4", frames=max(numbers) + 1, mask=mask)
    made = []
    for frame in read_frames(folder / "film.mp4", numbers):
        made.append(folder / f"{frame.number:03}.png")
        Image.fromarray(frame.pixels).save(made[-1])
    (folder / "film.mp4").unlink()
    return made


def test_frames_of_a_folder_go_by_their_number_with_the_mask_of_their_own(tmp_path: Path) -> None:
    frames = pictures(tmp_path / "frames", (0, 3, 10))
    masks = pictures(tmp_path / "masks", (0, 10), mask=True)
    rows = [row(path, mask=tmp_path / "masks" / path.name) for path in frames]
    rows[1] = row(frames[1])  # a frame that was not changed
    done = cut_clip(clips_of(rows)[0], tmp_path / "out", Cut(frames=2, size=64))
    assert (done.frames, done.error) == ((0, 10), "")
    shown = np.asarray(Image.open(tmp_path / "out/masks/d/swap/a/0010.png"))
    assert shown[:, 0].all()
    assert not shown[:, -1].any()
    whole = cut_clip(clips_of(rows)[0], tmp_path / "all", Cut(frames=9, size=64))
    assert whole.frames == (0, 3, 10)
    made = {path.name for path in (tmp_path / "all/masks/d/swap/a").iterdir()}
    assert made == {"0000.png", "0010.png"}
    Image.new("RGB", (8, 8)).save(masks[1])
    done = cut_clip(clips_of(rows)[0], tmp_path / "out", QUICK)
    assert re.search(r"masks/010\.png: want 288 × 288 pixels", done.error)


def test_frames_whose_names_share_a_number_go_by_their_order(tmp_path: Path) -> None:
    """As of names such as 071-0004face_0.png, where the last number is the face's."""
    frames = [
        path.rename(path.with_stem(f"{path.stem}face_0")) for path in pictures(tmp_path, (2, 4))
    ]
    assert cut_clip(clips_of(map(row, frames))[0], tmp_path, QUICK).frames == (0, 1)


def test_frames_of_a_forgery_are_those_whose_real_frame_is_cut(tmp_path: Path) -> None:
    real = [row(tmp_path / f"r/{n:03}.png", label=0, video="d/real/a") for n in range(0, 90, 10)]
    fake = [row(tmp_path / f"f/{it.path.name}", partner=it.path) for it in real[1:]]
    clips = {clip.name: clip for clip in clips_of([*fake, *real])}
    pictures(tmp_path / "r", [*range(0, 90, 10)])
    pictures(tmp_path / "f", [*range(10, 90, 10)])
    cut = Cut(frames=3, size=64)
    assert cut_clip(clips["d/real/a"], tmp_path, cut).frames == (0, 40, 80)
    assert cut_clip(clips["d/swap/a"], tmp_path, cut).frames == (40, 80)


def test_what_gives_no_face_is_an_error_not_a_raise(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    assert "is no picture or video" in cut_clip(Clip("b", (row(broken),)), tmp_path, QUICK).error
    empty = film(tmp_path / "empty.mp4", frames=2, mask=True)  # black and white
    done = cut_clip(Clip("e", (row(empty),)), tmp_path, QUICK)
    assert (done.frames, done.dropped) == ((), 2)
    assert "no face in 2 frames" in done.error
    small = film(tmp_path / "a.mp4", frames=1)
    other = tmp_path / "mask.png"
    Image.new("RGB", (8, 8)).save(other)
    done = cut_clip(Clip("m", (row(small, mask=other),)), tmp_path, QUICK)
    assert "is a picture" in done.error


def test_rows_of_a_video_are_one_clip_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    rows = [row(tmp_path / f"{n}.png") for n in (10, 9)]
    lone = row(tmp_path / "x.png", video="", kind="", label=0)
    found = clips_of([*rows, lone, row(tmp_path / "b.png", video="../d: x")])
    assert [it.path.name for it in found[0].rows] == ["9.png", "10.png"]
    assert found[1].name.startswith("real/x-")
    assert found[2].name == "_/d_ x"


def test_settings_out_of_range_are_said() -> None:
    for wrong in ({"frames": 0}, {"size": 8}, {"margin": 0.5}):
        with pytest.raises(ValueError, match="want frames ≥ 1, size ≥ 16 and a margin from 1 to 4"):
            Cut(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("margin", [1.0, 1.3, 2.0])
@pytest.mark.parametrize("degrees", [0.0, 33.0, -120.0])
def test_alignment_brings_the_five_points_to_the_template(margin: float, degrees: float) -> None:
    turn = np.deg2rad(degrees)
    spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    points = np.zeros((468, 2), np.float32)
    points[list(MESH)] = 1.7 * TEMPLATE @ spin + [500, 300]
    region = aligned_region(points, margin)
    picture = np.zeros((800, 1000, 3), np.uint8)
    for x, y in points[list(MESH)]:
        picture[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4] = 255
    shown = cut(picture, region, 256)
    wanted = (TEMPLATE * 256 / 112 + (margin - 1) / 2 * 256) / margin
    for x, y in wanted:
        assert shown[round(y), round(x)].max() > 200
    with pytest.raises(ValueError, match=r"points \(468, 2\), got \(5, 2\)"):
        aligned_region(points[:5])
    with pytest.raises(ValueError, match="in one place"):
        aligned_region(np.zeros((468, 2), np.float32))


def test_the_benchmarks_numbers_of_the_template() -> None:
    """256 pixels, enlarged 1.3 times: multiply by 256/112, add 0.15·256, divide by 1.3."""
    points = np.zeros((468, 2), np.float32)
    points[list(MESH)] = (TEMPLATE * 256 / 112 + 0.15 * 256) / 1.3
    region = aligned_region(points, 1.3)
    assert [region.x, region.y, region.angle] == pytest.approx([0, 0, 0], abs=1e-3)
    assert region.width == pytest.approx(256, abs=1e-3)


def test_an_aligned_face_is_upright(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", frames=1)
    clip = Clip("x", (row(path),))
    assert cut_clip(clip, tmp_path, Cut(frames=1, size=96, align=True)).frames == (0,)
    face = np.asarray(Image.open(tmp_path / "faces/x/0000.png"))
    assert face.shape == (96, 96, 3)
    assert SIZE > 96

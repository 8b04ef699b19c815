import numpy as np
import pytest
from drawn import Drawn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from telltale.data.synth import blend as room
from telltale.data.synth.blend import HULLS, RATIOS, self_blend, training_pair
from telltale.data.synth.landmarks import flip, landmarks
from telltale.data.synth.retouch import (
    HSV_SHARE,
    brightness_contrast,
    lower_resolution,
    photometric,
    sharpen,
    shift_hsv,
    shift_rgb,
    source_target_transform,
)

seeds = st.integers(0, 2**32)
some = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def same(pixels: NDArray[np.uint8], _: np.random.Generator) -> NDArray[np.uint8]:
    return pixels


def square(side: int = 300, low: int = 90, high: int = 210) -> NDArray[np.float32]:
    mask = np.zeros((side, side), np.float32)
    mask[low:high, low:high] = 1
    return mask


@some
@given(seed=seeds, hull=st.sampled_from([None, 0, 1, 2, 3]))
def test_outside_the_mask_fake_is_real(face: Drawn, seed: int, hull: int | None) -> None:
    made = self_blend(*face, rng(seed), hull=hull)
    assert made.fake.shape == made.real.shape == face.pixels.shape
    assert made.fake.dtype == made.real.dtype == np.uint8
    assert made.mask.dtype == np.float32
    assert made.mask.min() == 0
    assert 0.2 < made.mask.max() <= 1
    outside = made.mask == 0
    assert outside.mean() > 0.4
    # The recipe deforms, erodes and blurs the hull: 1,600 draws had 0.43 to 1.78 of its area.
    kinds = range(len(HULLS)) if hull is None else (hull,)
    shape, marks = face.pixels.shape[:2], landmarks(face.points)
    areas = [float(room.hull_mask(shape, marks, kind).mean()) for kind in kinds]
    assert min(areas) / 4 < 1 - outside.mean() < 2.5 * max(areas)
    assert (made.fake == made.real)[outside].all()


@some
@given(seed=seeds)
def test_ratio_zero_gives_the_target(face: Drawn, seed: int) -> None:
    made = self_blend(*face, rng(seed), ratio=0)
    assert (made.fake == made.real).all()
    assert not made.mask.any()


@some
@given(seed=seeds)
def test_without_changes_the_blend_is_the_picture(face: Drawn, seed: int) -> None:
    made = self_blend(*face, rng(seed), shift=(0, 0), scale=1, transform=same)
    assert (made.fake == face.pixels).all()
    assert (made.real == face.pixels).all()


@some
@given(seed=seeds)
def test_same_seed_same_blend(face: Drawn, seed: int) -> None:
    first, again = (training_pair(*face, rng(seed)) for _ in range(2))
    for one, two in zip(first, again, strict=True):
        assert (one == two).all()


def test_exactly_one_copy_is_transformed(face: Drawn) -> None:
    changed_target = 0
    for seed in range(40):
        calls = []

        def darken(
            pixels: NDArray[np.uint8],
            _: np.random.Generator,
            calls: list[int] = calls,
        ) -> NDArray[np.uint8]:
            calls.append(1)
            return pixels // 2

        made = self_blend(*face, rng(seed), shift=(0, 0), scale=1, transform=darken, ratio=1)
        assert len(calls) == 1
        middle = made.mask > 0.999
        target_dark = (made.real == face.pixels // 2).all()
        changed_target += target_dark
        assert target_dark or (made.real == face.pixels).all()
        inside = face.pixels if target_dark else face.pixels // 2
        assert (made.fake == inside)[middle].all()
    assert 10 <= changed_target <= 30  # of 40, p = ½


def test_ratios_are_those_of_the_recipe(face: Drawn) -> None:
    # The mask's largest value survives resizing back to within a hundredth.
    tops = np.array([self_blend(*face, rng(seed)).mask.max() for seed in range(120)])
    nearest = np.array(RATIOS)[np.abs(tops[:, None] - RATIOS).argmin(1)]
    assert np.abs(tops - nearest).max() < 0.01
    assert 0.35 < (nearest == 1).mean() < 0.65
    assert {0.25, 0.5, 0.75, 1.0} == set(nearest.tolist())


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_ratio_scales_the_mask(face: Drawn, ratio: float) -> None:
    whole = self_blend(*face, rng(3), ratio=1.0).mask
    part = self_blend(*face, rng(3), ratio=ratio).mask
    assert np.allclose(part, ratio * whole)


def test_flip_is_an_involution_and_keeps_left_left(face: Drawn) -> None:
    marks = landmarks(face.points)
    pixels, mirrored = flip(face.pixels, marks)
    assert (pixels[:, 0] == face.pixels[:, -1]).all()
    again, back = flip(pixels, mirrored)
    assert (again == face.pixels).all()
    assert np.allclose(back, marks, atol=1e-4)
    # each landmark of the mirrored face still lies where its name says
    for before, after in (marks, mirrored), (mirrored, marks):
        for left, right in ((0, 16), (17, 26), (36, 45), (39, 42), (48, 54), (60, 64), (68, 80)):
            assert after[left, 0] < after[right, 0]
            assert before[left, 1] == pytest.approx(after[right, 1], abs=1e-4)
    assert np.allclose(mirrored[41, 0], face.pixels.shape[1] - 1 - marks[46, 0])


def test_landmarks_lie_where_their_names_say(face: Drawn) -> None:
    marks = landmarks(face.points) - np.array([50, 40])  # the drawing's own pixels
    assert marks.shape == (81, 2)
    assert len(np.unique(marks, axis=0)) == 81
    for eye, x in ((slice(36, 42), 74), (slice(42, 48), 118)):
        assert np.allclose(marks[eye].mean(0), (x, 82), atol=5)
    assert np.allclose(marks[48:60].mean(0), (96, 132), atol=5)
    assert np.allclose(marks[[27, 28, 29, 30], 0], 96, atol=4)
    assert (np.diff(marks[27:31, 1]) > 0).all()
    assert (np.diff(marks[17:27, 0]) > 0).all()  # brows left to right
    assert (np.diff(marks[68:81, 0]) > 0).all()  # hairline left to right
    assert marks[8, 1] == marks[:17, 1].max()  # chin
    assert marks[68:, 1].max() < marks[27, 1]
    assert marks[74, 1] == marks[:, 1].min()
    assert (np.diff(marks[:9, 1]) > 0).all()  # down one side of the jaw, up the other
    assert (np.diff(marks[8:17, 1]) < 0).all()
    for way in ((36, 37, 38, 39), (36, 41, 40, 39), (42, 43, 44, 45), (42, 47, 46, 45)):
        assert (np.diff(marks[list(way), 0]) > 0).all()
    for way in (range(48, 55), (48, 59, 58, 57, 56, 55, 54), range(60, 65), (60, 67, 66, 65, 64)):
        assert (np.diff(marks[list(way), 0]) > 0).all()
    assert marks[[37, 38, 43, 44], 1].max() < marks[[41, 40, 47, 46], 1].min()
    lengths = np.linalg.norm(np.diff(marks[:17], axis=0), axis=1)
    assert lengths.max() < 3 * lengths.mean()


def test_hulls(face: Drawn) -> None:
    marks = landmarks(face.points)
    shape = face.pixels.shape[:2]
    areas = {kind: room.hull_mask(shape, marks, n) for n, kind in enumerate(HULLS)}
    assert all(set(np.unique(area)) == {0, 1} for area in areas.values())
    assert (areas["facehull"] >= areas["components"]).all()
    assert areas["facehull"].sum() > areas["extended"].sum() > areas["components"].sum()
    without_hairline = room.hull_mask(shape, marks[:68], 3)
    assert without_hairline.sum() < areas["facehull"].sum()
    x, y = marks[30].astype(int)
    assert all(area[y, x] == 1 for area in areas.values())  # the tip of the nose


def test_brows_rise_by_half_their_distance_to_the_eye_line() -> None:
    marks = np.zeros((81, 2), np.float32)
    marks[0], marks[16], marks[36], marks[45] = (10, 50), (90, 50), (30, 50), (70, 50)
    marks[37:40] = [(34, 48), (38, 48), (42, 50)]
    marks[42:45] = [(58, 50), (62, 48), (66, 48)]
    marks[17:22] = [(20, 40), (25, 38), (30, 36), (36, 36), (42, 38)]
    marks[22:27] = [(58, 38), (64, 36), (70, 36), (75, 38), (80, 40)]
    raised = room.raise_brows(marks)
    # q = (p36 + (p36 + p0)//2)//2 = (25, 50): brow 17 moves by ((20, 40) − q)//2 = (−3, −5)
    assert raised[17].tolist() == [17, 35]
    assert raised[21].tolist() == [42, 32]  # against p39 = (42, 50)
    assert raised[22].tolist() == [58, 32]  # against p42 = (58, 50)
    assert raised[26].tolist() == [82, 35]  # against q' = (75, 50)
    assert (raised[27:] == marks[27:]).all()


def test_wide_crop_margins() -> None:
    marks = np.zeros((81, 2), np.float32)
    marks[:68] = np.random.default_rng(0).uniform((200, 150), (300, 270), (68, 2))
    marks[0], marks[1] = (200, 150), (300, 270)  # the box: 100 wide, 120 high
    frame = np.arange(600 * 600 * 3, dtype=np.uint32).astype(np.uint8).reshape(600, 600, 3)
    cropped, moved = room.wide_crop(frame, marks)
    assert (cropped == frame[90:318, 150:350]).all()
    assert moved[0].tolist() == [50, 60]
    clipped, moved = room.wide_crop(frame[120:, 180:], marks - np.array([180, 120], np.float32))
    assert clipped.shape == (198, 170, 3)
    assert moved[0].tolist() == [20, 30]


def test_move_is_in_shares_of_the_picture() -> None:
    mask = np.zeros((101, 201), np.float32)
    mask[50, 100] = 1  # the middle
    picture = np.repeat((mask * 255).astype(np.uint8)[..., None], 3, 2)
    moved, moved_mask = room.move(picture, mask, 10 / 201, -5 / 101, 1.0)
    assert np.unravel_index(moved_mask.argmax(), mask.shape) == (45, 110)
    assert np.unravel_index(moved[..., 0].argmax(), mask.shape) == (45, 110)
    grown = room.move(np.repeat(square()[..., None], 3, 2).astype(np.uint8), square(), 0, 0, 1.2)[1]
    assert grown.sum() == pytest.approx(1.44 * square().sum(), rel=0.02)


def test_elastic_field_is_that_of_full_noise() -> None:
    # A ramp shows the field: its values move by as much as the pixels do.
    ramp = np.tile(np.arange(400, dtype=np.float32), (400, 1))
    moved = np.stack([room.elastic(ramp, rng(seed)) - ramp for seed in range(4)])[:, 60:-60, 60:-60]
    # uniform noise ±1 has deviation 1/√3; a Gaussian of σ keeps 1/(2√π·σ) of it
    expected = 50 / np.sqrt(3) / (2 * np.sqrt(np.pi) * 7)
    assert moved.std() == pytest.approx(expected, rel=0.06)
    assert abs(moved.mean()) < 0.1
    # correlation at a lag d is exp(−d²/4σ²): 0.78 at 7 pixels, 0.37 at 14
    for lag, correlation in ((7, 0.779), (14, 0.368)):
        first, second = moved[:, :, :-lag].ravel(), moved[:, :, lag:].ravel()
        assert np.corrcoef(first, second)[0, 1] == pytest.approx(correlation, abs=0.06)


@some
@given(seed=seeds)
def test_soft_mask(seed: int) -> None:
    soft = room.soften(square(), rng(seed))
    assert soft.shape == (300, 300)
    assert soft.min() == 0
    assert 0.99 < soft.max() <= 1
    # erosion by at most 12 and blur by at most 12 cells of a 192-cell grid, plus resampling
    reach = int(3 + (12 - 2 + 2) * 300 / 192)
    assert not soft[: 90 - reach].any()
    assert soft[150, 150] > 0.99
    assert (soft > 0.5).sum() < 120**2  # it has been eroded


def test_empty_hull_is_an_error() -> None:
    with pytest.raises(ValueError, match="outside the picture"):
        room.soften(np.zeros((50, 50), np.float32), rng())


def test_mix_by_hand() -> None:
    source, target = np.full((1, 3, 3), 200, np.uint8), np.full((1, 3, 3), 100, np.uint8)
    mixed = room.mix(source, target, np.array([[0, 0.25, 1]], np.float32))
    assert mixed[0, :, 0].tolist() == [100, 125, 200]


def test_colour_changes_by_hand() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    assert shift_rgb(grey, np.array([10.0, -20.0, 200.0]))[0, 0].tolist() == [110, 80, 255]
    assert brightness_contrast(grey, 0.1, 0.1)[0, 0].tolist() == [135] * 3  # 110 + 25.5, cut
    assert shift_hsv(grey, np.array([0, 0, 20.0]))[0, 0].tolist() == [120] * 3
    red = np.full((2, 2, 3), (200, 0, 0), np.uint8)
    assert shift_hsv(red, np.array([60.0, 0, 0]))[0, 0].tolist() == [0, 200, 0]  # 120 degrees
    assert shift_hsv(red, np.array([-60.0, 0, 0]))[0, 0].tolist() == [0, 0, 200]  # wraps
    # flat: the Laplacian is 0, so (1 − α)·100 + α·lightness·100
    assert sharpen(grey, 0.5, 0.5)[0, 0, 0] == 75
    assert sharpen(grey, 0.3, 1.0)[0, 0, 0] == 100


def test_lower_resolution_keeps_every_nth_pixel() -> None:
    picture = rng().integers(0, 256, (8, 8, 3)).astype(np.uint8)
    low = lower_resolution(picture, 4)
    assert low.shape == picture.shape
    assert (low[0, 0] == picture[0, 0]).all()
    assert (low[-1, -1] == picture[4, 4]).all()


@some
@given(seed=seeds)
def test_transform_is_near_and_leaves_its_input(face: Drawn, seed: int) -> None:
    before = face.pixels.copy()
    changed = source_target_transform(face.pixels, rng(seed))
    assert (face.pixels == before).all()
    assert changed.shape == before.shape
    assert changed.any()
    assert (changed != before).any()
    stronger = source_target_transform(face.pixels, rng(seed), hsv=HSV_SHARE)
    assert (stronger != changed).any()


def test_photometric_draw_is_the_same_for_both(face: Drawn) -> None:
    for seed in range(12):
        one, two = (photometric(face.pixels, rng(seed)) for _ in range(2))
        assert (one == two).all()


def test_training_pair_differs_only_by_the_blend(face: Drawn) -> None:
    differs = 0
    for seed in range(16):
        made = training_pair(*face, rng(seed))
        assert made.fake.shape == made.real.shape == (*made.mask.shape, 3)
        corner = np.s_[:16, :16]
        assert not made.mask[corner].any()
        assert (made.fake[corner] == made.real[corner]).all()
        differs += bool((made.fake != made.real).any())
    assert differs == 16


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ratio": 1.5}, "ratio"),
        ({"hull": 4}, "hull type"),
        ({"scale": 0.0}, "scale"),
        ({"pixels": np.zeros((50, 50), np.uint8)}, r"\(H, W, 3\)"),
        ({"pixels": np.zeros((50, 50, 3), np.float32)}, "uint8"),
        ({"points": np.zeros((68, 2), np.float32)}, "468"),
        ({"points": np.full((468, 2), np.nan, np.float32)}, "finite"),
        ({"points": np.full((468, 2), 10, np.float32)}, "under 8 pixels"),
        ({"points": np.full((468, 2), 9999, np.float32)}, "outside the picture"),
    ],
)
def test_bad_input(face: Drawn, change: dict[str, object], text: str) -> None:
    given_ = {"pixels": face.pixels, "points": face.points, "rng": rng(), **change}
    with pytest.raises(ValueError, match=text):
        self_blend(**given_)

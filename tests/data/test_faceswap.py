import cv2
import numpy as np
import pytest
from drawn import Drawn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telltale.data.synth.faceswap import (
    affine,
    clone,
    erode,
    feather,
    swap,
    transfer_colour,
    triangulate,
    warp,
)

some = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
blendings = pytest.mark.parametrize("blending", ["alpha", "poisson"])


@blendings
@some
@given(seed=st.integers(0, 2**32))
def test_outside_the_mask_nothing_changes(
    face: Drawn, other: Drawn, blending: str, seed: int
) -> None:
    before = face.pixels.copy()
    made = swap(*other, *face, blending=blending, rng=np.random.default_rng(seed))
    assert (face.pixels == before).all()
    assert made.fake.dtype == np.uint8
    assert made.mask.dtype == np.float32
    assert made.mask.min() == 0
    assert made.mask.max() == pytest.approx(1, abs=1e-5)
    outside = made.mask == 0
    assert 0.5 < outside.mean() < 0.95
    assert (made.fake == face.pixels)[outside].all()
    assert (made.fake != face.pixels)[made.mask > 0.9].mean() > 0.5
    again = swap(*other, *face, blending=blending, rng=np.random.default_rng(seed))
    assert (made.fake == again.fake).all()
    assert (made.mask == again.mask).all()


def test_draws_differ_with_the_seed_only_if_asked(face: Drawn, other: Drawn) -> None:
    masks = [swap(*other, *face, rng=np.random.default_rng(seed)).mask for seed in (0, 1)]
    assert (masks[0] != masks[1]).any()
    fixed = [swap(*other, *face, edge=0.05, rng=np.random.default_rng(k)).mask for k in (0, 1)]
    assert (fixed[0] == fixed[1]).all()
    assert (swap(*other, *face).mask == swap(*other, *face).mask).all()


@blendings
def test_own_face_gives_the_picture_back(face: Drawn, blending: str) -> None:
    made = swap(*face, *face, blending=blending)
    apart = np.abs(made.fake.astype(int) - face.pixels)
    assert apart.max() <= 2  # rounding of Lab and of the gradients' equation
    assert apart.mean() < 0.2


def test_mask_is_the_source_share(face: Drawn, other: Drawn) -> None:
    made = swap(*other, *face, colour=0.0)
    whole, inside = warp(*other, face.points, face.pixels.shape)
    assert (inside[made.mask > 0] == 1).all()
    share = made.mask[..., None]
    expected = share * whole + (1 - share) * face.pixels.astype(np.float32)
    assert np.abs(made.fake - expected).max() <= 1.01  # sixteenths of a pixel at triangle edges


def test_swap_moves_the_face(face: Drawn) -> None:
    # The source is the target half as large and elsewhere: the warp has to undo that.
    small = cv2.resize(face.pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    small = np.asarray(cv2.copyMakeBorder(small, 11, 0, 7, 0, cv2.BORDER_REPLICATE))
    moved = (face.points + 0.5) / 2 - 0.5 + np.array([7, 11], np.float32)
    made = swap(small, moved.astype(np.float32), *face, colour=0.0)
    sure = made.mask > 0.99
    # A similar source needs one map for all triangles, which OpenCV can apply by itself.
    back = np.array([[0.5, 0, 0.25 - 0.5 + 7], [0, 0.5, 0.25 - 0.5 + 11]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    plain = cv2.warpAffine(small, back, face.pixels.shape[1::-1], flags=flags)
    apart = np.abs(made.fake.astype(int) - plain)[sure]
    assert apart.mean() < 0.2
    assert apart.max() <= 3  # the map's last bits; slivers between vertices


def test_wider_edge_smaller_softer_mask(face: Drawn, other: Drawn) -> None:
    narrow, wide = (swap(*other, *face, edge=edge).mask for edge in (0.02, 0.12))
    assert (narrow > 0.5).sum() > (wide > 0.5).sum()
    soft_narrow, soft_wide = (((m > 0.05) & (m < 0.95)).sum() for m in (narrow, wide))
    assert soft_wide > 2 * soft_narrow


def test_colour_transfer_matches_the_statistics() -> None:
    rng = np.random.default_rng(0)
    one = np.clip(rng.normal((150, 110, 90), 12, (60, 60, 3)), 0, 255).astype(np.uint8)
    two = np.clip(rng.normal((100, 120, 140), 18, (60, 60, 3)), 0, 255).astype(np.uint8)
    inside = np.zeros((60, 60), bool)
    inside[10:50, 5:55] = True
    moved = transfer_colour(one, two, inside, 1.0)
    lab = [
        cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[inside] for p in (moved, two)
    ]
    assert np.allclose(lab[0].mean(0), lab[1].mean(0), atol=0.3)
    assert np.allclose(lab[0].std(0), lab[1].std(0), rtol=0.05)
    assert (transfer_colour(one, two, inside, 0.0) == one).all()
    half = transfer_colour(one, two, inside, 0.5)[inside].mean(0)
    low, high = np.sort([one[inside].mean(0), two[inside].mean(0)], 0)
    assert ((low < half) & (half < high)).all()


def test_triangles_cover_the_hull_once(face: Drawn) -> None:
    for points in (face.points, face.points * 3 - 400):  # also where no picture is
        corners = points[triangulate(points.astype(np.float32))].astype(np.float64)
        first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        areas = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]) / 2
        hull = cv2.contourArea(cv2.convexHull(points.astype(np.float32)))
        assert areas.sum() == pytest.approx(hull, rel=0.01)


def test_triangulate_takes_points_that_coincide() -> None:
    points = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [10, 0], [5, 5]], np.float32)
    found = triangulate(points)
    assert len(found) == 4
    assert all(5 in triangle for triangle in found.tolist())
    assert 4 not in found  # the first of the two stands for both


@some
@given(seed=st.integers(0, 2**32))
def test_affine_takes_corners_to_corners(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = np.array([[[0, 0], [20, 1], [3, 17]]]) + rng.uniform(-2, 2, (5, 3, 2))
    aim = rng.uniform(0, 100, (5, 3, 2))
    maps = affine(start.astype(np.float32), aim.astype(np.float32))
    corners = np.concatenate([start, np.ones((5, 3, 1))], 2)
    assert np.allclose(np.einsum("tij,tkj->tki", maps, corners), aim, atol=1e-2)


def test_sliver_maps_to_its_first_corner() -> None:
    sliver = np.array([[[0, 0], [5, 5], [10, 10]]], np.float32)
    maps = affine(sliver, np.array([[[7, 3], [8, 9], [1, 1]]], np.float32))
    assert maps[0].tolist() == [[0, 0, 7], [0, 0, 3]]


def test_erode_and_feather_stay_inside() -> None:
    mask = np.zeros((60, 60), np.float32)
    mask[:40, 10:50] = 1  # touches the picture's upper border
    core = erode(mask, 4)
    assert core.sum() < mask.sum()
    assert not core[:4].any()
    assert core[20, 30] == 1
    soft = feather(core, 4, mask)
    assert (soft[mask == 0] == 0).all()
    assert ((soft > 0) & (soft < 1)).any()
    assert (erode(mask, 0) == mask).all()


def test_clone_takes_gradients_and_keeps_the_border() -> None:
    under = np.full((60, 60, 3), 90, np.uint8)
    face = np.full((60, 60, 3), 200, np.uint8)
    face[25:35, 25:35] = 150  # 50 darker than its surroundings
    mask = np.zeros((60, 60), np.float32)
    mask[10:50, 10:50] = 1
    kept = mask.copy()
    done = clone(face, under, mask)
    assert (mask == kept).all()
    assert (done[mask == 0] == 90).all()
    assert np.abs(done[15, 15].astype(int) - 90).max() <= 2  # flat stays at the target's level
    assert np.abs(done[30, 30].astype(int) - 40).max() <= 4  # 50 darker, as in the source


@blendings
def test_face_that_leaves_the_picture(face: Drawn, other: Drawn, blending: str) -> None:
    cut = face.pixels[:, 120:]
    points = face.points - np.array([120, 0], np.float32)
    made = swap(*other, cut, points, blending=blending)
    assert made.fake.shape == cut.shape
    assert made.mask.max() > 0.9
    assert (made.fake == cut)[made.mask == 0].all()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"blending": "magic"}, "magic"),
        ({"edge": 0.5}, "edge"),
        ({"colour": -0.1}, "colour"),
        ({"source_points": np.zeros((5, 2), np.float32)}, "468"),
        ({"target": np.zeros((9, 9, 4), np.uint8)}, "uint8 pixels"),
    ],
)
def test_bad_input(face: Drawn, other: Drawn, change: dict[str, object], text: str) -> None:
    wanted = {
        "source": other.pixels,
        "source_points": other.points,
        "target": face.pixels,
        "target_points": face.points,
        **change,
    }
    with pytest.raises(ValueError, match=text):
        swap(**wanted)

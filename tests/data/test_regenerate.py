import numpy as np
import pytest
from drawn import Drawn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telltale.data.synth.regenerate import PARTS, checkerboard, part_mask, regenerate, remake

some = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@some
@given(seed=st.integers(0, 2**32), part=st.sampled_from([None, *PARTS]))
def test_only_the_mask_changes(face: Drawn, seed: int, part: str | None) -> None:
    before = face.pixels.copy()
    made = regenerate(*face, np.random.default_rng(seed), part=part)
    assert (face.pixels == before).all()
    assert made.fake.dtype == np.uint8
    assert made.mask.dtype == np.float32
    assert made.mask.min() == 0
    assert made.mask.max() == pytest.approx(1, abs=1e-5)
    assert (made.fake == face.pixels)[made.mask == 0].all()
    assert (made.fake != face.pixels)[made.mask > 0.9].mean() > 0.3
    again = regenerate(*face, np.random.default_rng(seed), part=part)
    assert (made.fake == again.fake).all()


def test_parts_lie_where_their_names_say(face: Drawn) -> None:
    shape = face.pixels.shape[:2]
    masks = {part: part_mask(shape, face.points, part, 0.02) for part in PARTS}
    # the drawing stands at (50, 40): eyes at (74 and 118, 82), mouth at (96, 132)
    assert masks["eyes"][122, 124] == masks["eyes"][122, 168] == 1
    assert masks["eyes"][172, 146] == 0
    assert masks["mouth"][172, 146] == 1
    assert masks["mouth"][172, 130] == masks["mouth"][172, 162] == 1  # the corners too
    assert masks["mouth"][122, 124] == 0
    assert all(masks["face"][y, x] == 1 for y, x in ((122, 124), (172, 146)))
    assert masks["face"].sum() > masks["eyes"].sum() + masks["mouth"].sum()
    assert ((masks["face"] > 0) & (masks["face"] < 1)).any()


def test_every_part_is_drawn(face: Drawn) -> None:
    areas = {
        round(float((regenerate(*face, np.random.default_rng(seed)).mask > 0.5).mean()), 1)
        for seed in range(20)
    }
    assert len(areas) >= 2


def test_fine_detail_is_lost() -> None:
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    spectrum = np.abs(np.fft.fft2(grain[..., 1].astype(float)))[24:40, 24:40]
    for seed in range(8):
        new = remake(grain, 4, np.random.default_rng(seed))
        assert new.shape == grain.shape
        assert 0 <= new.min() <= new.max() <= 255
        left = np.abs(np.fft.fft2(new[..., 1].astype(float)))[24:40, 24:40]
        # the checkerboard's own peak sits at one frequency, hence the median
        assert np.median(left) < 0.35 * np.median(spectrum)


def test_checkerboard_by_hand() -> None:
    assert checkerboard(2, 4, 1, 3.0)[..., 0].tolist() == [[-3, 3, -3, 3], [3, -3, 3, -3]]
    assert checkerboard(2, 4, 2, 1.0)[..., 0].tolist() == [[-1, -1, 1, 1]] * 2


@pytest.mark.parametrize(
    ("change", "text"),
    [({"part": "ear"}, "ear"), ({"factor": 1.0}, "factor"), ({"factor": 9.0}, "factor")],
)
def test_bad_settings(face: Drawn, change: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        regenerate(*face, np.random.default_rng(0), **change)


def test_part_outside_the_picture(face: Drawn) -> None:
    cut = face.pixels[:150]  # the mouth begins at row 160
    with pytest.raises(ValueError, match="mouth"):
        regenerate(cut, face.points, np.random.default_rng(0), part="mouth")

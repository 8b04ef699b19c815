"""The page is found where it was put, and crops lie within it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from telltale.data.synth.pages import page
from telltale.data.synth.textures import textures
from telltale.detector.pages import Pages
from telltale.media.pages import clockwise, contains, crops_of, find_page, straighten

Pixels = NDArray[np.uint8]


def photograph(corners: NDArray[np.float64], *, dark: bool = False, seed: int = 0) -> Pixels:
    """A page put on a desk (480, 640)."""
    rng = np.random.default_rng(seed)
    desk = 255 * textures(1, 640, rng, smoothness=2)[0].transpose(1, 2, 0)[:480]
    desk = (60 + 0.25 * desk).astype(np.uint8)
    sheet = page((420, 300), rng)
    if dark:
        sheet = (sheet * np.linspace(1, 0.65, 300)[None, :, None]).astype(np.uint8)
    source = np.array([[0, 0], [300, 0], [300, 420], [0, 420]], np.float32)
    turn = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    put = cv2.warpPerspective(sheet, turn, (640, 480))
    mask = cv2.warpPerspective(np.full((420, 300), 255, np.uint8), turn, (640, 480))[..., None]
    return np.where(mask > 127, put, desk).astype(np.uint8)


UPRIGHT = np.array([[180, 40], [430, 40], [430, 430], [180, 430]], float)
SEEN = {
    "upright": UPRIGHT,
    "in perspective": np.array([[210, 60], [420, 40], [470, 440], [150, 400]], float),
    "turned": np.array([[300, 20], [560, 200], [340, 460], [90, 260]], float),
}


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("dark", [False, True])
def test_finds_the_page_where_it_was_put(name: str, dark: bool) -> None:
    found = find_page(photograph(SEEN[name], dark=dark))
    assert found is not None
    assert np.abs(found - clockwise(SEEN[name])).max() < 8


def test_works_at_any_resolution() -> None:
    small = photograph(SEEN["in perspective"])
    large = cv2.resize(small, (2560, 1920), interpolation=cv2.INTER_CUBIC)
    found = find_page(np.asarray(large, np.uint8))
    assert found is not None
    assert np.abs(found / 4 - clockwise(SEEN["in perspective"])).max() < 8


def test_no_page_no_corners() -> None:
    rng = np.random.default_rng(3)
    texture = (255 * textures(1, 320, rng, smoothness=2)[0].transpose(1, 2, 0)).astype(np.uint8)
    assert find_page(np.full((200, 300, 3), 200, np.uint8)) is None
    assert find_page(texture) is None


def test_straightened_it_is_the_page() -> None:
    seen = photograph(SEEN["in perspective"], seed=4)
    front = straighten(seen, clockwise(SEEN["in perspective"]))
    rng = np.random.default_rng(4)
    textures(1, 640, rng, smoothness=2)
    expected = cv2.resize(page((420, 300), rng), front.shape[1::-1], interpolation=cv2.INTER_AREA)
    inner = (slice(10, -10), slice(10, -10))
    r = np.corrcoef(front[inner].ravel(), expected[inner].ravel())[0, 1]
    assert r > 0.8


@given(st.floats(150, 3000), st.floats(150, 3000), st.floats(-0.3, 0.3), st.integers(1, 20))
@settings(max_examples=50, deadline=None)
def test_crops_lie_on_the_page(width: float, height: float, angle: float, most: int) -> None:
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = clockwise(np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ turn)
    crops = crops_of(corners, 112, most=most)
    assert 1 <= len(crops) <= most
    assert len(set(crops)) == len(crops)
    for crop in crops:
        assert contains(corners, np.array([crop.x + 56.0, crop.y + 56.0]))


def test_a_detector_is_shown_the_cameras_own_pixels() -> None:
    seen = photograph(UPRIGHT)
    (subject,) = Pages(112).look(seen, {"jpeg_quality": "80"})
    assert subject.crops.shape[1:] == (112, 112, 3)
    assert len(subject.crops) == 6  # 2 × 3 of 250 × 390 pixels
    windows = np.lib.stride_tricks.sliding_window_view(seen[..., 0], (112, 112))
    assert (windows[:, :, ::16, ::16] == subject.crops[0][::16, ::16, 0]).all((2, 3)).any()
    assert subject.quality["page_pixels"] == pytest.approx(250, abs=8)
    assert subject.quality["jpeg_quality"] == 80
    again = Pages(112).cut(seen, subject.region)
    assert again.shape == subject.crops.shape


def test_a_small_picture_is_its_own_page() -> None:
    (subject,) = Pages(112).look(np.full((60, 90, 3), 128, np.uint8), {})
    assert subject.crops.shape == (1, 112, 112, 3)
    assert (subject.region.width, subject.region.height) == (90, 60)

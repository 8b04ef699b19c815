"""Degradations keep their promises: kind, determinism, and the field's numbers by hand."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from telltale import degrade
from telltale.degrade import SUITE, SURVIVAL, Pixels

ORDER = ["JPEG 95", "JPEG 75", "JPEG 50", "half size", "screenshot", "crop"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def flat(red: int, green: int, blue: int, height: int = 40, width: int = 48) -> Pixels:
    return np.full((height, width, 3), (red, green, blue), np.uint8)


def photo(height: int = 96, width: int = 128) -> Pixels:
    """Smooth colours with an edge: compresses like a picture, unlike noise."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], -1) * 90 + 128
    waves[:, width // 2 :] *= 0.6
    return waves.astype(np.uint8)


def error(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(float) - b).mean())


sides = st.integers(1, 40)


@settings(max_examples=30, deadline=None)
@given(height=sides, width=sides, level=st.integers(1, 5), seed=st.integers(0, 9))
@pytest.mark.parametrize("code", SUITE)
def test_suite_keeps_shape_dtype_and_input(
    code: str, height: int, width: int, level: int, seed: int
) -> None:
    pixels = rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    before = pixels.copy()
    out = SUITE[code](pixels, level, rng(seed))
    assert out.shape == pixels.shape
    assert out.dtype == np.uint8
    assert np.array_equal(pixels, before)
    assert np.array_equal(out, SUITE[code](pixels, level, rng(seed)))


@settings(max_examples=30, deadline=None)
@given(height=sides, width=sides)
@pytest.mark.parametrize("name", SURVIVAL)
def test_survival_returns_a_picture_of_any_size(name: str, height: int, width: int) -> None:
    pixels = photo(height, width)
    moved = SURVIVAL[name](pixels)
    assert moved.pixels.dtype == np.uint8
    assert moved.pixels.ndim == 3
    assert min(moved.pixels.shape[:2]) >= 1
    assert np.array_equal(pixels, photo(height, width))


def test_survival_order() -> None:
    assert list(SURVIVAL) == ORDER


@pytest.mark.parametrize("name", SURVIVAL)
def test_survival_says_where_things_went(name: str) -> None:
    pixels = flat(20, 20, 20, 203, 301)
    x, y, side = 120, 84, 24  # a white square; its edges stay on edges at 1/2 and 3/4
    pixels[y : y + side, x : x + side] = 255
    moved = SURVIVAL[name](pixels)
    weight = np.clip(moved.pixels[..., 1].astype(float) - 80, 0, None)
    rows, columns = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5  # centres of pixels
    found = (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()
    expected = (
        (x + side / 2) * moved.scale + moved.shift_x,
        (y + side / 2) * moved.scale + moved.shift_y,
    )
    assert found == pytest.approx(expected, abs=0.05)


def test_crop_shifts_the_grid_of_eight() -> None:
    cropped = degrade.crop(photo())
    assert cropped.shape == (93, 123, 3)
    assert error(cropped, photo()[3:, 5:]) < 2
    assert degrade.crop(flat(9, 9, 9, 1, 2)).shape == (1, 1, 3)


@pytest.mark.parametrize("codec", [degrade.jpeg, degrade.webp])
def test_lower_quality_harms_more(codec: Callable[[Pixels, int], Pixels]) -> None:
    errors = [error(codec(photo(), quality), photo()) for quality in (95, 50, 5)]
    assert errors == sorted(errors)
    assert errors[0] < 2 < errors[2]


@pytest.mark.parametrize(
    ("factor", "shape"), [(0.5, (48, 64)), (2, (192, 256)), (0.3, (29, 38)), (1e-6, (1, 1))]
)
def test_resize_rounds_sides(factor: float, shape: tuple[int, int]) -> None:
    assert degrade.resize(photo(), factor).shape == (*shape, 3)


def test_resize_does_not_alias() -> None:
    stripes = flat(0, 0, 0)
    stripes[:, ::2] = 255
    assert np.ptp(degrade.resize(stripes, 0.25)[:, 2:-2]) < 20


def test_blur_spreads_a_point_as_a_gaussian() -> None:
    pixels = flat(0, 0, 0, 41, 41)
    pixels[20, 20] = 255
    out = degrade.blur(pixels, 1.0)[..., 0].astype(float)
    assert out[20, 20] == pytest.approx(255 * 0.3991**2, abs=1)  # 1/Σ exp(-k²/2), k = -3..3
    assert out[20, 21] / out[20, 20] == pytest.approx(np.exp(-0.5), abs=0.02)
    assert np.array_equal(out, out.T)
    assert np.array_equal(degrade.blur(pixels, 0), pixels)
    assert np.array_equal(degrade.blur(flat(7, 80, 255), 3.0), flat(7, 80, 255))


def test_noise_has_its_sigma() -> None:
    out = degrade.noise(flat(128, 128, 128, 100, 100), 5.0, rng())
    assert out.std() == pytest.approx(5, abs=0.1)
    assert out.mean() == pytest.approx(128, abs=0.1)
    assert not np.array_equal(out[..., 0], out[..., 1])


def test_screenshot_resamples_brightens_and_compresses() -> None:
    out = degrade.screenshot(flat(128, 128, 128))
    assert out.shape == (30, 36, 3)
    assert out[15, 18].tolist() == pytest.approx([132] * 3, abs=1)  # 255·(128/255)^(1/1.05)


@pytest.mark.parametrize("level", range(1, 6))
def test_saturation_by_hand(level: int) -> None:
    # luma of (200, 100, 50) is 0.299·200 + 0.587·100 + 0.114·50 = 124.2
    share = (0.4, 0.3, 0.2, 0.1, 0.0)[level - 1]
    expected = [124.2 + share * (c - 124.2) for c in (200, 100, 50)]
    out = SUITE["CS"](flat(200, 100, 50), level, rng())
    assert out[0, 0].tolist() == pytest.approx(expected, abs=1)


def test_saturation_clips_where_the_original_wraps() -> None:
    greys = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    assert np.abs(SUITE["CS"](greys, 5, rng()).astype(int) - greys).max() <= 1


@pytest.mark.parametrize(
    ("level", "expected"), [(1, [17, 85, 216]), (3, [12, 60, 153]), (5, [7, 35, 89])]
)
def test_contrast_by_hand(level: int, expected: list[int]) -> None:
    # 0.85·(20, 100, 255) = (17, 85, 216.75), truncated
    assert SUITE["CC"](flat(20, 100, 255), level, rng())[0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("side", "level", "count"), [(224, 1, 16), (256, 5, 80), (511, 1, 16), (512, 2, 64)]
)
def test_blocks_by_hand(side: int, level: int, count: int) -> None:
    out = SUITE["BW"](flat(0, 0, 0, side, side + 40), level, rng())
    grey = (out == 128).all(-1)
    assert set(np.unique(out)) == {0, 128}
    # no more than the count, and of 64 pixels each but for overlaps: 5 % of 512² at most
    assert 0.75 * count * 64 < grey.sum() <= count * 64


def test_blocks_reach_every_border() -> None:
    drawn = [(SUITE["BW"](flat(0, 0, 0, 20, 20), 5, rng(k)) == 128).all(-1) for k in range(9)]
    assert np.any(drawn, axis=0).all()


@pytest.mark.parametrize(("level", "deviation"), [(1, 9.4), (2, 13.3), (3, 21.0), (4, 29.7)])
def test_colour_noise_by_hand(level: int, deviation: float) -> None:
    # 255²/219·√0.001 = 9.39 levels of luma, and so on; mid-grey, so that little is clipped
    out = SUITE["GNC"](flat(127, 127, 127, 300, 300), level, rng()).astype(float)
    luma = out @ [0.299, 0.587, 0.114]
    assert luma.std() == pytest.approx(deviation, rel=0.03)
    chroma = 0.713 * (out[..., 0] - luma)
    assert chroma.std() == pytest.approx(deviation * 219 / 224, rel=0.03)


def test_kernel_blur_by_hand() -> None:
    pixels = flat(0, 0, 0, 41, 41)
    pixels[20, 20] = 255
    out = SUITE["GB"](pixels, 1, rng())[..., 0]
    rows = np.flatnonzero(out.any(1))
    assert (rows[0], rows[-1]) == (17, 23)  # 7 pixels
    taps = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    assert out[20, 20] == round(255 * (taps[3] / taps.sum()) ** 2)


def test_blur_mirrors_at_the_border_as_the_slow_way_does() -> None:
    pixels = rng().integers(0, 256, (23, 31, 3), np.uint8)
    taps = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2)
    taps /= taps.sum()
    padded = np.pad(pixels.astype(float), ((4, 4), (4, 4), (0, 0)), mode="reflect")
    slow = sum(
        taps[i] * taps[j] * padded[i : i + 23, j : j + 31] for i in range(9) for j in range(9)
    )
    assert np.abs(SUITE["GB"](pixels, 2, rng()) - slow).max() < 0.51


def test_pixelation_by_hand() -> None:
    # one row 0, 10, …, 70 halved: samples between two neighbours, (0+10)/2 = 5, 25, 45, 65
    row = np.arange(0, 80, 10, dtype=np.uint8)
    pixels = np.broadcast_to(row[None, :, None], (4, 8, 3)).copy()
    out = SUITE["JPEG"](pixels, 1, rng())[0, :, 0]
    # back up, a new pixel lies a quarter off an old one: 5, 10, 20, 30, 40, 50, 60, 65
    assert out.tolist() == [5, 10, 20, 30, 40, 50, 60, 65]


def test_pixelation_aliases_as_the_original() -> None:
    stripes = flat(0, 0, 0, 30, 30)
    stripes[:, 1::3] = 255  # a third of the light, but a bilinear sample at 1/3 sees only this
    assert SUITE["JPEG"](stripes, 2, rng()).min() == 255


@pytest.mark.parametrize("code", ["TRUE_JPEG", "VC", "GB", "JPEG", "CS", "CC"])
def test_levels_ascend(code: str) -> None:
    errors = [error(SUITE[code](photo(), level, rng()), photo()) for level in range(1, 6)]
    assert errors == sorted(errors)


def test_only_the_video_codec_is_approximate() -> None:
    assert frozenset({"VC"}) == degrade.APPROXIMATE


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3), np.float32),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
@pytest.mark.parametrize(
    "act",
    [
        lambda p: degrade.jpeg(p, 90),
        lambda p: degrade.resize(p, 0.5),
        lambda p: degrade.blur(p, 1.0),
        lambda p: degrade.noise(p, 1.0, rng()),
        degrade.screenshot,
        degrade.crop,
        *SURVIVAL.values(),
        *(lambda p, f=f: f(p, 1, rng()) for f in SUITE.values()),
    ],
)
def test_names_the_pixels_it_wants(pixels: Pixels, act: Callable[[Pixels], object]) -> None:
    with pytest.raises(ValueError, match=r"want uint8 \(H, W, 3\)"):
        act(pixels)


@pytest.mark.parametrize(
    "act",
    [
        lambda: degrade.jpeg(photo(), 0),
        lambda: degrade.jpeg(photo(), 101),
        lambda: degrade.webp(photo(), -1),
        lambda: degrade.resize(photo(), 0),
        lambda: degrade.resize(photo(), float("nan")),
        lambda: degrade.blur(photo(), -1),
        lambda: degrade.noise(photo(), float("inf"), rng()),
        lambda: degrade.crop(photo(), left=-1),
        lambda: SUITE["CS"](photo(), 0, rng()),
        lambda: SUITE["BW"](photo(), 6, rng()),
    ],
)
def test_names_the_setting_it_wants(act: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="want"):
        act()

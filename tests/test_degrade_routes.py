"""What pictures meet on the web, and real video compression."""

import math

import numpy as np
import pytest

from telltale import degrade
from telltale.degrade import Pixels


def photo(height: int = 96, width: int = 128, shift: int = 0) -> Pixels:
    """Smooth colours with an edge: compresses like a picture, unlike noise."""
    y, x = np.mgrid[:height, shift : width + shift].astype(np.float32)
    waves = np.stack([np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 11)], -1) * 90 + 128
    waves[x >= 64] *= 0.6
    return waves.astype(np.uint8)


def psnr(a: Pixels, b: Pixels) -> float:
    return 10 * math.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize(
    ("level", "shape"), [(1, (72, 96)), (2, (48, 64)), (3, (36, 48)), (4, (24, 32)), (5, (12, 16))]
)
def test_shrunk_says_how_far(level: int, shape: tuple[int, int]) -> None:
    moved = degrade.shrunk(photo(), level)
    assert moved.pixels.shape == (*shape, 3)
    assert moved.scale == shape[0] / 96


def test_a_route_of_services_fits_and_says_where_things_went() -> None:
    wide = np.full((1200, 2400, 3), 20, np.uint8)
    wide[480:720, 960:1440] = 255
    for level, side in enumerate((2048, 1600, 1600, 1200, 960), 1):
        moved = degrade.shared(wide, level)
        assert max(moved.pixels.shape[:2]) == side
        assert moved.scale == side / 2400
        inner = moved.pixels[round(490 * moved.scale) : round(710 * moved.scale)]
        assert inner[:, round(970 * moved.scale) : round(1430 * moved.scale)].min() > 200
        assert moved.pixels[: round(470 * moved.scale)].max() < 60


def test_services_do_not_enlarge_and_each_adds_harm() -> None:
    losses = [psnr(degrade.shared(photo(), level).pixels, photo()) for level in (1, 2, 3)]
    assert losses == sorted(losses, reverse=True)
    assert degrade.shared(photo(), 3).pixels.shape == photo().shape
    assert degrade.shared(photo(), 5).pixels.shape == (72, 96, 3)  # a screenshot's three quarters


@pytest.mark.parametrize("shape", [(64, 96), (63, 95)])
def test_h264_keeps_count_order_and_size(shape: tuple[int, int]) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    frames = [photo(*shape, shift=4 * k) for k in range(60)]
    out = list(degrade.h264(iter(frames), 23))
    assert len(out) == 60
    assert all(pixels.shape == frames[0].shape for pixels in out)
    for k in (0, 31, 59):  # each resembles its own frame more than the ones beside it
        near = [psnr(out[k], frame) for frame in frames[max(k - 1, 0) : k + 2]]
        assert max(near) == psnr(out[k], frames[k]) > 30


def test_h264_loses_more_at_each_level_and_a_still_as_much_as_a_frame() -> None:
    pytest.importorskip("av", reason="needs the extra video")
    stills = [psnr(degrade.h264_still(photo(), crf), photo()) for crf in degrade.CRF]
    assert stills == sorted(stills, reverse=True)
    moving = [photo(shift=k) for k in range(12)]
    out = list(degrade.h264(moving, 35))
    kept = np.mean([psnr(a, b) for a, b in zip(out, moving, strict=True)])
    assert stills[2] == pytest.approx(kept, abs=2)
    again = degrade.h264_still(photo(), 35)
    assert np.array_equal(again, degrade.h264_still(photo(), 35))
    assert list(degrade.h264([], 30)) == []


def test_h264_names_what_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av", reason="needs the extra video")
    with pytest.raises(ValueError, match="crf of 0 to 51"):
        degrade.h264([photo()], 52)
    with pytest.raises(ValueError, match="rate of 0 to 1000"):
        degrade.h264([photo()], 30, rate=0)
    with pytest.raises(ValueError, match="one size"):
        list(degrade.h264([photo(), photo(64)], 30))
    monkeypatch.setattr("telltale.degrade.video.has_h264", lambda: False)
    with pytest.raises(ValueError, match=r"telltale-vision\[video\]"):
        degrade.h264_still(photo(), 30)


@pytest.mark.parametrize("act", [degrade.shrunk, degrade.shared])
def test_routes_name_what_they_want(act: type) -> None:
    with pytest.raises(ValueError, match="level of 1, 2, 3, 4 or 5, got 6"):
        act(photo(), 6)
    with pytest.raises(ValueError, match="want uint8"):
        act(photo()[..., 0], 1)

"""High-pass filters and noise residuals: what is content vanishes, what is noise stays."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from telltale.nn.residuals import (
    DB4,
    SRM,
    _analyse,
    _filters,
    _synthesise,
    high_pass,
    noise,
    noise_map,
    srm,
)


def white(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ramp(size: int, slope: float = 0.5) -> Tensor:
    """From 30 grey levels, ``slope`` grey levels a pixel to the right and half of that down."""
    x = torch.arange(size, dtype=torch.float64)
    return ((30 + slope * x + slope / 2 * x[:, None]) / 255)[None, None]


def test_the_wavelet_is_orthonormal_with_four_vanishing_moments() -> None:
    low = np.array(DB4)
    assert low.sum() == pytest.approx(np.sqrt(2))
    for shift in (0, 2, 4, 6):
        assert low[shift:] @ low[: 8 - shift] == pytest.approx(float(shift == 0), abs=1e-12)
    high = low[::-1] * np.array([1, -1] * 4)
    for power in range(4):
        assert np.arange(8.0) ** power @ high == pytest.approx(0, abs=1e-8)


@settings(deadline=None, max_examples=15)
@given(st.integers(9, 40), st.integers(9, 40))
def test_the_transform_can_be_undone_at_any_size(height: int, width: int) -> None:
    x = white(2, 1, height, width).double()
    parts = _analyse(x)
    assert parts.shape == (2, 4, (height + 7) // 2, (width + 7) // 2)
    torch.testing.assert_close(_synthesise(parts)[..., :height, :width], x)


def test_the_transform_agrees_with_sums_written_out() -> None:
    """y[k, l] = Σ Σ h[i] g[j] x[2k + i - 6, 2l + j - 6], x mirrored with the border twice."""
    x = white(1, 1, 9, 10).double()
    mirrored = np.pad(x[0, 0].numpy(), 7, mode="symmetric")
    low = np.array(DB4)
    high = low[::-1] * np.array([1, -1] * 4)
    found = _analyse(x)[0].numpy()
    for band, (rows, columns) in enumerate(((low, low), (low, high), (high, low), (high, high))):
        for k in range(8):
            for n in range(8):
                window = mirrored[2 * k + 1 : 2 * k + 9, 2 * n + 1 : 2 * n + 9]
                assert found[band, k, n] == pytest.approx(rows @ window @ columns)
    assert _filters(x).shape == (4, 1, 8, 8)


def test_a_constant_picture_has_no_noise() -> None:
    for dtype in (torch.float32, torch.float64):
        images = torch.full((1, 3, 224, 224), 0.7, dtype=dtype)
        assert noise(images).abs().max() < 1e-4
        assert noise_map(images).sub(0.5).abs().max() < 1e-5


def test_a_ramp_has_none_away_from_the_border() -> None:
    residual = noise(ramp(224))
    assert residual[..., 60:-60, 60:-60].abs().max() < 0.01
    assert 0.1 < residual.abs().max() < 3  # mirrored, a ramp has a fold


def test_white_noise_is_found_again() -> None:
    grain = 3 * white(1, 1, 224, 224).double()  # grey levels
    residual = noise(0.5 + grain / 255)
    assert residual.shape == grain.shape
    assert np.corrcoef(residual.flatten(), grain.flatten())[0, 1] > 0.99
    assert float(residual.std()) == pytest.approx(3.0, abs=0.15)


def test_a_blurred_patch_lacks_noise() -> None:
    images = 0.5 + 3 * white(1, 1, 224, 224).double() / 255
    taps = torch.exp(-0.5 * torch.arange(-4, 5).double() ** 2)
    kernel = torch.outer(taps, taps)[None, None] / taps.sum() ** 2
    blurred = F.conv2d(images, kernel, padding=4)
    images[..., 80:144, 80:144] = blurred[..., 80:144, 80:144]
    residual = noise(images)[0, 0]
    inside, outside = residual[80:144, 80:144], residual[:, :70]
    assert float(inside.std()) < 0.4 * float(outside.std())


def test_strong_edges_are_content() -> None:
    """Coefficients far above σ are shrunk: a step of 100 levels leaves little."""
    images = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    images[..., 32:] = 100 / 255
    assert noise(images, 5.0).abs().max() < 6
    assert noise(images, 500.0).abs().max() > 30  # and nothing is content beside such a σ


def test_the_map_is_grey_and_spans_thirty_levels() -> None:
    grain = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    grain[:, 1] = 3 * white(64, 64).double()  # green only
    images = 0.5 + grain / 255
    whole = noise_map(images)
    assert whole.shape == (1, 1, 64, 64)
    torch.testing.assert_close(whole, 0.5870 * noise(images)[:, 1:2] / 30 + 0.5)
    loud = noise_map(0.5 + 60 * white(1, 3, 64, 64).double() / 255, sigma=100)
    assert float(loud.min()) == 0
    assert float(loud.max()) == 1


def test_each_picture_and_channel_is_on_its_own() -> None:
    images = torch.rand(2, 3, 40, 33, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(noise(images)[1:, 2:], noise(images[1:, 2:]))


@pytest.mark.parametrize(
    ("images", "sigma"),
    [(torch.zeros(1, 3, 9, 9, dtype=torch.uint8), 5), (torch.zeros(3, 9, 9), 5)]
    + [(torch.zeros(1, 3, 9, 9), sigma) for sigma in (0, -1)],
)
def test_noise_says_what_it_wants(images: Tensor, sigma: float) -> None:
    with pytest.raises(ValueError, match="want"):
        noise(images, sigma)


def test_srm_predicts_constants_and_ramps() -> None:
    kernels = torch.tensor(SRM)
    torch.testing.assert_close(kernels.sum((1, 2)), torch.zeros(3))
    assert srm(torch.full((1, 3, 8, 8), 0.3)).abs().max() < 1e-4
    # Mirrored at the border, a ramp bends there; inside, all three predict it.
    assert srm(ramp(12))[..., 2:-2, 2:-2].abs().max() < 1e-5


def test_srm_by_hand_on_a_single_bright_pixel() -> None:
    """The response to a point is the kernel itself, turned round (they are symmetric)."""
    images = torch.zeros(1, 2, 9, 9, dtype=torch.float64)
    images[0, 1, 4, 4] = 1.2 / 255
    residual = srm(images)
    assert residual.shape == (1, 6, 9, 9)
    assert not residual[:, :3].any()
    for number, kernel in enumerate(SRM):
        expected = 1.2 * torch.tensor(kernel, dtype=torch.float64)
        torch.testing.assert_close(
            residual[0, 3 + number, 2:7, 2:7], expected, rtol=1e-6, atol=1e-7
        )


def test_srm_is_truncated() -> None:
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert float(srm(images).abs().max()) == 2
    assert float(srm(images, limit=3).abs().max()) == 3


def test_high_pass_by_hand() -> None:
    images = torch.zeros(1, 1, 5, 5)
    images[0, 0, 1, 1] = 0.9
    found = high_pass(images, 20)
    assert found[0, 0, 1, 1] == pytest.approx(20 * 0.8)
    assert found[0, 0, 2, 2] == pytest.approx(-20 * 0.1)
    assert found[0, 0, 0, 0] == pytest.approx(-20 * 0.4)  # mirrored: the point is met four times
    assert found[0, 0, 3, 3] == 0
    assert high_pass(torch.full((1, 3, 4, 4), 0.5)).abs().max() < 1e-6

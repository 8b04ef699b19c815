"""PSNR and SSIM by hand and as scikit-image gives them."""

import numpy as np
import pytest

from telltale.metrics.visibility import psnr, ssim


def waves() -> tuple[np.ndarray, np.ndarray]:
    """A picture (1, 3, 20, 24) and a disturbed one, without chance."""
    y, x = np.mgrid[:20, :24]
    a = np.stack([0.5 + 0.4 * np.sin(x / 3 + c) * np.cos(y / 4) for c in range(3)])
    b = np.clip(a + 0.05 * np.cos(1.7 * x * y + np.arange(3)[:, None, None]), 0, 1)
    return a[None], b[None]


def test_they_agree_with_scikit_image() -> None:
    """scikit-image 0.26 with Gaussian weights, σ = 1.5, no sample covariance, range 1."""
    assert ssim(*waves())[0] == pytest.approx(0.9480612453813237, abs=1e-9)
    assert psnr(*waves())[0] == pytest.approx(29.03995870338661, abs=1e-9)


def test_each_picture_has_its_own() -> None:
    a, b = waves()
    both = ssim(np.concatenate([a, a]), np.concatenate([a, b]))
    assert both[0] == pytest.approx(1)
    assert both[1] == pytest.approx(ssim(a, b)[0])
    assert psnr(np.concatenate([a, a]), np.concatenate([a, b]))[0] == np.inf


def test_a_tenth_everywhere_is_twenty_decibels() -> None:
    grey = np.full((2, 3, 12, 12), 0.5)
    assert psnr(grey, grey + 0.1) == pytest.approx([20, 20])
    light = (2 * 0.5 * 0.6 + 1e-4) / (0.5**2 + 0.6**2 + 1e-4)  # flat pictures differ in light alone
    assert ssim(grey, grey + 0.1) == pytest.approx([light, light])


def test_they_say_what_pictures_they_want() -> None:
    with pytest.raises(ValueError, match="want two arrays"):
        psnr(np.zeros((1, 3, 12, 12)), np.zeros((1, 3, 12, 13)))
    with pytest.raises(ValueError, match="want sides of 11 pixels or more"):
        ssim(np.zeros((1, 3, 8, 8)), np.zeros((1, 3, 8, 8)))

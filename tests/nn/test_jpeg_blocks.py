"""The stream that reads what JPEG left: its DCT, its characteristic function, its histories."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn
from torch import Tensor

from telltale.nn.jpeg_blocks import FREQUENCIES, STEPS, JpegBlocks, dct, zigzag

pytestmark = pytest.mark.usefixtures("one_thread")


def opened(pixels: np.ndarray, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return Image.open(buffer)


def coded(pixels: np.ndarray, quality: int) -> np.ndarray:
    return np.asarray(opened(pixels, quality))


def batch(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255)


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).resize((128, 128))
    noisy = np.asarray(smooth, float) + rng.normal(0, 6, (128, 128))
    return np.repeat(noisy.clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def test_the_order_is_the_standards() -> None:
    assert zigzag()[:10] == [
        *((0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0))
    ]
    assert zigzag()[-3:] == [(6, 7), (7, 6), (7, 7)]
    assert len({*zigzag()}) == 64


def test_coefficients_are_scipys(grey: np.ndarray) -> None:
    found = JpegBlocks(8).coefficients(batch(grey))
    assert found.shape == (1, 64, 16, 16)
    wanted = dctn(grey[24:32, 40:48, 0].astype(float) - 128, norm="ortho")
    for number, (u, v) in enumerate(zigzag()):
        assert float(found[0, number, 3, 5]) == pytest.approx(wanted[u, v], abs=0.05)
    basis = dct().flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(64), atol=1e-5, rtol=0)


def test_the_step_of_a_file_fits_best_and_off_its_grid_none_does(grey: np.ndarray) -> None:
    once = coded(grey, 75)
    table = opened(grey, 75).quantization[0]
    blocks = JpegBlocks(8)

    def fit(pixels: np.ndarray) -> Tensor:
        maps = blocks.fits(batch(pixels))[0, : FREQUENCIES * len(STEPS)]
        return maps.mean((1, 2)).view(FREQUENCIES, len(STEPS))

    there = fit(once)
    for k in range(1, 4):  # the first frequencies are well above their steps
        step = table[8 * zigzag()[k][0] + zigzag()[k][1]]
        assert step in STEPS
        assert float(there[k - 1, STEPS.index(step)]) > 0.8
    moved = fit(np.roll(once, (3, 5), (0, 1)))
    step = STEPS.index(table[1])
    assert float(moved[0, step]) < 0.5 * float(there[0, step])


def test_an_earlier_compression_shows_under_a_later_one(grey: np.ndarray) -> None:
    blocks = JpegBlocks(8)
    features = [blocks.fits(batch(it))[0].mean((1, 2)) for it in (
        coded(grey, 90), coded(coded(grey, 60), 90), coded(coded(grey, 60), 90)[:, ::-1].copy()
    )]  # fmt: skip
    assert float((features[0] - features[1]).abs().max()) > 0.2
    # mirrored blocks have the same sizes and the same fits
    torch.testing.assert_close(features[1], features[2], atol=0.02, rtol=0)


def test_shape_gradient_and_errors() -> None:
    blocks = JpegBlocks(8)
    out = blocks(torch.rand(2, 3, 64, 48))
    assert out.shape == (2, 8, 8, 6)
    out.sum().backward()
    assert all(weight.grad is not None for weight in blocks.parameters())
    with pytest.raises(ValueError, match="multiples of 8"):
        blocks(torch.rand(1, 3, 60, 64))

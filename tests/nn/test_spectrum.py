"""Log amplitudes against the fast transform."""

import pytest
import torch

from telltale.nn.spectrum import log_amplitude


@pytest.mark.parametrize("size", [(8, 8), (5, 3), (1, 4)])
def test_it_is_the_fast_transforms_amplitude(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(log_amplitude(x), torch.fft.fft2(x).abs().log1p(), atol=1e-5, rtol=0)


def test_nothing_has_a_slope_all_the_same() -> None:
    x = torch.zeros(1, 1, 4, 4, requires_grad=True)
    log_amplitude(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()

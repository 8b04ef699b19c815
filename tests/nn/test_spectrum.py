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


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_rounds_the_maps_alone(autocast: bool) -> None:
    x = torch.randn(1, 2, 28, 28, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = torch.fft.fft2(x.double()).abs().log1p()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = log_amplitude(x if not autocast else x.float())
    assert found.dtype == (torch.float32 if autocast else torch.bfloat16)
    limit = 1e-4 if autocast else expected.max().item() / 2**8  # bfloat16 keeps 8 bits
    assert (found - expected).abs().max() < limit

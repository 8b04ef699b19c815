"""Soft local histograms against the plain way, at their border and at their extremes."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from telltale.nn.histogram import LocalHistogram, mean_of_window


def layer(center: float, width: float, window: int = 3, bins: str = "gaussian") -> LocalHistogram:
    made = LocalHistogram(2, bins=bins, window=window)
    with torch.no_grad():
        made.centers.fill_(center)
        made.widths.fill_(width)
    return made


@given(st.integers(0, 2**31), st.sampled_from([1, 3, 5]))
@settings(max_examples=20, deadline=None)
def test_agrees_with_the_plain_way(seed: int, window: int) -> None:
    maps = torch.randn(2, 2, 5, 6, generator=torch.Generator().manual_seed(seed))
    made = layer(0.3, 1.4, window)
    found, half = made(maps), window // 2
    for y in range(5):
        for x in range(6):
            part = maps[:, :, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
            plain = torch.exp(-(1.4**2) * (part - 0.3) ** 2).mean((2, 3))
            torch.testing.assert_close(found[:, :, y, x], plain)
    assert found.min() > 0
    assert found.max() <= 1


@pytest.mark.parametrize("window", [1, 3, 7])
def test_the_mean_of_a_window_is_the_pooling_that_it_replaces(window: int) -> None:
    maps = torch.randn(2, 3, 5, 8, requires_grad=True)
    plain = F.avg_pool2d(maps, window, 1, window // 2, count_include_pad=False)
    found = mean_of_window(maps, window)
    torch.testing.assert_close(found, plain)
    back = torch.randn(2, 3, 5, 8)
    slopes = [torch.autograd.grad(y, maps, back)[0] for y in (found, plain)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("side", [31, 33])  # matrices, then sums
def test_the_mean_is_the_same_on_both_sides_of_the_switch(side: int) -> None:
    maps = torch.randn(1, 2, side, 7, dtype=torch.float64)
    plain = F.avg_pool2d(maps, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(mean_of_window(maps, 3), plain)


def test_an_export_leaves_nothing_behind() -> None:
    made, maps = layer(0.1, 0.9, window=5).eval(), torch.randn(2, 2, 6, 9)
    exported = torch.export.export(made, (maps,)).module()
    torch.testing.assert_close(exported(maps), made(maps))
    with torch.device("meta"):
        assert made.to("meta")(torch.empty(1, 2, 6, 9)).shape == (1, 2, 6, 9)


@pytest.mark.parametrize("delta", [0.0, 0.5, -1.5])
def test_a_constant_map_stays_constant_into_the_corners(delta: float) -> None:
    found = layer(0.2, 1.3)(torch.full((1, 2, 4, 4), 0.2 + delta))
    expected = math.exp(-(1.3**2) * delta**2)
    torch.testing.assert_close(found, torch.full_like(found, expected))


def test_order_within_a_window_that_covers_the_map_does_not_matter() -> None:
    maps = torch.randn(1, 2, 3, 3)
    shuffled = maps.flatten(2)[..., torch.randperm(9)].view_as(maps)
    made = layer(0.0, 1.0, window=7)
    torch.testing.assert_close(made(maps), made(shuffled))


def test_the_centre_has_no_slope_where_it_is_hit() -> None:
    made = layer(0.4, 2.0)
    made(torch.full((1, 2, 3, 3), 0.4)).sum().backward()
    assert made.centers.grad is not None
    torch.testing.assert_close(made.centers.grad, torch.zeros(2))


def test_infinite_and_no_width() -> None:
    maps = torch.randn(1, 2, 4, 4)
    assert torch.equal(layer(0.0, 0.0)(maps), torch.ones_like(maps))
    assert layer(0.0, 1e6)(maps).max() == 0
    hit = torch.zeros(1, 2, 4, 4)
    assert torch.equal(layer(0.0, 1e6)(hit), torch.ones_like(hit))


def test_the_normalised_linear_bin_is_its_bin_over_itself() -> None:
    made = layer(0.1, -0.8, window=1, bins="linear_normalised")
    maps = torch.linspace(-2, 2, 32).view(1, 2, 4, 4)
    response = (1 - 0.8 * (maps - 0.1).abs()).clamp(min=0)
    torch.testing.assert_close(made(maps), response / (response + 1e-5), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("bins", "window"), [("square", 3), ("gaussian", 2)])
def test_says_what_it_wants(bins: str, window: int) -> None:
    with pytest.raises(ValueError, match="want bins of gaussian, linear_normalised and an odd"):
        LocalHistogram(2, bins=bins, window=window)

"""Difference convolutions against the sums that define them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from telltale.nn.difference import OPERATORS, central, convolve, kernel

RING = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]  # taps 0-3, 5-8
CLOCKWISE = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]


def at(x: Tensor, dy: int, dx: int) -> Tensor:
    """x moved so that each pixel holds its neighbour at (dy, dx); zeros outside."""
    wide = F.pad(x, [2] * 4)
    height, width = x.shape[-2:]
    return wide[..., 2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width]


def slow(x: Tensor, w: Tensor, operator: str) -> Tensor:
    """One channel in and out, straight from the formula."""
    taps = w.flatten()
    y = torch.zeros_like(x)
    if operator in ("cd", "ad", "cv"):
        y = taps[4] * x
        for (dy, dx), k in zip(RING, (0, 1, 2, 3, 5, 6, 7, 8), strict=True):
            other = torch.zeros_like(x)
            if operator == "cd":
                other = x
            if operator == "ad":
                place = CLOCKWISE.index((dy, dx))
                other = at(x, *CLOCKWISE[(place + 1) % 8])
            y = y + taps[k] * (at(x, dy, dx) - other)
        return y
    y = taps[0] * x
    for (dy, dx), k in zip(RING, range(1, 9), strict=True):
        outer, inner = at(x, 2 * dy, 2 * dx), at(x, dy, dx)
        y = y + taps[k] * (outer - inner if operator == "rd" else outer - 2 * inner + x)
    return y


@pytest.mark.parametrize("operator", OPERATORS)
def test_is_the_sum_that_defines_it(operator: str) -> None:
    torch.manual_seed(0)
    x, w = torch.rand(2, 1, 9, 9).double(), torch.randn(1, 1, 3, 3).double()
    torch.testing.assert_close(convolve(x, w, operator=operator), slow(x, w, operator))


@pytest.mark.parametrize("operator", ["cd", "ad", "rd", "scd"])
def test_a_constant_leaves_nothing_but_the_center_tap(operator: str) -> None:
    w = torch.randn(3, 2, 3, 3)
    w.flatten(2)[..., 4 if operator in ("cd", "ad") else 0] = 0
    inside = convolve(torch.full((1, 2, 9, 9), 0.7), w, operator=operator)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inside, torch.zeros_like(inside), atol=1e-5, rtol=0)


@given(st.floats(0, 1))
def test_central_takes_away_theta_of_the_center(theta: float) -> None:
    torch.manual_seed(1)
    x, w = torch.rand(1, 2, 6, 6).double(), torch.randn(3, 2, 3, 3).double()
    want = F.conv2d(x, w, padding=1) - theta * F.conv2d(x, w.sum((2, 3), keepdim=True))
    torch.testing.assert_close(central(x, w, theta=theta), want)


def test_central_at_one_is_cd_without_a_center_tap() -> None:
    x, w = torch.rand(1, 2, 6, 6), torch.randn(3, 2, 3, 3)
    w[..., 1, 1] = 0
    torch.testing.assert_close(central(x, w, theta=1.0), convolve(x, w, operator="cd"))


def test_names_the_operators() -> None:
    with pytest.raises(ValueError, match="no operator 'xd'; want one of cv, cd"):
        kernel(torch.zeros(1, 1, 3, 3), "xd")

"""Tokens as maps: places are kept, and the class token sees nobody."""

import pytest
import torch
from torch import nn

from telltale.nn.grid import convolve, to_map, to_patches


def test_patches_come_back_as_they_were() -> None:
    patches = torch.rand(2, 12 * 12, 5)
    assert torch.equal(to_patches(to_map(patches)), patches)
    assert torch.equal(to_map(patches)[1, :, 3, 7], patches[1, 3 * 12 + 7])


def test_says_what_it_wants() -> None:
    with pytest.raises(ValueError, match=r"want patches \(B, n², C\)"):
        to_map(torch.rand(1, 10, 4))


def test_a_patch_reaches_its_neighbours_only_and_never_the_class_token() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    tokens = torch.rand(1, 1 + 25, 4)
    moved = tokens.clone()
    moved[0, 1 + 12] += 1  # the middle of 5 × 5
    changed = (convolve(conv, tokens) - convolve(conv, moved)).abs().sum(-1)[0] > 1e-6
    assert changed.nonzero().flatten().tolist() == [
        1 + i for i in (6, 7, 8, 11, 12, 13, 16, 17, 18)
    ]


def test_the_class_token_goes_through_the_middle_tap() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1)
    tokens = torch.rand(2, 1 + 9, 4)
    want = tokens[:, 0] @ conv.weight[:, :, 1, 1].T + conv.bias
    torch.testing.assert_close(convolve(conv, tokens)[:, 0], want)

"""Something beside the MLP of every block: where it reads, and that it may start as nothing."""

import pytest
import torch
from torch import Tensor, nn

from telltale.nn.adapters import AdaptedBlock, beside_mlp
from telltale.nn.low_rank import adapt
from telltale.nn.vit import Block, Shape, ViT

# Layer scales far from 1, so that a scale in the wrong place shows.
SHAPE = Shape(width=12, depth=3, heads=3, patch=4, size=20, layer_scale=0.3)


class Doubled(nn.Module):
    """Keeps what it was given and returns twice that."""

    def __init__(self) -> None:
        super().__init__()
        self.given = torch.zeros(())

    def forward(self, tokens: Tensor) -> Tensor:
        self.given = tokens
        return 2 * tokens


@pytest.fixture
def vit() -> ViT:
    return ViT(SHAPE)


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(2, 1 + 25, 12)


def test_a_zero_beside_the_mlp_changes_nothing(vit: ViT) -> None:
    images = torch.rand(2, 3, 20, 20)
    before = vit(images)
    made: list[nn.Linear] = []

    def make(width: int) -> nn.Module:
        made.append(nn.Linear(width, width))
        nn.init.zeros_(made[-1].weight)
        nn.init.zeros_(made[-1].bias)
        return made[-1]

    beside_mlp(vit, make)
    assert len(made) == 3
    torch.testing.assert_close(vit(images), before)


@pytest.mark.parametrize("after", [False, True])
def test_reads_what_the_mlp_reads_or_what_it_gives(vit: ViT, tokens: Tensor, after: bool) -> None:
    base, twice = vit.blocks[1], Doubled()
    assert isinstance(base, Block)
    block = AdaptedBlock(base, twice, after=after)
    middle = tokens + 0.3 * base.attn(base.norm1(tokens))
    read = base.norm2(middle)
    known = 0.3 * base.mlp(read)
    torch.testing.assert_close(twice(known if after else read), 2 * (known if after else read))
    expected = middle + known + 2 * (known if after else read)
    torch.testing.assert_close(block(tokens), expected)
    torch.testing.assert_close(twice.given, known if after else read)


def test_what_was_frozen_stays_so_and_attention_can_be_adapted_too(vit: ViT) -> None:
    adapt(vit, 2)
    beside_mlp(vit, lambda width: nn.Linear(width, width))
    learns = {name for name, weight in vit.named_parameters() if weight.requires_grad}
    expected = {
        f"blocks.{n}.{part}"
        for n in range(3)
        for part in ("base.attn.down", "base.attn.up", "adapter.weight", "adapter.bias")
    }
    assert learns == expected


def test_wants_a_vit() -> None:
    with pytest.raises(ValueError, match=r"want a ViT of telltale\.nn\.vit, got Linear"):
        beside_mlp(nn.Linear(3, 3), lambda width: nn.Linear(width, width))

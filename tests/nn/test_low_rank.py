"""Low-rank updates: the identity at first, of the rank that was asked for, and folded away."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from telltale.nn.backbones import backbone
from telltale.nn.low_rank import LowRankAttention, adapt, fold
from telltale.nn.vit import Attention, ViT

TARGETS = ("q", "k", "v", "qk", "qv", "kv", "qkv")


def trunk() -> ViT:
    return backbone("vit_toy", size=16, depth=2, norm=True)


def drawn(targets: str = "qkv", *, shared: bool = True, rank: int = 4) -> LowRankAttention:
    """A layer whose update is not zero."""
    layer = LowRankAttention(Attention(32, 4), rank, targets=targets, shared=shared).eval()
    nn.init.normal_(layer.up)
    return layer


def test_attention_agrees_with_torch() -> None:
    ours, theirs = Attention(32, 4), nn.MultiheadAttention(32, 4, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    x = torch.randn(2, 5, 32)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("targets", TARGETS)
def test_starts_as_the_pretrained_layer(targets: str, shared: bool) -> None:
    layer = LowRankAttention(Attention(32, 4), 4, targets=targets, shared=shared)
    x = torch.randn(2, 5, 32)
    assert torch.equal(layer(x), layer.base(x))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("targets", TARGETS)
def test_the_update_is_its_matrix(targets: str, shared: bool) -> None:
    layer = drawn(targets, shared=shared)
    x = torch.randn(2, 5, 32)
    torch.testing.assert_close(layer.update(x), x @ layer.delta().T, rtol=1e-4, atol=1e-5)
    rows = dict(zip("qkv", layer.delta().chunk(3), strict=True))
    assert {part for part in "qkv" if rows[part].any()} == set(targets)


@pytest.mark.parametrize("shared", [True, False])
@settings(max_examples=20, deadline=None)
@given(rank=st.integers(1, 8), targets=st.sampled_from(TARGETS))
def test_the_update_has_the_rank(shared: bool, rank: int, targets: str) -> None:
    delta = drawn(targets, shared=shared, rank=rank).delta()
    for part in delta.chunk(3):
        assert torch.linalg.matrix_rank(part) <= rank
    if shared:
        assert torch.linalg.matrix_rank(delta) <= rank


def test_separate_projections_use_their_own() -> None:
    delta = drawn(shared=False, rank=4).delta()
    assert torch.linalg.matrix_rank(delta) == 12  # one shared projection could not give this


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("targets", TARGETS)
def test_merging_changes_nothing_twice_and_comes_undone(targets: str, shared: bool) -> None:
    layer = drawn(targets, shared=shared)
    x, before = torch.randn(2, 5, 32), layer.base.qkv.weight.clone()
    expected = layer(x)
    for _ in range(2):
        torch.testing.assert_close(layer.merge()(x), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)
    assert not torch.equal(layer.base.qkv.weight, before)
    for _ in range(2):
        layer.unmerge()
        assert torch.equal(layer.base.qkv.weight, before)
    assert torch.equal(layer(x), expected)


def test_a_merged_layer_refuses_to_learn() -> None:
    layer = drawn().train()
    layer.merge()
    with pytest.raises(RuntimeError, match="unmerge"):
        layer(torch.randn(1, 5, 32))


def test_trains_only_the_update() -> None:
    layer = LowRankAttention(Attention(32, 4), 4)
    layer(torch.randn(2, 5, 32)).square().sum().backward()
    assert {n for n, p in layer.named_parameters() if p.requires_grad} == {"down", "up"}
    assert layer.up.grad is not None
    assert layer.up.grad.any()
    assert layer.down.grad is not None
    assert not layer.down.grad.any()  # U is zero at first
    assert layer.base.qkv.weight.grad is None


def attention_and_values(layer: LowRankAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    qkv = layer.base.qkv(x) + layer.update(x)
    q, k, v = qkv.view(*x.shape[:2], 3, layer.base.heads, -1).permute(2, 0, 3, 1, 4)
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1), v


@pytest.mark.parametrize(("targets", "moved"), [("v", "values"), ("qk", "map"), ("q", "map")])
def test_targets_move_the_map_or_the_values(targets: str, moved: str) -> None:
    layer, x = drawn(targets), torch.randn(2, 5, 32)
    before = LowRankAttention(layer.base, 4)
    (old_map, old_values), (new_map, new_values) = (
        attention_and_values(each, x) for each in (before, layer)
    )
    assert torch.equal(new_map, old_map) == (moved == "values")
    assert torch.equal(new_values, old_values) == (moved == "map")


@pytest.mark.parametrize("rank", [0, 33])
def test_rejects_ranks_out_of_range(rank: int) -> None:
    with pytest.raises(ValueError, match=r"1\.\.32"):
        LowRankAttention(Attention(32, 4), rank)


@pytest.mark.parametrize("targets", ["", "x", "qq", "q,v"])
def test_rejects_other_targets(targets: str) -> None:
    with pytest.raises(ValueError, match="some of 'qkv'"):
        LowRankAttention(Attention(32, 4), 4, targets=targets)


def test_adapts_each_layer_and_freezes_the_rest() -> None:
    vit, images = trunk(), torch.rand(2, 3, 16, 16)
    before = vit(images)
    adapt(vit, 2)
    assert all(isinstance(block.attn, LowRankAttention) for block in vit.blocks)
    trainable = {n for n, p in vit.named_parameters() if p.requires_grad}
    assert trainable == {f"blocks.{i}.attn.{part}" for i in (0, 1) for part in ("down", "up")}
    assert torch.equal(vit(images), before)


def test_a_folded_trunk_is_a_plain_vit() -> None:
    vit, images = trunk().eval(), torch.rand(2, 3, 16, 16)
    names = set(vit.state_dict())
    adapt(vit, 2)
    for block in vit.blocks:
        nn.init.normal_(block.attn.up, std=0.1)
    expected = vit(images)
    fold(vit)
    assert set(vit.state_dict()) == names
    torch.testing.assert_close(vit(images), expected, rtol=1e-4, atol=1e-4)


def test_adapting_twice_or_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="without one"):
        adapt(nn.Linear(2, 2))

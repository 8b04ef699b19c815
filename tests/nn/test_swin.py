import pytest
import timm
import torch
from torch import Tensor, nn

from telltale.nn.swin import Shape, Swin, levels_fit, load, start_as_dct, swin
from telltale.nn.windows import WindowAttention


def attention(**settings: bool) -> WindowAttention:
    torch.manual_seed(0)
    usual = {"causal": True, "include_self": False, "leak": True}
    return WindowAttention(8, 2, 3, **(usual | settings)).eval()


def influence(module: nn.Module, tokens: Tensor) -> Tensor:
    """Whether output i of a window (1, 1, N, C) depends on input j, (N, N)."""
    found = torch.autograd.functional.jacobian(module, tokens)  # (1, 1, N, C, 1, 1, N, C)
    strength: Tensor = found[0, 0, :, :, 0, 0].abs().sum((1, 3))
    return strength > 0


def test_a_token_is_told_of_those_before_it_alone() -> None:
    # Its own query asks, so that what is weighed depends on it; what comes out does not hold it.
    x = torch.randn(1, 1, 9, 8)
    strict = influence(attention(), x)
    assert not strict.triu(1).any()
    assert strict.tril(-1).sum() == 36
    assert not strict[:2].diagonal().any(), "who has one token to look at has no choice"
    assert torch.equal(influence(attention(include_self=True), x), strict.new_ones(9, 9).tril())
    query, key = torch.randn(2, 1, 1, 2, 9, 4)
    assert not attention().weights(query, key).triu(0).any()
    assert not attention(include_self=True).weights(query, key).triu(1).any()


def test_the_first_token_gets_the_projection_bias() -> None:
    module = attention()
    nn.init.normal_(module.proj.bias)
    out = module(torch.randn(2, 3, 9, 8))
    torch.testing.assert_close(out[:, :, 0], module.proj.bias.expand(2, 3, 8))


def test_rows_sum_to_one_but_the_first() -> None:
    query, key = torch.randn(2, 1, 4, 2, 9, 4)
    rows = attention().weights(query, key).sum(-1)
    torch.testing.assert_close(rows[..., 1:], torch.ones_like(rows[..., 1:]))
    assert not rows[..., 0].any()


def test_two_layers_are_causal_and_the_residual_lets_a_token_through() -> None:
    one, other = attention(), attention()
    stacked = influence(nn.Sequential(one, other), torch.randn(1, 1, 9, 8))
    assert not stacked.triu(1).any()

    class Residual(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = x + one(x)
            return out

    assert influence(Residual(), torch.randn(1, 1, 9, 8)).diagonal().all()


@pytest.mark.parametrize("leak", [False, True])
def test_a_part_of_its_own_leaks_only_if_asked(leak: bool) -> None:
    module = attention(leak=leak)
    part = torch.tensor([0, 0, 0, 1, 1, 0, 0, 0, 0])
    apart = (part[:, None] != part[None])[None]
    query, key = torch.randn(2, 1, 1, 2, 9, 4)
    rows = module.weights(query, key, apart)[0, 0]
    across = rows * apart
    assert across[:, 4:].max() < 1e-30, "those with predecessors of their own part look at these"
    assert bool(across[:, 3].sum() > 0.5) == leak  # the first token of part 1
    torch.testing.assert_close(rows[:, 3].sum(-1), torch.full((2,), float(leak)))


def test_without_the_mask_it_is_timms_swin() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, num_classes=0)
    ours = swin("swin_tiny").eval()
    load(ours, theirs.state_dict())
    found: list[Tensor] = []
    for layer in theirs.eval().layers:
        layer.register_forward_hook(lambda module, given, out: found.append(out))
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        theirs(images)
        maps = ours(images)
        for level, norm, tokens in zip(maps, ours.norms, found, strict=True):
            torch.testing.assert_close(level, norm(tokens).permute(0, 3, 1, 2), atol=1e-5, rtol=0)


def test_says_which_weights_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"not the weights of this Swin: layers\.0"):
        load(swin("swin_tiny"), {"patch_embed.proj.weight": torch.zeros(96, 3, 4, 4)})
    with pytest.raises(ValueError, match="want one of"):
        swin("swin_huge")


def test_a_map_that_is_no_multiple_of_the_window_keeps_its_size() -> None:
    network = swin("swin_toy").eval()
    maps = network(torch.rand(1, 3, 64, 64))
    assert [tuple(level.shape) for level in maps] == [(1, 24, 16, 16), (1, 48, 8, 8)]
    assert levels_fit(64, Shape(24, (1, 1), (2, 4)))
    assert not levels_fit(60, Shape(24, (1, 1), (2, 4)))


def test_paths_drop_in_training_only() -> None:
    torch.manual_seed(0)
    network = Swin(Shape(24, (2,), (2,), drop_path=0.9))
    images = torch.rand(2, 3, 28, 28)
    (one,), (other,) = network(images), network(images)
    assert not torch.equal(one, other)
    network.eval()
    assert torch.equal(network(images)[0], network(images)[0])


def test_a_dct_stem_sees_fine_detail_first() -> None:
    conv = nn.Conv2d(3, 6, 4, stride=4)
    start_as_dct(conv)
    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2).expand(1, 3, 4, 4)
    assert conv(checks)[0, :3].abs().min() > 10 * conv(torch.ones(1, 3, 4, 4))[0, :3].abs().max()

"""FA-ViT, held to the brief's faithfulness checks (numbered as there)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.faces.fa_vit import FAViT, GlobalAttention, LocalAttention, Stage, Stem, relative
from telltale.fit import adam, fit
from telltale.losses import circle
from telltale.nn.backbones import SHAPES, backbone
from telltale.nn.vit import Attention, ViT


def trunk() -> ViT:
    torch.manual_seed(0)
    return backbone("vit_toy", size=16, depth=3, norm=True)


def detector() -> FAViT:
    return FAViT(trunk(), gam_dim=6, inject_layers=(0, 2))


@pytest.fixture
def batch() -> dict[str, Tensor]:
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return {"images": images, "labels": torch.tensor([1, 1, 1, 0, 0, 0])}


def test_1_starts_as_the_plain_vit_with_the_same_head(batch: dict[str, Tensor]) -> None:
    network, plain = detector(), trunk()
    real, fake = network.head(plain(batch["images"])[:, 0]).unbind(-1)
    torch.testing.assert_close(network(batch["images"]).logit, fake - real, rtol=0, atol=1e-5)


def test_2_trains_as_many_weights_as_the_paper() -> None:
    with torch.device("meta"):
        network = FAViT(ViT(SHAPES["vit_base"]))
    counts: dict[str, int] = {}
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            parts = name.split(".")
            gam = "attn" in parts and parts[-2] in ("down", "conv", "up")
            part = "gam" if gam else parts[0] if parts[0] != "backbone" else "vit"
            counts[part] = counts.get(part, 0) + weight.numel()
    assert counts == {
        "gam": 30_085_632,
        "injectors": 7_096_464,
        "stages": 4_865_792,
        "stem": 4_256,
        "vit": 38_400 + 768,  # layer norms and the class token
        "head": 1_536,
    }
    assert sum(counts.values()) == 42_092_848
    assert sum(p.numel() for p in network.parameters()) == 127_852_336


@pytest.mark.parametrize("dim", [3, 8])
def test_2_gam_in_closed_form(dim: int) -> None:
    width = 12
    gam = GlobalAttention(Attention(width, 3), dim)
    added = sum(p.numel() for n, p in gam.named_parameters() if not n.startswith("base"))
    assert added == width * dim + 3 * width * dim + 9 * dim**2 + dim


def test_3_and_4_what_learns_when(batch: dict[str, Tensor]) -> None:
    network = detector()
    before = {n: p.clone() for n, p in network.named_parameters()}
    grads: list[dict[str, bool]] = []
    for _ in fit(network, [batch] * 2, adam(network, lr=1e-3)):
        grads.append(
            {n: bool(p.grad.any()) for n, p in network.named_parameters() if p.grad is not None}
        )
    first, second = grads
    for name in first:
        if ".attn." in name and name.split(".")[-2] in ("down", "conv"):
            assert not first[name], name  # U is zero at first
            assert second[name], name
        if name.endswith(("up.weight", "gamma")):
            assert first[name], name
        if name.startswith(("injectors.0.attention", "stem")):
            assert not first[name], name  # γ is zero at first
            assert second[name], name
    for name, weight in network.named_parameters():
        if not weight.requires_grad:
            assert torch.equal(weight, before[name]), name


def local(grid: int = 5, heads: int = 12) -> tuple[LocalAttention, Tensor, Tensor]:
    torch.manual_seed(0)
    lam = LocalAttention(4 * heads, heads, 1.0)
    q, k = torch.randn(2, heads, 1 + grid**2, 4), torch.randn(2, heads, grid**2, 4)
    return lam, q, k


def test_5_rows_sum_to_one_and_the_class_row_has_contents_alone() -> None:
    lam, q, k = local()
    rows = lam.weights(q, k)
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, 12, 26))
    with torch.no_grad():
        lam.position.normal_()
        lam.gate.normal_()
    again = lam.weights(q, k)
    assert torch.equal(again[:, :, 0], rows[:, :, 0])
    assert not torch.allclose(again[:, :, 1:], rows[:, :, 1:])


def test_6_the_first_nine_heads_look_at_one_neighbour_each() -> None:
    lam, q, k = local()
    rows = lam.weights(torch.zeros_like(q), k)  # contents are uniform
    share = torch.sigmoid(torch.ones(())).item()
    middle, seen = 12, set()  # the middle of 5 × 5
    for head in range(9):
        place = (rows[0, head, 1 + middle] - share / 25) / (1 - share)
        best = int(place.argmax())
        dx, dy = best % 5 - 2, best // 5 - 2
        assert (dx, dy) == (head // 3 - 1, head % 3 - 1)
        seen.add((dx, dy))
    assert len(seen) == 9
    wide, _, _ = local(14)
    weight = (relative(14)[7 * 14 + 7] @ wide.position[4]).softmax(-1).max()
    assert weight.item() == pytest.approx(0.318, abs=1e-3)


def test_7_the_gate_starts_at_073_and_contents_always_get_half() -> None:
    lam = LocalAttention(12, 12, 1.0)
    assert torch.sigmoid(lam.gate.exp()).mean().item() == pytest.approx(0.7311, abs=1e-4)
    gates = torch.sigmoid(torch.linspace(-8, 2, 50).exp())
    assert (gates > 0.5).all()
    assert (gates < 1).all()


def test_8_and_9_the_pairs_term_is_the_circle_loss_of_the_cosines(
    batch: dict[str, Tensor],
) -> None:
    network = detector()
    features, prototype = network.embed(batch["images"]), network.head.weight[0]
    cosines = F.cosine_similarity(features, prototype, dim=-1)
    want = circle(cosines[3:], cosines[:3])
    torch.testing.assert_close(network.loss(**batch)["fal"], want)


def test_10_scale_does_not_matter_but_who_is_real_does(batch: dict[str, Tensor]) -> None:
    network = detector()
    fal = network.loss(**batch)["fal"]
    swapped = network.loss(batch["images"], 1 - batch["labels"])["fal"]
    assert (fal - swapped).abs() > 1e-4
    with torch.no_grad():
        network.head.weight *= 7
        network.backbone.norm.weight *= 3
        network.backbone.norm.bias *= 3
    torch.testing.assert_close(network.loss(**batch)["fal"], fal)


def test_11_maps_and_patches_have_the_papers_shapes() -> None:
    field = Stem()(torch.rand(1, 3, 224, 224))
    assert field.shape == (1, 32, 56, 56)
    for level, (width, side) in enumerate([(64, 56), (128, 28), (256, 14)]):
        stage = Stage(width // 2, level, 768, 14)
        field, patches = stage(field)
        assert field.shape == (1, width, side, side)
        assert patches.shape == (1, 196, 768)


@pytest.mark.parametrize(("name", "size"), [("vit_toy", 40), ("dinov2_small", 70)])
def test_11_other_patches_fit_too(name: str, size: int) -> None:
    network = FAViT(backbone(name, size=size, depth=3), inject_layers=(0, 1, 2)).eval()
    assert network(torch.rand(1, 3, size, size)).logit.shape == (1,)


def test_12_an_update_sees_its_neighbours_and_the_class_token_itself() -> None:
    torch.manual_seed(0)
    gam = GlobalAttention(Attention(12, 3), 4)
    nn.init.normal_(gam.up.weight)
    tokens = torch.randn(1, 1 + 25, 12)
    other = tokens.clone()
    other[0, 1 + 12] += 1
    changed = (gam.update(tokens) - gam.update(other)).abs().sum(-1)[0] > 1e-6
    near = [1 + place for place in (6, 7, 8, 11, 12, 13, 16, 17, 18)]
    assert changed.nonzero().flatten().tolist() == near


def test_13_the_prototype_is_the_heads_row_and_learns_from_pairs(
    batch: dict[str, Tensor],
) -> None:
    network = detector()
    assert network.head.bias is None
    network.loss(**batch)["fal"].backward()
    assert network.head.weight.grad is not None
    assert network.head.weight.grad[0].any()
    assert not network.head.weight.grad[1].any()


def test_wants_pairs(batch: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="want as many fakes as real faces, got 2 and 4"):
        detector().loss(batch["images"], torch.tensor([1, 0, 0, 0, 0, 1]))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"inject_layers": (0, 9)}, r"want at most 3 inject_layers in 0\.\.2"),
        ({"gam_dim": 0}, "want gam_dim of 1 or more"),
    ],
)
def test_says_what_settings_it_wants(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FAViT(trunk(), **({"inject_layers": (0,)} | settings))  # type: ignore[arg-type]

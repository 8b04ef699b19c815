"""FA-ViT, held to the brief's faithfulness checks (numbered as there)."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from telltale.faces.fa_vit import FAViT, GlobalAttention, LocalAttention, relative
from telltale.fit import adam, fit
from telltale.nn.backbones import SHAPES, backbone
from telltale.nn.vit import Attention, ViT


def trunk() -> ViT:
    torch.manual_seed(0)
    return backbone("vit_toy", size=16, depth=3, norm=True)


def detector() -> FAViT:
    return FAViT(trunk(), gam_dim=6, inject_layers=(0, 2))


def moved(network: FAViT) -> FAViT:
    """The detector with adapters that are not zero, as after training."""
    for name, weight in network.named_parameters():
        if name.endswith(("up.weight", "gamma")):
            nn.init.normal_(weight, std=0.1)
    return network


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


@pytest.mark.parametrize("train_norms", [True, False])
def test_2_what_of_the_vit_trains(train_norms: bool) -> None:
    vit = trunk()
    norms = {n for n, _ in vit.named_parameters() if "norm" in n} | {"cls_token"}
    network = FAViT(vit, inject_layers=(0,), train_norms=train_norms)
    found = {n for n, p in network.backbone.named_parameters() if p.requires_grad}
    adapters = {n for n in found if {*n.split(".")} & {"down", "conv", "up"}}
    assert found - adapters == (norms if train_norms else set())
    assert all(p.requires_grad for p in network.injectors.parameters())


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
    lam, q, k = local(grid=14)
    middle = 7 * 14 + 7
    rows = lam.weights(torch.zeros_like(q), k)[0, :, 1 + middle]  # contents are uniform
    share = torch.sigmoid(torch.ones(())).item()
    places = (rows - share / 196) / (1 - share)
    for head, place in enumerate(places[:9]):
        best = int(place.argmax())
        dx, dy = best % 14 - 7, best // 14 - 7
        assert (dx, dy) == (head // 3 - 1, head % 3 - 1)
        assert place.max().item() == pytest.approx(0.318, abs=1e-3)
    torch.testing.assert_close(places, (relative(14)[middle] @ lam.position.T).softmax(0).T)


def test_6_offsets_lead_from_the_query_to_the_key() -> None:
    offsets = relative(3)
    assert offsets[0, 5].tolist() == [2, 1, 5]  # from the top left to the right, one row down
    assert offsets[5, 0].tolist() == [-2, -1, 5]
    assert not offsets[range(9), range(9)].any()


@pytest.mark.parametrize(("heads", "looking"), [(3, 1), (4, 4), (6, 4), (12, 9), (16, 16)])
def test_6_any_number_of_heads(heads: int, looking: int) -> None:
    lam = LocalAttention(4 * heads, heads, 2.0)
    assert (lam.position[:looking, 2] == -2).all()  # the third entry is -1, times the strength
    assert (lam.position[looking:].abs() < 0.2).all()
    torch.testing.assert_close(lam.v(torch.eye(4 * heads)), torch.eye(4 * heads))


def test_7_the_gate_starts_at_073_and_contents_always_get_half() -> None:
    lam, q, k = local(grid=5, heads=12)
    lam.position.data[:] = torch.tensor([0.0, 0.0, -30.0])  # places: each patch sees itself alone

    def shares() -> Tensor:
        # Contents are uniform where q is 0, so a patch that no place points to gets share / 25.
        return 25 * lam.weights(torch.zeros_like(q), k)[0, :, 1, -1]

    torch.testing.assert_close(shares(), torch.full((12,), 0.7311), atol=1e-4, rtol=0)
    lam.gate.data[:] = torch.linspace(-8, 1, 12)
    torch.testing.assert_close(shares(), torch.sigmoid(lam.gate.detach().exp()))
    assert 0.5 < shares().min() < shares().max() < 1


@pytest.mark.parametrize(
    ("real", "fake", "value"), [(1, 0, 0.04859), (0, 1, 45.0), (1, -1, 0.2014)]
)
def test_8_known_values(real: float, fake: float, value: float) -> None:
    assert fal_of([real], [fake]) == pytest.approx(value, rel=1e-3)


@given(
    real=st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    fake=st.lists(st.floats(-0.25, 1), min_size=3, max_size=3),
)
@settings(max_examples=20)
def test_9_the_closed_form(real: list[float], fake: list[float]) -> None:
    p, n = torch.tensor(real).double(), torch.tensor(fake).double()
    want = F.softplus(24 * ((1 - p) ** 2 + n**2 - 0.125)).mean().item()
    assert fal_of(real, fake) == pytest.approx(want, rel=1e-3, abs=1e-4)


def fal_of(real: list[float], fake: list[float]) -> float:
    """FAL of a detector whose features have these cosines with the prototype."""

    class Given(FAViT):
        def embed(self, images: Tensor) -> Tensor:
            cosines = torch.tensor([*fake, *real], dtype=torch.float64)
            features = torch.zeros(len(cosines), 96, dtype=torch.float64)
            features[:, 0], features[:, 1] = cosines, (1 - cosines**2).clamp(min=0).sqrt()
            return 3 * features

    network = Given(backbone("vit_toy", size=16, depth=1), inject_layers=()).double()
    with torch.no_grad():
        network.head.weight[0] = 5 * torch.eye(96)[0]
    labels = torch.tensor([1] * len(fake) + [0] * len(real))
    return network.loss(torch.zeros(len(labels), 3, 16, 16), labels)["fal"].item()


def test_10_scale_does_not_matter_but_who_is_real_does(batch: dict[str, Tensor]) -> None:
    network = detector()
    fal = network.loss(**batch)["fal"]
    swapped = network.loss(batch["images"], 1 - batch["labels"])["fal"]
    assert (fal - swapped).abs() > 1e-4
    with torch.no_grad():
        network.head.weight *= 7
        for weight in network.backbone.norm.parameters():
            weight.mul_(3)
    torch.testing.assert_close(network.loss(**batch)["fal"], fal)


def test_11_maps_and_patches_have_the_papers_shapes() -> None:
    with torch.device("meta"):
        network = FAViT(ViT(SHAPES["vit_base"]))
        field = network.stem(torch.rand(1, 3, 224, 224))
        assert field.shape == (1, 32, 56, 56)
        for stage, want in zip(network.stages, [(64, 56), (128, 28), (256, 14)], strict=True):
            field, patches = stage(field)
            assert field.shape == (1, want[0], want[1], want[1])
            assert patches.shape == (1, 196, 768)


@pytest.mark.parametrize(
    ("name", "size", "sides"),
    [
        ("vit_toy", 40, [20, 20, 10, 10]),  # the stem, then the stages; ten patches a side
        ("vit_small", 64, [16, 16, 8, 4]),
        ("dinov2_small", 70, [17, 17, 9, 5]),  # five, by way of maps of 20, 10 and 5
    ],
)
def test_11_the_maps_follow_the_patches(name: str, size: int, sides: list[int]) -> None:
    network = FAViT(backbone(name, size=size, depth=3), inject_layers=(0, 1, 2)).eval()
    field = network.stem(torch.rand(1, 3, size, size))
    found = [field.shape[-1]]
    for stage in network.stages:
        field, patches = stage(field)
        found.append(field.shape[-1])
        assert patches.shape == (1, network.backbone.grid**2, network.backbone.width)
    assert found == sides
    assert network(torch.rand(1, 3, size, size)).logit.isfinite()


def test_11_stages_are_chained_and_injected_before_their_block() -> None:
    network = moved(detector()).eval()
    images = torch.rand(2, 3, 16, 16)
    vit = network.backbone
    field, first = network.stages[0](network.stem((images - vit.mean) / vit.std))
    _, second = network.stages[1](field)
    x = network.injectors[0](vit.start(images), first)
    x = network.injectors[1](vit.blocks[1](vit.blocks[0](x)), second)
    want = vit.norm(vit.blocks[2](x))[:, 0]
    torch.testing.assert_close(network.embed(images), want)


def test_without_places_to_inject_nothing_trains_in_vain(batch: dict[str, Tensor]) -> None:
    network = FAViT(trunk(), inject_layers=())
    sum(network.loss(**batch).values(), torch.zeros(())).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None or not weight.requires_grad, name


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


def test_12_at_the_border_there_is_nothing() -> None:
    gam = GlobalAttention(Attention(6, 3), 2)
    nn.init.normal_(gam.up.weight)
    tokens = torch.randn(1, 1 + 9, 6)
    low = gam.down(tokens)  # (1, 10, 2)
    taps, bias = gam.conv.weight, gam.state_dict()["conv.bias"]  # (2, 2, 3, 3), (2,)
    cls = bias + taps[..., 1, 1] @ low[0, 0]
    seen = [taps[..., 1 + y, 1 + x] @ low[0, 1 + 3 * y + x] for y in (0, 1) for x in (0, 1)]
    corner = bias + torch.stack(seen).sum(0)
    torch.testing.assert_close(gam.update(tokens)[0, :2], gam.up(torch.stack([cls, corner])))


def test_13_the_heads_row_is_the_prototype(batch: dict[str, Tensor]) -> None:
    network = detector()
    assert [name for name, _ in network.head.named_parameters()] == ["weight"]
    (grad,) = torch.autograd.grad(network.loss(**batch)["fal"], network.head.weight)
    assert grad.any(dim=1).tolist() == [True, False]


def test_wants_pairs(batch: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="want as many fakes as real faces, got 2 and 4"):
        detector().loss(batch["images"], torch.tensor([1, 0, 0, 0, 0, 1]))


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"inject_layers": (0, 9)}, r"want at most 3 different inject_layers in 0\.\.2"),
        ({"inject_layers": (1, 1)}, r"want at most 3 different inject_layers in 0\.\.2"),
        ({"gam_dim": 0}, "want gam_dim of 1 or more"),
    ],
)
def test_says_what_settings_it_wants(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FAViT(trunk(), **({"inject_layers": (0,)} | wrong))  # type: ignore[arg-type]

"""OSDFD, held to the brief's faithfulness checks (numbered as there)."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from telltale.data.sources import Data, open_source
from telltale.faces.osdfd import KEPT, OSDFD, Adapter, mix_fakes, quick_gelu
from telltale.fit import adam, fit
from telltale.losses import single_center
from telltale.nn.backbones import SHAPES, backbone
from telltale.nn.difference import central
from telltale.nn.styles import mix_styles, other_domain, style
from telltale.nn.vit import ViT

LABELS = torch.tensor([0, 0, 1, 1, 1, 1, 1, 1])
DOMAINS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


def trunk() -> ViT:
    torch.manual_seed(0)
    return backbone("vit_toy", size=16, depth=2, norm=True)


def moved(network: OSDFD) -> OSDFD:
    """With small parts that are not zero, as after training."""
    for name, weight in network.named_parameters():
        if weight.requires_grad and "head" not in name:
            nn.init.normal_(weight, std=0.1)
    return network


def batch(count: int = 8) -> dict[str, Tensor]:
    images = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return {"images": images, "labels": LABELS[:count], "domains": DOMAINS[:count]}


def test_1_starts_as_the_plain_vit_with_the_same_head() -> None:
    network, plain = OSDFD(trunk(), rank=4), trunk()
    images = batch()["images"]
    real, fake = network.head(plain(images)[:, 0]).unbind(-1)
    torch.testing.assert_close(network(images).logit, fake - real, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("rank", "count"), [(8, 460_130), (16, 755_042), (32, 1_344_866)])
def test_2_trains_as_many_weights_as_the_paper(rank: int, count: int) -> None:
    with torch.device("meta"):
        network = OSDFD(ViT(SHAPES["vit_base"]), rank=rank)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count
    whole = {8: 86_258_786, 16: 86_553_698, 32: 87_143_522}[rank]
    assert sum(p.numel() for p in network.parameters()) == whole


def test_2_what_is_frozen_stays() -> None:
    network = OSDFD(trunk(), rank=4)
    before = {n: p.clone() for n, p in network.named_parameters()}
    for _ in fit(network, [batch()] * 2, adam(network, lr=1e-2)):
        pass
    for name, weight in network.named_parameters():
        is_small = any(part in name for part in (".down", ".up", ".conv", "head"))
        assert weight.requires_grad == is_small
        assert torch.equal(weight, before[name]) != is_small


def test_3_the_adapter_convolves_differences_of_the_patches() -> None:
    torch.manual_seed(0)
    adapter = Adapter(6, 3, 0.7)
    nn.init.normal_(adapter.up.weight)
    tokens = torch.randn(2, 1 + 9, 6)
    low = quick_gelu(adapter.down(tokens))
    field = low[:, 1:].mT.reshape(2, 3, 3, 3)
    plain = F.conv2d(field, adapter.conv, padding=1)
    less = 0.7 * torch.einsum("oi,bihw->bohw", adapter.conv.sum((2, 3)), field)
    low = torch.cat([low[:, :1], (plain - less).flatten(2).mT], 1)
    torch.testing.assert_close(adapter(tokens), adapter.up(quick_gelu(low)))


def test_3_a_constant_map_vanishes_at_theta_one_and_zero_is_plain() -> None:
    weight, field = torch.randn(4, 2, 3, 3), torch.full((1, 2, 7, 7), 0.3)
    inside = central(field, weight, theta=1.0)[..., 1:-1, 1:-1]
    torch.testing.assert_close(inside, torch.zeros_like(inside), atol=1e-6, rtol=0)
    plain = F.conv2d(field, weight, padding=1)
    torch.testing.assert_close(central(field, weight, theta=0.0), plain)


def test_4_the_class_token_sees_no_patch_in_an_adapter() -> None:
    adapter = Adapter(6, 3, 0.7)
    nn.init.normal_(adapter.up.weight)
    tokens = torch.randn(1, 1 + 16, 6)
    other = torch.cat([tokens[:, :1], torch.randn(1, 16, 6)], 1)
    assert torch.equal(adapter(tokens)[:, 0], adapter(other)[:, 0])


@pytest.mark.parametrize("shape", [(8, 9, 5), (8, 5)])
def test_5_real_rows_stay_and_share_one_changes_nothing(shape: tuple[int, ...]) -> None:
    features = torch.randn(shape)
    mixed = mix_fakes(features, LABELS, DOMAINS)
    assert torch.equal(mixed[:2], features[:2])
    assert not torch.allclose(mixed[2:], features[2:])
    partners = other_domain(DOMAINS)
    torch.testing.assert_close(mix_styles(features, partners, torch.ones(8)), features)


@pytest.mark.parametrize("shape", [(8, 9, 5), (8, 50)])
def test_5_share_zero_takes_the_partners_style_and_keeps_the_content(
    shape: tuple[int, ...],
) -> None:
    features = torch.randn(shape) * torch.rand(8, *[1] * (len(shape) - 1)) + torch.rand(shape)
    partners = other_domain(DOMAINS)
    mixed = mix_styles(features, partners, torch.zeros(8))
    for got, want in zip(style(mixed), style(features[partners]), strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
    (mean, deviation), (own, spread) = style(mixed), style(features)
    content, before = (mixed - mean) / deviation, (features - own) / spread
    torch.testing.assert_close(content, before, atol=1e-3, rtol=1e-3)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 100))
def test_6_the_partner_is_of_another_domain(domains: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    given_domains = torch.tensor(domains)
    partners = other_domain(given_domains)
    if len(set(domains)) == 1:
        assert torch.equal(partners, torch.arange(len(domains)))
    else:
        assert (given_domains[partners] != given_domains).all()


def test_6_in_equal_domains_everyone_is_a_partner_once() -> None:
    partners = other_domain(DOMAINS[2:])
    assert sorted(partners.tolist()) == [*range(6)]


def test_6_mixes_in_about_half_of_the_steps_and_never_in_eval() -> None:
    network = moved(OSDFD(trunk(), rank=4))
    given_batch = batch()
    with torch.no_grad():
        plain = network.eval().embed(**given_batch)
        torch.testing.assert_close(plain, network.embed(given_batch["images"]))
        network.train()
        images = given_batch["images"][[0, 2, 4]]
        labels, domains = LABELS[[0, 2, 4]], DOMAINS[[0, 2, 4]]
        still = network.embed(images)
        hits = sum(
            not torch.allclose(network.embed(images, labels, domains), still, atol=1e-6)
            for _ in range(1000)
        )
    assert 450 <= hits <= 550


def test_7_statistics_carry_no_gradient() -> None:
    features = torch.randn(4, 9, 5, requires_grad=True)
    partners = torch.tensor([2, 3, 0, 1])
    mix_styles(features, partners, torch.zeros(4))[:2].sum().backward()
    assert features.grad is not None
    assert not features.grad[2:].any()
    assert features.grad[:2].any()


def test_8_the_order_of_the_batch_does_not_matter() -> None:
    features, order = torch.randn(8, 9, 5), torch.randperm(8)
    share = torch.rand(8)
    partners = torch.tensor([0, 1, 4, 5, 6, 7, 2, 3])
    place = torch.argsort(order)  # where each row of the sorted batch now stands
    shuffled = mix_styles(features[order], place[partners[order]], share[order])
    torch.testing.assert_close(shuffled, mix_styles(features, partners, share)[order])


def test_9_a_sample_keeps_nearly_all_or_nearly_none_of_its_style() -> None:
    torch.manual_seed(0)
    share = torch.distributions.Beta(KEPT, KEPT).sample((10_000,))
    assert 0.79 <= float(((share < 0.1) | (share > 0.9)).float().mean()) <= 0.83


@pytest.mark.parametrize(
    ("real", "fake", "value"), [(0.0, 1.0, 0.0), (0.0, 0.0, 0.01), (1.0, 1.0, 1.01)]
)
def test_10_the_single_centre_by_hand(real: float, fake: float, value: float) -> None:
    center = torch.zeros(4)
    one = torch.tensor([1.0, 0, 0, 0])
    features = torch.stack([real * one, real * one, fake * one, fake * one])
    found = single_center(features, torch.tensor([0, 0, 1, 1]), center, 0.01 / 4**0.5)
    assert found.item() == pytest.approx(value, abs=1e-5)


def test_10_only_the_batchs_own_centre_moves_with_the_features() -> None:
    for center, same in (("batch", True), ("fixed", False)):
        network = OSDFD(trunk(), rank=4, center=center).eval()
        given_batch = batch()
        before = network.loss(**given_batch)["scl"]
        plain = network.backbone.norm
        network.backbone.norm = nn.Sequential(plain, _Shift(3.0))
        moved_by = (network.loss(**given_batch)["scl"] - before).abs().item()
        assert (moved_by < 1e-4) == same


class _Shift(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("center", ["batch", "learned", "fixed"])
def test_11_a_batch_of_one_class_has_a_finite_loss(center: str, label: int) -> None:
    network = OSDFD(trunk(), rank=4, center=center)
    given_batch = batch() | {"labels": torch.full((8,), label)}
    assert all(term.isfinite() for term in network.loss(**given_batch).values())


def test_12_a_balanced_batch_has_as_many_of_each_domain(tmp_path: object) -> None:
    data = Data(
        manifest="synth:toyfaces", forge=["DF", "F2F", "NT"], balance="domains", batch=16, scenes=20
    )
    fields = ("images", "labels", "domains")
    source = open_source(data, fields=fields, size=40, seed=0, cache=tmp_path)  # type: ignore[arg-type]
    made = source[3]
    domains, counts = np.unique(made["domains"], return_counts=True)
    assert domains.size == 4
    assert set(counts) == {4}
    assert np.array_equal(made["labels"], (made["domains"] > 0).astype(np.int64))


@pytest.mark.parametrize(("center", "moves"), [("learned", True), ("fixed", False)])
def test_13_a_learned_centre_moves_and_a_fixed_one_does_not(center: str, moves: bool) -> None:
    network = OSDFD(trunk(), rank=4, center=center)
    assert network.center is not None
    before = network.center.clone()
    for _ in fit(network, [batch()] * 3, adam(network, lr=1e-2)):
        pass
    assert torch.equal(network.center, before) != moves
    assert "center" in network.state_dict()


def test_the_release_mode_is_the_published_code() -> None:
    network = OSDFD(trunk(), mode="release")
    blocks = network.backbone.blocks
    assert all(block.after and block.base.attn.rank == 16 for block in blocks)
    assert float(blocks[0].base.attn.up.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert float(blocks[0].adapter.up.weight.detach().std()) == pytest.approx(0.02, rel=0.2)
    assert network.scl_weight == 0.01
    assert all(term.isfinite() for term in network.loss(**batch()).values())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"mode": "papr"}, "mode must be one of paper, release"),
        ({"center": "mean"}, "center must be"),
        ({"theta": 1.5}, "want theta and mix_chance in"),
        ({"scl_weight": -1.0}, "want scl_weight of 0 or more"),
    ],
)
def test_says_what_settings_it_wants(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        OSDFD(trunk(), **settings)  # type: ignore[arg-type]


def test_says_what_domains_it_wants() -> None:
    given_batch = batch() | {"domains": DOMAINS.float()}
    with pytest.raises(ValueError, match=r"want int64 domains \(8,\)"):
        OSDFD(trunk()).loss(**given_batch)

"""OSDFD, held to the brief's faithfulness checks (numbered as there).

Of 5 to 8 what belongs to the mixing itself is in tests/nn/test_styles.py.
"""

import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.data.sources import Data, open_source
from telltale.faces.osdfd import MODES, OSDFD, Adapter, _mean_of_real, mix_fakes, quick_gelu
from telltale.fit import adam, fit
from telltale.losses import single_center
from telltale.nn.backbones import SHAPES, backbone
from telltale.nn.difference import central
from telltale.nn.styles import mix_styles, other_domain, style
from telltale.nn.vit import ViT

RECIPES = Path(__file__).parents[2] / "recipes" / "osdfd"
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


def uneven(network: OSDFD) -> OSDFD:
    """With a final norm that leaves class tokens a style of their own: a fresh one evens them."""
    nn.init.normal_(network.backbone.norm.weight)
    nn.init.normal_(network.backbone.norm.bias)
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


def test_5_real_rows_stay_whatever_their_domain_and_lend_no_style() -> None:
    features = torch.randn(8, 9, 5)
    domains = torch.tensor([1, 3, 2, 2, 2, 0, 0, 0])  # the fakes of domain 0 are fakes like others
    mixed = mix_fakes(features, LABELS, domains)
    assert torch.equal(mixed[:2], features[:2])
    assert not torch.allclose(mixed[2:], features[2:])
    # A real face of another domain is no partner: one kind of fakes stays as it is.
    only = torch.tensor([1, 3, 2, 2, 2, 2, 2, 2])
    torch.testing.assert_close(mix_fakes(features, LABELS, only), features)


@pytest.mark.parametrize("shape", [(8, 9, 5), (8, 50)])
def test_5_and_8_rows_keep_their_places_in_a_batch_of_any_order(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    for _ in range(5):
        order = torch.randperm(8)
        features, labels = torch.randn(shape), LABELS[order]
        mixed = mix_fakes(features, labels, DOMAINS[order], alpha=5.0)  # no δ near 0 or 1
        assert torch.equal(mixed[labels == 0], features[labels == 0])
        assert not torch.isclose(mixed[labels == 1], features[labels == 1]).flatten(1).all(1).any()
        (mean, deviation), (own, spread) = style(mixed), style(features)
        content, before = (mixed - mean) / deviation, (features - own) / spread
        torch.testing.assert_close(content, before, atol=1e-4, rtol=1e-4)


def test_6_mixes_in_about_half_of_the_steps_and_never_in_eval() -> None:
    network = moved(OSDFD(trunk(), rank=4))
    given_batch = batch()
    with torch.no_grad():
        plain = network.eval().embed(given_batch["images"])
        for _ in range(9):  # were eval to mix, all nine would pass in one run of 512
            torch.testing.assert_close(network.embed(**given_batch), plain)
        network.train()
        images = given_batch["images"][[0, 2, 4]]
        labels, domains = LABELS[[0, 2, 4]], DOMAINS[[0, 2, 4]]
        still = network.embed(images)
        hits = sum(
            not torch.allclose(network.embed(images, labels, domains), still, atol=1e-6)
            for _ in range(1000)
        )
    assert 450 <= hits <= 550


def test_9_a_sample_keeps_nearly_all_or_nearly_none_of_its_style() -> None:
    torch.manual_seed(0)
    domains = torch.arange(10_000) % 2
    features = torch.tensor([-1.0, 1.0]) + 10.0 * domains[:, None]  # means 0 and 10, one deviation
    mixed = mix_fakes(features, torch.ones_like(domains), domains)
    share = 1 - (mixed.mean(1) - 10.0 * domains).abs() / 10  # δ: how far from the own mean
    assert 0.79 <= float(((share < 0.1) | (share > 0.9)).float().mean()) <= 0.83
    assert 0.47 <= float(share.mean()) <= 0.53


@pytest.mark.parametrize("level", ["tokens", "cls"])
def test_9_the_modes_alpha_is_that_of_the_mixing(level: str) -> None:
    mode = {"fsm_level": level, "fsm_block": 0, "beta_alpha": 1e5}  # δ is 1/2, give or take 0.001
    network = uneven(moved(OSDFD(trunk(), mode=mode, rank=4, mix_chance=1.0)))
    images, labels = batch()["images"][:3], torch.tensor([1, 0, 1])
    tokens: list[Tensor] = []
    network.backbone.blocks[0].register_forward_pre_hook(lambda _, args: tokens.append(args[0]))
    with torch.no_grad():
        plain = network.embed(images)
        mixed = network.embed(images, labels, torch.tensor([5, 0, 2]))
    if level == "tokens":
        plain, mixed = (x[:, 1:] for x in tokens)
    want = mix_styles(plain, torch.tensor([2, 1, 0]), torch.full((3,), 0.5))
    assert not torch.allclose(plain, want, atol=0.05)
    torch.testing.assert_close(mixed, want, atol=0.01, rtol=0.01)


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


def test_10_the_batchs_centre_keeps_its_precision_where_products_are_halved() -> None:
    network = OSDFD(trunk(), rank=4).eval()
    seen: list[Tensor] = []
    network.backbone.norm.register_forward_hook(lambda *given: seen.append(given[-1]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        network.loss(**batch())
        found = _mean_of_real(seen[0][:, 0], LABELS)
    assert found.dtype == torch.float32
    assert torch.equal(found, seen[0][:2, 0].sum(0) / 2)


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


@pytest.mark.parametrize(
    ("recipe", "drawn"),
    [
        ("paper", {0: 48, 1: 12, 2: 12, 3: 12, 4: 12}),  # genuine faces four times as often
        ("release", {0: 12, 1: 12, 2: 12, 3: 12}),  # one kind is left out
    ],
)
def test_12_recipes_draw_genuine_faces_as_the_paper_and_as_the_code_does(
    recipe: str, drawn: dict[int, int], tmp_path: Path
) -> None:
    lines = ["path,label,split,kind"]
    for kind in ("", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"):
        for number in range(13):
            (tmp_path / f"{kind}{number}.png").touch()
            split = "train" if number < 12 else "val"
            lines.append(f"{kind}{number}.png,{int(kind != '')},{split},{kind}")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    table = tomllib.loads((RECIPES / f"{recipe}.toml").read_text("utf-8"))["data"]
    data = Data(**(table | {"manifest": str(tmp_path / "data.csv")}))
    source = open_source(data, fields=["labels", "domains"], size=224, seed=0, cache=tmp_path)
    assert Counter(source[0]["domains"].tolist()) == drawn  # an epoch of the forged ones


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
    for block in blocks:
        for part in (block.base.attn.up, block.base.attn.down):
            assert float(part.detach().std()) == pytest.approx(0.02, rel=0.1)
        for layer in (block.adapter.up, block.adapter.down):
            assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
            assert not layer.bias.any()
    assert network.scl_weight == 0.01
    assert all(term.isfinite() for term in network.loss(**batch()).values())


def test_the_release_mode_mixes_the_final_class_tokens_of_fakes_alone() -> None:
    network = uneven(OSDFD(trunk(), mode="release", mix_chance=1.0))
    labels, domains = torch.tensor([1, 0, 1, 1, 0, 1]), torch.tensor([3, 0, 1, 2, 0, 1])
    images = batch(6)["images"]
    with torch.no_grad():
        plain = network.embed(images)
        tries = torch.stack([network.embed(images, labels, domains) for _ in range(20)])
    moves = (tries - plain).abs().amax((0, 2))  # of 20 draws one may keep the whole style
    assert torch.equal(moves > 0, labels == 1)
    assert (moves[labels == 1] > 0.01).all()


@pytest.mark.parametrize(("mode", "weight"), [("paper", 1.0), ("release", 0.01)])
def test_the_single_centre_weighs_as_the_mode_says(mode: str, weight: float) -> None:
    network = OSDFD(trunk(), mode=mode).eval()
    images = batch()["images"][:1].expand(8, -1, -1, -1)  # fakes are as far as real faces are
    feature = network.embed(images)[0]
    margin = 0.01 if mode == "paper" else 0.01 * len(feature) ** 0.5
    away = torch.zeros(()) if network.center is None else (feature - network.center).norm()
    scl = network.loss(images, LABELS, DOMAINS)["scl"]
    torch.testing.assert_close(scl, weight * (away + margin), rtol=1e-5, atol=1e-4 * weight)


def test_the_quick_gelu_by_hand() -> None:
    found = quick_gelu(torch.tensor([1.0, 0.0, -2.0]))  # of 1: 1/(1 + exp(-1.702))
    torch.testing.assert_close(found, torch.tensor([0.845796, 0.0, -0.064341]), rtol=1e-4, atol=0)


def test_a_table_as_mode_changes_what_it_names_alone() -> None:
    network = OSDFD(trunk(), mode={"adapter_mode": "sequential", "fsm_level": "cls"})
    assert network.backbone.blocks[0].after
    assert network.mode == MODES["paper"]._replace(adapter_mode="sequential", fsm_level="cls")
    assert network.scl_weight == 1


@pytest.mark.parametrize("block", [0, 1])
def test_tokens_are_mixed_after_the_block_that_is_asked_for(block: int) -> None:
    network = OSDFD(trunk(), mode={"fsm_block": block}, rank=4, mix_chance=1.0)
    given, came = [], []
    for layer in network.backbone.blocks:
        layer.register_forward_pre_hook(lambda _, args: came.append(args[0]))
        layer.register_forward_hook(lambda _, args, out: given.append(out))
    with torch.no_grad():
        network.embed(**batch())
        given.insert(0, network.backbone.start(batch()["images"]))
    for number in (0, 1):
        same = torch.equal(came[number], given[number])
        assert same == (number != block)
        assert torch.equal(came[number][:, 0], given[number][:, 0])  # class tokens stay


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"rank": 0}, "rank must lie in"),
        ({"mode": {"adapter": "sequential"}}, "mode has no 'adapter'; it has rank, adapter_mode"),
        ({"mode": {"adapter_mode": "beside"}}, "want adapter_mode parallel or sequential"),
        ({"mode": {"fsm_level": "patches"}}, "want fsm_level tokens or cls"),
        ({"mode": {"fsm_block": 2}}, r"want fsm_block in 0\.\.1, got 2"),
        ({"mode": {"beta_alpha": 0.0}}, "want beta_alpha above 0"),
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

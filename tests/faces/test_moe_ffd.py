"""MoE-FFD, held to the brief's faithfulness checks (numbered as there)."""

import copy
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from telltale.data.sources import Data, open_source
from telltale.faces.moe_ffd import Adapter, AdapterExperts, LowRankExperts, MoEFFD
from telltale.fit import adam, fit
from telltale.nn.backbones import SHAPES, backbone
from telltale.nn.difference import OPERATORS
from telltale.nn.vit import Attention, ViT

RECIPES = Path(__file__).parents[2] / "recipes" / "moe_ffd"
SMALL = {"lora_ranks": (2, 3, 4), "adapter_ops": ("cv", "cd", "rd"), "adapter_dim": 4}


def trunk() -> ViT:
    torch.manual_seed(0)
    return backbone("vit_toy", size=16, depth=2, norm=True)


def detector(**settings: object) -> MoEFFD:
    return MoEFFD(trunk(), **(SMALL | settings))  # type: ignore[arg-type]


def moved(network: MoEFFD) -> MoEFFD:
    for name, weight in network.named_parameters():
        if weight.requires_grad and "norm" not in name:
            nn.init.normal_(weight, std=0.1)
    return network


@pytest.fixture
def batch() -> dict[str, Tensor]:
    images = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return {"images": images, "labels": torch.arange(6) % 2}


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_1_starts_as_the_plain_vit_whatever_the_routing(
    mode: str, batch: dict[str, Tensor]
) -> None:
    network, plain = detector().train(mode == "train"), trunk()
    real, fake = network.head(plain(batch["images"])[:, 0]).unbind(-1)
    torch.testing.assert_close(network(batch["images"]).logit, fake - real, rtol=0, atol=1e-5)


def test_2_trains_as_many_weights_as_the_paper() -> None:
    with torch.device("meta"):
        network = MoEFFD(ViT(SHAPES["vit_base"]))
    parts = {"lora": 0, "adapter": 0, "head": 0, "norm1": 0}
    for name, weight in network.named_parameters():
        if weight.requires_grad:
            adapter = ".adapter." in name
            lora = ".attn.experts." in name or ".attn.gate." in name
            part = "adapter" if adapter else "lora" if lora else name.split(".")[-2]
            parts[part] += weight.numel()
    assert parts == {"lora": 14_579_712, "adapter": 911_040, "head": 1_538, "norm1": 18_432}
    assert sum(parts.values()) == 15_510_722
    assert sum(p.numel() for p in network.parameters()) == 101_290_946


@pytest.mark.parametrize(("width", "ranks", "dim", "count"), [(96, (2, 3), 4, 2), (96, (5,), 8, 3)])
def test_2_counts_of_a_tiny_one(width: int, ranks: tuple[int, ...], dim: int, count: int) -> None:
    network = MoEFFD(trunk(), lora_ranks=ranks, adapter_ops=OPERATORS[:count], adapter_dim=dim)
    lora = 4 * width * sum(ranks) + 2 * len(ranks) * width
    expert = 2 * width * dim + dim + width + 9 * dim * dim + dim
    norms, head = 2 * width, 2 * width + 2
    want = 2 * (lora + count * expert + 2 * count * width + norms) + head
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == want


def test_5_only_weighted_gates_teach_the_router(batch: dict[str, Tensor]) -> None:
    for router_grad, learns in (("none", False), ("gate_weighted", True)):
        network = moved(detector(router_grad=router_grad))
        losses = network.loss(**batch)
        losses["ce"].backward(retain_graph=True)
        gates = [m.gate for m in network.modules() if isinstance(m, LowRankExperts)]
        grads = [gate.choice.grad for gate in gates]
        assert all((g is not None and bool(g.any())) == learns for g in grads)
        losses["lora_balance"].backward()
        assert all(gate.choice.grad is not None and gate.choice.grad.any() for gate in gates)


@pytest.mark.parametrize("router_grad", ["none", "gate_weighted"])
def test_4_a_tokens_expert_updates_its_query_key_and_value(router_grad: str) -> None:
    torch.manual_seed(0)
    base = Attention(8, 2)
    part = LowRankExperts(base, (2, 3, 4), 1, router_grad).eval()
    for weight in (part.gate.choice, *part.experts.parameters()):
        nn.init.normal_(weight, std=0.5)
    x = torch.randn(3, 5, 8)
    chances = (x @ part.gate.choice).softmax(-1)
    update = torch.zeros(3, 5, 24)
    for picture in range(3):
        for token in range(5):
            share, number = chances[picture, token].max(-1)
            expert = part.experts[int(number)]
            one = expert.up @ (expert.down @ x[picture, token])
            update[picture, token] = one * (share if router_grad == "gate_weighted" else 1)
    q, k, v = (base.qkv(x) + update).view(3, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
    mixed = (q @ k.mT / 2).softmax(-1) @ v  # 2 = √(8 / 2)
    want = base.proj(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(part(x), want, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(part(x), base(x), atol=0.1)


@pytest.mark.parametrize("depth", [1, 3])
def test_6_the_balance_is_a_weighted_mean_over_blocks(depth: int, batch: dict[str, Tensor]) -> None:
    trunk = backbone("vit_toy", size=16, depth=depth, norm=True)
    network = MoEFFD(trunk, lora_ranks=(2, 3, 4), adapter_ops=("cv", "cd")).eval()
    losses = network.loss(**batch)  # fresh and without noise: all go to expert 0 of E
    assert losses["lora_balance"].item() == pytest.approx(200 * 2 * 3, rel=1e-5)
    assert losses["adapter_balance"].item() == pytest.approx(1 * 2 * 2, rel=1e-5)


@pytest.mark.parametrize("operator", OPERATORS)
def test_9_a_constant_map_leaves_no_trace_but_in_the_plain_convolution(operator: str) -> None:
    adapter = Adapter(5, 2, operator)
    with torch.no_grad():
        nn.init.normal_(adapter.kernel)
        adapter.kernel.flatten(2)[..., 0 if operator in ("rd", "scd") else 4] = 0
        nn.init.zeros_(adapter.bias)
    field = torch.full((1, 2, 9, 9), 0.4)
    inside = adapter.convolve(field)[..., 2:-2, 2:-2]
    want = torch.zeros_like(inside)
    if operator == "cv":
        want = (0.4 * adapter.kernel.sum((1, 2, 3))).view(1, 2, 1, 1).expand_as(inside)
    torch.testing.assert_close(inside, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("operator", OPERATORS)
def test_10_and_11_starts_as_the_identity_where_the_tap_is_the_centre(operator: str) -> None:
    adapter = Adapter(5, 3, operator)
    nn.init.zeros_(adapter.bias)
    field = torch.randn(2, 3, 14, 14)
    found = adapter.convolve(field)
    assert found.shape == field.shape
    assert torch.allclose(found, field, atol=1e-6) == (operator in ("cv", "cd", "ad"))


def test_12_tokens_choose_low_rank_experts_and_pictures_choose_adapters(
    batch: dict[str, Tensor],
) -> None:
    network = moved(detector()).eval()
    seen: dict[str, int] = {}
    for part in network.modules():
        if isinstance(part, LowRankExperts | AdapterExperts):
            kind = type(part).__name__
            part.gate.register_forward_hook(
                lambda _, given, __, kind=kind: seen.__setitem__(kind, len(given[0]))
            )
    network(batch["images"])
    assert seen == {"LowRankExperts": 6 * 17, "AdapterExperts": 6}
    usage = network.usage()
    assert usage["lora"].shape == (2, 3)
    assert usage["adapter"].shape == (2, 3)
    torch.testing.assert_close(usage["lora"].sum(-1), torch.ones(2))


def test_12_a_pictures_adapter_is_chosen_by_the_mean_of_all_its_tokens() -> None:
    torch.manual_seed(0)
    part = AdapterExperts(6, ("cv", "cd", "ad"), 2, 1, "none")
    seen: list[Tensor] = []
    part.gate.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    tokens = torch.randn(5, 1 + 9, 6)
    part(tokens)
    torch.testing.assert_close(seen[0], tokens.sum(1) / 10)


def test_13_only_experts_gates_head_and_first_norms_move(batch: dict[str, Tensor]) -> None:
    network = detector()
    before = {n: p.clone() for n, p in network.named_parameters()}
    for _ in fit(network, [batch] * 3, adam(network, lr=1e-2)):
        pass
    changed = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {n for n, p in network.named_parameters() if p.requires_grad}
    assert all(
        any(part in name for part in ("experts", "gate", "head", "norm1")) for name in changed
    )


def test_14_the_recipe_draws_genuine_frames_four_times_as_often_as_a_kinds(tmp_path: Path) -> None:
    lines = ["path,label,split,kind,video"]
    for kind in ("", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"):
        for number in range(36):
            split, video = ("train", "a") if number < 32 else ("val", "b")
            (tmp_path / f"{kind}{number}.png").touch()
            lines.append(f"{kind}{number}.png,{int(kind != '')},{split},{kind},{kind}/{video}")
    (tmp_path / "data.csv").write_text("\n".join(lines))
    table = tomllib.loads((RECIPES / "paper.toml").read_text("utf-8"))["data"]
    data = Data(**(table | {"manifest": str(tmp_path / "data.csv")}))
    source = open_source(data, fields=["labels", "domains"], size=224, seed=0, cache=tmp_path)
    assert source.about["train"] == 5 * 20
    drawn: Counter[int] = Counter()
    for number in range(5):  # 16 fakes each: all 80 once
        drawn += Counter(source[number]["domains"].tolist())
    assert drawn == {0: 80, 1: 20, 2: 20, 3: 20, 4: 20}


@pytest.mark.parametrize(("part", "zero"), [("lora", {"lora_k": 0}), ("adapter", {"adapter_k": 0})])
def test_a_part_can_be_left_out(part: str, zero: dict[str, int], batch: dict[str, Tensor]) -> None:
    network = detector(**zero)
    assert f"{part}_balance" not in network.loss(**batch)
    assert part not in network.usage()


def test_the_loss_is_the_same_without_gradients(batch: dict[str, Tensor]) -> None:
    network = moved(detector()).eval()
    want = network.loss(**batch)
    with torch.no_grad():
        found = network.loss(**batch)
    assert set(found) == {"ce", "lora_balance", "adapter_balance"}
    for name, term in found.items():
        torch.testing.assert_close(term, want[name].detach())


def test_no_graph_is_kept(batch: dict[str, Tensor]) -> None:
    network = detector()
    network(batch["images"])
    copy.deepcopy(network)  # refuses what has a graph
    network.loss(**batch)
    copy.deepcopy(network)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"router_grad": "x"}, "router_grad must be one of"),
        ({"adapter_ops": ("cv", "xd")}, "adapter_ops must be of"),
        ({"lora_ranks": (0,)}, "want ranks and adapter_dim of 1 or more"),
        ({"lora_k": 9}, "want 1 to 3 of 3 experts"),
    ],
)
def test_says_what_settings_it_wants(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        detector(**settings)

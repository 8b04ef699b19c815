"""MoE-FFD, held to the brief's faithfulness checks (numbered as there)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from telltale.faces.moe_ffd import Adapter, AdapterExperts, LowRankExperts, MoEFFD
from telltale.fit import adam, fit
from telltale.nn.backbones import SHAPES, backbone
from telltale.nn.difference import OPERATORS
from telltale.nn.experts import LEAST_NOISE
from telltale.nn.vit import ViT

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


def test_7_the_noise_starts_with_a_known_deviation() -> None:
    assert F.softplus(torch.zeros(())).item() + LEAST_NOISE == pytest.approx(0.7031, abs=1e-4)


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


def test_12_a_pictures_adapter_is_chosen_by_its_mean_token() -> None:
    torch.manual_seed(0)
    part = AdapterExperts(6, ("cv", "cd", "ad"), 2, 1, "none").eval()
    nn.init.normal_(part.gate.choice)
    tokens = torch.randn(5, 10, 6)
    want = (tokens.mean(1) @ part.gate.choice).argmax(-1)
    assert torch.equal(part.gate(tokens.mean(1)).chosen[:, 0], want)


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


@pytest.mark.parametrize(("part", "zero"), [("lora", {"lora_k": 0}), ("adapter", {"adapter_k": 0})])
def test_a_part_can_be_left_out(part: str, zero: dict[str, int], batch: dict[str, Tensor]) -> None:
    network = detector(**zero)
    assert f"{part}_balance" not in network.loss(**batch)
    assert part not in network.usage()


def test_the_balance_is_handed_out_once(batch: dict[str, Tensor]) -> None:
    network = detector()
    network.loss(**batch)
    part = next(m for m in network.modules() if isinstance(m, LowRankExperts))
    with pytest.raises(RuntimeError, match="no forward pass since"):
        part.taken_balance()


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

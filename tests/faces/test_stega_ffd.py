"""StegaFFD (a reconstruction), held to the brief's faithfulness checks (numbered as there)."""

import ast
import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from telltale import metrics
from telltale.data.synth.textures import textures
from telltale.data.synth.toyfaces import toy_faces
from telltale.faces import stega_ffd
from telltale.faces.stega_ffd import Detector, StegaFFD
from telltale.fit import adam, fit
from telltale.nn.differential import differential, first_share
from telltale.nn.hiding import DenseBlock, HidingNetwork, InvertibleBlock
from telltale.nn.wavelet import haar, pyramid, unhaar


def faces(count: int = 4, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def covers(count: int = 4, seed: int = 9) -> Tensor:
    return torch.from_numpy(textures(count, 16, np.random.default_rng(seed)))


def detector(**settings: object) -> StegaFFD:
    torch.manual_seed(0)
    small = {"hider": "mix", "width": 8, "hider_steps": 0, "teacher_steps": 0}
    return StegaFFD(**(small | settings))  # type: ignore[arg-type]


def randomised(module: nn.Module) -> nn.Module:
    for weight in module.parameters():
        nn.init.normal_(weight, std=0.05)
    return module


def test_1_the_wavelet_comes_back_and_keeps_energy() -> None:
    x = faces()
    torch.testing.assert_close(unhaar(haar(x)), x, atol=1e-6, rtol=0)
    torch.testing.assert_close(haar(x).square().sum(), x.square().sum())
    low, high = haar(torch.full((1, 3, 4, 4), 0.3)).split([3, 9], 1)
    torch.testing.assert_close(low, torch.full_like(low, 0.6))
    assert not high.any()
    cell = torch.tensor([[1.0, 3.0], [2.0, 5.0]]).view(1, 1, 2, 2)  # a = 1, b = 2, c = 3, d = 5
    assert haar(cell).flatten().tolist() == [5.5, 2.5, 1.5, 0.5]


def test_1_the_pyramid_takes_the_low_band_again() -> None:
    x = faces()
    low, high = pyramid(x, 2)
    assert torch.equal(low, haar(haar(x)[:, :3])[:, :3])
    assert [band.shape[1:] for band in high] == [(9, 8, 8), (9, 4, 4)]


def test_2_hiding_can_be_undone_and_starts_as_the_cover() -> None:
    torch.manual_seed(0)
    network = HidingNetwork(blocks=3, growth=4)
    stego, lost = network(faces(), covers())
    torch.testing.assert_close(stego, covers(), atol=1e-6, rtol=0)
    randomised(network)
    stego, lost = network(faces(), covers())
    assert not torch.allclose(stego, covers(), atol=1e-2)
    torch.testing.assert_close(network.recover(stego, lost), faces(), atol=1e-4, rtol=0)
    u, v = torch.randn(2, 12, 8, 8), torch.randn(2, 12, 8, 8)
    block = network.blocks[0]
    assert isinstance(block, InvertibleBlock)
    for got, want in zip(block.inverse(*block(u, v)), (u, v), strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=0)


def test_2_it_is_as_large_as_hinet() -> None:
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    with torch.device("meta"):
        assert count(DenseBlock(12, 32)) == 84_380
        assert count(HidingNetwork()) == 4_050_240


def test_3_the_factor_stays_within_its_bounds() -> None:
    block = randomised(InvertibleBlock(4))
    assert isinstance(block, InvertibleBlock)
    for size in (1.0, 1e3, 1e6):
        factor = block.factor(size * torch.randn(2, 12, 8, 8))
        assert factor.min() >= math.exp(-2)
        assert factor.max() <= math.exp(2)


def test_4_what_is_sent_is_a_picture_like_its_cover() -> None:
    network = detector(strength=0.05)
    sent = network.protect(faces(), covers())
    assert sent.dtype == torch.uint8
    assert sent.shape == covers().shape
    with pytest.raises(ValueError, match="a hidden face would show: PSNR"):
        detector(strength=0.9).protect(faces(), covers())
    nothing = detector(strength=0.0).hide(faces(), covers())
    assert torch.equal(nothing, (255 * covers()).round() / 255)
    assert torch.equal(network.score(sent), torch.sigmoid(network(sent / 255).logit))


def test_5_without_sfda_what_is_constant_on_a_cell_reaches_the_logits_by_the_gate_alone() -> None:
    torch.manual_seed(0)
    network = Detector(8, 1, lfad=True, sfda=False).double().eval()
    x = faces().double()
    cells = torch.rand(4, 3, 8, 8).double().repeat_interleave(2, 2).repeat_interleave(2, 3)
    apart = network(x).logits - network(x + cells).logits
    assert apart.abs().max() > 1e-4
    gate = network.bands.gate
    assert gate is not None
    assert gate.bias is not None
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias.fill_(-100)  # g ≡ 0
    torch.testing.assert_close(network(x).logits, network(x + cells).logits, atol=1e-9, rtol=0)
    assert network(x).logits.std(0).min() > 1e-4  # the high bands still count


def test_6_what_face_and_cover_share_cancels_out() -> None:
    torch.manual_seed(0)
    q, k, other_q, other_k = torch.randn(4, 2, 1, 5, 3)
    one = torch.tensor(1.0)
    assert not differential(q, k, q, k, one).any()
    plain = torch.softmax(q @ k.mT / 3**0.5, -1)
    torch.testing.assert_close(differential(q, k, other_q, other_k, 0 * one), plain)
    rows = differential(q, k, other_q, other_k, 0.3 * one).sum(-1)
    torch.testing.assert_close(rows, torch.full_like(rows, 0.7))


def test_7_the_share_starts_where_its_layer_says() -> None:
    assert first_share(1) == pytest.approx(0.2)
    assert first_share(60) == pytest.approx(0.8, abs=1e-6)
    network = detector().detector
    for name in ("space", "spectrum"):
        parts = [getattr(attention, name) for attention in network.attentions]
        assert [part.start for part in parts] == pytest.approx([0.2, 0.356], abs=1e-3)
        for part in parts:
            assert part.share.item() == pytest.approx(part.start, abs=0.12)


def test_a_width_that_makes_no_whole_heads_is_said() -> None:
    for width in (2, 8, 16, 48):
        Detector(width, 1, lfad=True, sfda=True)
    for width in (10, 12, 24, 40):
        Detector(width, 1, lfad=True, sfda=False)
        with pytest.raises(ValueError, match=f"up to 8 or a multiple of 16, got 1 and {width}"):
            Detector(width, 1, lfad=True, sfda=True)


def test_8_alignment_is_zero_with_the_teacher_itself_and_teaches_it_nothing() -> None:
    network = detector(strength=1.0, teacher_steps=3)
    assert network.teacher is not None
    network.detector = copy.deepcopy(network.teacher)
    network.eval()
    seen = network.detector(faces())
    for term in network.align(seen, faces()).values():
        assert abs(term.item()) < 1e-5
    network.train()
    network.done += 3
    losses = network.loss(faces(), torch.arange(4) % 2, covers())
    torch.stack([*losses.values()]).sum().backward()
    assert not network.teacher.training
    assert all(weight.grad is None for weight in network.teacher.parameters())
    assert any(p.grad is not None and p.grad.any() for p in network.aligners.parameters())


def learnt(strength: float, steps: int = 60) -> tuple[StegaFFD, float]:
    """A small detector of one toy forgery, and its AUC on people never seen."""
    torch.manual_seed(0)
    network = StegaFFD(hider="mix", strength=strength, parts="lfad", width=8, teacher_steps=0)
    frames = toy_faces(120, seed=0)
    images = {k: torch.from_numpy(frames.images[k] / 255).float() for k in ("real", "DF")}

    def batches() -> object:
        for number in range(steps):
            rng = np.random.default_rng([3, number])
            rows = rng.choice(120, 16, replace=False)
            both = torch.cat([images["real"][rows], images["DF"][rows]]).permute(0, 3, 1, 2)
            yield {
                "images": both,
                "labels": torch.arange(2).repeat_interleave(16),
                "covers": torch.from_numpy(textures(32, 40, rng)),
            }

    for _ in fit(network, batches(), adam(network, lr=3e-3)):  # type: ignore[arg-type]
        pass
    network.eval()
    test = toy_faces(100, seed=1, identities=range(100, 130))
    scores = []
    for name in ("real", "DF"):
        pictures = torch.from_numpy(test.images[name].transpose(0, 3, 1, 2) / 255).float()
        fresh = torch.from_numpy(textures(100, 40, np.random.default_rng([7, name == "DF"])))
        with torch.no_grad():
            scores.append(network(network.hide(pictures, fresh)).logit.numpy())
    return network, float(metrics.auc(np.concatenate(scores), np.repeat([0, 1], 100)))


def test_9_covers_alone_tell_nothing() -> None:
    assert abs(learnt(0.0, steps=30)[1] - 0.5) < 0.11  # three standard errors of 100 against 100


def test_10_what_was_learnt_on_raw_faces_is_lost_on_stego_pictures() -> None:
    raw, auc = learnt(1.0)
    assert auc > 0.75  # after 60 steps
    test = toy_faces(100, seed=1, identities=range(100, 130))

    def hidden(strength: float) -> float:
        raw.strength, scores = strength, []
        for name in ("real", "DF"):
            pictures = torch.from_numpy(test.images[name].transpose(0, 3, 1, 2) / 255).float()
            fresh = torch.from_numpy(textures(100, 40, np.random.default_rng([8, name == "DF"])))
            with torch.no_grad():
                scores.append(raw(raw.hide(pictures, fresh)).logit.numpy())
        return float(metrics.auc(np.concatenate(scores), np.repeat([0, 1], 100)))

    assert abs(hidden(0.06) - 0.5) < 0.1
    assert abs(hidden(0.5) - 0.5) < 0.15  # where one that learns there has no trouble:
    assert learnt(0.5)[1] > 0.8


def test_11_the_server_never_recovers() -> None:
    tree = ast.parse(Path(stega_ffd.__file__).read_text())
    assert not any(isinstance(n, ast.Attribute) and n.attr == "recover" for n in ast.walk(tree))
    network = detector(hider="hinet")
    stego = network.hide(faces(), covers())
    with_it = network.eval()(stego).logit
    network.hider = None
    assert torch.equal(network(stego).logit, with_it)


@pytest.mark.parametrize("parts", ["", "lfad", "sfda", "sda", "lfad+sfda", "lfad+sfda+sda"])
def test_12_each_part_can_be_left_out(parts: str) -> None:
    network = detector(parts=parts)
    losses = network.loss(faces(), torch.arange(4) % 2, covers())
    assert all(term.isfinite() for term in losses.values())
    assert ("sda_logits" in losses) == ("sda" in parts)
    assert (network.teacher is not None) == ("sda" in parts)
    assert (network.detector.bands.gate is not None) == ("lfad" in parts)
    assert len(network.detector.attentions) == (2 if "sfda" in parts else 0)


@pytest.mark.parametrize(
    ("parts", "count"),
    [
        ("", 2_795_810),
        ("lfad", 2_796_898),  # 27 · 32 weights fewer for the low band; guide 896, gate 1,056
        ("sfda", 3_503_654),  # attentions 706,948, guide 896
        ("lfad+sfda", 3_503_846),
        ("lfad+sfda+sda", 2 * 3_503_846 + 86_464),  # the teacher, and P after each stage
    ],
)
def test_12_each_part_has_its_weights(parts: str, count: int) -> None:
    with torch.device("meta"):
        network = StegaFFD(hider="mix", parts=parts)
    assert sum(p.numel() for p in network.parameters()) == count


def test_the_hiding_network_learns_to_hide() -> None:
    torch.manual_seed(0)
    network = detector(hider="hinet", hider_steps=40)
    network.hider = HidingNetwork(blocks=2, growth=8)
    batch = {"images": faces(), "labels": torch.arange(4) % 2, "covers": covers()}
    steps = fit(network, [batch] * 40, adam(network, lr=3e-3))
    costs = [step.losses["recovery"] for step in steps]
    assert costs[-1] < 0.7 * costs[0]
    assert network.stage == "detector"  # no teacher's steps were asked for


def test_only_what_its_stage_trains_moves() -> None:
    network = detector(hider="hinet", hider_steps=1, teacher_steps=1)
    network.hider = HidingNetwork(blocks=1, growth=4)
    parts = ("hider", "teacher", "detector")
    batch = {"images": faces(), "labels": torch.arange(4) % 2, "covers": covers()}
    before = {name: p.clone() for name, p in network.named_parameters()}
    for stage, _ in zip(parts, fit(network, [batch] * 3, adam(network, lr=1e-2)), strict=True):
        moved = {
            name.partition(".")[0]
            for name, p in network.named_parameters()
            if not torch.equal(p, before[name])
        }
        assert moved & {*parts} == {stage}
        before = {name: p.clone() for name, p in network.named_parameters()}


def test_it_learns_in_stages() -> None:
    network = detector(hider="hinet", hider_steps=1, teacher_steps=1)
    seen = []
    for _ in range(4):
        seen.append(network.stage)
        network.loss(faces(), torch.arange(4) % 2, covers())
    assert seen == ["hider", "teacher", "detector", "detector"]


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"hider": "x"}, "hider must be one of hinet, mix, haar"),
        ({"parts": "lfad+x"}, "want parts of lfad.sfda.sda, got x"),
        ({"strength": 2.0}, "want strength=2.0 in 0..1"),
    ],
)
def test_says_what_settings_it_wants(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        detector(**settings)


def test_says_what_pictures_and_width_it_wants() -> None:
    with pytest.raises(ValueError, match="want float covers"):
        detector().hide(faces(), covers()[:2])
    with pytest.raises(ValueError, match="want uint8 pictures"):
        detector().score(faces())
    with pytest.raises(ValueError, match="an even width"):
        Detector(7, 1, lfad=True, sfda=True)

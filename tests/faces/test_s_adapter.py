"""S-Adapter: the checks of the paper's equations and of its code's options."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from telltale.data.manifest import read_manifest
from telltale.data.pictures import draw, read
from telltale.faces.s_adapter import SAdapter, StatisticalAdapter
from telltale.fit import adam, fit
from telltale.losses import gram, style_distance
from telltale.nn.backbones import backbone
from telltale.nn.difference import central
from telltale.nn.histogram import LocalHistogram


def detector(**settings: object) -> SAdapter:
    torch.manual_seed(0)
    return SAdapter(backbone("vit_toy", size=16, depth=2), **settings)  # type: ignore[arg-type]


@pytest.fixture
def batch() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {
        "images": torch.rand(12, 3, 16, 16, generator=random),
        "labels": torch.arange(12) % 2,
        "domains": torch.arange(12) // 4,
    }


def test_1_starts_as_the_plain_network(batch: dict[str, Tensor]) -> None:
    network = detector().eval()
    torch.manual_seed(0)
    plain = backbone("vit_toy", size=16, depth=2)
    logits = network.head(plain(batch["images"])[:, 0])
    found = network(batch["images"]).logit
    torch.testing.assert_close(found, logits[:, 1] - logits[:, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize(("width", "dim"), [(768, 8), (96, 4), (384, 16)])
def test_2_weights_of_an_adapter(width: int, dim: int) -> None:
    adapter = StatisticalAdapter(width, dim, 0.7, "gaussian", 1.0, 0.1)
    count = sum(p.numel() for p in adapter.parameters())
    assert count == 2 * width * dim + width + dim + 9 * dim**2 + 2 * dim
    assert (width, dim) != (768, 8) or count == 13_656


def test_2_weights_trained_in_vit_b() -> None:
    with torch.device("meta"):
        network = SAdapter(backbone("vit_base"))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 329_282


def test_3_the_trunk_stays_and_the_way_down_waits_a_step(batch: dict[str, Tensor]) -> None:
    network = detector()
    frozen = {n: p.clone() for n, p in network.named_parameters() if not p.requires_grad}
    down, up = ([p for n, p in network.named_parameters() if w in n] for w in (".down.w", ".up.w"))
    started = [p.clone() for p in up]
    optimizer, seen = adam(network, lr=1e-2), []
    for _ in fit(network, [batch] * 2, optimizer):
        seen.append(max(float(p.grad.abs().max()) for p in down if p.grad is not None))
    assert seen[0] == 0 < seen[1]
    assert all(not torch.equal(a, b) for a, b in zip(started, up, strict=True))
    now = dict(network.named_parameters())
    assert all(torch.equal(p, now[n]) for n, p in frozen.items())


def test_4_central_differences() -> None:
    maps, kernel = torch.randn(2, 4, 6, 6), torch.randn(4, 4, 3, 3)
    identity = nn.init.dirac_(torch.empty(4, 4, 3, 3))
    torch.testing.assert_close(central(maps, identity, theta=0.7), 0.3 * maps)
    flat = central(torch.ones(1, 4, 6, 6), kernel, theta=1.0)[..., 1:-1, 1:-1]
    torch.testing.assert_close(flat, torch.zeros_like(flat), atol=1e-5, rtol=0)
    plain = torch.nn.functional.conv2d(maps, kernel, padding=1)
    torch.testing.assert_close(central(maps, kernel, theta=0.0), plain)


def test_5_differences_ignore_what_is_added_to_all() -> None:
    maps, kernel = torch.randn(2, 4, 6, 6), torch.randn(4, 4, 3, 3)

    def change(theta: float) -> float:
        moved = central(maps + 3, kernel, theta=theta) - central(maps, kernel, theta=theta)
        return float(moved[..., 1:-1, 1:-1].abs().max())

    assert change(1.0) < 1e-4 < 0.1 < change(0.0)


def test_9_the_class_token_does_not_see_the_patches() -> None:
    torch.manual_seed(0)
    adapter = StatisticalAdapter(24, 4, 0.7, "gaussian", 1.0, 0.0)
    nn.init.normal_(adapter.up.weight)
    tokens, others = torch.randn(2, 10, 24), torch.randn(2, 10, 24)
    others[:, 0] = tokens[:, 0]
    one, other = adapter(tokens), adapter(others)
    assert torch.equal(one[:, 0], other[:, 0])
    assert not torch.allclose(one[:, 1:], other[:, 1:])


def test_10_gram_matrices() -> None:
    maps = torch.randn(3, 5, 4, 6)
    found = gram(maps)
    torch.testing.assert_close(found, found.mT)
    assert torch.linalg.eigvalsh(found).min() > -1e-6
    trace = found.diagonal(dim1=1, dim2=2).sum(1) * 5 * 24
    torch.testing.assert_close(trace, maps.square().sum((1, 2, 3)))
    shuffled = maps.flatten(2)[..., torch.randperm(24)].view_as(maps)
    torch.testing.assert_close(gram(shuffled), found)


def test_11_styles_alike_and_scaled() -> None:
    maps = torch.randn(4, 5, 3, 3)
    domains = torch.arange(8) // 4
    shuffled = maps.flatten(2)[..., torch.randperm(9)].view_as(maps)
    for same in (maps, shuffled):
        assert style_distance(torch.cat([maps, same]), domains).item() < 1e-12
    a = 1.3
    scaled = style_distance(torch.cat([maps, a * maps]), domains)
    expected = (1 - a * a) ** 2 * gram(maps).square().sum((1, 2)).mean()
    torch.testing.assert_close(scaled, expected)
    norm = style_distance(torch.cat([maps, a * maps]), domains, squared=False)
    torch.testing.assert_close(norm, (4 * expected).sqrt())


def test_12_attacks_do_not_enter_the_styles(batch: dict[str, Tensor]) -> None:
    network = detector().eval()
    other = batch["images"].clone()
    other[batch["labels"] == 1] = torch.rand_like(other[batch["labels"] == 1])
    terms = [
        network.loss(**(batch | {"images": images}))["tsr"] for images in (batch["images"], other)
    ]
    torch.testing.assert_close(*terms)
    assert terms[0] > 0


def test_13_pairs_of_domains() -> None:
    maps = torch.randn(6, 5, 3, 3)
    one, two, three = (maps[k : k + 2] for k in (0, 2, 4))

    def between(a: Tensor, b: Tensor) -> Tensor:
        return (gram(a) - gram(b)).square().sum((1, 2)).mean()

    expected = (between(one, two) + between(one, three) + between(two, three)) / 3
    torch.testing.assert_close(style_distance(maps, torch.arange(6) // 2), expected)
    alone = maps.clone().requires_grad_()
    distance = style_distance(alone, torch.zeros(6, dtype=torch.int64))
    distance.backward()
    assert distance == 0
    assert alone.grad is not None
    assert alone.grad.isfinite().all()


def test_14_the_codes_options(batch: dict[str, Tensor]) -> None:
    network = detector(bins="linear_normalised", tsr="norm", tsr_weight=1.0)
    maps = network.eval().embed(batch["images"])[1]
    live = batch["labels"] == 0
    expected = style_distance(maps[live], batch["domains"][live], squared=False)
    torch.testing.assert_close(network.loss(**batch)["tsr"], expected)
    plain = StatisticalAdapter(24, 4, 0.7, "none", 1.0, 0.1)
    assert not any("histogram" in name for name, _ in plain.named_parameters())
    assert plain.histogram(maps) is maps


def test_15_every_step_has_as_many_of_each(tmp_path: Path) -> None:
    lines = ["path,label,source,split,kind,dataset"]
    for camera, label, count in (("M", 0, 3), ("M", 1, 5), ("C", 0, 2), ("C", 1, 7)):
        for number in range(count):
            name = f"{camera}{label}{number}.png"
            Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(tmp_path / name)
            lines.append(f"{name},{label},{name},train,{'print' if label else ''},{camera}")
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
    manifest = read_manifest(tmp_path / "all.csv")
    dataset = read(manifest, ("images", "labels", "domains"), size=8, by="datasets")
    for number in range(6):
        drawn = draw(dataset, number, batch=12, seed=0, balance="datasets")
        pairs = list(zip(drawn["domains"].tolist(), drawn["labels"].tolist(), strict=True))
        assert pairs == sorted(pairs)
        assert all(pairs.count((d, y)) == 3 for d in (0, 1) for y in (0, 1))
    with pytest.raises(ValueError, match="both labels of every dataset and a batch that 4 divides"):
        draw(dataset, 0, batch=10, seed=0, balance="datasets")


def test_more_tsr_pulls_domains_together(batch: dict[str, Tensor]) -> None:
    bright = torch.tensor([0.0, 0.2, 0.6])[batch["domains"]].view(-1, 1, 1, 1)
    batch["images"] = (1 - bright) * batch["images"] + bright  # three cameras

    def distances(weight: float) -> list[float]:
        network = detector(tsr_weight=weight, dropout=0.0)
        live, found = batch["labels"] == 0, []
        for _ in fit(network, [batch] * 30, adam(network, lr=1e-2)):
            maps = network.embed(batch["images"])[1].detach()
            found.append(float(style_distance(maps[live], batch["domains"][live])))
        return found

    pulled = distances(1e4)
    assert pulled[-1] < 0.5 * distances(0.0)[-1]
    assert all(np.isfinite(pulled))


@pytest.mark.parametrize("seed", range(3))
def test_differences_drop_what_a_camera_adds_and_histograms_lessen_its_gain(seed: int) -> None:
    torch.manual_seed(seed)
    texture = torch.randn(1, 8, 14, 14) + 0.1 * torch.randn(48, 8, 14, 14)
    domains = torch.arange(48) // 16
    gains, shifts = (
        torch.tensor(values)[domains].view(-1, 1, 1, 1)
        for values in ([0.7, 1.0, 1.4], [-1.0, 0.0, 1.0])
    )
    kernel = nn.init.xavier_uniform_(torch.empty(8, 8, 3, 3))
    histogram = LocalHistogram(8)

    def apart(maps: Tensor) -> float:  # of the Gram matrices' own size
        size = gram(maps).square().sum((1, 2)).mean()
        return float((style_distance(maps, domains) / size).sqrt())

    def inner(maps: Tensor, theta: float = 1.0) -> Tensor:  # zeros past the border keep the shift
        return central(maps, kernel, theta=theta)[..., 1:-1, 1:-1]

    with torch.no_grad():
        plain = apart(inner(texture))  # the samples' own noise
        assert apart(inner(texture + shifts)) == pytest.approx(plain, rel=1e-3)
        assert apart(inner(texture + shifts, theta=0.0)) > 5 * plain
        scaled = inner(gains * texture + shifts)
        assert 5 * plain < apart(histogram(scaled)) < apart(scaled)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bins": "square"}, "want bins of gaussian"),
        ({"tsr": "cubed"}, "tsr of squared or norm"),
        ({"theta": 2.0}, "theta in 0..1"),
        ({"dim": 0}, "dim ≥ 1"),
    ],
)
def test_says_what_settings_it_wants(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detector(**settings)

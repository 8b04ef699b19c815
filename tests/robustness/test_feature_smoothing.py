import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from telltale import fit
from telltale.attacks import pgd
from telltale.metrics.bounds import (
    bernstein,
    clopper_pearson,
    cosine_bound,
    cosine_radius,
    hoeffding,
    rivals_radius,
)
from telltale.nn.boosters import Mapper, Purifier
from telltale.robustness.feature_smoothing import FeatureSmoothing, agreeing_radius

pytestmark = pytest.mark.usefixtures("one_thread")
SIGMA = 0.25


class Encoder(nn.Module):
    """A random encoder (B, 3, 4, 4) → (B, 6)."""

    width = 6

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, 6))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(self.scale * x)
        return out


def plain(encoder: nn.Module, sigma: float = SIGMA) -> FeatureSmoothing:
    return FeatureSmoothing(encoder, sigma=sigma, purify=False, map_features=False, batch=500)


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def test_1_and_2_values_by_hand() -> None:
    for score, share, wanted in (
        (0.9, 0.25, 0.6977), (0.9, 0.5, 0.5655), (0.95, 1.0, 0.4810), (0.99, 1.0, 0.8153),
        (0.75, 1.0, -0.2552),
    ):  # fmt: skip
        for sigma in (0.25, 0.5):
            assert cosine_bound(score, share * sigma, sigma) == pytest.approx(wanted, abs=5e-5)
    radii = ((0.75, 0.0), (0.8, 0.1671), (0.9, 0.6071), (0.95, 0.9704), (0.99, 1.6519))
    for score, wanted in radii:
        assert cosine_radius(score, 2.0) == pytest.approx(2 * wanted, abs=2e-4)


@given(st.floats(0.501, 0.999), st.floats(0, 0.99), st.floats(0.01, 2))
def test_1_and_3_bound_and_radius_are_each_others_inverse(
    score: float, cosine: float, sigma: float
) -> None:
    assert cosine_bound(score, 0, sigma) == pytest.approx(2 * score - 1, abs=1e-9)
    radius = cosine_radius(score, sigma, cosine)
    if radius > 0:
        assert cosine_bound(score, radius, sigma) == pytest.approx(cosine, abs=1e-9)


def test_4_a_half_space_attains_the_bound() -> None:
    sigma, c = 0.5, 0.6
    score = 0.5 * (1 + math.erf(c / sigma / math.sqrt(2)))
    for eps in (0.0, 0.2, 0.5, 1.0):
        exact = math.erf((c - eps) / sigma / math.sqrt(2))  # 2 Φ - 1
        assert cosine_bound(score, eps, sigma) == pytest.approx(exact, abs=1e-9)


def test_5_and_6_scores_by_both_anchors() -> None:
    net, x = plain(Encoder()), images(1)
    draws = net.draws(x[0], 4000, torch.Generator().manual_seed(2))
    clean = net.features(x, 0.0)[0]
    by_values = float(((1 + draws @ clean) / 2).mean())
    by_mean = float((1 + draws.mean(0) @ clean) / 2)
    assert by_values == pytest.approx(by_mean, abs=1e-6)
    smooth = F.normalize(draws.mean(0), dim=0)
    best = float((1 + draws.mean(0) @ smooth) / 2)
    assert best == pytest.approx(float((1 + draws.mean(0).norm()) / 2), abs=1e-6)
    for other in F.normalize(torch.randn(20, 6), dim=1):
        assert float((1 + draws.mean(0) @ other) / 2) <= best + 1e-6


@pytest.mark.parametrize("anchor", ["clean", "smooth"])
def test_7_neither_chance_nor_pgd_beats_the_certificate(anchor: str) -> None:
    net, x = plain(Encoder()), images(1)
    certificate = net.certify(
        x, samples=4000, anchor=anchor, generator=torch.Generator().manual_seed(3)
    )
    u = certificate.anchor[0]
    noise = SIGMA * torch.randn(400, 3, 4, 4, generator=torch.Generator().manual_seed(4))

    def away(batch: Tensor) -> Tensor:
        return torch.stack([-(net.features(one + noise, SIGMA).mean(0) @ u) for one in batch])

    for eps in (0.05, 0.15, 0.3):
        bound = float(certificate.cosine(eps)[0])
        if math.isnan(bound):
            continue
        directions = F.normalize(torch.randn(200, 48), dim=1).view(-1, 3, 4, 4)
        attacked = [*(x + eps * directions)]
        attacked.append(
            pgd(away, x.clone(), eps=eps, step=eps / 4, steps=12, norm="l2", start=eps / 2)[0]
        )
        for moved in attacked:
            mean = net.draws(moved, 2000, torch.Generator().manual_seed(5)).mean(0)
            assert float(F.cosine_similarity(mean, u, dim=0)) >= bound - 0.02


def test_8_constant_and_random_encoders() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(len(x), 4)

    class Random(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.randn(len(x), 64)

    sure = plain(Constant()).certify(images(1), samples=20000)
    assert sure.mean[0] == pytest.approx(1)
    assert float(sure.cosine(0.1)[0]) > 0.99
    unsure = plain(Random()).certify(images(1), samples=500)
    assert unsure.mean[0] == pytest.approx(0.5, abs=0.05)
    assert not unsure.is_certified[0]
    assert math.isnan(float(unsure.cosine(0.0)[0]))
    assert unsure.radius()[0] == 0


def test_9_bounds_fail_no_oftener_than_they_say() -> None:
    rng, alpha, n = np.random.default_rng(0), 0.05, 200
    for true in (0.7, 0.95):
        values = (rng.random((2000, n)) < true).astype(float)
        allowed = alpha + 3 * math.sqrt(alpha * (1 - alpha) / 2000)
        assert float((hoeffding(values, alpha) > true).mean()) <= allowed
        assert float((bernstein(values, alpha) > true).mean()) <= allowed
        exact = [clopper_pearson(int(k), n, alpha) for k in values.sum(1)[:300]]
        assert float((np.array(exact) > true).mean()) <= alpha + 3 * math.sqrt(0.05 * 0.95 / 300)


def test_10_known_values() -> None:
    assert clopper_pearson(990, 1000, 1e-3) == pytest.approx(0.97604, abs=1e-5)
    assert float(hoeffding(np.full(1000, 0.99), 1e-3)) == pytest.approx(0.93123, abs=1e-5)
    assert clopper_pearson(0, 5, 0.1) == 0


def test_11_a_negative_bound_is_no_certificate() -> None:
    certificate = plain(Encoder()).certify(images(1), samples=400)
    assert math.isnan(float(certificate.cosine(5.0)[0]))
    assert cosine_bound(0.6, 5.0, SIGMA) < 0


def test_12_the_booster_leaves_the_encoder_as_it_is() -> None:
    encoder = Encoder()
    before = {name: p.detach().clone() for name, p in encoder.named_parameters()}
    net = FeatureSmoothing(encoder, sigma=SIGMA)
    x = images(3)
    with torch.no_grad():
        torch.testing.assert_close(net.features(x, SIGMA), net.features(x, 0.0))
    batch = {"images": images(8)}
    for _ in fit.fit(net, [batch] * 20, fit.adam(net, lr=1e-2)):
        pass
    assert not net.encoder.training
    for name, parameter in encoder.named_parameters():
        assert not parameter.requires_grad
        assert torch.equal(parameter, before[name])
    with torch.no_grad():
        assert not torch.allclose(net.features(x, SIGMA), net.features(x, 0.0))
        assert net.mapper is not None
        assert float(net.mapper(net.tokens(x), 0.0).abs().max()) == 0


def test_12_training_raises_the_score() -> None:
    torch.manual_seed(0)
    net = FeatureSmoothing(Encoder(), sigma=SIGMA)
    data = torch.rand(64, 3, 4, 4)
    x = data[:4]
    before = plain(Encoder()).certify(x, samples=2000).mean.mean()
    for _ in fit.fit(net, [{"images": data}] * 150, fit.adam(net, lr=5e-3)):
        pass
    after = net.certify(x, samples=2000).mean.mean()
    assert after > before


def test_13_scaling_the_input_scales_the_radius() -> None:
    one = plain(Encoder(), 0.4).certify(
        images(1), samples=2000, generator=torch.Generator().manual_seed(7)
    )
    scaled = plain(Encoder(scale=4.0), 0.1).certify(
        images(1) / 4, samples=2000, generator=torch.Generator().manual_seed(7)
    )
    assert scaled.score[0] == pytest.approx(one.score[0], abs=1e-5)
    assert scaled.radius(0.1)[0] == pytest.approx(one.radius(0.1)[0] / 4, rel=1e-3, abs=1e-9)


@given(st.floats(0.05, 0.95))
@settings(max_examples=20)
def test_14_two_opposite_classes(score: float) -> None:
    feature = torch.tensor([[2 * score - 1, 0.0, 0.1]])
    classes = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0]])
    wanted = cosine_radius(max(score, 1 - score), SIGMA, 0.0)
    assert agreeing_radius(feature, classes, SIGMA)[0] == pytest.approx(float(wanted), abs=1e-4)


def test_14_the_radius_with_confidence_takes_the_better_bound() -> None:
    """By the brief's figures: along the difference .782 σ at a feature of length .8, else .641."""
    classes = torch.eye(2)
    near = np.tile([0.8, 0.0], (400_000, 1))  # no spread: the bounds are near the means
    apart = np.array([0.0, math.sqrt(2)])
    found = rivals_radius(near, 0, apart, SIGMA, 1e-3)
    assert found == pytest.approx(0.782 * SIGMA, rel=2e-3)
    assert found <= agreeing_radius(torch.tensor([[0.8, 0.0]]), classes, SIGMA)[0] + 1e-9
    near = np.tile([0.99, 0.0], (400_000, 1))
    along = agreeing_radius(torch.tensor([[0.99, 0.0]]), classes, SIGMA)[0]
    assert rivals_radius(near, 0, apart, SIGMA, 1e-3) > along  # the other bound is the larger
    opposite = np.tile([0.6, -0.6], (400_000, 1))
    wanted = float(cosine_radius(0.8, SIGMA, 0.0))
    assert rivals_radius(opposite, 0, np.array([0, 2.0]), SIGMA, 1e-3) == pytest.approx(
        wanted, rel=2e-3
    )
    assert rivals_radius(opposite[:, ::-1], 0, np.array([0, 2.0]), SIGMA, 1e-3) == 0
    assert rivals_radius(near[:50], 0, apart, SIGMA, 1e-3) < found  # fewer samples, less certain


@pytest.fixture(scope="module")
def digits_encoder() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A CNN that learnt real scans of digits, its classes, and digits that it never saw."""
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    given = load_digits()
    x = torch.from_numpy(given.images / 16).float()[:, None].expand(-1, 3, -1, -1).contiguous()
    y = torch.from_numpy(given.target)
    net = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(48 * 16, 32),
    )  # fmt: skip
    classes = nn.Parameter(torch.randn(10, 32))
    optimizer = torch.optim.Adam([*net.parameters(), classes], 3e-3)
    for step in range(150):
        rows = torch.randint(1500, (64,), generator=torch.Generator().manual_seed(step))
        noisy = x[rows] + SIGMA * torch.randn(64, 3, 8, 8)
        logits = F.normalize(net(noisy), dim=1) @ F.normalize(classes, dim=1).T
        optimizer.zero_grad()
        F.cross_entropy(10 * logits, y[rows]).backward()
        optimizer.step()
    return net.eval(), F.normalize(classes.detach(), dim=1), x[1500:], y[1500:]


def test_7_pgd_on_a_trained_encoder_beats_neither_certificate(
    digits_encoder: tuple[nn.Module, Tensor, Tensor, Tensor],
) -> None:
    """Averaged over noise, as who attacks a smoothed encoder has to."""
    encoder, classes, x, y = digits_encoder
    net = plain(encoder)
    with torch.no_grad():
        assert float(((net.features(x, 0.0) @ classes.T).argmax(1) == y).float().mean()) > 0.9
    draws = torch.Generator().manual_seed(3)
    shown = x[:5]
    certificate = net.certify(shown, samples=3000, generator=draws)
    best, radii = net.agree(shown, classes, samples=3000, generator=draws)
    assert (radii > 0.05).sum() >= 3
    noise = SIGMA * torch.randn(48, 3, 8, 8, generator=torch.Generator().manual_seed(4))

    def means(batch: Tensor) -> Tensor:
        return torch.stack([net.features(one + noise, SIGMA).mean(0) for one in batch])

    for eps in (0.1, 0.3):
        moved = pgd(
            lambda b: -(means(b) * certificate.anchor).sum(1),
            shown, eps=eps, step=eps / 4, steps=10, norm="l2",
        )  # fmt: skip
        seen = net.encode(moved, 3000, generator=torch.Generator().manual_seed(5))
        cosines = F.cosine_similarity(seen, certificate.anchor).numpy()
        bounds = certificate.cosine(eps)
        known = ~np.isnan(bounds)
        assert known.any() or eps > 0.2
        assert (cosines[known] >= bounds[known] - 0.01).all()
    far = torch.from_numpy(radii).float()
    for row in np.flatnonzero(radii > 0.02):
        one, label = shown[row : row + 1], int(best[row])

        def wrong(batch: Tensor, label: int = label) -> Tensor:
            near = means(batch) @ classes.T
            others = near.clone()
            others[:, label] = -9
            return others.amax(1) - near[:, label]

        eps = float(far[row])
        moved = pgd(wrong, one, eps=eps, step=eps / 4, steps=10, norm="l2")
        seen = net.encode(moved, 3000, generator=torch.Generator().manual_seed(6))
        assert int((seen @ classes.T).argmax()) == label


def test_flat_tokens_and_maps() -> None:
    class Tokens(nn.Module):
        width = 5

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :25].view(-1, 5, 5)

    class Maps(nn.Module):
        width = 3

        def forward(self, x: Tensor) -> Tensor:
            return x

    for encoder, feature, size in (
        (Tokens(), "flat", 25), (Tokens(), "global", 5), (Maps(), "global", 3),
        (Maps(), "flat", 48),
    ):  # fmt: skip
        net = FeatureSmoothing(encoder, feature=feature, samples=3)
        assert net(images(2)).shape == (2, size)
    assert Mapper(6)(torch.rand(2, 5, 6), 0.25).shape == (2, 5, 6)
    x = torch.rand(2, 3, 9, 9)
    assert torch.equal(Purifier()(x), x)


def test_wrong_settings_and_seeds() -> None:
    with pytest.raises(ValueError, match="sigma above 0"):
        FeatureSmoothing(Encoder(), sigma=0)
    with pytest.raises(ValueError, match="anchor"):
        plain(Encoder()).certify(images(1), anchor="none")
    with pytest.raises(ValueError, match="want values"):
        bernstein([2.0, 3.0], 0.1)
    with pytest.raises(ValueError, match="want two classes"):
        plain(Encoder()).agree(images(1), torch.ones(1, 6))
    scores = [
        plain(Encoder()).certify(images(2), generator=torch.Generator().manual_seed(9)).score
        for _ in range(2)
    ]
    assert np.array_equal(*scores)

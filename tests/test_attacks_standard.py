"""The standard attacks: step by step what torchattacks does, and within their bounds."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from plain_attacks import plain_momentum, plain_pgd, plain_pgd_l2, plain_vmi
from telltale.attacks import (
    apgd,
    cross_entropy,
    diverse,
    dlr,
    gaussian_kernel,
    mi_fgsm,
    pgd,
    scaled,
    square,
    vmi_fgsm,
)

EPS, STEP, STEPS = 8 / 255, 2 / 255, 5


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(128, 5),
    )  # fmt: skip
    return made.eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([0, 3, 1])
Ours = Callable[[Any, Tensor], Tensor]
SAME: dict[str, Any] = {"eps": EPS, "step": STEP, "steps": STEPS}
THEIRS: dict[str, tuple[Ours, str, dict[str, Any]]] = {
    "pgd": (lambda m, x: pgd(m, x, **SAME), "PGD", {"random_start": False}),
    "mi": (lambda m, x: mi_fgsm(m, x, **SAME), "MIFGSM", {"decay": 1.0}),
    "di": (
        lambda m, x: mi_fgsm(diverse(m), x, momentum=1.0, **SAME),
        "DIFGSM",
        {"decay": 1.0, "resize_rate": 0.9, "diversity_prob": 0.5},
    ),
    "ti": (
        lambda m, x: mi_fgsm(diverse(m), x, momentum=0.0, kernel=gaussian_kernel(), **SAME),
        "TIFGSM",
        {"decay": 0.0},
    ),
    "si-ni": (
        lambda m, x: mi_fgsm(scaled(m), x, ahead=True, **SAME),
        "SINIFGSM",
        {"decay": 1.0, "m": 5},
    ),
}


PLAIN: dict[str, tuple[Ours, Callable[..., Tensor], dict[str, Any]]] = {
    "pgd": (lambda m, x: pgd(m, x, **SAME), plain_pgd, {}),
    "mi": (lambda m, x: mi_fgsm(m, x, **SAME), plain_momentum, {}),
    "ni": (lambda m, x: mi_fgsm(m, x, ahead=True, **SAME), plain_momentum, {"nesterov": True}),
    "si-ni": (
        lambda m, x: mi_fgsm(scaled(m), x, ahead=True, **SAME),
        plain_momentum,
        {"nesterov": True, "scales": 5},
    ),
    "ti": (
        lambda m, x: mi_fgsm(m, x, momentum=0.5, kernel=gaussian_kernel(7), **SAME),
        plain_momentum,
        {"decay": 0.5, "kernel": gaussian_kernel(7)},
    ),
}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("steps", [1, 4])
def test_agrees_with_plain_loops_step_by_step(
    net: nn.Module, images: Tensor, name: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs, options = PLAIN[name]
    double, data = deepcopy(net).double(), images.double()
    monkeypatch.setitem(SAME, "steps", steps)
    found = ours(cross_entropy(double, LABELS), data)
    for image, label, other in zip(data, LABELS, found, strict=True):
        wanted = theirs(loss_of(double, label), image, EPS, STEP, steps, **options)
        torch.testing.assert_close(other, wanted, atol=1e-9, rtol=0)


def loss_of(net: nn.Module, label: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda image: nn.functional.cross_entropy(net(image[None]), label[None])


def test_l2_and_vmi_agree_with_plain_loops(
    net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    double, data = deepcopy(net).double(), images.double()
    measure, noises = cross_entropy(double, LABELS), list[Tensor]()

    def noted(like: Tensor, bound: float, generator: object) -> Tensor:
        assert bound == 1.5 * EPS
        noises.append(bound * (2 * torch.rand(like.shape, dtype=like.dtype) - 1))
        return noises[-1]

    far = pgd(measure, data, eps=0.5, step=0.2, steps=STEPS, norm="l2")
    monkeypatch.setattr("telltale.attacks.steps.uniform", noted)
    varied = vmi_fgsm(measure, data, neighbours=3, **SAME)
    assert len(noises) == 3 * STEPS
    for row, label in enumerate(LABELS):
        loss = loss_of(double, label)
        wanted = plain_pgd_l2(loss, data[row], 0.5, 0.2, STEPS)
        torch.testing.assert_close(far[row], wanted, atol=1e-9, rtol=0)
        wanted = plain_vmi(loss, data[row], EPS, STEP, STEPS, [noise[row] for noise in noises])
        torch.testing.assert_close(varied[row], wanted, atol=1e-9, rtol=0)


def test_vmi_agrees_with_torchattacks(
    net: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    monkeypatch.setattr(  # its way of drawing
        "telltale.attacks.steps.uniform",
        lambda like, bound, generator: torch.randn_like(like).uniform_(-bound, bound),
    )
    attack = torchattacks.VMIFGSM(net, eps=EPS, alpha=STEP, steps=STEPS, decay=1.0, N=5, beta=1.5)
    torch.manual_seed(5)
    wanted = attack(images, LABELS)
    torch.manual_seed(5)
    found = vmi_fgsm(cross_entropy(net, LABELS), images, **SAME)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", THEIRS)
def test_agrees_with_torchattacks_step_by_step(net: nn.Module, images: Tensor, name: str) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    ours, theirs, options = THEIRS[name]
    attack = getattr(torchattacks, theirs)(net, eps=EPS, alpha=STEP, steps=STEPS, **options)
    torch.manual_seed(5)
    wanted = attack(images, LABELS)
    torch.manual_seed(5)
    found = ours(cross_entropy(net, LABELS), images)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_l2_agrees_with_torchattacks(net: nn.Module, images: Tensor) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    attack = torchattacks.PGDL2(net, eps=0.5, alpha=0.2, steps=STEPS, random_start=False)
    found = pgd(cross_entropy(net, LABELS), images, eps=0.5, step=0.2, steps=STEPS, norm="l2")
    torch.testing.assert_close(found, attack(images, LABELS), atol=1e-6, rtol=0)


def test_without_neighbours_variance_is_none(net: nn.Module, images: Tensor) -> None:
    """At a bound of nothing round it, all gradients are alike: VMI is MI."""
    measure = cross_entropy(net, LABELS)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(1200, 5))
    straight = cross_entropy(linear, LABELS)
    assert torch.equal(
        vmi_fgsm(lambda x: linear(x)[:, 0], images, **SAME),
        mi_fgsm(lambda x: linear(x)[:, 0], images, **SAME),
    )
    one = vmi_fgsm(measure, images, generator=torch.Generator().manual_seed(3), **SAME)
    two = vmi_fgsm(measure, images, generator=torch.Generator().manual_seed(3), **SAME)
    assert torch.equal(one, two)
    assert (straight(vmi_fgsm(straight, images, **SAME)) > straight(images)).all()


ATTACKS: dict[str, Ours] = {
    "pgd": lambda m, x: pgd(m, x, eps=EPS, step=STEP, steps=STEPS, start=EPS),
    "vmi": lambda m, x: vmi_fgsm(m, x, **SAME),
    "apgd": lambda m, x: apgd(m, x, eps=EPS, steps=12),
    "square": lambda m, x: square(m, x, eps=EPS, queries=60),
    "di-si": lambda m, x: mi_fgsm(diverse(scaled(m, copies=2)), x, **SAME),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_stays_in_bounds_and_makes_the_measure_larger(
    net: nn.Module, images: Tensor, name: str
) -> None:
    measure = cross_entropy(net, LABELS)
    torch.manual_seed(0)
    found = ATTACKS[name](measure, images)
    assert float((found - images).abs().max()) <= EPS + 1e-6
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert not found.requires_grad
    assert (measure(found) > measure(images)).all()


@given(st.floats(0.01, 2.0), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_l2_stays_in_its_bound(eps: float, seed: int) -> None:
    images = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    weights = torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(seed + 1))
    for found in (
        pgd(lambda x: (x * weights).sum((1, 2, 3)), images, eps=eps, step=eps / 2, steps=4,
            norm="l2", start=eps),
        apgd(lambda x: (x * weights).sum((1, 2, 3)), images, eps=eps, steps=8, norm="l2"),
    ):  # fmt: skip
        assert float((found - images).flatten(1).norm(dim=1).max()) <= eps * (1 + 1e-5) + 1e-6


def test_apgd_finds_what_pgd_finds_and_keeps_the_best(net: nn.Module, images: Tensor) -> None:
    measure = cross_entropy(net, LABELS)
    strong = apgd(measure, images, eps=EPS, steps=40)
    plain = pgd(measure, images, eps=EPS, step=EPS / 4, steps=40)
    with torch.no_grad():
        assert float(measure(strong).mean()) >= 0.99 * float(measure(plain).mean())


def test_dlr_by_hand() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0, -1.0], [1.0, 4.0, 2.0, 0.0]])
    measure = dlr(lambda _: logits, torch.tensor([0, 2]))
    # -(3 - 1)/(3 - 0) and -(2 - 4)/(4 - 1)
    torch.testing.assert_close(measure(torch.zeros(2, 3, 1, 1)), torch.tensor([-2 / 3, 2 / 3]))


def test_kernel_and_wrong_settings(images: Tensor) -> None:
    kernel = gaussian_kernel()
    assert float(kernel.sum()) == pytest.approx(1)
    assert float(kernel.max()) == float(kernel[7, 7])
    with pytest.raises(ValueError, match="want eps"):
        pgd(lambda x: x.sum((1, 2, 3)), images, eps=0.1, step=0.1, steps=-1)
    assert torch.equal(pgd(lambda x: x.sum((1, 2, 3)), images, eps=0.1, step=0.1, steps=0), images)

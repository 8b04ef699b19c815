"""Transfer attacks: what each name stands for, ensembles in logits, bounds."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from telltale.attacks import (
    TRANSFER,
    craft,
    cross_entropy,
    diverse,
    ensemble,
    gaussian_kernel,
    mi_fgsm,
    scaled,
)

EPS, LABELS = 0.1, torch.tensor([0, 3, 1, 2])


def classifier(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(96, 4),
    ).eval()  # fmt: skip


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("attack", TRANSFER)
def test_stays_in_its_bound_and_misleads_the_surrogate(attack: str, images: Tensor) -> None:
    net = classifier(0)
    measure = cross_entropy(net, LABELS)
    made, again = (
        craft(attack, net, images, LABELS, eps=EPS, generator=torch.Generator().manual_seed(3))
        for _ in range(2)
    )
    assert torch.equal(made, again)
    assert (made - images).abs().max() <= EPS + 1e-6
    assert 0 <= made.min() <= made.max() <= 1
    assert (measure(made) > measure(images)).all()


@pytest.mark.parametrize("side", [16, 64])
def test_names_stand_for_what_they_should(side: int) -> None:
    net, images = classifier(0), torch.rand(4, 3, side, side)
    measure = cross_entropy(net, LABELS)
    same: dict[str, Any] = {"eps": EPS, "step": EPS / 4, "steps": 10}
    kernel = gaussian_kernel(5 if side == 16 else 15)
    random = torch.Generator()
    wanted: dict[str, Callable[[], Tensor]] = {
        "MI": lambda: mi_fgsm(measure, images, **same),
        "DI": lambda: mi_fgsm(diverse(measure, generator=random), images, **same),
        "TI": lambda: mi_fgsm(diverse(measure, generator=random), images, kernel=kernel, **same),
        "SI-NI": lambda: mi_fgsm(scaled(measure), images, ahead=True, **same),
    }
    for attack, make in wanted.items():
        random.manual_seed(2)
        by_hand = make()
        random.manual_seed(2)
        assert torch.equal(craft(attack, net, images, LABELS, eps=EPS, generator=random), by_hand)


def test_an_ensemble_averages_logits(images: Tensor) -> None:
    one, other = classifier(0), classifier(1)
    torch.testing.assert_close(ensemble([one, other])(images), (one(images) + other(images)) / 2)
    with pytest.raises(ValueError, match="one surrogate or more"):
        ensemble([])


def test_it_names_the_attacks_that_it_has(images: Tensor) -> None:
    with pytest.raises(ValueError, match="want an attack of PGD, MI, DI, TI, SI-NI, VMI, got 'mi'"):
        craft("mi", classifier(0), images, LABELS, eps=EPS)

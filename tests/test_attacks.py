import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from telltale.attacks import mi_fgsm


def score(images: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, images[0].numel()).view(images.shape[1:])
    return (images * weights).sum((1, 2, 3))


@settings(max_examples=30, deadline=None)
@given(st.floats(0.001, 0.2), st.floats(0.001, 0.1), st.integers(1, 6), st.floats(0, 1))
def test_stays_in_its_bound_and_in_range(
    eps: float, step: float, steps: int, momentum: float
) -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    found = mi_fgsm(score, images, eps=eps, step=step, steps=steps, momentum=momentum)
    assert (found - images).abs().max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert (score(found) > score(images)).all()
    assert not found.requires_grad


def test_two_steps_by_hand() -> None:
    # The measure's slope turns round after the first step; momentum decides the second.
    images = torch.full((1, 3, 1, 1), 0.5)

    def measure(x: Tensor) -> Tensor:
        return -(x - 0.52).square().sum((1, 2, 3))

    # x1 = 0.53; g1 = 1/3 each; slope at 0.53 is negative, normalised -1/3; g2 = μ/3 - 1/3.
    for momentum, expected in ((1.0, 0.53), (0.0, 0.50), (2.0, 0.56)):
        found = mi_fgsm(measure, images, eps=0.1, step=0.03, steps=2, momentum=momentum)
        torch.testing.assert_close(found, torch.full_like(found, expected))


def test_no_steps_and_seeds() -> None:
    images = torch.rand(1, 3, 4, 4)
    assert torch.equal(mi_fgsm(score, images, eps=0.1, step=0.1, steps=0), images)
    made = [
        mi_fgsm(
            score,
            images,
            eps=0.1,
            step=0.001,
            steps=1,
            start=0.05,
            generator=torch.Generator().manual_seed(seed),
        )
        for seed in (1, 1, 2)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    with pytest.raises(ValueError, match="want eps"):
        mi_fgsm(score, images, eps=0.1, step=0.1, steps=1, start=0.2)

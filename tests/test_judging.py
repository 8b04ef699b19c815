"""What a training is judged by."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from telltale.judging import correlation, judge, judged_by


class Means(nn.Module):
    """A picture's score is the mean of its pixels, times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.layer, self.factor = nn.Linear(1, 1), factor

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3)) * self.factor


class Ramp:
    """Pictures 0 to 5 of growing brightness in two batches, with falling scores."""

    def __init__(self) -> None:
        self.about: dict[str, Any] = {}

    def __getitem__(self, number: int) -> dict[str, Any]:
        raise NotImplementedError

    def validation(self) -> Iterator[dict[str, Any]]:
        for rows in (np.arange(3), np.arange(3, 6)):
            images = np.ones((3, 3, 4, 4), np.float32) * rows[:, None, None, None].astype("f4")
            yield {"images": images, "scores": np.float32(10 - rows)}


def test_by_the_verb() -> None:
    network = nn.Linear(1, 1)
    assert judged_by("fpr_iqa", network) == "val_srcc"
    assert judged_by("vit_lora_scl", network) == "val_auc"
    assert judged_by("mtl_ue", network) == "val_gain"
    network.by_loss = True  # type: ignore[assignment]
    assert judged_by("forensics_sam", network) == "val_gain"


@pytest.mark.parametrize(("factor", "value"), [(1.0, -1.0), (-2.0, 1.0), (0.0, -1.0)])
def test_a_rater_by_its_rank_correlation(factor: float, value: float) -> None:
    network = Means(factor).train()
    assert correlation(network, Ramp()) == pytest.approx(value)
    assert judge(network, Ramp(), "fpr_iqa") == pytest.approx(value)
    assert network.training

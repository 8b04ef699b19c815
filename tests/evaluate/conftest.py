"""A table of predictions that the tests of this folder share."""

import numpy as np
import pytest

from telltale.evaluate import Predictions


@pytest.fixture
def data() -> Predictions:
    """Three kinds, the last invisible to the detector; forty sources; two thirds are "test"."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    kinds = np.where(labels == 1, rng.choice(["swap", "blend", "gan"], 400), "")
    strength = np.select([kinds == "swap", kinds == "blend"], [4.0, 2.0], 0.0)
    sources = rng.integers(40, size=400)
    return Predictions(
        "made",
        np.array([f"{number}.jpg" for number in range(400)]),
        labels,
        1 / (1 + np.exp(1 - strength - rng.normal(size=400))),
        np.array([f"person {number:02}" for number in sources]),
        {"kind": kinds, "split": np.where(sources % 3 == 0, "val", "test")},
    )

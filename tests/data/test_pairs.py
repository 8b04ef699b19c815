"""Training batches: real and forged in pairs, the same for a seed, from any batch on."""

from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from telltale.data import pairs
from telltale.data.crops import Crop, cut_faces
from telltale.data.pairs import SEEN, batches, forge
from telltale.media.facefinder import FaceFinder

MEDIA = Path(__file__).parents[2] / "examples/media"


@cache
def crops() -> list[Crop]:
    names = ("astronaut", "commodore", "photographer")
    found = cut_faces([(MEDIA / f"{name}.jpg", name) for name in names], FaceFinder(), smallest=20)
    return [crop for crop in found if isinstance(crop, Crop)]


def stream(**changes: object) -> list[dict[str, np.ndarray]]:
    settings = {"size": 56, "pairs": 4, "seed": 3} | changes
    return list(islice(batches(crops(), **settings), 3))  # type: ignore[arg-type]


def test_half_is_real_and_only_the_other_half_has_a_mask() -> None:
    batch = stream()[0]
    assert batch["images"].shape == (8, 3, 56, 56)
    assert batch["images"].dtype == np.float32
    assert 0 <= batch["images"].min() <= batch["images"].max() <= 1
    assert batch["labels"].tolist() == [0, 1] * 4
    assert (batch["masks"][batch["labels"] == 0] == 0).all()
    assert (batch["masks"][batch["labels"] == 1].max((1, 2, 3)) > 0.1).all()


def test_a_pair_differs_in_the_forgery_more_than_elsewhere() -> None:
    batch = stream(pairs=16, kinds={"swap_alpha": 1.0})[0]
    real, fake = batch["images"][0::2], batch["images"][1::2]
    change = np.abs(real - fake).mean(1)
    inside = batch["masks"][1::2, 0] > 0.5
    outside = batch["masks"][1::2, 0] == 0
    assert change[inside].mean() > 3 * change[outside].mean()


def test_the_same_seed_gives_the_same_batches_and_another_gives_others() -> None:
    first, again, other = stream(), stream(), stream(seed=4)
    for a, b, c in zip(first, again, other, strict=True):
        assert (a["images"] == b["images"]).all()
        assert (a["images"] != c["images"]).any()


def test_noise_is_made_before_the_cut_and_lies_as_the_picture_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sides = []

    def greenness(pictures: np.ndarray) -> np.ndarray:
        sides.append(pictures.shape[1])
        return pictures[..., 1].astype(np.float32) / 255

    with monkeypatch.context() as patch:
        patch.setattr(pairs, "noise_of", greenness)
        batch = stream(pairs=8, noise=True)[0]
    assert batch["noise"].shape == (16, 1, 56, 56)
    assert np.abs(batch["noise"] - batch["images"][:, 1:2]).max() < 4 / 255  # rounded at each pass
    assert min(sides) > 56
    plain = stream()[0]
    assert "noise" not in plain
    asked = stream(noise=True)[0]
    assert all((asked[name] == plain[name]).all() for name in plain)


def test_a_resumed_stream_goes_on_where_it_was() -> None:
    assert (stream(start=2)[0]["images"] == stream()[2]["images"]).all()


@pytest.mark.parametrize("kind", [*SEEN, "swap_poisson"])
def test_each_kind_changes_the_face_and_nothing_outside_its_mask(kind: str) -> None:
    fake, real, mask = forge(kind, crops()[0], crops(), np.random.default_rng(1))
    assert fake.shape == real.shape == (*mask.shape, 3)
    changed = (fake != real).any(-1)
    assert changed.any()
    assert not changed[mask == 0].any()


def test_an_unknown_kind_and_a_swap_without_another_person_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="swap_alpha"):
        forge("swop", crops()[0], crops(), rng)
    with pytest.raises(ValueError, match="other than"):
        forge("swap_alpha", crops()[0], crops()[:1], rng)

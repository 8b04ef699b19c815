"""Toy faces: real and forged versions of one frame that differ only where the mask says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telltale.data.synth.toyfaces import KINDS, SHOWN, SIZE, ToyFaces, toy_faces


@pytest.fixture(scope="module")
def frames() -> ToyFaces:
    return toy_faces(40, seed=5, identities=range(20))


def roughness(images: np.ndarray) -> np.ndarray:
    """Mean absolute difference to the right neighbour, in 8-bit steps (N, S, S-1)."""
    return np.abs(np.diff(images.astype(float), axis=2)).mean(-1)


def test_shapes_and_types(frames: ToyFaces) -> None:
    assert [*frames.images] == ["real", *KINDS] == [*frames.masks]
    for name, images in frames.images.items():
        assert images.shape == (40, SIZE, SIZE, 3)
        assert images.dtype == np.uint8
        assert frames.masks[name].shape == (40, SIZE, SIZE)
    assert set(frames.identities) <= set(range(20))
    assert len(set(frames.identities)) > 10


def test_a_real_frame_has_no_forged_pixel_and_a_forged_one_has(frames: ToyFaces) -> None:
    assert not frames.masks["real"].any()
    area = {kind: frames.masks[kind].mean((1, 2)) for kind in KINDS}
    for kind in ("DF", "FS", "F2F"):  # 0.8² of an ellipse of half axes 11–13.5 and 14–17
        assert (area[kind] > 0.17).all()
        assert (area[kind] < 0.5).all()
    assert (area["NT"] > 0.05).all()
    assert (area["NT"] < 0.14).all()


@pytest.mark.parametrize("kind", KINDS)
def test_far_from_the_mask_nothing_changes(frames: ToyFaces, kind: str) -> None:
    change = np.abs(frames.images[kind].astype(int) - frames.images["real"]).max(-1)
    assert change[:, :2].max() <= 1  # three σ from any hull: at most a rounding
    outside = change[~frames.masks[kind]]
    assert outside.max() <= np.ceil(SHOWN * 255)
    assert change[frames.masks[kind]].mean() > 1.5


def test_swaps_change_the_mean_colour_as_they_should(frames: ToyFaces) -> None:
    """Both swaps match the target's mean colour; FS is then 0.03–0.06 brighter or darker."""
    real = frames.images["real"].astype(float)
    for kind, low, high in (("DF", 0.0, 2.5), ("FS", 4.0, 17.0)):
        inside = frames.masks[kind][..., None]
        change = ((frames.images[kind] - real) * inside).sum((1, 2)) / inside.sum((1, 2))
        assert (np.abs(change.mean(-1)) >= low).all()
        assert (np.abs(change.mean(-1)) <= high).all()


def test_each_forgery_leaves_its_trace(frames: ToyFaces) -> None:
    # Between eyes and mouth.
    core = {k: roughness(v)[:, 20:23, 12:26].mean((1, 2)) for k, v in frames.images.items()}
    assert core["DF"].mean() < 0.6 * core["real"].mean()  # half resolution, hardly any noise
    assert core["F2F"].mean() < 0.85 * core["real"].mean()  # interpolation averages the noise
    assert core["FS"].mean() > 0.8 * core["real"].mean()  # seen through the same camera
    change = (frames.images["NT"].astype(float) - frames.images["real"]).mean((0, 3))
    board = np.where(np.indices((SIZE, SIZE)).sum(0) % 2, 1, -1)
    mouth = (slice(25, 29), slice(17, 24))
    assert (change[mouth] * board[mouth]).mean() == pytest.approx(0.03 * 255, rel=0.15)


def test_a_person_looks_alike_in_two_frames_and_unlike_another() -> None:
    frames = toy_faces(60, seed=3, identities=range(6))
    skin = frames.images["real"][:, 20:23, 17:23].mean((1, 2))
    means = np.stack([skin[frames.identities == n].mean(0) for n in range(6)])
    nearest = np.linalg.norm(skin[:, None] - means, axis=-1).argmin(1)
    assert (nearest == frames.identities).mean() > 0.9


@settings(max_examples=5, deadline=None)
@given(start=st.integers(0, 50), count=st.integers(1, 4))
def test_a_frame_depends_on_its_number_alone(start: int, count: int) -> None:
    some = toy_faces(count, seed=1, start=start, identities=range(5))
    last = toy_faces(1, seed=1, start=start + count - 1, identities=range(5))
    for name in some.images:
        assert np.array_equal(some.images[name][-1:], last.images[name])
        assert np.array_equal(some.masks[name][-1:], last.masks[name])


def test_another_seed_gives_other_frames() -> None:
    first, second = toy_faces(2, seed=1), toy_faces(2, seed=2)
    assert not np.array_equal(first.images["real"], second.images["real"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0, "seed": 0},
        {"count": 1, "seed": 0, "start": -1},
        {"count": 1, "seed": 0, "identities": [3, 3]},
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="two identities"):
        toy_faces(**wrong)

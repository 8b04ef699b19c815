import numpy as np
import pytest

from telltale.data.synth.distortions import KINDS, LEVELS, distort


def photograph() -> np.ndarray:
    """Smooth shades, edges and some texture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :80] / 80
    picture = np.stack([x, y, 1 - x], -1) * 0.5 + 0.2
    picture[16:40, 20:50] = (0.8, 0.3, 0.2)
    return np.rint(np.clip(picture + rng.normal(0, 0.02, picture.shape), 0, 1) * 255).astype("u1")


def test_there_are_24() -> None:
    assert len(KINDS) == 24
    assert LEVELS == 5


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_changes_the_picture_more_at_the_highest_level(kind: str) -> None:
    pixels = photograph()
    kept = pixels.copy()
    changes = []
    for level in (1, 5):
        errors = []
        for seed in range(6):  # some kinds draw a direction
            made = distort(kind, pixels, level, np.random.default_rng(seed))
            assert made.shape == pixels.shape
            assert made.dtype == np.uint8
            errors.append(np.abs(made.astype(float) - pixels).mean())
        changes.append(np.mean(errors))
    assert 0 < changes[0] < changes[1]
    assert np.array_equal(pixels, kept)
    again = [distort(kind, pixels, 3, np.random.default_rng(4)) for _ in range(2)]
    assert np.array_equal(*again)


def test_desaturation_ends_in_grey() -> None:
    made = distort("desaturation", photograph(), 5, np.random.default_rng(0)).astype(int)
    assert np.ptp(made, axis=-1).max() <= 2


def test_says_what_it_wants() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="want a kind"):
        distort("blurr", photograph(), 1, rng)
    with pytest.raises(ValueError, match="level of 1 to 5"):
        distort("jpeg", photograph(), 6, rng)
    with pytest.raises(ValueError, match="want uint8"):
        distort("jpeg", photograph()[..., 0], 1, rng)

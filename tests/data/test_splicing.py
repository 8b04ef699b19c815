import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telltale.data.synth.shapes import blob, foreground, object_of
from telltale.data.synth.splicing import (
    FILLS,
    KINDS,
    change,
    copy_move,
    history,
    pida,
    removal,
    sent,
    splice,
)
from telltale.data.synth.textures import textures


def picture(seed: int, side: int = 96) -> np.ndarray:
    texture = textures(1, side, np.random.default_rng(seed))[0]
    return np.ascontiguousarray((texture.transpose(1, 2, 0) * 255).astype(np.uint8))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 10_000))
def test_outside_of_the_mask_nothing_changes(kind: str, seed: int) -> None:
    host = picture(1)
    made = change(kind, host, picture(2), np.random.default_rng(seed))
    assert made.pixels.shape == host.shape
    assert made.pixels.dtype == np.uint8
    assert made.mask.shape == host.shape[:2]
    assert 0 < made.mask.mean() < 1
    if kind != "pida":  # its roles of inside and outside are drawn
        assert np.array_equal(made.pixels[~made.mask], host[~made.mask])
    again = change(kind, host, picture(2), np.random.default_rng(seed))
    assert np.array_equal(again.pixels, made.pixels)
    assert np.array_equal(again.mask, made.mask)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_pida_keeps_the_content_and_is_exact_on_one_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    host = picture(3)
    shape = blob(host.shape[:2], rng)
    made = pida(host, shape, rng)
    same = (made.pixels == host).all(-1)
    assert same[shape].all() or same[~shape].all()
    assert not same.all()
    assert np.abs(made.pixels.astype(int) - host).mean() < 15
    assert 0 < made.mask.mean() < 1


def test_a_splice_shows_the_other_picture() -> None:
    host, other = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8)
    shape = np.zeros((64, 64), bool)
    shape[20:40, 20:44] = True
    made = splice(host, other, shape, np.random.default_rng(0))
    assert made.pixels[made.mask].mean() > 50
    assert made.pixels[~made.mask].max() == 0


def test_a_copied_part_is_of_the_same_picture() -> None:
    host = np.zeros((64, 64, 3), np.uint8)
    shape = np.zeros((64, 64), bool)
    shape[10:20, 10:20] = True
    host[shape] = (250, 10, 10)
    red = 0
    for seed in range(10):
        made = copy_move(host, shape, np.random.default_rng(seed))
        assert np.array_equal(made.pixels[~made.mask], host[~made.mask])
        red += int((made.pixels[made.mask & ~shape][:, 0] > 125).sum())
    assert red > 100


@pytest.mark.parametrize("fill", FILLS)
def test_removal_takes_out_what_stood_there(fill: str) -> None:
    host = np.full((96, 96, 3), 90, np.uint8)
    shape = np.zeros((96, 96), bool)
    shape[40:56, 40:56] = True
    host[shape] = 255
    made = removal(host, shape, np.random.default_rng(0), fill=fill)
    assert np.abs(made.pixels[shape].astype(int) - 90).mean() < 30
    with pytest.raises(ValueError, match="no fill 'magic'"):
        removal(host, shape, np.random.default_rng(0), fill="magic")


def test_shapes() -> None:
    shares = [blob((80, 120), np.random.default_rng(seed)).mean() for seed in range(40)]
    assert 0.002 < min(shares) < max(shares) < 0.4
    segments = np.ones((60, 60), np.uint8)
    segments[10:30, 10:30] = 2
    found = object_of(segments, np.random.default_rng(0))
    assert found is not None
    assert np.array_equal(found, segments == 2)
    assert object_of(np.ones((20, 20), np.uint8), np.random.default_rng(0)) is None
    front = foreground(picture(4), np.random.default_rng(0))
    assert 0 < front.mean() < 1
    assert np.array_equal(front, foreground(picture(4), np.random.default_rng(0)))


def test_before_and_after_are_alike_for_all_pictures() -> None:
    made = history(picture(5), np.random.default_rng(1))
    assert made.dtype == np.uint8
    assert np.array_equal(made, history(picture(5), np.random.default_rng(1)))
    untouched = [np.array_equal(sent(made, np.random.default_rng(s)), made) for s in range(60)]
    assert 0.15 < np.mean(untouched) < 0.55


def test_wrong_input_is_named() -> None:
    rng, host = np.random.default_rng(0), picture(6)
    with pytest.raises(ValueError, match="no kind 'melt'"):
        change("melt", host, host, rng)
    with pytest.raises(ValueError, match="want 32 pixels or more"):
        change("splice", host[:8], host, rng)
    with pytest.raises(ValueError, match="want a bool shape"):
        change("removal", host, host, rng, shape=np.zeros((96, 96), bool))
    with pytest.raises(ValueError, match="want uint8"):
        change("retouch", host[..., 0], host, rng)

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from telltale.detector.tiles import Tiled, Tiles, relative, shrunk, strongest


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 200), st.integers(5, 200), st.sampled_from([8, 16, 24]))
def test_what_depends_on_the_place_alone_is_stitched_without_seams(
    height: int, width: int, overlap: int
) -> None:
    rng = np.random.default_rng(height * 1000 + width)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    tiles = Tiled(pixels, 32, overlap)
    maps = np.stack([tile[::4, ::4, 0] for tile in tiles]).astype(np.float32)
    found = tiles.stitched(maps)
    np.testing.assert_allclose(found, pixels[::4, ::4, 0], atol=1e-3)


def test_tiles_begin_on_jpegs_grid_and_cover_everything() -> None:
    tiles = Tiled(np.zeros((100, 75, 3), np.uint8), 32, 8)
    assert all(y % 8 == 0 and x % 8 == 0 for y, x in tiles.places)
    covered = np.zeros((140, 140), bool)
    for y, x in tiles.places:
        covered[y : y + 32, x : x + 32] = True
    assert covered[:100, :75].all()
    assert all(tile.shape == (32, 32, 3) for tile in tiles)


def test_a_subject_is_the_whole_picture() -> None:
    (subject,) = Tiles(32, 8).look(np.zeros((40, 60, 3), np.uint8), {"jpeg_quality": "80"})
    assert (subject.region.width, subject.region.height) == (60, 40)
    assert subject.quality["picture_pixels"] == 40
    assert subject.quality["jpeg_quality"] == 80


def test_one_hot_cell_is_no_evidence() -> None:
    found = np.full((100, 100), -5, np.float32)
    found[3, 4] = 1000
    assert strongest(found) < 6
    found[:20, :20] = 4
    assert strongest(found) == 4
    assert strongest(np.array([[3.0]], np.float32)) == 3


def test_a_large_map_is_kept_small() -> None:
    found = shrunk(np.ones((100, 1024), np.float32))
    assert found.shape == (25, 256)
    assert np.allclose(found, 1)
    assert shrunk(found) is found


def test_a_loud_trace_quiets_its_surroundings_and_a_quiet_map_stays() -> None:
    found = np.full((40, 40), 1.0, np.float32)
    found[:8, :8] = 6
    assert strongest(found) == 6
    lower = relative(found, 0.5)
    assert lower[0, 0] == 3
    assert lower[20, 20] == -2
    quiet = np.full((40, 40), -1.0, np.float32)
    np.testing.assert_array_equal(relative(quiet, 0.5), quiet)

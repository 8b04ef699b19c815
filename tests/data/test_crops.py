"""Crops keep the face, its mesh and its source through the file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from telltale.data.crops import CONTEXT, LARGEST, Crop, cut_faces, load_crops, save_crops
from telltale.media import MediaError
from telltale.media.facefinder import FaceFinder

MEDIA = Path(__file__).parents[2] / "examples/media"


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


def test_cuts_twice_the_face_and_moves_the_mesh_with_it(finder: FaceFinder) -> None:
    (crop,) = cut_faces([(MEDIA / "astronaut.jpg", "a person")], finder)
    assert isinstance(crop, Crop)
    assert crop.pixels.shape[0] == crop.pixels.shape[1] <= LARGEST
    side = len(crop.pixels)
    span = np.ptp(crop.points, axis=0).max()
    assert side / span == pytest.approx(CONTEXT, rel=0.05)
    assert crop.points.mean(0) == pytest.approx([side / 2, side / 2], abs=0.1 * side)
    assert crop.source == "a person"


def test_passes_over_faceless_pictures_and_goes_on_after_a_broken_one(
    finder: FaceFinder, tmp_path: Path
) -> None:
    blank, broken = tmp_path / "blank.png", tmp_path / "broken.jpg"
    Image.new("RGB", (64, 64)).save(blank)
    broken.write_bytes(b"\xff\xd8\xff\xe0 not much")
    found = list(cut_faces([(blank, "x"), (broken, "y"), (MEDIA / "astronaut.jpg", "z")], finder))
    assert isinstance(found[0], MediaError)
    assert "broken.jpg" in str(found[0])
    assert [crop.source for crop in found[1:] if isinstance(crop, Crop)] == ["z"]


def test_every_face_of_a_picture_is_a_source_of_its_own(finder: FaceFinder) -> None:
    found = list(cut_faces([(MEDIA / "four_people.jpg", "group")], finder, every=True))
    crops = [crop for crop in found if isinstance(crop, Crop)]
    assert [crop.source for crop in crops] == [f"group:{k}" for k in range(4)]
    (largest,) = cut_faces([(MEDIA / "four_people.jpg", "group")], finder)
    assert isinstance(largest, Crop)
    np.testing.assert_array_equal(largest.pixels, crops[0].pixels)


def test_small_faces_are_passed_over(finder: FaceFinder) -> None:
    assert not list(cut_faces([(MEDIA / "astronaut.jpg", "a")], finder, smallest=4000))


def test_comes_back_from_the_file_unchanged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    crops = [
        Crop(
            rng.integers(0, 256, (side, side, 3), dtype=np.uint8),
            rng.random((468, 2), np.float32),
            f"person {side}",
            f"{side}.jpg",
        )
        for side in (40, 60)
    ]
    path = tmp_path / "some.crops"
    assert save_crops(path, crops) == 2
    for before, after in zip(crops, load_crops(path), strict=True):
        assert (before.pixels == after.pixels).all()
        assert (before.points == after.points).all()
        assert (before.source, before.path) == (after.source, after.path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["some.crops"]


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "some.crops"
    path.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match=r"some\.crops"):
        load_crops(path)

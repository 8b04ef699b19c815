"""Faces are found as they lie, and a region is cut where it says."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from telltale.media.facefinder import MARGIN, Face, FaceFinder, crop_region, shipped
from telltale.media.regions import cut
from telltale.records import Region

MEDIA = Path(__file__).parents[2] / "examples/media"


@cache
def finder() -> FaceFinder:
    return FaceFinder()


@cache
def astronaut() -> np.ndarray:
    with Image.open(MEDIA / "astronaut.jpg") as image:
        return np.asarray(image.convert("RGB"))


def only(pixels: np.ndarray) -> Face:
    (face,) = finder().find(pixels)
    return face


def centre(face: Face) -> tuple[float, float]:
    x, y, width, height = face.box
    return x + width / 2, y + height / 2


def test_finds_the_face_where_the_eyes_are() -> None:
    face = only(astronaut())
    assert face.score > 0.7
    assert face.presence > 5
    assert abs(face.roll) < 15
    assert abs(face.yaw) < 30
    x, y, _, height = face.box
    assert (face.points[:, 0] >= x - 1e-3).all()
    assert (face.points[:, 1] <= y + height + 1e-3).all()
    left_eye, right_eye = face.points[33], face.points[263]
    assert left_eye[0] < right_eye[0]
    assert max(left_eye[1], right_eye[1]) < face.points[13][1]  # the lips lie below


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_finds_a_face_in_a_turned_picture(quarters: int) -> None:
    pixels = astronaut()
    height, width = pixels.shape[:2]
    upright, turned = only(pixels), only(np.rot90(pixels, quarters).copy())
    x, y = centre(upright)
    wanted = {1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}[quarters]
    assert centre(turned) == pytest.approx(wanted, abs=0.15 * upright.box[2])
    expected = (upright.roll - 90 * quarters + 180) % 360 - 180
    assert (turned.roll - expected + 180) % 360 - 180 == pytest.approx(0, abs=15)


def test_a_turned_face_is_cut_upright() -> None:
    pixels = astronaut()
    upright = cut(pixels, crop_region(only(pixels)), 64).astype(float)
    turned_picture = np.rot90(pixels).copy()
    turned = cut(turned_picture, crop_region(only(turned_picture)), 64).astype(float)
    assert np.corrcoef(upright.ravel(), turned.ravel())[0, 1] > 0.8


@pytest.mark.parametrize("width", [24, 48])
def test_finds_small_faces(width: int) -> None:
    image = Image.fromarray(astronaut())
    factor = width / only(astronaut()).box[2]
    small = image.resize((round(image.width * factor), round(image.height * factor)))
    wall = Image.new("RGB", (400, 300), (120, 130, 140))
    wall.paste(small, (60, 40))
    assert only(np.asarray(wall)).box[2] == pytest.approx(width, rel=0.25)


def test_finds_each_of_several_faces_largest_first() -> None:
    pixels = astronaut()
    half = np.asarray(Image.fromarray(pixels).resize((pixels.shape[1] // 2, pixels.shape[0] // 2)))
    canvas = np.zeros((pixels.shape[0], pixels.shape[1] + half.shape[1], 3), np.uint8)
    canvas[:, : pixels.shape[1]] = pixels
    canvas[: half.shape[0], pixels.shape[1] :] = half
    faces = finder().find(canvas)
    assert len(faces) == 2
    assert faces[0].box[2] > 1.6 * faces[1].box[2]


@pytest.mark.parametrize("value", [0, 128, 255])
def test_finds_nothing_in_a_blank_picture(value: int) -> None:
    assert finder().find(np.full((200, 300, 3), value, np.uint8)) == []


def test_finds_nothing_in_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    assert finder().find(noise) == []


def test_many_pictures_give_what_each_gives_alone() -> None:
    pixels = astronaut()
    many = finder().find_many([pixels, np.zeros((64, 64, 3), np.uint8)])
    assert [len(faces) for faces in many] == [1, 0]
    assert many[0][0].box == pytest.approx(only(pixels).box, abs=1e-3)


def test_the_crop_is_a_square_margin_times_the_longer_side() -> None:
    face = only(astronaut())
    region = crop_region(face)
    assert region.width == region.height == pytest.approx(MARGIN * max(face.box[2:]), rel=1e-4)
    middle = (region.x + region.width / 2, region.y + region.height / 2)
    assert middle == pytest.approx(centre(face), abs=0.01)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(8, 24))
def test_a_region_on_the_pixel_grid_is_cut_exactly(x: int, y: int, side: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert (cut(pixels, Region(x, y, side, side), side) == pixels[y : y + side, x : x + side]).all()


@settings(deadline=None)
@given(st.sampled_from([90.0, 180.0, -90.0]), st.integers(12, 30))
def test_a_quarter_turn_is_exact(angle: float, half: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    side = 2 * half
    region = Region(40 - half, 40 - half, side, side, angle)
    plain = pixels[40 - half : 40 + half, 40 - half : 40 + half]
    turned = np.rot90(plain, round(angle / 90))  # cutting along a clockwise tilt turns it back
    assert np.abs(cut(pixels, region, side).astype(int) - turned).max() <= 1


def test_the_border_is_repeated_outside() -> None:
    pixels = np.full((20, 20, 3), 7, np.uint8)
    assert (cut(pixels, Region(-10, -10, 40, 40), 16) == 7).all()
    with pytest.raises(ValueError, match="outside"):
        cut(pixels, Region(200, 200, 10, 10), 16)


def test_shrinking_does_not_alias() -> None:
    fine = np.zeros((256, 256, 3), np.uint8)
    fine[:, ::2] = 255
    for angle in (0.0, 30.0):
        shown = cut(fine, Region(64, 64, 128, 128, angle), 32)
        assert np.abs(shown.astype(int) - 127).max() < 25, angle


@pytest.mark.parametrize("settings_", [{"size": 8}, {"heat": 0.0}, {"heat": 1.0}])
def test_rejects_settings_out_of_range(settings_: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="want"):
        FaceFinder(**settings_)  # type: ignore[arg-type]


def test_both_models_have_a_licence_and_a_source() -> None:
    assert [w.file for w in shipped()] == ["centerface.onnx", "face_mesh.onnx"]
    assert all(w.license in ("MIT", "Apache-2.0") and w.source for w in shipped())

"""A face keeps its number while it moves, crosses another, and comes back soon."""

import numpy as np
import pytest

from moving import head, scene
from telltale.media.facefinder import FaceFinder
from telltale.media.tracks import Tracks

Placed = tuple[str, float]  # a head and the x of its middle


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(threads=1)


def numbers(
    finder: FaceFinder, frames: list[list[Placed]], *, step: float = 0.5, patience: float = 3.0
) -> list[dict[str, int]]:
    """The track of each head in each frame where its face was found."""
    tracks, heads = Tracks(patience=patience), {n: head(n) for n in ("astronaut", "commodore")}
    found = []
    for k, placed in enumerate(frames):
        pixels = scene(*((heads[name], x, 128) for name, x in placed))
        faces = finder.find(pixels)
        joined = tracks.join(step * k, pixels, faces)
        assert len(set(joined)) == len(joined)
        seen = {}
        for face, number in zip(faces, joined, strict=True):
            away = {name: abs(face.box[0] + face.box[2] / 2 - x) for name, x in reversed(placed)}
            seen[min(away, key=away.__getitem__)] = number  # of two in one place, the front one
        found.append(seen)
    return found


def test_faces_that_cross_keep_their_numbers(finder: FaceFinder) -> None:
    frames = [[("astronaut", 80 + 32 * k), ("commodore", 400 - 32 * k)] for k in range(11)]
    found = numbers(finder, frames)
    hidden = [k for k, seen in enumerate(found) if "astronaut" not in seen]
    assert 0 < len(hidden) < 5  # behind the other
    assert {seen["commodore"] for seen in found} == {found[0]["commodore"]}
    assert {s["astronaut"] for s in found if "astronaut" in s} == {found[0]["astronaut"]}
    assert found[0]["astronaut"] != found[0]["commodore"]


def test_a_face_that_leaves_takes_its_number_with_it(finder: FaceFinder) -> None:
    both = [("astronaut", 110.0), ("commodore", 360.0)]
    frames = [both] * 2 + [both[:1]] * 2 + [both] * 1 + [both[:1]] * 8 + [both]
    found = numbers(finder, frames)
    assert found[4] == found[0]  # back after 1.5 s
    assert found[-1]["astronaut"] == found[0]["astronaut"]
    assert found[-1]["commodore"] == 2  # after 4.5 s it is a new one


def test_another_face_in_the_same_place_is_another(finder: FaceFinder) -> None:
    found = numbers(finder, [[("astronaut", 240.0)], [("commodore", 240.0)]])
    assert found == [{"astronaut": 0}, {"commodore": 1}]


def test_a_face_may_jump_between_sparse_frames(finder: FaceFinder) -> None:
    found = numbers(finder, [[("astronaut", 90.0)], [("astronaut", 390.0)]])
    assert found == [{"astronaut": 0}] * 2


def test_no_face_and_no_patience() -> None:
    tracks = Tracks()
    assert tracks.join(0.0, np.zeros((8, 8, 3), np.uint8), []) == []
    assert tracks.count == 0
    for patience in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="patience above 0"):
            Tracks(patience=patience)

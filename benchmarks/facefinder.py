"""Recall and false alarms of the face finder against hand-checked counts.

    python benchmarks/facefinder.py DATA      # folder with kodak/ and photos_imagenet/

The counts (facefinder_counts.csv) are of human faces 30 pixels wide or more, counted by eye;
statues count, helmets and animals don't. A picture with more faces found than counted has false
alarms, one with fewer has misses; a miss and a false alarm in one picture would cancel, which was
looked for in the pictures where anything was found.
"""

import csv
import sys
from pathlib import Path

import numpy as np

from telltale.media import read_picture
from telltale.media.facefinder import FaceFinder

SMALLEST = 30  # pixels


def main(data: Path) -> None:
    finder = FaceFinder()
    counted = found = missed = alarms = pictures = 0
    with Path(__file__).with_name("facefinder_counts.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    for row in rows:
        faces = finder.find(read_picture(data / row["picture"]).pixels)
        number = sum(face.box[2] >= SMALLEST for face in faces)
        truth = int(row["faces"])
        pictures += 1
        counted += truth
        found += min(number, truth)
        missed += max(0, truth - number)
        alarms += max(0, number - truth)
        if number != truth:
            print(f"{row['picture']}: counted {truth}, found {number}")
    print(
        f"{pictures} pictures, {counted} faces of {SMALLEST} pixels or more: "
        f"recall {found / counted:.3f} ({missed} missed), {alarms} false alarms"
    )
    small = np.array([truth == "0" for truth in (row["faces"] for row in rows)])
    print(f"{small.sum()} pictures without a face")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

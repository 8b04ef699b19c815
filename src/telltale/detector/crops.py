"""Pictures that are faces already, cut by whoever prepared the data: no face is looked for."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from telltale.detector.faces import Faces
from telltale.detector.subjects import Joiner, Pixels, Subject, coding, same, sharpness
from telltale.media.regions import cut
from telltale.records import Region

if TYPE_CHECKING:
    from telltale.detector import Detector


class Crops:
    """Takes the middle square of a picture, as training does.

    Args:
        size: S, side of a crop in pixels.
    """

    noun = "face"
    context = 1.0  # round a crop there is nothing

    def __init__(self, size: int) -> None:
        self.size = size

    def look(self, pixels: Pixels, details: Mapping[str, str]) -> list[Subject]:
        """See :class:`~telltale.detector.subjects.Looker`; of a face nothing is measured."""
        region = middle(pixels)
        crops = self.cut(pixels, region)
        quality = {"sharpness": sharpness(crops[0])} | coding(details)
        return [Subject(region, crops, quality)]

    def cut(self, pixels: Pixels, region: Region) -> Pixels:
        """One crop of a square."""
        return cut(pixels, region, self.size)[None]

    def joiner(self) -> Joiner:
        """There is one in each frame."""
        return same


def middle(pixels: Pixels) -> Region:
    """The largest square in the middle of a picture (H, W, 3)."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    return Region((width - side) / 2, (height - side) / 2, side, side)


def of_crops(detector: "Detector") -> "Detector":
    """The same detector, shown pictures that are cut faces.

    Raises:
        ValueError: If it does not look at faces.
    """
    if not isinstance(detector.looker, Faces):
        raise ValueError(f"{detector.card.slug}: looks at no faces, so that it takes no crops")
    told = copy.copy(detector)
    told.looker = Crops(detector.size)
    return told

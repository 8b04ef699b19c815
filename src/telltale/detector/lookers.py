"""What finds the subjects that a weights file was trained on, by the crop that its card names."""

from telltale.detector.faces import Faces
from telltale.detector.pages import Pages
from telltale.detector.subjects import Looker
from telltale.detector.tiles import Tiles, Whole
from telltale.records import Weights


def looker(weights: Weights, threads: int) -> Looker:
    """A looker; raises ValueError for a crop that there is not."""
    size = int(weights.input["size"])
    match weights.input.get("crop", "face"):
        case "face":
            return Faces(size, float(weights.input["margin"]), threads=threads)
        case "page":
            return Pages(size)
        case "tiles":
            return Tiles(size, int(weights.input["overlap"]))
        case "whole":
            return Whole(size)
        case other:
            raise ValueError(
                f"{weights.file}: its card wants a crop of {other!r}; "
                "there is 'face', 'page', 'tiles' and 'whole'"
            )

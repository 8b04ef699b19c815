"""``telltale scan --hint``: where one picture is to be looked at first."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telltale.detector import Detector
    from telltale.records import Region

HELP = (
    "Where to look, for a --method that takes hints: x,y,w,h or x,y in pixels, or a shipped "
    "method whose finding says where; may be repeated."
)


def hinted(
    asked: "tuple[Detector, ...]", texts: Sequence[str], paths: Sequence[Path]
) -> "tuple[Detector, ...]":
    """The detectors, told where to look; as they are without hints.

    Raises:
        ValueError: If a hint is none, the detector takes none, or there is more than one picture.
    """
    if not texts:
        return asked
    from telltale.detector import hints
    from telltale.media import kind_of, read_picture

    if len(asked) != 1:
        raise ValueError("--hint wants --method, a run or an exported file that takes hints")
    if len(paths) != 1 or not paths[0].is_file() or kind_of(paths[0]) != "picture":
        raise ValueError("--hint is about one picture; name that file alone")
    (detector,) = asked
    places: list[Region] = []
    picture = read_picture(paths[0])
    height, width = picture.pixels.shape[:2]
    for text in texts:
        if text[:1].isdigit() or text[:1] in "-.+":
            places.append(hints.placed(hints.parse(text), width, height))
        else:
            places += _found(text, paths[0], max(detector.slots, 1))
    return (detector.hinted(*places),)


def _found(method: str, path: Path, most: int) -> "list[Region]":
    """Where a shipped method sees something in the picture."""
    from telltale.catalog import cards
    from telltale.detector import hints
    from telltale.loading import load

    if method not in cards():
        raise ValueError(
            f"want a hint x,y,w,h or x,y in pixels, or a method that ships weights, got {method!r}"
        )
    found = load(method).detect(path, survival=False)
    places = [place for finding in found for place in hints.of_finding(finding, most)]
    if not places:
        raise ValueError(f"{path}: {method} sees no place to take as a hint; give x,y,w,h")
    return places[:most]

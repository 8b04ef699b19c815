"""The faces of a picture, one square crop of each."""

from collections.abc import Mapping, Sequence

from telltale.detector.subjects import Joiner, Pixels, Subject, coding, sharpness
from telltale.media.facefinder import Face, FaceFinder, crop_region
from telltale.media.regions import cut
from telltale.media.tracks import Tracks
from telltale.records import Region

CONTEXT = 2.0  # sides of the face's square


class Faces:
    """Finds faces and cuts them.

    Args:
        size: S, side of a crop in pixels.
        margin: Side of the crop over the side of the face's square.
        threads: Threads inside a network call; 0 = all cores.
    """

    noun = "face"

    def __init__(self, size: int, margin: float, *, threads: int = 0) -> None:
        self.size = size
        self.margin = margin
        self.context = CONTEXT / margin
        self.finder = FaceFinder(threads=threads)

    def look(self, pixels: Pixels, details: Mapping[str, str]) -> list[Subject]:
        """See :class:`~telltale.detector.subjects.Looker`."""
        found = []
        for face in self.finder.find(pixels):
            region = crop_region(face, self.margin)
            crops = self.cut(pixels, region)
            quality = quality_of(face, crops[0], details)
            found.append(Subject(region, crops, quality, face=face))
        return found

    def cut(self, pixels: Pixels, region: Region) -> Pixels:
        """One crop of a face's region, which may be turned."""
        return cut(pixels, region, self.size)[None]

    def joiner(self) -> Joiner:
        """Tracks: see `telltale.media.tracks`."""
        tracks = Tracks()

        def join(seconds: float, pixels: Pixels, found: Sequence[Subject]) -> list[int]:
            return tracks.join(seconds, pixels, [it.face for it in found if it.face is not None])

        return join


def quality_of(face: Face, crop: Pixels, details: Mapping[str, str]) -> dict[str, float]:
    """What the operating range looks at, measured on one face.

    ``face_pixels`` is the mesh's width in the picture, ``yaw`` in degrees either way.
    """
    measures = {
        "face_pixels": float(face.box[2]),
        "sharpness": sharpness(crop),
        "yaw": abs(face.yaw),
        "presence": face.presence,
    }
    return measures | coding(details)

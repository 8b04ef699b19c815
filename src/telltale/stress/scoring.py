"""One file under every degradation: find the faces once, degrade, cut where they went, weigh."""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from telltale.degrade import CRF, Moved, Pixels, h264
from telltale.detector.crops import middle
from telltale.detector.subjects import Subject
from telltale.media import Frame, Limits, kind_of, read_picture, read_video
from telltale.media.regions import cut
from telltale.records import Region
from telltale.stress.degradations import LEVELS, Kind

if TYPE_CHECKING:
    from telltale.detector import Detector

EVERY = 1000.0  # frames a second: all that a video has
Scores = NDArray[np.float64]  # (detectors, kinds, levels + 1), level 0 as given
Squares = Callable[["Detector"], list[Region]]  # what a detector looks at in a frame


class Scorer:
    """Scores of files under each degradation.

    A frame's score is that of its gravest face: the chance of a forgery at even prior odds, not
    held to the calibration's limit, so that it ranks. A video's is the mean of its frames'.

    Args:
        detectors: Those to compare; faces are found by the first one's finder.
        kinds: Degradations by code.
        on: "pictures": a whole picture is degraded, and then each face cut where it stands in the
            picture as given. "crops": a picture is a face that was cut already; its middle square
            is what a detector gets.
        seed: Of everything random.
        video_fps: Frames of a video to look at for each second.
    """

    def __init__(
        self,
        detectors: "Iterable[Detector]",
        kinds: Mapping[str, Kind],
        *,
        on: str = "pictures",
        seed: int = 0,
        video_fps: float = 1.0,
    ) -> None:
        if on not in ("pictures", "crops"):
            raise ValueError(f"want degradations on pictures or on crops, got {on!r}")
        self.detectors = tuple(detectors)
        self.kinds = kinds
        self.on = on
        self.seed = seed
        self.video_fps = video_fps

    def score(self, path: Path, name: str) -> Scores:
        """The scores of a file; ``name`` and the seed decide what is random in them.

        Raises:
            ValueError: If it cannot be read, or no face is found.
        """
        is_video = kind_of(path) == "video"
        frames: Iterable[Frame]
        if is_video:
            subject, frames = read_video(path, self.video_fps)
            rate = float(subject.details.get("frame_rate", 25))
        else:
            frames, rate = [Frame(0.0, read_picture(path).pixels)], math.nan
        seen: list[tuple[float, Squares]] = []
        total = np.zeros((len(self.detectors), len(self.kinds), len(LEVELS) + 1))
        for frame in frames:
            if (squares := self._squares(frame.pixels)) is not None:
                place = f"{name} {len(seen)}"
                total += self._frame(frame.pixels, squares, place, leave_coded=is_video)
                seen.append((frame.seconds, squares))
        if not seen:
            raise ValueError("no face found")
        for number, kind in enumerate(self.kinds.values()):
            if kind.coded and is_video:
                for level in LEVELS:
                    total[:, number, level] = self._coded(path, rate, level, seen)
        return total / len(seen)

    def _squares(self, pixels: Pixels) -> Squares | None:
        """What a detector looks at in a picture; None without a face."""
        if self.on == "crops":
            square = middle(pixels)
            return lambda detector: [square]
        regions = {
            id(it): [subject.region for subject in it.looker.look(pixels, {})]
            for it in self.detectors
        }
        return (lambda detector: regions[id(detector)]) if all(regions.values()) else None

    def _frame(self, pixels: Pixels, squares: Squares, place: str, *, leave_coded: bool) -> Scores:
        given = self._weigh(Moved(pixels), squares)
        rows = []
        for code, kind in self.kinds.items():
            row = [given]
            for level in LEVELS:
                if kind.coded and leave_coded:
                    row.append(np.zeros_like(given))
                    continue
                draw = np.random.default_rng(
                    [self.seed, zlib.crc32(place.encode()), zlib.crc32(code.encode()), level]
                )
                row.append(self._weigh(kind.degrade(pixels, level, draw), squares))
            rows.append(row)
        return np.array(rows).transpose(2, 0, 1)

    def _coded(
        self, path: Path, rate: float, level: int, seen: list[tuple[float, Squares]]
    ) -> NDArray[np.float64]:
        """Sum of the scores of a video's frames after all of it was compressed (detectors,)."""
        seconds: list[float] = []

        def noted(frames: Iterable[Frame]) -> Iterator[Pixels]:
            for frame in frames:
                seconds.append(frame.seconds)
                yield frame.pixels

        due = iter(chain(seen, [(math.inf, seen[0][1])]))
        when, squares = next(due)
        total = np.zeros(len(self.detectors))
        frames = noted(read_video(path, EVERY, Limits(frames=2**31))[1])
        for number, pixels in enumerate(h264(frames, CRF[level - 1], rate=rate)):
            if seconds[number] >= when - 1e-6:
                total += self._weigh(Moved(pixels), squares)
                when, squares = next(due)
        return total

    def _weigh(self, moved: Moved, squares: Squares) -> NDArray[np.float64]:
        """The score of the gravest face by each detector (detectors,)."""
        found = []
        for detector in self.detectors:
            regions = [moved.place(region) for region in squares(detector)]
            subjects = [self._subject(detector, moved.pixels, region) for region in regions]
            logits = np.array([detector.answer(it)[0] for it in subjects])
            found.append(float(detector.calibration.ranking(logits).max()))
        return np.array(found)

    def _subject(self, detector: "Detector", pixels: Pixels, region: Region) -> Subject:
        if self.on == "crops":
            return Subject(region, cut(pixels, region, detector.size)[None], {})
        return Subject(region, detector.looker.cut(pixels, region), {})

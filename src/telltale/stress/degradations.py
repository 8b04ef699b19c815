"""The degradations of ``telltale stress``, each at levels 1–5, under the field's codes.

What a level means stands in ``docs/stress.md`` and in the functions of :mod:`telltale.degrade`.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from telltale.catalog import nearest
from telltale.degrade import CRF, SUITE, Moved, Pixels, h264_still, has_h264, shared, shrunk

Degrade = Callable[[Pixels, int, np.random.Generator], Moved]
LEVELS = (1, 2, 3, 4, 5)
VIDEO = "VC"  # the kind that sees a video as a whole, if there is a codec


class Kind(NamedTuple):
    """One degradation."""

    title: str
    degrade: Degrade
    coded: bool = False  # real video compression, which takes a video's frames together


def kinds(codes: Iterable[str] = ()) -> Mapping[str, Kind]:
    """The degradations of these codes, in their own order; all by default.

    Raises:
        ValueError: For a code that is not known; the text names the nearest.
    """
    known, wanted = _all(), [*codes]
    for code in wanted:
        if code not in known:
            raise ValueError(f"no kind {code!r}{nearest(code, known)}; there is {', '.join(known)}")
    return {code: kind for code, kind in known.items() if not wanted or code in wanted}


def _all() -> dict[str, Kind]:
    video = Kind("H.264, approximated by JPEG", _still(VIDEO))
    if has_h264():
        video = Kind("video compression, H.264", _h264, coded=True)
    return {
        "CS": Kind("colour saturation", _still("CS")),
        "CC": Kind("colour contrast", _still("CC")),
        "BW": Kind("grey blocks", _still("BW")),
        "GNC": Kind("noise", _still("GNC")),
        "GB": Kind("blur", _still("GB")),
        "JPEG": Kind("pixelation", _still("JPEG")),
        "TRUE_JPEG": Kind("JPEG compression", _still("TRUE_JPEG")),
        VIDEO: video,
        "RESIZE": Kind("made smaller", lambda pixels, level, rng: shrunk(pixels, level)),
        "SHARED": Kind("passed on by services", lambda pixels, level, rng: shared(pixels, level)),
    }


def _still(code: str) -> Degrade:
    """One of the field's suite, which moves nothing."""
    return partial(_in_place, code)


def _in_place(code: str, pixels: Pixels, level: int, rng: np.random.Generator) -> Moved:
    return Moved(SUITE[code](pixels, level, rng))


def _h264(pixels: Pixels, level: int, rng: np.random.Generator) -> Moved:
    return Moved(h264_still(pixels, CRF[level - 1]))

"""Where a file says that it comes from: its credentials, then its history."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telltale.media.credentials import credentials
from telltale.media.traces import traces
from telltale.records import Subject
from telltale.records.observation import Observation


def provenance(
    path: Path, subject: Subject, pixels: NDArray[np.uint8] | None, *, anchors: Path | None = None
) -> tuple[Observation, ...]:
    """What a file says of itself; never part of a detector's score.

    Args:
        path: The file.
        subject: What was read of it.
        pixels: (H, W, 3) the picture; None for a video, of which only credentials are read.
        anchors: PEM file of certificates to trust, see
            :func:`telltale.media.credentials.credentials`.

    Raises:
        MediaError: If the anchors cannot be used.
    """
    found = credentials(path, subject.format, anchors=anchors)
    if pixels is not None:
        found += traces(path, subject, pixels)
    return tuple(found)

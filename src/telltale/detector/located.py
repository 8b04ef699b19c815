"""A detector's map of a whole picture, at the picture's size."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.detector.subjects import Pixels

if TYPE_CHECKING:
    from telltale.detector import Detector


def localises(detector: "Detector") -> bool:
    """Whether it looks at whole pictures and says where."""
    return not detector.follows and len(detector.network.get_outputs()) > 1


def map_of(detector: "Detector", pixels: Pixels) -> NDArray[np.float32]:
    """Scores (H, W) in [0, 1] of a picture (H, W, 3), as the heat map of a scan has them.

    Raises:
        ValueError: If the detector does not localise.
    """
    (subject,) = detector.looker.look(pixels, {})
    found = detector.answer(subject)[1]
    if found is None:
        raise ValueError(f"{detector.card.slug} gives no map of a picture")
    image = Image.fromarray(detector.cells.score(found).astype(np.float32))
    size = pixels.shape[1], pixels.shape[0]
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float32)

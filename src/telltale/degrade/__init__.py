"""What happens to pictures on their way: recompression, scaling, screenshots, crops, noise, blur.

All work on sRGB pixels (H, W, 3) uint8 and return the same kind; what is random takes a
``numpy.random.Generator``. Ready-made:

- :data:`SURVIVAL`, after each of which a verdict should still stand.
- :data:`SUITE`, the field's perturbations at levels 1–5, ``SUITE[code](pixels, level, rng)``.
- :func:`shrunk` and :func:`shared`, what pictures meet on the web, at levels 1–5.
- :func:`h264`, a video's frames after H.264.

Where a degradation moves what is in the picture, a :class:`Moved` says where it went.
"""

from telltale.degrade.pixels import (
    SURVIVAL,
    Moved,
    Pixels,
    blur,
    crop,
    jpeg,
    noise,
    resize,
    screenshot,
    webp,
)
from telltale.degrade.routes import shared, shrunk
from telltale.degrade.suite import APPROXIMATE, CRF, SUITE
from telltale.degrade.video import h264, h264_still, has_h264

__all__ = [
    "APPROXIMATE",
    "CRF",
    "SUITE",
    "SURVIVAL",
    "Moved",
    "Pixels",
    "blur",
    "crop",
    "h264",
    "h264_still",
    "has_h264",
    "jpeg",
    "noise",
    "resize",
    "screenshot",
    "shared",
    "shrunk",
    "webp",
]

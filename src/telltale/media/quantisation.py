"""Reads from a JPEG's quantisation tables how strongly it was compressed.

The reference encoder scales two base tables T by its quality q in 1..100:

    s = 5000/q for q < 50, else 200 - 2q;   Q = clip(floor((T·s + 50) / 100), 1, 255)

A file's tables are compared with all hundred pairs; cameras and photo editors use tables of
their own, for which the nearest quality is a good description and not the encoder's setting.

Source: ITU-T T.81 (1992), tables K.1 and K.2; the scaling is that of the Independent JPEG Group.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LUMA = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87
80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98
112 100 103 99"""
CHROMA = (
    """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99
99 99 99"""
    + " 99" * 32
)

SAMPLING = {
    (1.0, 1.0): "4:4:4",
    (2.0, 1.0): "4:2:2",
    (2.0, 2.0): "4:2:0",
    (1.0, 2.0): "4:4:0",
    (4.0, 1.0): "4:1:1",
    (4.0, 2.0): "4:1:0",
}


def jpeg_quality(image: Image.Image) -> float | None:
    """Quality 1–100 at which the reference encoder quantises most like this open JPEG.

    None if the image is no JPEG. Pixels are not decoded for it.
    """
    fit = _nearest(image)
    return None if fit is None else float(fit[0])


def standard_tables(image: Image.Image) -> bool:
    """Whether the JPEG's tables are exactly the reference encoder's at some quality."""
    fit = _nearest(image)
    return fit is not None and fit[1] == 0


def chroma_subsampling(image: Image.Image) -> str | None:
    """How a JPEG stores colour: "4:4:4", "4:2:0", … "grey"; None if it does not say."""
    layers = getattr(image, "layer", [])
    if len(layers) == 1:
        return "grey"
    if len(layers) < 3 or not (layers[1][1] and layers[1][2]):
        return None
    ratio = (layers[0][1] / layers[1][1], layers[0][2] / layers[1][2])
    return SAMPLING.get(ratio)


def _nearest(image: Image.Image) -> tuple[int, int] | None:
    """(quality, summed absolute difference of the tables at that quality)."""
    tables = getattr(image, "quantization", None) or {}
    layers = getattr(image, "layer", [])
    used = [layer[3] for layer in layers] or sorted(tables)
    if not used or used[0] not in tables or len(tables[used[0]]) != 64:
        return None
    luma, chroma = _reference()
    distance = np.abs(luma - np.array(tables[used[0]], np.int64)).sum(1)
    second = used[1] if len(used) > 1 else used[0]
    if second != used[0] and len(tables.get(second, ())) == 64:
        distance = distance + np.abs(chroma - np.array(tables[second], np.int64)).sum(1)
    best = int(distance.argmin())
    return best + 1, int(distance[best])


@cache
def _reference() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The reference encoder's luma and chroma tables, each (100, 64) in natural order."""
    quality = np.arange(1, 101)
    scale = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)[:, None]
    luma, chroma = (np.array(text.split(), np.int64) for text in (LUMA, CHROMA))
    return tuple(np.clip((table * scale + 50) // 100, 1, 255) for table in (luma, chroma))  # type: ignore[return-value]

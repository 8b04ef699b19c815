"""What the whole scan says, survival strip and operating range included, and how it holds up.

Used by `ship_vit_lora_scl.py`: scores alone do not tell how often a person would read a wrong
verdict, nor whether a verdict stands after a re-encoding that the survival strip did not try.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale import degrade
from telltale.data.crops import Crop
from telltale.detector import Detector

Pixels = NDArray[np.uint8]

# None of these is in the survival strip: its JPEGs are 95, 75 and 50, its scale is one half.
UNSEEN_CHAINS: Mapping[str, Callable[[Pixels], Pixels]] = {
    "messenger": lambda p: degrade.jpeg(degrade.resize(p, 0.7), 62),
    "WebP 55": lambda p: degrade.webp(p, 55),
    "enlarged": lambda p: degrade.jpeg(degrade.resize(p, 1.6), 82),
    "twice JPEG": lambda p: degrade.jpeg(degrade.jpeg(p, 68), 85),
    "noise": lambda p: degrade.jpeg(degrade.noise(p, 3.0, np.random.default_rng(0)), 90),
}


def verdict_of(detector: Detector, pixels: Pixels, *, survival: bool) -> str:
    """The gravest verdict over a picture's faces, as a scan's exit code takes it."""
    detector.explains = False  # nobody looks at the maps
    found = {finding.verdict for finding in detector.detect(pixels, survival=survival)}
    return next(v for v in ("yes", "can't tell", "no") if v in found)


def on_real(detector: Detector, crops: Sequence[Crop]) -> dict[str, Any]:
    """Verdicts on the pictures that real faces were cut from, each picture once."""
    from telltale.media import read_picture

    paths = [*dict.fromkeys(crop.path for crop in crops)]
    said = [verdict_of(detector, read_picture(path).pixels, survival=True) for path in paths]
    return {"pictures": len(said)} | {v: said.count(v) for v in ("yes", "can't tell", "no")}


def flips(detector: Detector, made: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """How often a decided verdict turns round after a chain that the strip did not try.

    Args:
        detector: As shipped.
        made: "real" and kinds of forgery to (pixels, mask, crop).

    Returns:
        With and without the strip: the share of pictures that were decided, the share of decided
        verdicts that each unseen chain turned into the opposite, and the share that it changed.
    """
    pictures = [pixels for items in made.values() for pixels, _, _ in items]
    after = [
        {
            name: verdict_of(detector, chain(p), survival=False)
            for name, chain in UNSEEN_CHAINS.items()
        }
        for p in pictures
    ]
    table: dict[str, Any] = {}
    opposite = {"yes": "no", "no": "yes"}
    for name, survival in (("with the strip", True), ("without the strip", False)):
        before = [verdict_of(detector, p, survival=survival) for p in pictures]
        decided = [k for k, verdict in enumerate(before) if verdict in opposite]
        turned = [
            after[k][chain] == opposite[before[k]] for k in decided for chain in UNSEEN_CHAINS
        ]
        table[name] = {
            "pictures": len(pictures),
            "decided": round(len(decided) / len(pictures), 4),
            "turned round": round(float(np.mean(turned)), 4) if turned else 0.0,
        }
    return table

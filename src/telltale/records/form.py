"""How records become JSON: NaN and infinity are null, arrays grey PNGs in base64."""

import base64
import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def as_json(record: object) -> dict[str, Any]:
    """A record as a JSON-ready dict of its fields, in their order."""
    names = getattr(record, "__dataclass_fields__", ())
    return {name: _plain(getattr(record, name)) for name in names}


def from_null(value: float | None) -> float:
    """A number, NaN for null."""
    return math.nan if value is None else value


def grey_png(values: NDArray[np.float32]) -> str:
    """Values (h, w) in [0, 1] as an 8-bit grey PNG in base64."""
    buffer = io.BytesIO()
    Image.fromarray(levels(values)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def from_grey_png(text: str) -> NDArray[np.float32]:
    """The values (h, w) in [0, 1] that :func:`grey_png` wrote."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image, np.float32) / np.float32(255)


def levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values in [0, 1] in 256 steps."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _plain(value: object) -> object:
    if hasattr(value, "__dataclass_fields__"):
        return as_json(value)
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return grey_png(value)
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

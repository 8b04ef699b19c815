"""Videos made of real faces that move: cut-out heads of the example photographs on grey."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

MEDIA = Path(__file__).parents[1] / "examples/media"
HEADS = {"astronaut": (150, 15, 300, 185), "commodore": (120, 75, 400, 385)}
WIDTH, HEIGHT = 480, 256


def head(name: str, tall: int = 150) -> Image.Image:
    """A head of one of the photographs, ``tall`` pixels high, round it transparent."""
    with Image.open(MEDIA / f"{name}.jpg") as image:
        cut = image.convert("RGB").crop(HEADS[name])
    cut = cut.resize((round(cut.width * tall / cut.height), tall), Image.Resampling.LANCZOS)
    mask = Image.new("L", cut.size)
    ImageDraw.Draw(mask).ellipse((2, 2, cut.width - 3, cut.height - 3), fill=255)
    cut.putalpha(mask.filter(ImageFilter.GaussianBlur(2)))
    return cut


def scene(*placed: tuple[Image.Image, float, float]) -> np.ndarray:
    """A frame with heads centred at (x, y), the last one in front."""
    canvas = Image.new("RGB", (WIDTH, HEIGHT), (110, 112, 108))
    for cut, x, y in placed:
        canvas.paste(cut, (round(x - cut.width / 2), round(y - cut.height / 2)), cut)
    return np.asarray(canvas)


def film(path: Path, frames: Iterable[np.ndarray], rate: int = 10) -> Path:
    """The frames as a video, hardly compressed."""
    av = pytest.importorskip("av", reason="needs the extra video")
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "12"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path

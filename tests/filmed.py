"""Short videos of one of the example photographs, moving a little."""

from pathlib import Path

import av
import numpy as np
from PIL import Image

MEDIA = Path(__file__).parents[1] / "examples/media"
SIZE = 288  # pixels


def film(
    path: Path, *, frames: int = 12, photograph: str = "astronaut", mask: bool = False
) -> Path:
    """A clip whose face moves one pixel a frame; a mask film is white where x < half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    photo = Image.open(MEDIA / f"{photograph}.jpg").convert("RGB")
    side = min(photo.size)
    photo = photo.crop((0, 0, side, side)).resize((SIZE + 32, SIZE + 32))
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        for k in range(frames):
            pixels = np.asarray(photo.crop((k, 0, k + SIZE, SIZE)))
            if mask:
                pixels = np.zeros_like(pixels)
                pixels[:, : SIZE // 2] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path

"""Classical detectors of local changes, as references: a map (H, W) of suspicion from pixels alone.

    error level     |I - JPEG_q(I)|, smoothed; q = 90
    noise           how far a block's noise level lies from the picture's, in median deviations
    JPEG ghost      how much better a block fits an earlier quality than the picture does
    block grid      how far a block's 8 × 8 grid lies from the picture's

None is trained and none has a threshold: they are compared by pixel AUC, and by the F1 that the
best threshold of each picture would give, which flatters whoever is measured so.

Source: Krawetz, "A Picture's Worth", 2007 (error level); Mahdian and Saic, "Using Noise
Inconsistencies for Blind Image Forensics", Image and Vision Computing 2009 (noise); Farid,
"Exposing Digital Forgeries from JPEG Ghosts", TIFS 2009; Li, Yuan and Yu, "Passive Detection of
Doctored JPEG Image via Block Artifact Grid Extraction", Signal Processing 2009 (block grid).
"""

import io
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Map = NDArray[np.float64]
BLOCK = 16


def error_level(pixels: Pixels) -> Map:
    """Error level analysis at quality 90."""
    error = np.abs(pixels.astype(float) - _saved(pixels, 90)).mean(2)
    return np.asarray(cv2.GaussianBlur(error, (0, 0), 4))


def noise_variance(pixels: Pixels) -> Map:
    """Local noise level against the picture's."""
    grey = pixels.astype(float).mean(2)
    # Immerkær's mask takes out structure up to the second order.
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], float) / 6
    level = cv2.blur(np.abs(cv2.filter2D(grey, -1, kernel)), (BLOCK, BLOCK))
    log = np.log(level + 0.1)
    middle = np.median(log)
    return np.asarray(np.abs(log - middle) / (np.median(np.abs(log - middle)) + 1e-6))


def jpeg_ghost(pixels: Pixels) -> Map:
    """The deepest local dip of the recompression error below the picture's own curve."""
    curves = []
    for quality in range(40, 96, 5):
        error = ((pixels.astype(float) - _saved(pixels, quality)) ** 2).mean(2)
        curves.append(cv2.blur(error, (BLOCK, BLOCK)))
    stack = np.stack(curves)
    stack = (stack - stack.min(0)) / (np.ptp(stack, 0) + 1e-6)
    return np.asarray(np.abs(stack - np.median(stack, (1, 2), keepdims=True)).max(0))


def block_grid(pixels: Pixels) -> Map:
    """Where the grid of 8 × 8 blocks is another than the picture's."""
    grey = pixels.astype(float).mean(2)
    strengths = []
    for axis in (0, 1):
        second = np.abs(2 * grey - np.roll(grey, 1, axis) - np.roll(grey, -1, axis))
        second = np.minimum(second, 20)
        places = np.arange(grey.shape[axis]) % 8
        phases = []
        for phase in range(8):
            here = (places == phase)[:, None] if axis == 0 else (places == phase)[None]
            phases.append(cv2.blur(second * here, (4 * BLOCK, 4 * BLOCK)) * 8)
        stack = np.stack(phases)
        best = stack.mean((1, 2)).argmax()
        others = np.delete(stack, best, 0).max(0)
        strengths.append(others - stack[best])
    return np.asarray(strengths[0] + strengths[1])


DETECTORS: Mapping[str, Callable[[Pixels], Map]] = {
    "error level": error_level,
    "noise": noise_variance,
    "JPEG ghost": jpeg_ghost,
    "block grid": block_grid,
}


def _saved(pixels: Pixels, quality: int) -> NDArray[np.float64]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"), float)

"""Which part of a picture is changed: drawn, out of a segmentation, or what stands out."""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def foreground(host: Pixels, rng: np.random.Generator) -> Mask:
    """What OpenCV's GrabCut takes for the foreground of a rectangle of 50–80 % a side."""
    height, width = host.shape[:2]
    share = rng.uniform(0.5, 0.8, 2)
    high, wide = int(height * share[0]), int(width * share[1])
    top, left = int(rng.integers(height - high)), int(rng.integers(width - wide))
    found = np.zeros((height, width), np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(int(rng.integers(2**31)))  # GrabCut's mixtures start at random
    cv2.grabCut(host, found, (left, top, wide, high), *models, 2, cv2.GC_INIT_WITH_RECT)
    mask: Mask = (found == cv2.GC_FGD) | (found == cv2.GC_PR_FGD)
    if not 0.01 < mask.mean() < 0.9:  # nothing stands out, or everything
        mask[:] = False
        mask[top : top + high, left : left + wide] = True
    return mask


def blob(size: tuple[int, ...], rng: np.random.Generator) -> Mask:
    """An uneven round part of a picture (H, W), 1 to 25 % of it, not at its border."""
    height, width = size
    radius = rng.uniform(0.06, 0.27) * min(height, width)
    stretch = rng.uniform(0.7, 1.4)
    y = rng.uniform(1.3 * radius, height - 1.3 * radius)
    x = rng.uniform(1.3 * radius, width - 1.3 * radius)
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    uneven = 1 + 0.25 * np.interp(turns, np.linspace(0, 2 * np.pi, 9), _ring(rng))
    points = np.stack(
        [
            x + radius * stretch * uneven * np.cos(turns),
            y + radius / stretch * uneven * np.sin(turns),
        ],
        axis=1,
    )
    drawn = np.zeros((height, width), np.uint8)
    cv2.fillPoly(drawn, [np.rint(points).astype(np.int32)], (1,))
    if not drawn.any():
        drawn[int(y), int(x)] = 1
    return drawn.astype(bool)


def object_of(segments: NDArray[np.uint8], rng: np.random.Generator) -> Mask | None:
    """One connected object, 1 to 30 % of a segmentation (H, W) by numbers; None if it has none."""
    for label in rng.permutation(np.unique(segments)):
        count, parts = cv2.connectedComponents((segments == label).astype(np.uint8))
        for number in rng.permutation(np.arange(1, count)):
            if 0.01 <= np.mean(parts == number) <= 0.3:
                found: Mask = parts == number
                return found
    return None


def _ring(rng: np.random.Generator) -> NDArray[np.float64]:
    drawn = rng.uniform(-1, 1, 8)
    return np.append(drawn, drawn[0])

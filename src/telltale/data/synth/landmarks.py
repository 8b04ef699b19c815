"""MediaPipe's 468 mesh points as the 68 dlib landmarks and 13 hairline points that blending wants.

The tables name, for each dlib landmark, the mesh vertex at the same place of the face; left and
right are those of the picture. They were chosen here so that mirrored landmarks are mirrored
vertices, and those of the jaw are as evenly spaced as the oval has them. dlib's 81-point model
numbers its forehead out of order; here 68–80 already run along the hairline from left to right.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]
Points = NDArray[np.float32]

JAW = (127, 234, 132, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 361, 454, 356)
BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)  # bridge down to the tip, then the nostrils
EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
MOUTH = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
INNER_MOUTH = (78, 82, 13, 312, 308, 317, 14, 87)
FOREHEAD = (162, 21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 389)
VERTICES = np.array(JAW + BROWS + NOSE + EYES + MOUTH + INNER_MOUTH + FOREHEAD)

# Landmark k of the mirrored face is landmark MIRROR[k] of the face.
MIRROR = np.array(
    [
        *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, *range(35, 30, -1),
        45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
        *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
        *range(80, 67, -1),
    ]
)  # fmt: skip


def landmarks(points: Points) -> Points:
    """The 81 landmarks (81, 2) of a mesh (468, 2), in the same pixels.

    Raises:
        ValueError: If ``points`` is no mesh.
    """
    if points.shape != (468, 2) or not np.isfinite(points).all():
        raise ValueError(f"want 468 finite mesh points (468, 2), got {points.shape}")
    return np.asarray(points[VERTICES], np.float32)


def flip(pixels: Pixels, marks: Points) -> tuple[Pixels, Points]:
    """A picture (H, W, 3) and its landmarks (81, 2) mirrored left to right; its own inverse.

    x becomes W − 1 − x, which is where the pixel goes (the published code's W − x is half a pixel
    off on either side).
    """
    mirrored = marks[MIRROR].copy()
    mirrored[:, 0] = pixels.shape[1] - 1 - mirrored[:, 0]
    return np.ascontiguousarray(pixels[:, ::-1]), mirrored


def fill_hull(mask: Mask, points: Points) -> None:
    """Set ``mask`` (H, W) to 1 inside the convex hull of ``points`` (N, 2), in place."""
    hull = cv2.convexHull(np.round(points).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, (1.0,))


def check_face(pixels: Pixels, points: Points) -> None:
    """Raise unless ``pixels`` is a picture and ``points`` a mesh whose middle lies in it.

    Raises:
        ValueError: If not; the text says what was wanted.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"want uint8 pixels (H, W, 3), got {pixels.dtype} {pixels.shape}")
    if points.shape != (468, 2) or not np.isfinite(points).all():
        raise ValueError(f"want 468 finite mesh points (468, 2), got {points.shape}")
    x, y = points.mean(0)
    if not (0 <= x < pixels.shape[1] and 0 <= y < pixels.shape[0]):
        raise ValueError(f"the face at ({x:.0f}, {y:.0f}) lies outside the picture")
    if np.ptp(points, axis=0).min() < 8:
        raise ValueError("the face is under 8 pixels wide or high: too small to forge")

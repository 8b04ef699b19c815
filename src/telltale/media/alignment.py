"""Aligns a face by five points: the similarity that brings eyes, nose and mouth to a template.

With template points t in a square of 112 pixels, a margin m and a crop of side S, point i goes to

    (t_i·S/112 + (m - 1)/2·S) / m

The points are those that benchmarks took from 68 landmarks (37, 44, 30, 49, 55), two of them one
past the mouth's corners; here their nearest neighbours on the face mesh.

Source: template of ArcFace (Deng et al., CVPR 2019) shifted 8 pixels, enlarged as DeepfakeBench
does (Yan et al., NeurIPS 2023).
"""

import math

import numpy as np
from numpy.typing import NDArray

from telltale.records import Region

TEMPLATE = np.array(  # x, y in 112 × 112: eye, eye, tip of the nose, mouth, mouth
    [
        (38.2946, 51.6963),
        (73.5318, 51.5014),
        (56.0252, 71.7366),
        (41.5493, 92.3655),
        (70.7299, 92.2041),
    ]
)
MESH = (160, 387, 4, 40, 321)  # of the 468 points


def aligned_region(points: NDArray[np.float32], margin: float = 1.3) -> Region:
    """The turned square of a picture that shows a face as the template does.

    Args:
        points: (468, 2) mesh in the picture's pixels.
        margin: How much more than the template's square to show.

    Raises:
        ValueError: If the points are not of that form or all in one place.
    """
    if points.shape != (468, 2):
        raise ValueError(f"want points (468, 2), got {points.shape}")
    wanted = (TEMPLATE / 112 + (margin - 1) / 2) / margin - 0.5  # of a side, from the middle
    found = points[list(MESH)].astype(np.float64)
    # Least squares over complex numbers: found ≈ turn·wanted + shift.
    a = (wanted - wanted.mean(0)) @ np.array([1, 1j])
    b = (found - found.mean(0)) @ np.array([1, 1j])
    turn = complex(np.vdot(a, b) / np.vdot(a, a))
    if abs(turn) < 1e-6:
        raise ValueError("the five points of the face are in one place")
    shift = complex(found.mean(0) @ np.array([1, 1j])) - turn * complex(
        wanted.mean(0) @ np.array([1, 1j])
    )
    side, angle = abs(turn), math.degrees(math.atan2(turn.imag, turn.real))
    return Region(shift.real - side / 2, shift.imag - side / 2, side, side, angle)

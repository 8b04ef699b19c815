"""Two drawn faces, measured by the shipped mesh: no photograph is needed to test a forgery."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from drawn import Drawn, draw
from numpy.typing import NDArray

from telltale.engine import session, verified
from telltale.media.facefinder import shipped


@pytest.fixture(scope="session")
def measured() -> Callable[[NDArray[np.uint8]], Drawn]:
    """Puts a drawing in a wider frame with the mesh that the shipped network sees."""
    mesh = session(verified(shipped()[1]), 1)

    def measure(picture: NDArray[np.uint8]) -> Drawn:
        images = picture.transpose(2, 0, 1)[None].astype(np.float32) / 255
        points, presence = mesh.run(None, {"images": images})
        if presence[0] < 5:
            raise AssertionError("the drawing is no longer taken for a face")
        framed = cv2.copyMakeBorder(picture, 40, 60, 50, 30, cv2.BORDER_REPLICATE)
        return Drawn(framed, points[0, :, :2] + np.array([50, 40], np.float32))

    return measure


@pytest.fixture(scope="session")
def face(measured: Callable[[NDArray[np.uint8]], Drawn]) -> Drawn:
    return measured(draw((205, 165, 140), (170, 70, 70), 52))


@pytest.fixture(scope="session")
def other(measured: Callable[[NDArray[np.uint8]], Drawn]) -> Drawn:
    return measured(draw((130, 95, 75), (110, 30, 50), 58))

"""The noise of pictures as maps: made at their own size, since scaling changes it."""

import numpy as np
from numpy.typing import NDArray


def noise_of(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Noise maps (B, H, W) in [0, 1], 0.5 for none, of pictures (B, H, W, 3).

    Give the pictures as they were read: see :func:`telltale.nn.residuals.noise_map`. Scaled down,
    noise averages to some thousandths, which 8 bits would not hold.
    """
    import torch  # reading pictures works without it

    from telltale.nn.residuals import noise_map

    images = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))).float() / 255
    found: NDArray[np.float32] = noise_map(images)[:, 0].numpy()
    return found

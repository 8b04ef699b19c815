"""Which items a batch takes: every epoch in a new order, and any batch can be the next."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def places(length: int, batch: int, number: int, seed: int) -> NDArray[np.int64]:
    """Indices (batch,) of the ``number``-th batch of an endless stream over ``length`` items.

    The stream is one shuffled epoch after another; it depends on the seed alone, so a resumed run
    asks for the next number and misses nothing.

    Raises:
        ValueError: If there is nothing to draw from.
    """
    if length < 1 or batch < 1:
        raise ValueError(f"want items and a batch of one or more, got {length} and {batch}")
    epochs, indices = np.divmod(np.arange(number * batch, (number + 1) * batch), length)
    return np.array(
        [_order(seed, int(e), length)[i] for e, i in zip(epochs, indices, strict=True)], np.int64
    )


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch, length]).permutation(length)

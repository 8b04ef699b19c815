"""Batches of a set that is small enough for memory."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor


def batches(
    columns: Mapping[str, Tensor], size: int, *, seed: int = 0
) -> Iterator[dict[str, Tensor]]:
    """Batches without end, each epoch in another order; the last of an epoch may be smaller.

    Args:
        columns: Words of a batch to tensors (N, ...), N alike.
        size: Rows of a batch.
        seed: Of the orders.

    Raises:
        ValueError: If there are no rows, or not as many of each word.
    """
    counts = {len(column) for column in columns.values()}
    if len(counts) != 1 or not min(counts) or size < 1:
        raise ValueError(
            f"want columns of one length above 0 and a size of 1 or more, got {counts} and {size}"
        )
    random = torch.Generator().manual_seed(seed)
    while True:
        for rows in torch.randperm(min(counts), generator=random).split(size):
            yield {word: column[rows] for word, column in columns.items()}

"""What demonstrations are usually chosen by: chance, words, vectors, a language model's feedback.

All have ``fit(pool)`` and ``select(queries, count, own)``, which gives rows of the pool,
(q, count), the most similar last, next to the query in a prompt.

Source: Robertson, Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009; Rubin
et al., "Learning To Retrieve Prompts for In-Context Learning" (EPR), NAACL 2022, arXiv:2112.08633.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from telltale.nn.contract import Losses

Own = NDArray[np.int64] | None


class Random:
    """Any; the same for the same seed."""

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, pool: Sequence[object] | NDArray[np.floating]) -> Self:
        """Note how many there are."""
        self.size_ = len(pool)
        return self

    def select(
        self, queries: Sequence[object] | NDArray[np.floating], count: int, own: Own = None
    ) -> NDArray[np.int64]:
        """Rows of the pool, (q, count)."""
        rng = np.random.default_rng(self.seed)
        return ranked(rng.random((len(queries), self.size_)), count, own)


class BM25:
    """Shared words, rare ones before frequent ones.

    Args:
        saturation: k_1, how soon a word's repetition stops to count.
        length: b, how far long texts are held back.
    """

    def __init__(self, *, saturation: float = 1.5, length: float = 0.75) -> None:
        if saturation < 0 or not 0 <= length <= 1:
            raise ValueError(
                f"want saturation ≥ 0 and length in [0, 1], got {saturation}, {length}"
            )
        self.saturation, self.length = saturation, length

    def fit(self, pool: Sequence[str]) -> Self:
        """Index the pool's texts."""
        bags = [Counter(words(text)) for text in pool]
        if not bags:
            raise ValueError("want a pool of one text or more, got none")
        sizes = np.array([sum(bag.values()) for bag in bags], np.float64)
        scale = self.saturation * (1 - self.length + self.length * sizes / max(sizes.mean(), 1e-9))
        listed: dict[str, list[tuple[int, int]]] = {}
        for row, bag in enumerate(bags):
            for word, times in bag.items():
                listed.setdefault(word, []).append((row, times))
        self.size_ = len(bags)
        self.index_: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        for word, found in listed.items():
            rows, times = np.array(found).T
            rarity = np.log(1 + (self.size_ - len(rows) + 0.5) / (len(rows) + 0.5))
            weight = rarity * times * (self.saturation + 1) / (times + scale[rows])
            self.index_[word] = rows, weight
        return self

    def scores(self, queries: Sequence[str]) -> NDArray[np.float64]:
        """Of each query with each text of the pool, (q, n)."""
        table = np.zeros((len(queries), self.size_))
        for row, query in zip(table, queries, strict=True):
            for word in words(query):
                if word in self.index_:
                    places, weight = self.index_[word]
                    row[places] += weight
        return table

    def select(self, queries: Sequence[str], count: int, own: Own = None) -> NDArray[np.int64]:
        """Rows of the pool, (q, count)."""
        return ranked(self.scores(queries), count, own)


class TopK:
    """Cosines of one layer's vectors.

    Args:
        layer: Which; -1 is the last.
    """

    def __init__(self, *, layer: int = -1) -> None:
        self.layer = layer

    def fit(self, pool: NDArray[np.floating]) -> Self:
        """Keep that layer of vectors (n, L, C)."""
        self.pool_ = unit(want_vectors(pool)[:, self.layer])
        return self

    def select(
        self, queries: NDArray[np.floating], count: int, own: Own = None
    ) -> NDArray[np.int64]:
        """Rows of the pool, (q, count), for vectors (q, L, C)."""
        return ranked(unit(want_vectors(queries)[:, self.layer]) @ self.pool_.T, count, own)


class EPR(nn.Module):
    """A bi-encoder that learns which demonstrations helped a language model.

    Args:
        encoder: A :class:`telltale.nn.text.TextEncoder`, shared by queries and demonstrations.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors (B, C) of tokens (B, N)."""
        found: Tensor = self.encoder(tokens)[:, -1]
        return found

    def loss(self, tokens: Tensor, positives: Tensor, negatives: Tensor) -> Losses:
        """Each query's helpful demonstration against its harmful one and those of the others.

        Args:
            tokens: (B, N), of queries.
            positives: (B, M), of a demonstration among those that helped most.
            negatives: (B, M), of one among those that helped least.
        """
        asked = self(tokens)
        offered = torch.cat([self(positives), self(negatives)])
        # Vectors of length √C would saturate the softmax at once.
        scores = asked @ offered.T / asked.shape[1] ** 0.5
        return {"contrast": F.cross_entropy(scores, torch.arange(len(asked), device=asked.device))}


def helpful(losses: NDArray[np.floating], each: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns of the candidates (n, c) after which the model's loss was least, and most.

    Raises:
        ValueError: If there are fewer than twice as many candidates.
    """
    if losses.ndim != 2 or losses.shape[1] < 2 * each:
        raise ValueError(f"want losses (n, {2 * each} or more), got {losses.shape}")
    order = np.argsort(losses, axis=1, kind="stable")
    return order[:, :each], order[:, -each:]


def ranked(scores: NDArray[np.floating], count: int, own: Own = None) -> NDArray[np.int64]:
    """Columns of the ``count`` highest scores of each row (q, n), the highest last.

    Args:
        scores: Of equal ones the first column ranks higher.
        count: Columns to give.
        own: (q,), a column that is never given, -1 for none.

    Raises:
        ValueError: If there are not as many columns.
    """
    scores = np.array(scores)
    if own is not None:
        mine = np.flatnonzero(np.asarray(own) >= 0)
        scores[mine, np.asarray(own)[mine]] = -np.inf
    usable = scores.shape[1] - (own is not None and len(mine) > 0)
    if not 1 <= count <= usable:
        raise ValueError(f"want 1..{usable} demonstrations, got {count}")
    if count < scores.shape[1]:
        # Sorting what is in the running takes a tenth of sorting all.
        least = np.partition(scores, -count, axis=1)[:, -count]
    else:
        least = np.full(len(scores), -np.inf)
    found = np.empty((len(scores), count), np.int64)
    for row, (values, bound) in enumerate(zip(scores, least, strict=True)):
        running = np.flatnonzero(values >= bound)
        found[row] = running[np.argsort(-values[running], kind="stable")][:count][::-1]
    return found


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors (…, C) at length 1."""
    values = np.asarray(vectors, np.float32)
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    shares: NDArray[np.float32] = values / np.maximum(length, 1e-12)
    return shares


def want_vectors(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors of each layer (n, L, C), or a ValueError that says so."""
    if vectors.ndim != 3 or not len(vectors) or not np.issubdtype(vectors.dtype, np.floating):
        raise ValueError(f"want float vectors (n, L, C), got {vectors.dtype} {vectors.shape}")
    return vectors


def words(text: str) -> list[str]:
    """Lower-case words and marks of a text."""
    return re.findall(r"\w+|[^\w\s]", text.lower())

"""Which layers of an encoder say different things: linear CKA, and k-means on its rows.

    CKA(X, Y) = ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖)             columns centred, Frobenius norms

Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019,
arXiv:1905.00414; its use here is that of :mod:`telltale.language.icl_selection`.
"""

import numpy as np
from numpy.typing import NDArray


def linear_cka(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """How alike two layers' vectors (n, C) and (n, D) of the same items are, in [0, 1]."""
    return float(cka_map(one[:, None], other[:, None])[0, 0])


def cka_map(vectors: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """CKA of each layer of (n, L, C) with each of (n, M, D), (L, M); 0 for a constant layer.

    Raises:
        ValueError: If the numbers of items differ.
    """
    if len(vectors) != len(others):
        raise ValueError(f"want vectors of the same items, got {len(vectors)} and {len(others)}")
    one, other = centred(vectors), centred(others)
    a, b = (np.array([np.linalg.norm(v.T @ v) for v in part]) for part in (one, other))
    within = np.outer(a, b)
    both = np.array([[np.linalg.norm(y.T @ x) ** 2 for y in other] for x in one])
    found: NDArray[np.float64] = np.divide(both, within, out=np.zeros_like(both), where=within > 0)
    return found


def centred(vectors: NDArray[np.floating]) -> list[NDArray[np.float64]]:
    """Each layer's vectors less their mean: without this, all layers look alike."""
    layers = vectors.astype(np.float64).transpose(1, 0, 2)
    return [layer - layer.mean(0) for layer in layers]


def choose_layers(vectors: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """``count`` layers that differ, ascending: k-means on the rows of their CKA map (L, L).

    Raises:
        ValueError: If there are fewer layers than that.
    """
    rows = cka_map(vectors, vectors)
    if not 1 <= count <= len(rows):
        raise ValueError(f"want 1..{len(rows)} layers, got {count}")
    return np.sort(np.array(clustered(rows, count)))


def clustered(rows: NDArray[np.float64], count: int) -> list[int]:
    """The member nearest to each centre of k-means on rows (L, D), begun from the farthest ones."""
    seeds = [0]
    while len(seeds) < count:
        apart = np.linalg.norm(rows[:, None] - rows[seeds], axis=2).min(1)
        apart[seeds] = -1
        seeds.append(int(apart.argmax()))
    groups = np.full(len(rows), -1)
    centres = rows[seeds]
    for _ in range(100):
        apart = np.linalg.norm(rows[:, None] - centres, axis=2)
        apart[seeds, range(count)] -= 1e-9  # of equal rows a seed keeps its own cluster
        new = apart.argmin(1)
        if np.array_equal(new, groups):
            break
        groups = new
        centres = np.stack(
            [rows[groups == k].mean(0) if (groups == k).any() else centres[k] for k in range(count)]
        )
    chosen: list[int] = []
    for k in range(count):
        members = np.flatnonzero(groups == k)
        near = np.linalg.norm(rows[members] - centres[k], axis=1).round(9)
        chosen.append(int(members[near.argmin()]) if len(members) else seeds[k])
    return chosen

"""MLSM and TTF: demonstrations for a language model, chosen without asking the language model.

    CKA(X, Y) = ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖)                 rows centred; k-means on its rows: 3 layers
    r_i[j] = cos(h^{l_i}(x), h^{l_i}(x_j)),   y_i = softmax(r_i / τ)
    MLSM:  ŷ = softmax(Σ w_i r_i / τ),   max over w of Σ_i ⟨ŷ, y_i⟩,   score Σ w_i r_i
    TTF:   p(y | x) = softmax(z φ), z the encoder's last layer; then cosines of z, the head dropped

Retrievers that learn from a language model's feedback win, the paper finds, because they mix
levels of similarity from words to meaning, and because they learn how alike *outputs* are. MLSM
does the first alone, without labels: three weights for each batch of eight inputs, which make three
layers of a frozen encoder agree. TTF does the second alone: the encoder is tuned on the pool's own
labels.

Source: Liu, Wang, Sun, Tian, Kong, Dong, Li, "Unraveling the Mechanics of Learning-Based
Demonstration Selection for In-Context Learning", ACL 2025, arXiv:2406.11890.
Assumed: a cluster's layer is the one nearest to its centre; w = softmax(θ) from θ = 0, Adam 0.05,
100 steps, patience 5; a choice is scored by one linear unit of question and answer together.
Departures: none known; the authors' code is not published.
"""

from typing import Any, Self

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from telltale.language.levels import choose_layers
from telltale.language.retrievers import ranked, unit, want_vectors
from telltale.losses import want_labels
from telltale.nn.contract import Losses
from telltale.nn.text import TextEncoder, mean_of

Floats = NDArray[np.float32]
STEPS, PATIENCE = 100, 5  # of Adam on the weights, and without a better one


class TTF(nn.Module):
    """Test-task fine-tuning: an encoder that puts inputs of the same label side by side.

    Args:
        encoder: A :class:`telltale.nn.text.TextEncoder`.
        classes: Labels that the pool has.

    Raises:
        ValueError: If there are fewer than two classes, or a batch is of another form.
    """

    def __init__(self, encoder: nn.Module, *, classes: int = 2) -> None:
        super().__init__()
        if not isinstance(encoder, TextEncoder) or classes < 2:
            raise ValueError(
                f"want a TextEncoder and classes ≥ 2, got {type(encoder).__name__} and {classes}"
            )
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, classes, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """z, (B, C): what selection compares."""
        found: Tensor = self.encoder(tokens)[:, -1]
        return found

    def loss(self, tokens: Tensor, labels: Tensor) -> Losses:
        """Cross-entropy of tokens (B, N) with labels (B,), int64."""
        want_labels(labels, len(tokens))
        return {"ce": F.cross_entropy(self.head(self(tokens)), labels)}


class ChoiceTTF(nn.Module):
    """TTF of multiple choice: one number for question and answer, a softmax over the answers.

    Args:
        encoder: A :class:`telltale.nn.text.TextEncoder`.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(int(getattr(encoder, "width", 0)) or 1, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Z of the questions alone, (B, C)."""
        found: Tensor = self.encoder(tokens)[:, -1]
        return found

    def loss(self, tokens: Tensor, labels: Tensor) -> Losses:
        """Cross-entropy of the answers' scores.

        Args:
            tokens: (B, K, N), the question with each of its answers.
            labels: (B,), which is right.
        """
        want_labels(labels, len(tokens))
        scores = self.head(self(tokens.flatten(0, 1))).view(tokens.shape[:2])
        return {"ce": F.cross_entropy(scores, labels)}


class GenerationTTF(nn.Module):
    """TTF of tasks whose output is a text: a sequence-to-sequence model; its encoder stays.

    Args:
        model: transformers' ``T5ForConditionalGeneration`` or another of its kind.
        pad: Token that fills rows up.
    """

    def __init__(self, model: nn.Module, *, pad: int = 0) -> None:
        super().__init__()
        self.model: Any = model
        self.pad = pad

    def forward(self, tokens: Tensor) -> Tensor:
        """Mean of the encoder's last states over what is no padding, (B, C)."""
        mask = tokens != self.pad
        states = self.model.get_encoder()(tokens, attention_mask=mask.long()).last_hidden_state
        return mean_of(states, mask)

    def loss(self, tokens: Tensor, targets: Tensor) -> Losses:
        """Cross-entropy of the outputs' tokens (B, M)."""
        labels = targets.masked_fill(targets == self.pad, -100)
        mask = (tokens != self.pad).long()
        return {"ce": self.model(input_ids=tokens, attention_mask=mask, labels=labels).loss}


class MLSM:
    """Multi-level similarity maximisation over an encoder's layers, which stays as it is.

    Args:
        layers: n_l, levels to mix.
        tau: τ.
        train: n_t, pool items that the weights are found on.
        validation: n_v, others that say when to stop.
        batch: Inputs that share their weights.
        sample: n_c, pool items that the layers are chosen on.
        rate: Step size of Adam.
        seed: Of all draws.

    Raises:
        ValueError: If a setting is out of range.
    """

    def __init__(
        self,
        *,
        layers: int = 3,
        tau: float = 0.01,
        train: int = 256,
        validation: int = 64,
        batch: int = 8,
        sample: int = 1000,
        rate: float = 0.05,
        seed: int = 0,
    ) -> None:
        if min(layers, train, validation, batch) < 1 or sample < 2 or min(tau, rate) <= 0:
            raise ValueError("want layers, train, validation, batch ≥ 1, sample ≥ 2, tau, rate > 0")
        self.layers, self.tau, self.train, self.validation = layers, tau, train, validation
        self.batch, self.sample, self.rate, self.seed = batch, sample, rate, seed

    def fit(self, vectors: NDArray[np.floating]) -> Self:
        """Choose the layers on the pool's vectors (n, L, C) and keep those alone."""
        pool = want_vectors(vectors)
        rng = np.random.default_rng([self.seed, 0])
        rows = rng.permutation(len(pool))[: self.sample]
        self.chosen_ = choose_layers(pool[rows], self.layers)
        self.pool_ = unit(pool[:, self.chosen_]).transpose(1, 0, 2).copy()  # (k, n, C)
        return self

    def select(
        self, queries: NDArray[np.floating], count: int, own: NDArray[np.int64] | None = None
    ) -> NDArray[np.int64]:
        """Rows of the pool for each query, (q, count), the most similar last.

        Args:
            queries: (q, L, C), by the same encoder.
            count: Demonstrations of a query.
            own: (q,), each query's own row of the pool, -1 where it is none: never chosen, and
                never part of what the weights are found on.

        Raises:
            ValueError: If the pool is too small or shapes differ.
        """
        asked = unit(want_vectors(queries)[:, self.chosen_])
        own = np.full(len(asked), -1) if own is None else np.asarray(own)
        rng = np.random.default_rng([self.seed, 1])
        scores = np.empty((len(asked), self.pool_.shape[1]), np.float32)
        found = []
        for start in range(0, len(asked), self.batch):
            part = slice(start, start + self.batch)
            # (k, b, C) by (k, C, n): one matrix product a layer
            similar = (asked[part].transpose(1, 0, 2) @ self.pool_.mT).transpose(1, 0, 2)
            learn, check = self._drawn(rng, own[part])
            weights = adapted(similar[:, :, learn], similar[:, :, check], self.tau, self.rate)
            scores[part] = np.einsum("k,bkn->bn", weights.astype(np.float32), similar)
            found.append(weights)
        self.weights_ = np.stack(found)  # a row a batch
        return ranked(scores, count, own)

    def _drawn(
        self, rng: np.random.Generator, own: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to find weights on and to check them on: disjoint, without the queries' own."""
        rest = np.setdiff1d(rng.permutation(self.pool_.shape[1])[: self.train * 2 + 512], own)
        rng.shuffle(rest)
        if len(rest) < 4:
            raise ValueError(f"want a pool of 4 or more beside the queries, got {len(rest)}")
        check = min(self.validation, len(rest) // 5 + 1)
        return rest[check : check + self.train], rest[:check]


def adapted(
    similar: NDArray[np.floating], checked: NDArray[np.floating], tau: float, rate: float
) -> NDArray[np.float64]:
    """W (k,), above 0 and of sum 1, that make the levels agree most, by Adam from equal ones.

    Args:
        similar: r on D_p, (b, k, n).
        checked: r on D_v, (b, k, m): the w that is best on it comes out.
        tau: τ.
        rate: Step size.
    """
    learn, check = np.asarray(similar, np.float64), np.asarray(checked, np.float64)
    levels, watched = experts(learn, tau), experts(check, tau)
    theta = np.zeros(learn.shape[1])
    mean, square = np.zeros_like(theta), np.zeros_like(theta)
    best = softmax(theta)
    least, since = agreement(theta, check, watched, tau)[0], 0
    for step in range(1, STEPS + 1):
        slope = agreement(theta, learn, levels, tau)[1]
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        rise = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        theta = theta - rate * rise
        loss, since = agreement(theta, check, watched, tau)[0], since + 1
        if loss < least:
            best, least, since = softmax(theta), loss, 0
        if since >= PATIENCE:
            break
    return best


def agreement(
    theta: NDArray[np.float64],
    similar: NDArray[np.float64],
    levels: NDArray[np.float64],
    tau: float,
) -> tuple[float, NDArray[np.float64]]:
    """L = -Σ_i ⟨ŷ, y_i⟩, averaged over the batch, and its slope in θ (k,).

    Args:
        theta: w = softmax(θ).
        similar: r, (b, k, n).
        levels: Σ_i y_i, (b, n), as :func:`experts` gives it.
        tau: τ.
    """
    weights = softmax(theta)
    mixed = softmax(np.einsum("k,bkn->bn", weights, similar) / tau)
    shared = (mixed * levels).sum(1, keepdims=True)
    pull = -mixed * (levels - shared) / (tau * len(similar))
    slope = np.einsum("bn,bkn->k", pull, similar)
    return -float(shared.mean()), weights * (slope - weights @ slope)


def experts(similar: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    """Σ_i y_i of similarities (b, k, n), (b, n)."""
    total: NDArray[np.float64] = softmax(similar / tau).sum(1)
    return total


def softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the last axis; the largest is taken off first, for τ makes them large."""
    powers = np.exp(values - values.max(-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(-1, keepdims=True)
    return shares

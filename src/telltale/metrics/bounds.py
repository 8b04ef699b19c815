"""What Gaussian smoothing certifies, and how sure a mean of samples is.

    B(S, ε) = 2 Φ(Φ⁻¹(S) - ε/σ) - 1            R_τ = σ (Φ⁻¹(S) - Φ⁻¹((1 + τ)/2))

Source: Xia et al., "Feature-Space Adversarial Robustness Certification for Multimodal Large
Language Models", arXiv:2601.16200; the smoothing lemma as in Cohen et al. 2019, arXiv:1902.02918,
and Salman et al. 2019, arXiv:1906.04584; Maurer and Pontil 2009, arXiv:0907.3740 (Bernstein).
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

MOST = 1 - 1e-12  # of a score, before Φ⁻¹
_NORMAL = NormalDist()


def cosine_bound(score: ArrayLike, eps: ArrayLike, sigma: float) -> Floats:
    """B(S, ε) in [-1, 1]; a cosine is certified only where it is 0 or more.

    Args:
        score: S in [0, 1], a lower bound of it for a certificate.
        eps: ε, l2 size of the perturbation, in the scale that the noise was added in.
        sigma: σ of that noise, in the same scale.

    Raises:
        ValueError: If σ is not positive or ε is negative.
    """
    size = np.asarray(eps, np.float64)
    if not sigma > 0 or (size < 0).any():
        raise ValueError(f"want sigma above 0 and eps of 0 or more, got {sigma} and {eps!r}")
    return np.asarray(2 * _phi(_quantile(score) - size / sigma) - 1)


def cosine_radius(score: ArrayLike, sigma: float, cosine: float = 0.5) -> Floats:
    """R_τ, the largest ε at which the bound is still ``cosine``; 0 if it never is.

    Raises:
        ValueError: If σ is not positive or the cosine lies outside of [0, 1).
    """
    if not sigma > 0 or not 0 <= cosine < 1:
        raise ValueError(f"want sigma above 0 and a cosine in [0, 1), got {sigma} and {cosine}")
    reach = _quantile(score) - _NORMAL.inv_cdf((1 + cosine) / 2)
    return np.asarray(np.maximum(sigma * reach, 0.0))


def rivals_radius(
    cosines: ArrayLike, best: int, apart: ArrayLike, sigma: float, alpha: float
) -> float:
    """Up to which ε no other class comes nearer to F than class ``best``; 0 if nothing is certain.

        min over rivals b of max(σ Φ⁻¹(S_w), σ/2 (Φ⁻¹(q_best) - Φ⁻¹(q_b)))

    with w along t_best - t_b and q_c = (1 + ⟨F, t_c⟩)/2, each by a bound; α is shared out among
    all of them. For opposite classes both are the same, else neither is always the larger.

    Args:
        cosines: (n, K), ⟨f(x + n), t_c⟩ of n noisy features and K ≥ 2 classes of length 1.
        best: The class, chosen without these samples.
        apart: (K,), ‖t_best - t_c‖.
        sigma: σ.
        alpha: Chance that the radius is too large.

    Raises:
        ValueError: If there are fewer than two samples, or ``alpha`` is not in (0, 1).
    """
    near, lengths = np.asarray(cosines, np.float64), np.asarray(apart, np.float64)
    count = near.shape[1]
    scores = ((1 + near) / 2).clip(0, 1)
    own = _quantile(np.clip(bernstein(scores[:, best], alpha / (2 * count)), 0, 1))
    found = math.inf
    for rival in set(range(count)) - {best}:
        gap = (near[:, best] - near[:, rival]) / max(lengths[rival], 1e-12)
        along = bernstein(((1 + gap) / 2).clip(0, 1), alpha / (2 * (count - 1)))
        other = 1 - bernstein(1 - scores[:, rival], alpha / (2 * count))
        both = _quantile(np.clip(along, 0, 1)), (own - _quantile(np.clip(other, 0, 1))) / 2
        found = min(found, float(max(both)))
    return max(sigma * found, 0.0)


def hoeffding(values: ArrayLike, alpha: float) -> Floats:
    """A lower bound of the mean of values in [0, 1], (…, n) → (…), that fails by chance α."""
    data = _checked(values, alpha)
    return np.asarray(data.mean(-1) - math.sqrt(math.log(1 / alpha) / (2 * data.shape[-1])))


def bernstein(values: ArrayLike, alpha: float) -> Floats:
    """The same by the empirical variance: much closer where values hardly differ."""
    data = _checked(values, alpha)
    n, log = data.shape[-1], math.log(2 / alpha)
    slack = np.sqrt(2 * data.var(-1, ddof=1) * log / n) + 7 * log / (3 * (n - 1))
    return np.asarray(data.mean(-1) - slack)


def clopper_pearson(successes: int, trials: int, alpha: float) -> float:
    """The same, exactly, for a count of successes: the p at which so many or more have chance α.

    Raises:
        ValueError: If there are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1 or not 0 < alpha < 1:
        raise ValueError(f"want successes in 0..trials, got {successes} of {trials}, {alpha}")
    if successes == 0:
        return 0.0
    counts = np.arange(successes, trials + 1)
    ways = np.array(
        [
            math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
            for k in counts.tolist()
        ]
    )
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if middle in (0.0, 1.0):
            break
        logs = ways + counts * math.log(middle) + (trials - counts) * math.log1p(-middle)
        reached = float(np.exp(logs - logs.max()).sum()) * math.exp(float(logs.max()))
        low, high = (middle, high) if reached < alpha else (low, middle)
    return low


def _checked(values: ArrayLike, alpha: float) -> Floats:
    data = np.asarray(values, np.float64)
    if data.ndim < 1 or data.shape[-1] < 2 or not 0 < alpha < 1:
        raise ValueError(f"want two values or more and alpha in (0, 1), got {data.shape}, {alpha}")
    if data.min() < -1e-9 or data.max() > 1 + 1e-9:
        raise ValueError(f"want values in [0, 1], got {data.min():g} to {data.max():g}")
    return data


def _quantile(score: ArrayLike) -> Floats:
    clipped = np.clip(np.asarray(score, np.float64), 1 - MOST, MOST)
    return np.asarray(np.vectorize(_NORMAL.inv_cdf, otypes=[np.float64])(clipped))


def _phi(x: Floats) -> Floats:
    return np.asarray(np.vectorize(_NORMAL.cdf, otypes=[np.float64])(x))

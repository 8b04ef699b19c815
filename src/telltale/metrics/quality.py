"""Agreement of predicted quality with opinions: rank and linear correlation, error, mapping.

Predictions are on a scale of their own: linear correlation and error are taken after VQEG's
monotone curve f(x) = (b₁ - b₂) / (1 + exp(-(x - b₃) / |b₄|)) + b₂, fitted by least squares.
Figures without the mapping are not comparable to them.

Source: VQEG, "Final report from the Video Quality Experts Group on the validation of objective
models of video quality assessment", phase I, 2000.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def srcc(predicted: ArrayLike, wanted: ArrayLike) -> float:
    """Spearman's rank correlation, ties at their average rank; NaN if either is constant."""
    x, y = _both(predicted, wanted)
    return _pearson(_ranks(x), _ranks(y))


def krcc(predicted: ArrayLike, wanted: ArrayLike) -> float:
    """Kendall's tau-b; NaN if either is constant. Takes time with the square of the number."""
    x, y = _both(predicted, wanted)
    agree, apart_x, apart_y = 0.0, 0.0, 0.0
    for n in range(len(x) - 1):
        one, two = np.sign(x[n + 1 :] - x[n]), np.sign(y[n + 1 :] - y[n])
        agree += float(one @ two)
        apart_x += float(np.abs(one).sum())
        apart_y += float(np.abs(two).sum())
    return agree / math.sqrt(apart_x * apart_y) if apart_x and apart_y else math.nan


def plcc(predicted: ArrayLike, wanted: ArrayLike) -> float:
    """Pearson's correlation after the logistic mapping; NaN if either is constant."""
    x, y = _both(predicted, wanted)
    return math.nan if _constant(x) or _constant(y) else _pearson(mapped(x, y), y)


def rmse(predicted: ArrayLike, wanted: ArrayLike) -> float:
    """Root mean squared error after the logistic mapping, in units of ``wanted``.

    NaN if the predictions are constant.
    """
    x, y = _both(predicted, wanted)
    if _constant(x):
        return math.nan
    return 0.0 if _constant(y) else float(np.sqrt(np.mean((mapped(x, y) - y) ** 2)))


def mapped(predicted: ArrayLike, wanted: ArrayLike) -> Floats:
    """Predictions on the scale of ``wanted`` by the fitted four-parameter curve.

    Raises:
        ValueError: If the two do not fit each other, or one of them is constant.
    """
    x, y = _both(predicted, wanted)
    if _constant(x) or _constant(y):
        raise ValueError("want values that differ, got a constant")
    x = (x - x.mean()) / x.std()
    slope, middle = float(np.mean(x * (y - y.mean()))), float(y.mean())
    up, down = (y.max(), y.min()) if slope >= 0 else (y.min(), y.max())
    # The second start is all but a straight line, so that the fit is never worse than one.
    wide = 20.0
    starts = (
        [up, down, 0.0, 0.25],
        [middle + 2 * wide * slope, middle - 2 * wide * slope, 0, wide],
    )
    fits = [_fitted(x, y, np.array(start, np.float64)) for start in starts]
    return min(fits, key=lambda f: float(((f - y) ** 2).sum()))


def _fitted(x: Floats, y: Floats, b: Floats) -> Floats:
    """The curve's values after Levenberg and Marquardt's iteration from ``b``."""
    values, slopes = _curve(x, b)
    damping = 1e-3
    for _ in range(500):
        error = y - values
        normal, towards = slopes.T @ slopes, slopes.T @ error
        scale = np.diag(np.maximum(np.diag(normal), 1e-12))
        step = np.linalg.lstsq(normal + damping * scale, towards, rcond=None)[0]
        tried, tried_slopes = _curve(x, b + step)
        gain = float(error @ error - (y - tried) @ (y - tried))
        if math.isfinite(gain) and gain > 0:
            b, values, slopes, damping = b + step, tried, tried_slopes, max(damping / 5, 1e-12)
            if gain <= 1e-14 * float(error @ error):
                break
        else:
            damping *= 4
            if damping > 1e12:
                break
    return values


def _curve(x: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Values (N,) and derivatives by the four parameters (N, 4)."""
    scale = max(abs(b[3]), 1e-3)
    z = np.clip((x - b[2]) / scale, -500, 500)
    s = 1 / (1 + np.exp(-z))
    steep = (b[0] - b[1]) * s * (1 - s) / scale
    sign = 1.0 if b[3] >= 0 else -1.0
    return (b[0] - b[1]) * s + b[1], np.stack([s, 1 - s, -steep, -sign * steep * z], 1)


def _pearson(x: Floats, y: Floats) -> float:
    if _constant(x) or _constant(y):
        return math.nan
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / math.sqrt((x @ x) * (y @ y)), -1, 1))


def _ranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    ranks: Floats = (last - (count - 1) / 2)[place]
    return ranks


def _constant(values: Floats) -> bool:
    return bool(np.ptp(values) == 0)


def _both(predicted: ArrayLike, wanted: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(predicted, np.float64), np.asarray(wanted, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise ValueError(f"want two rows of as many numbers, 2 or more, got {x.shape}, {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("want finite numbers")
    return x, y

"""How well spans of time are found: R@n at an IoU, mean IoU, mean average precision.

    IoU = |A ∩ B| / |A ∪ B|       "plus one": (min e - max s + 1) / (max e - min s + 1)

Spans are (start, end) in seconds. The plus-one form, which adds a second to both, stands in the
code of SimBase and Vid-Morp and raises figures on short moments; take it to compare with theirs
only. A query's ground truth may be several windows (QVHighlights); the best one counts.

Source: Gao et al., "TALL", ICCV 2017, arXiv:1705.02101; Lei et al., "QVHighlights", NeurIPS 2021,
arXiv:2107.09609 (mAP, ranges of lengths).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

THRESHOLDS = (0.3, 0.5, 0.7)
AP_THRESHOLDS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
LENGTHS: Mapping[str, tuple[float, float]] = {  # seconds, the first outside, the last inside
    "short": (0, 10),
    "middle": (10, 30),
    "long": (30, 150),
}


def span_iou(one: ArrayLike, other: ArrayLike, *, plus_one: bool = False) -> Floats:
    """Intersection over union of spans (…, 2) in seconds that broadcast against each other.

    Raises:
        ValueError: If the last axis is not 2, a value is not finite, or an end precedes its start.
    """
    a, b = _spans(one), _spans(other)
    start, end = np.maximum(a[..., 0], b[..., 0]), np.minimum(a[..., 1], b[..., 1])
    if plus_one:
        hull = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
        found: Floats = np.maximum(0.0, (end - start + 1) / (hull + 1))
        return found
    shared = np.maximum(0.0, end - start)
    either = np.diff(a)[..., 0] + np.diff(b)[..., 0] - shared
    shares: Floats = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
    return shares


def recall_at(
    found: Sequence[ArrayLike],
    truths: Sequence[ArrayLike],
    iou: float,
    *,
    top: int = 1,
    plus_one: bool = False,
) -> float:
    """R@n, IoU = m: share of queries of which one of the first ``top`` spans has IoU ≥ ``iou``.

    Args:
        found: Of each query (n, ≥ 2), best first; a query without any is a miss.
        truths: Of each query (k, 2) or (2,).
        iou: m in (0, 1].
        top: n.
        plus_one: See the module.

    Raises:
        ValueError: If lengths differ, there are no queries, or a query has no truth.
    """
    if not 0 < iou <= 1 or top < 1:
        raise ValueError(f"want iou in (0, 1] and top ≥ 1, got {iou} and {top}")
    return float(np.mean(_best(found, truths, top, plus_one) >= iou))


def mean_iou(
    found: Sequence[ArrayLike], truths: Sequence[ArrayLike], *, plus_one: bool = False
) -> float:
    """mIoU: mean over queries of the first span's IoU with the truth; see :func:`recall_at`."""
    return float(np.mean(_best(found, truths, 1, plus_one)))


def grounding(
    found: Sequence[ArrayLike], truths: Sequence[ArrayLike], *, plus_one: bool = False
) -> dict[str, float]:
    """The usual table: ``R@1 IoU 0.3``, 0.5, 0.7 and ``mIoU``, as shares."""
    best = _best(found, truths, 1, plus_one)
    table = {f"R@1 IoU {iou:g}": float(np.mean(best >= iou)) for iou in THRESHOLDS}
    return table | {"mIoU": float(best.mean())}


def moment_ap(found: ArrayLike, truths: ArrayLike, iou: float, *, most: int = 10) -> float:
    """Average precision of one query's scored spans, interpolated over all steps of recall.

    Each truth is matched once, by the first span in the order of scores that has IoU ≥ ``iou`` with
    it; a span takes the nearest truth that is free.

    Args:
        found: (n, 3) start, end, score.
        truths: (k, 2).
        iou: In (0, 1].
        most: Spans that count.
    """
    spans = np.asarray(found, np.float64).reshape(-1, 3)
    spans = spans[np.argsort(-spans[:, 2], kind="stable")][:most]
    windows = _spans(truths).reshape(-1, 2)
    if not len(windows):
        raise ValueError("want a query with a true window, got none")
    hits, free = np.zeros(len(spans)), np.ones(len(windows), bool)
    for number, overlaps in enumerate(span_iou(spans[:, None, :2], windows[None])):
        for place in np.argsort(-overlaps, kind="stable"):
            if overlaps[place] >= iou and free[place]:
                hits[number], free[place] = 1, False
                break
    recall = np.concatenate([[0.0], np.cumsum(hits) / len(windows)])
    precision = np.cumsum(hits) / np.arange(1, len(spans) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope))


def moment_map(
    found: Sequence[ArrayLike],
    truths: Sequence[ArrayLike],
    *,
    length: str = "",
    most: int = 10,
) -> dict[str, float]:
    """QVHighlights' mAP: ``0.5``, ``0.75`` and ``average`` over 0.5, 0.55, … 0.95.

    Args:
        found: Of each query (n, 3) start, end, score.
        truths: Of each query (k, 2).
        length: Keep only spans and truths that are "short", "middle" or "long"; "" is all.
        most: Spans of a query that count.

    Raises:
        ValueError: If lengths differ, the range is not known, or nothing is left to measure.
    """
    if length and length not in LENGTHS:
        raise ValueError(f"want length {', '.join(LENGTHS)} or '', got {length!r}")
    _want_pairs(found, truths)
    pairs = []
    for spans, windows in zip(found, truths, strict=True):
        spans = np.asarray(spans, np.float64).reshape(-1, 3)
        windows = np.asarray(windows, np.float64).reshape(-1, 2)
        if length:
            spans, windows = (_of_length(part, *LENGTHS[length]) for part in (spans, windows))
        if len(windows):
            pairs.append((spans, windows))
    if not pairs:
        raise ValueError(f"no query has a {length or 'true'} window")
    table = {
        iou: float(np.mean([moment_ap(s, w, iou, most=most) for s, w in pairs]))
        for iou in AP_THRESHOLDS
    }
    return {"0.5": table[0.5], "0.75": table[0.75], "average": float(np.mean([*table.values()]))}


def _best(
    found: Sequence[ArrayLike], truths: Sequence[ArrayLike], top: int, plus_one: bool
) -> Floats:
    """The best IoU of each query's first ``top`` spans with any of its truths."""
    _want_pairs(found, truths)
    best = np.zeros(len(truths))
    for number, (spans, windows) in enumerate(zip(found, truths, strict=True)):
        ranked = np.atleast_2d(np.asarray(spans, np.float64))[:top, :2]
        true = np.atleast_2d(np.asarray(windows, np.float64))
        if not true.size:
            raise ValueError(f"query {number}: want a true window, got none")
        if ranked.size:
            best[number] = span_iou(ranked[:, None], true[None], plus_one=plus_one).max()
    return best


def _want_pairs(found: Sequence[ArrayLike], truths: Sequence[ArrayLike]) -> None:
    if len(found) != len(truths) or not len(truths):
        raise ValueError(
            f"want as many answers as queries, one or more, got {len(found)}, {len(truths)}"
        )


def _of_length(spans: Floats, low: float, high: float) -> Floats:
    lengths = spans[:, 1] - spans[:, 0]
    return spans[(lengths > low) & (lengths <= high)]


def _spans(values: ArrayLike) -> Floats:
    spans = np.asarray(values, np.float64)
    if spans.shape[-1:] != (2,) or not np.isfinite(spans).all():
        raise ValueError(f"want finite spans (…, 2), got {spans.shape}")
    if np.any(spans[..., 1] < spans[..., 0]):
        raise ValueError("want spans that end after they start")
    return spans

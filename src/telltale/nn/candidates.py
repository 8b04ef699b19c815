"""What decoding rules share: candidate layers, plausible words, scores revised at those alone."""

import torch
from torch import Tensor


def candidate_layers(layers: tuple[int, ...], depth: int) -> tuple[int, ...]:
    """The given hidden-state indices, or 5/8 to 7/8 of the depth (20..28 of 32 layers).

    Raises:
        ValueError: If an index is not in 1..depth.
    """
    chosen = layers or tuple(range(max(1, round(0.625 * depth)), round(0.875 * depth) + 1))
    chosen = tuple(index for index in chosen if layers or index < depth) or (max(1, depth - 1),)
    if min(chosen) < 1 or max(chosen) > depth or len({*chosen}) < len(chosen):
        raise ValueError(f"want different layers in 1..{depth}, got {chosen}")
    return chosen


def likeliest(scores: Tensor, top_p: float, top_k: int) -> tuple[Tensor, Tensor]:
    """The top K words (rows, K), best first; mask of the prefix that reaches probability p."""
    best, words = scores.topk(min(top_k, scores.shape[-1]), -1)
    share = (best - scores.logsumexp(-1, keepdim=True)).exp()
    keep = share.cumsum(-1) - share < top_p  # what was reached before the entry itself
    keep[..., 0] = True
    return words, keep


def plausible(scores: Tensor, top_p: float, top_k: int) -> Tensor:
    """Mask (rows, vocabulary) of the shortest prefix of the top K that reaches probability p."""
    words, keep = likeliest(scores, top_p, top_k)
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, words, keep)


def only(scores: Tensor, words: Tensor, keep: Tensor, added: Tensor) -> Tensor:
    """``scores + added`` at the kept words, -inf elsewhere.

    Args:
        scores: (rows, vocabulary).
        words: (rows, K).
        keep: (rows, K) bool.
        added: (rows, K).
    """
    revised = (scores.gather(-1, words) + added).masked_fill(~keep, -torch.inf)
    nothing: Tensor = torch.full_like(scores, -torch.inf)
    return nothing.scatter(-1, words, revised)


def check_candidates(alpha: float, top_p: float, top_k: int) -> None:
    """Raise ValueError for settings of the candidate rule that mean nothing."""
    if alpha < 0 or not 0 <= top_p <= 1 or top_k < 1:
        raise ValueError(
            f"want alpha >= 0, top_p in [0, 1], top_k >= 1, got {alpha}, {top_p}, {top_k}"
        )

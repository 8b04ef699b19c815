"""Two ways to rank the moments of a video for a sentence: all windows, or a trained network."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from telltale.language.vid_morp import VidMorp

Rows = NDArray[np.float32]
Spans = list[tuple[float, float, float]]  # best first
GRID = 1024  # clips of the grid that windows lie on, at most: half a million windows
WINDOW = 150.0  # seconds that a network looks at, the longest videos of QVHighlights


def by_windows(features: Rows, duration: float, sentence: "Tensor") -> Spans:
    """Start, end and contrast of the windows that stand out most; nothing is trained.

    Args:
        features: (T, C), evenly over the video.
        duration: Seconds.
        sentence: (1, C).
    """
    import torch

    from telltale.data.moments import pooled
    from telltale.language.recorrect import contrasts
    from telltale.nn.spans import all_windows, suppressed

    count = len(features)
    rows = features if count <= GRID else pooled(features, GRID)
    similar = torch.from_numpy(rows) @ sentence[0].cpu()
    windows = all_windows(len(similar))
    contrast = contrasts(similar, windows)
    # Twenty times as many as there are clips: the best windows lie there, and no others are sorted.
    merit = (windows[:, 1] - windows[:, 0]).sqrt() * contrast
    best = merit.topk(min(len(merit), 20 * len(similar))).indices
    order = best[suppressed(windows[best], merit[best], 0.0, most=100)]
    order = order[contrast[order] > 0]
    spans = windows[order] * (duration / len(similar))
    return [(*span, float(c)) for span, c in zip(spans.tolist(), contrast[order], strict=True)]


def by_network(
    features: Rows,
    seconds: NDArray[np.float64],
    duration: float,
    sentence: "Tensor",
    network: "VidMorp",
    window: float = WINDOW,
) -> Spans:
    """Start, end and overlap logit of what a network ranks first.

    A network has a fixed number of clips and learnt from videos of some length: a longer one is
    looked at as a whole and in windows that overlap by half.

    Args:
        features: (T, C).
        seconds: (T,), when each comes.
        duration: Seconds.
        sentence: (1, S).
        network: In eval mode.
        window: Seconds.

    Raises:
        ValueError: If the network is for other widths.
    """
    import torch

    from telltale.data.moments import pooled
    from telltale.nn.spans import suppressed

    if network.width != features.shape[1] or network.sentence_width != sentence.shape[1]:
        raise ValueError(
            f"the moment network wants features of {network.width} and sentences of "
            f"{network.sentence_width} numbers, got {features.shape[1]} and {sentence.shape[1]}"
        )
    parts = [(0.0, duration)]
    if duration > window:  # the last one ends where the video does
        begins = np.append(np.arange(0, duration - window, window / 2), -window)
        parts += [(b % duration, b % duration + window) for b in begins.tolist()]
    at = seconds
    seen = [(a, b - a, features[(at >= a) & (at < b)]) for a, b in parts]
    seen = [part for part in seen if len(part[2])]
    rows = torch.from_numpy(np.stack([pooled(part[2], network.clips) for part in seen]))
    begin, length = torch.tensor([part[:2] for part in seen]).T
    each = network.localise(rows, sentence.cpu().expand(len(rows), -1), length)
    shift = torch.tensor([1.0, 1.0, 0.0])
    found = torch.cat([spans + first * shift for spans, first in zip(each, begin, strict=True)])
    best = suppressed(found[:, :2], found[:, 2], 0.0, most=100)
    return [(start, end, score) for start, end, score in found[best].tolist()]

"""The verb: sentences and spans for videos that nobody described, to learn moments from.

    watched = watch(Path("street.mp4"), clip)
    annotate(watched, Describer("llava-hf/llava-1.5-7b-hf").answer)

A video is cut where what CLIP sees changes, and a vision-language model says what each event's
middle frame shows. Such labels are wrong now and then, in both: ``moments.learn(…, machine=True)``.

Source: the place of GPT-4o in Bao et al., arXiv:2412.00811, whose prompts are not published.
Departures: the cuts are not the language model's, whose sense of time is poor, but the changes of
least within-event variance (Killick, Fearnhead, Eckley, "Optimal Detection of Changepoints",
JASA 2012, without its pruning).
"""

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from telltale.data.moments import Described, pooled
from telltale.find import Watched

GRID = 1024  # frames of a video that are compared, at most
QUESTION = "What happens in this picture? Answer with one short sentence."
WORDS = 30
LEAST = 1e-6  # squared distance of neighbours below which frames are the same


def annotate(
    watched: Watched,
    say: Callable[[NDArray[np.uint8], str, int], str],
    *,
    question: str = QUESTION,
    shortest: float = 2.0,
    strength: float = 8.0,
) -> list[Described]:
    """A sentence and a span for each event of a video.

    Args:
        watched: What CLIP saw of it.
        say: Pixels (H, W, 3), question and number of words to an answer, such as
            :meth:`telltale.describe.Describer.answer`.
        question: What to ask of each event's middle frame.
        shortest: Of an event, in seconds.
        strength: How much the picture must change at a cut; see :func:`events`.

    Returns:
        Events in their order; neighbours of which the same is said are one, those of which nothing
        is said are left out.
    """
    from PIL import Image

    count = len(watched.features)
    rows = watched.features if count <= GRID else pooled(watched.features, GRID)
    clip = watched.duration / len(rows)
    spans = events(rows, shortest=max(1, round(shortest / clip)), strength=strength)
    found: list[Described] = []
    for start, end in spans:
        begin, stop = start * clip, end * clip
        middle = int(np.abs(watched.seconds - (begin + stop) / 2).argmin())
        with Image.open(io.BytesIO(watched.thumbnails[middle])) as frame:
            said = sentence(say(np.asarray(frame.convert("RGB")), question, WORDS))
        name = Path(watched.subject.path).stem
        last = found[-1] if found else None
        if said and last and last.sentence == said and last.windows[0][1] == begin:
            found[-1] = last._replace(windows=((last.windows[0][0], stop),))
        elif said:
            found.append(Described(name, said, ((begin, stop),), watched.duration))
    return found


def events(
    features: NDArray[np.float32], *, shortest: int = 1, strength: float = 8.0
) -> list[tuple[int, int]]:
    """Parts of frames (T, C) that follow each other, each as alike within itself as can be.

    The cuts have the least sum of squared distances to each part's mean plus, for each part,
    ``strength`` times the median squared distance of two neighbours.

    Args:
        features: Rows of any scale.
        shortest: Frames of a part, at least.
        strength: Above 0; more makes fewer parts.

    Raises:
        ValueError: If there is no frame, or a setting is out of range.
    """
    count = len(features)
    if features.ndim != 2 or not count or shortest < 1 or strength <= 0:
        raise ValueError(
            f"want frames (T, C), shortest ≥ 1 and strength > 0, "
            f"got {features.shape}, {shortest} and {strength}"
        )
    rows = features.astype(np.float64)
    sums = np.concatenate([np.zeros((1, rows.shape[1])), rows.cumsum(0)])
    squares = np.concatenate([[0.0], (rows**2).sum(1).cumsum()])
    steps = (np.diff(rows, axis=0) ** 2).sum(1)
    price = strength * max(float(np.median(steps)) if count > 1 else 0.0, LEAST)
    best = np.full(count + 1, np.inf)
    best[0] = 0.0
    origin = np.zeros(count + 1, np.int64)
    for end in range(1, count + 1):
        starts = np.arange(0, end - shortest + 1) if end >= shortest else np.arange(0)
        if not len(starts):
            continue
        inside = ((sums[end] - sums[starts]) ** 2).sum(1) / (end - starts)
        cost = best[starts] + squares[end] - squares[starts] - inside + price
        place = int(cost.argmin())
        best[end], origin[end] = cost[place], starts[place]
    if not np.isfinite(best[count]):  # shorter than one event
        return [(0, count)]
    cuts = [count]
    while cuts[-1]:
        cuts.append(int(origin[cuts[-1]]))
    cuts.reverse()
    return list(pairwise(cuts))


def sentence(answer: str) -> str:
    """The first sentence of a model's answer, on one line and without its full stop."""
    line = " ".join(answer.split())
    return line.partition(". ")[0].rstrip(".").strip()

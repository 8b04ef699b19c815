"""Reads what describes moments of videos: Charades-STA, ActivityNet Captions, QVHighlights.

    read_charades(Path("charades_sta_test.txt"), Path("Charades_v1_test.csv"))
    read_activitynet(Path("val_2.json"))
    read_qvhighlights(Path("highlight_val_release.jsonl"))

All give a :class:`Described` a sentence. Frame features lie in one ``.npy`` file a video,
(frames, C), and :func:`pooled` makes the clips that a network wants out of them.
"""

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LINE = re.compile(r"(\S+) +(\S+) +(\S+)##(.+)")  # VIDEO start end##sentence


class Described(NamedTuple):
    """A sentence and the moments of a video that it describes."""

    video: str
    sentence: str
    windows: tuple[tuple[float, float], ...]  # start and end in seconds; empty of a hidden test
    duration: float  # seconds
    query: str = ""  # the dataset's own number of the query, if it has one


def read_charades(annotations: Path, durations: Path) -> list[Described]:
    """Charades-STA: lines of ``VIDEO start end##sentence``, and a CSV with ``id`` and ``length``.

    Ends are clipped to the video. A pair that starts at or after its end is left out, as the
    published readers do.

    Raises:
        ValueError: If a file is not there or not of that form; file and line are named.
    """
    lengths: dict[str, float] = {}
    for number, row in enumerate(csv.DictReader(_lines(durations)), 2):
        try:
            lengths[row["id"]] = float(row["length"])
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{durations}:{number}: want columns id and length (seconds), got {dict(row)}"
            ) from None
    found = []
    for number, line in enumerate(_lines(annotations), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        try:
            video, start, end, sentence = match.groups() if match else ("", "", "", "")
            span = float(start), float(end)
        except ValueError:
            raise ValueError(
                f"{annotations}:{number}: want VIDEO start end##sentence, got {line.strip()[:80]!r}"
            ) from None
        if video not in lengths:
            raise ValueError(f"{annotations}:{number}: {durations} has no video {video!r}")
        found += _checked(Described(video, sentence.strip(), (span,), lengths[video]))
    return found


def read_activitynet(path: Path) -> list[Described]:
    """ActivityNet Captions: ``{"v_…": {"duration", "timestamps", "sentences"}}``.

    Raises:
        ValueError: If the file is not there or not of that form; file and video are named.
    """
    table = _json("".join(_lines(path)), str(path))
    if not isinstance(table, dict):
        raise ValueError(f"{path}: want an object of videos, got {type(table).__name__}")
    found = []
    for video, entry in table.items():
        try:
            duration = float(entry["duration"])
            for span, sentence in zip(entry["timestamps"], entry["sentences"], strict=True):
                start, end = sorted(map(float, span))  # some of the published ones are reversed
                found += _checked(Described(video, sentence.strip(), ((start, end),), duration))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}: {video}: want duration, timestamps and sentences ({error})"
            ) from None
    return found


def read_qvhighlights(path: Path) -> list[Described]:
    """QVHighlights: a JSON object a line; the test part has no windows.

    Raises:
        ValueError: If the file is not there or not of that form; file and line are named.
    """
    found = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        entry = _json(line, f"{path}:{number}")
        try:
            spans = [(float(start), float(end)) for start, end in entry.get("relevant_windows", ())]
            duration = float(entry["duration"])
            one = Described(
                entry["vid"], entry["query"].strip(), tuple(spans), duration, str(entry["qid"])
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path}:{number}: want qid, query, vid, duration and relevant_windows ({error})"
            ) from None
        found += _checked(one) if spans else [one]
    return found


def write_labels(path: Path, pairs: Sequence[Described]) -> None:
    """Write pairs in QVHighlights' form, as :func:`read_qvhighlights` reads them."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for number, pair in enumerate(pairs, 1):
            spans = [[round(start, 3), round(end, 3)] for start, end in pair.windows]
            entry = {"qid": number, "query": pair.sentence, "duration": round(pair.duration, 3)}
            entry |= {"vid": pair.video, "relevant_windows": spans}
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
    os.replace(part, path)


def write_predictions(path: Path, queries: Sequence[Described], found: Sequence[ArrayLike]) -> None:
    """Write ranked moments (n, 3: start, end, score) as QVHighlights' evaluation server wants them.

    Raises:
        ValueError: If there are not as many answers as queries.
    """
    if len(queries) != len(found):
        raise ValueError(f"want an answer a query, got {len(found)} of {len(queries)}")
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for query, spans in zip(queries, found, strict=True):
            rows = np.asarray(spans, np.float64).reshape(-1, 3).round(4).tolist()
            number = int(query.query) if query.query.isdigit() else query.query
            entry = {"qid": number, "query": query.sentence, "vid": query.video}
            file.write(json.dumps(entry | {"pred_relevant_windows": rows}) + "\n")
    os.replace(part, path)


def by_video(
    pairs: Iterable[Described], shares: Mapping[str, float], seed: int
) -> dict[str, list[Described]]:
    """Parts of pairs such that all sentences of a video are in the same one.

    Args:
        pairs: What to divide.
        shares: Name to share of the videos; together 1 at most.
        seed: Of the draw.

    Raises:
        ValueError: If the shares are not above 0 or come to more than 1.
    """
    if min(shares.values(), default=0) <= 0 or sum(shares.values()) > 1 + 1e-9:
        raise ValueError(f"want shares above 0 that come to 1 at most, got {dict(shares)}")
    table = [*pairs]
    videos = sorted({pair.video for pair in table})
    order = np.random.default_rng(seed).permutation(len(videos))
    ends = np.rint(np.cumsum([*shares.values()]) * len(videos)).astype(int)
    part_of = {
        videos[place]: name
        for name, start, end in zip(shares, [0, *ends[:-1]], ends, strict=True)
        for place in order[start:end]
    }
    return {name: [p for p in table if part_of.get(p.video) == name] for name in shares}


def read_features(path: Path) -> NDArray[np.float32]:
    """One video's frame features (frames, C) out of an ``.npy`` file of any float type.

    Raises:
        ValueError: If there is no such file or it holds something else.
    """
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as features ({error})") from None
    if (
        not isinstance(rows, np.ndarray)
        or rows.ndim != 2
        or not np.issubdtype(rows.dtype, np.floating)
    ):
        raise ValueError(f"{path}: want a float array (frames, C)")
    return rows.astype(np.float32)


def pooled(rows: ArrayLike, clips: int) -> NDArray[np.float32]:
    """Frame features (n, C) of unit length, averaged to ``clips`` rows evenly over the video.

    Clip i is the mean of rows b_i up to b_{i+1}, b_i = min(round(i n / T), n - 1), or row b_i
    alone: few rows are repeated.

    Raises:
        ValueError: If there is no row or a value is not finite.
    """
    values = np.asarray(rows, np.float32)
    if values.ndim != 2 or not len(values) or clips < 1:
        raise ValueError(f"want rows (n, C) and clips ≥ 1, got {values.shape} and {clips}")
    if not np.isfinite(values).all():
        raise ValueError("want finite features")
    values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    count = len(values)
    bounds = np.minimum(np.rint(np.arange(clips + 1) * count / clips).astype(int), count - 1)
    return np.stack(
        [values[a:b].mean(0) if b > a else values[a] for a, b in pairwise(bounds.tolist())]
    )


def _checked(pair: Described) -> list[Described]:
    """The pair with its windows clipped to the video, if any is left."""
    spans = tuple(
        (max(0.0, start), min(end, pair.duration))
        for start, end in pair.windows
        if max(0.0, start) < min(end, pair.duration)
    )
    return [pair._replace(windows=spans)] if spans else []


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None


def _json(text: str, where: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error})") from None

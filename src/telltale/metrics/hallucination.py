"""Yes/no benchmarks of vision-language models: POPE's questions and rates, MME's points.

Source: Li et al., "Evaluating Object Hallucination in Large Vision-Language Models",
arXiv:2305.10355; Fu et al., "MME", arXiv:2306.13394.
"""

import json
import re
from collections.abc import Sequence
from math import comb
from pathlib import Path

import numpy as np


def read_pope(path: Path) -> list[dict[str, str]]:
    """Questions of a POPE file, one JSON object a line: question_id, image, text, label.

    Raises:
        ValueError: If a line lacks a field or its label is neither yes nor no.
    """
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        item = json.loads(line)
        missing = [name for name in ("question_id", "image", "text", "label") if name not in item]
        if missing or item["label"] not in ("yes", "no"):
            raise ValueError(f"{path}, line {number}: want a POPE question with yes or no")
        items.append({name: str(value) for name, value in item.items()})
    return items


def says_yes(answer: str) -> bool:
    """POPE's own reading: "no" if the first sentence holds No, no or not, else "yes"."""
    words = answer.split(".")[0].replace(",", "").split()
    return not {"No", "no", "not"} & {*words}


def pope_rates(answers: Sequence[str], labels: Sequence[str]) -> dict[str, float]:
    """Accuracy, precision, recall, F1 (yes is positive) and yes-ratio, each in [0, 1]."""
    if not answers or len(answers) != len(labels):
        raise ValueError(f"want as many answers as labels, got {len(answers)}, {len(labels)}")
    pairs = [(says_yes(a), b == "yes") for a, b in zip(answers, labels, strict=True)]
    hit = sum(said and true for said, true in pairs)
    said, true = sum(s for s, _ in pairs), sum(t for _, t in pairs)
    return {
        "accuracy": sum(s == t for s, t in pairs) / len(pairs),
        "precision": hit / said if said else 0.0,
        "recall": hit / true if true else 0.0,
        "f1": 2 * hit / (said + true) if said + true else 0.0,
        "yes_ratio": said / len(pairs),
    }


def mme_points(path: Path) -> float:
    """Points in [0, 200] of one MME task file: image, question, gold, answer by tabs.

    Consecutive pairs of lines belong to one image; an answer that starts with neither yes nor no
    within its first four characters is wrong.
    """
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]
    if not rows or len(rows) % 2 or any(len(row) != 4 for row in rows):
        raise ValueError(f"{path}: want pairs of lines of four fields, got {len(rows)} lines")
    right = []
    for _, _, gold, answer in rows:
        found = re.search("yes|no", answer.strip().lower()[:4])
        right.append(found is not None and found[0] == gold.strip().lower())
    both = [one and two for one, two in zip(right[::2], right[1::2], strict=True)]
    return 100 * sum(right) / len(right) + 100 * sum(both) / len(both)


def style_gap(
    photo: Sequence[bool], styled: Sequence[bool], *, seed: int = 0, resamples: int = 10_000
) -> dict[str, float]:
    """What style costs, of the same questions on photographs and on their stylised versions.

    Args:
        photo: Whether each answer on the photograph is right.
        styled: The same for the stylised version.
        seed: Of the draws.
        resamples: Draws of the paired bootstrap.

    Returns:
        ``photo`` and ``styled`` accuracy, their difference ``gap`` (styled − photo) with ``low``
        and ``high`` of its 95 % interval, and ``p`` of McNemar's exact test.

    Raises:
        ValueError: If there are none, or not as many of each.
    """
    if not len(photo) or len(photo) != len(styled):
        raise ValueError(f"want pairs of answers, got {len(photo)}, {len(styled)}")
    one, two = np.asarray(photo, bool), np.asarray(styled, bool)
    change = two.astype(float) - one
    lost, won = int((one & ~two).sum()), int((two & ~one).sum())
    # Only how often each change is drawn matters: three counts a resample.
    shares = np.array([lost, won, len(one) - lost - won]) / len(one)
    drawn = np.random.default_rng(seed).multinomial(len(one), shares, resamples)
    gaps = (drawn[:, 1] - drawn[:, 0]) / len(one)
    total = lost + won
    tail = sum(comb(total, k) for k in range(min(lost, won) + 1)) / 2**total
    return {
        "photo": float(one.mean()),
        "styled": float(two.mean()),
        "gap": float(change.mean()),
        "low": float(np.quantile(gaps, 0.025)),
        "high": float(np.quantile(gaps, 0.975)),
        "p": min(1.0, 2 * tail),
    }

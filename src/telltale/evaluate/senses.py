"""Answers of a run whose network takes more than a picture: an echo, too, as a manifest gives it.

A scan shows a detector pictures alone, so such a network is asked in torch, and the column ``head``
says whether it spoke by both senses ("fusion") or, where a row has no sound, by vision.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from telltale.evaluate.predictions import unanswered
from telltale.evaluate.protocol import Protocol
from telltale.evaluate.suites import Answers

BATCH = 32
EVEN = 0.5  # P(attack) from which an item counts as one, unless a threshold is chosen


def hears(what: Path) -> bool:
    """Whether this is the folder of a run whose network takes echoes."""
    if not (what / "run.json").is_file():
        return False
    from telltale.catalog import card
    from telltale.runs import read_run

    return "echoes" in card(read_run(what).slug).takes


def heard(
    run: Path, data: Path, protocol: Protocol, track: Callable[[Iterable[Any], int], Iterable[Any]]
) -> Answers:
    """Scores P(attack) of a run's network for the splits that a protocol wants.

    Raises:
        ValueError: If the data lack a split or a sound, or a file cannot be read.
    """
    import torch

    from telltale.catalog import card
    from telltale.data.manifest import read_manifest
    from telltale.data.pictures import read
    from telltale.runs import learnt_of, read_run
    from telltale.train import network_of

    plan, network = read_run(run), network_of(run)
    takes = card(plan.slug).takes
    manifest, table = read_manifest(data), unanswered(data)
    parts = {protocol.split, *((protocol.select_split,) if protocol.select else ())}
    for part in sorted(parts):
        table.of_split(part)
    size = plan.data.size or getattr(network, "size", None)
    if not isinstance(size, int):
        raise ValueError(f"{run}: want data.size in its run.json")
    dataset = read(manifest, takes, size=size)
    rows = np.flatnonzero(np.isin(table.columns["split"], sorted(parts)))
    scores, heads = np.full(len(table), np.nan), np.full(len(table), "", "U6")
    starts = range(0, rows.size, BATCH)
    for start in track(starts, len(starts)):
        own = rows[start : start + BATCH]
        batch = dataset.batch(own)
        with torch.no_grad():
            logits = network(*(torch.from_numpy(batch[word]) for word in takes)).logit
        scores[own] = torch.sigmoid(logits.double()).numpy()
        silent = np.isnan(batch["echoes"]).any((1, 2, 3))
        heads[own] = np.where(silent, "vision", "fusion")
    made = replace(table, scores=scores, columns={**table.columns, "head": heads})
    rows_of = made.take(rows).thinned(protocol.frames, protocol.choose)
    return Answers(rows_of, EVEN, learnt_of(run) or None)

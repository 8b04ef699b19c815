"""The verb: what attacks that were crafted on other models of yours do to a model of yours.

    for row in transfer([Path("runs/mine")], [Path("runs/a"), Path("runs/b")]):
        row.target, row.attack, row.source, row.accuracy

Each attack is crafted on every surrogate and on all of them together; and since who has the model
itself can do more, on each target: PGD in twice the steps. All get the same pictures, those that
every model here judges rightly as they are.
"""

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

TOGETHER, ITSELF, NOTHING = "all together", "itself", "none"


@dataclass(frozen=True, slots=True)
class Carried:
    """How often one model is right on what was crafted on another.

    Args:
        target: The folder of the model that is judged.
        attack: Of :data:`telltale.attacks.TRANSFER`, "white-box PGD", or "none".
        source: The surrogate's folder, "all together", "itself" or "none".
        accuracy: In [0, 1]; without an attack over all pictures, else over those that all judge
            rightly.
        low: Of a 95 % interval, Wilson's.
        high: Likewise.
        count: Pictures.
    """

    target: str
    attack: str
    source: str
    accuracy: float
    low: float
    high: float
    count: int


class Judge(NamedTuple):
    """A run's network as logits (B, C) of images, and their side in pixels."""

    name: str
    logits: "Callable[[Tensor], Tensor]"
    side: int


def transfer(  # noqa: PLR0913  # a setting each
    targets: Sequence[Path],
    surrogates: Sequence[Path],
    *,
    data: str | None = None,
    attacks: Sequence[str] = (),
    eps: float = 8 / 255,
    steps: int = 10,
    limit: int = 500,
    batch: int = 50,
    seed: int = 0,
) -> Iterator[Carried]:
    """Craft on surrogates, judge the targets; one row at a time.

    Args:
        targets: Folders of runs: detectors of pictures, or classifiers as trigger_activation's.
        surrogates: Folders of other runs on pictures of the same size.
        data: A manifest or folder whose split "test" to attack; None: what the first target was
            validated on.
        attacks: Of :data:`telltale.attacks.TRANSFER`; all of them by default.
        eps: Bound in l∞, in [0, 1] of a pixel; a step is a quarter of it.
        steps: Of each attack.
        limit: Pictures, at most.
        batch: Pictures at once: bounds the memory.
        seed: Of all draws.

    Raises:
        ValueError: If a setting is out of range, a folder is no run of such a method or of
            another size, a surrogate is a target, or no picture is judged rightly by all.
    """
    try:
        from telltale.attacks import TRANSFER, craft, cross_entropy, ensemble, pgd
    except ModuleNotFoundError:
        raise ValueError("transfer needs torch: pip install 'telltale-vision[train]'") from None
    import torch

    names = [*(attacks or TRANSFER)]
    if wrong := [name for name in names if name not in TRANSFER]:
        raise ValueError(f"no attack {wrong[0]!r}; want some of {', '.join(TRANSFER)}")
    if min(limit, batch, steps) < 1 or not 0 < eps < 1:
        wanted = "want limit, batch and steps of 1 or more and eps in (0, 1)"
        raise ValueError(f"{wanted}; got {limit}, {batch}, {steps} and {eps}")
    judged, helping = _judges(targets, surrogates)
    images, labels = _pictures(targets[0], judged[0].side, data, limit)

    def right(judge: Judge, shown: "Tensor") -> "Tensor":
        with torch.no_grad():
            calls = [judge.logits(part).argmax(1) for part in shown.split(batch)]
        return torch.cat(calls) == labels

    hits = {judge.name: right(judge, images) for judge in (*judged, *helping)}
    for judge in judged:
        yield _row(judge, "none", NOTHING, hits[judge.name])
    agreed = torch.stack([*hits.values()]).all(0)
    if not agreed.any():
        raise ValueError("want pictures that every model judges rightly, got none")
    images, labels = images[agreed], labels[agreed]
    pairs = [*zip(images.split(batch), labels.split(batch), strict=True)]
    sources = {judge.name: judge.logits for judge in helping}
    if len(helping) > 1:
        sources[TOGETHER] = ensemble([*sources.values()])
    bound: dict[str, Any] = {"eps": eps, "step": eps / 4}
    for attack in names:
        for source, logits in sources.items():
            draws = torch.Generator().manual_seed(seed)
            made = [
                craft(attack, logits, x, y, steps=steps, generator=draws, **bound) for x, y in pairs
            ]
            for judge in judged:
                yield _row(judge, attack, source, right(judge, torch.cat(made)))
    for judge in judged:
        draws = torch.Generator().manual_seed(seed)
        made = [
            pgd(
                cross_entropy(judge.logits, y),
                x,
                steps=2 * steps,
                start=eps,
                generator=draws,
                **bound,
            )
            for x, y in pairs
        ]
        yield _row(judge, "white-box PGD", ITSELF, right(judge, torch.cat(made)))


def means(rows: Sequence[Carried]) -> dict[str, float]:
    """Each target's mean accuracy over attacks and surrogates, without the white-box row."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.source not in (NOTHING, ITSELF):
            found.setdefault(row.target, []).append(row.accuracy)
    return {name: float(np.mean(values)) for name, values in found.items()}


def table(rows: Sequence[Carried]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["target", "attack", "source", "accuracy", "low", "high", "count"])
    for row in rows:
        numbers = (f"{value:.6f}" for value in (row.accuracy, row.low, row.high))
        writer.writerow([row.target, row.attack, row.source, *numbers, row.count])
    return text.getvalue()


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a proportion, by Wilson's score.

    Raises:
        ValueError: If there are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"want successes in 0..trials, got {successes} of {trials}")
    z, share = 1.959964, successes / trials
    middle = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    whole = 1 + z * z / trials
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def _row(judge: Judge, attack: str, source: str, hits: "Tensor") -> Carried:
    count, whole = int(hits.sum()), len(hits)
    return Carried(judge.name, attack, source, count / whole, *wilson(count, whole), whole)


def _judges(targets: Sequence[Path], surrogates: Sequence[Path]) -> tuple[list[Judge], list[Judge]]:
    if not targets or not surrogates:
        raise ValueError(
            f"want one target and one surrogate or more, got {len(targets)} and {len(surrogates)}"
        )
    if both := {p.resolve() for p in targets} & {p.resolve() for p in surrogates}:
        raise ValueError(f"{min(both)}: is a target; want surrogates that are none")
    judged, helping = ([_judge(path) for path in paths] for paths in (targets, surrogates))
    for judge in (*judged, *helping):
        if judge.side != judged[0].side:
            raise ValueError(
                f"{judge.name}: want a run on pictures of {judged[0].side} pixels as "
                f"{judged[0].name}, got one of {judge.side}"
            )
    return judged, helping


def _judge(path: Path) -> Judge:
    """A run's network; a detector's log-odds stand against 0."""
    import torch

    from telltale import catalog
    from telltale.runs import read_run
    from telltale.train import network_of

    plan = read_run(path)
    card = catalog.card(plan.slug)
    if card.verb not in ("detect", "classify") or card.takes != ("images",):
        raise ValueError(f"{path}: want a detector or classifier of pictures, got {card.slug}")
    network: Any = network_of(path).requires_grad_(False)

    def logits(images: "Tensor") -> "Tensor":
        found = network(images)
        if isinstance(found, torch.Tensor):
            return found
        return torch.stack([torch.zeros_like(found.logit), found.logit], 1)

    shape = getattr(getattr(network, "backbone", None), "shape", None)
    return Judge(str(path), logits, plan.data.size or int(getattr(shape, "size", 0)))


def _pictures(path: Path, side: int, data: str | None, limit: int) -> "tuple[Tensor, Tensor]":
    """Images (N, 3, S, S) and labels (N,) to attack, drawn without regard to the order."""
    import torch

    from telltale.data.manifest import read_manifest
    from telltale.data.pictures import read
    from telltale.train import data_of

    if data is None:
        parts = [*data_of(path).validation()]
        made = {word: np.concatenate([part[word] for part in parts]) for word in parts[0]}
        rows = np.sort(np.random.default_rng(0).permutation(len(made["labels"]))[:limit])
        made = {word: values[rows] for word, values in made.items()}
    else:
        held = read(read_manifest(data).of_split("test"), ("images", "labels"), size=side)
        made = held.batch(np.sort(np.random.default_rng(0).permutation(len(held))[:limit]))
    return torch.from_numpy(made["images"]), torch.from_numpy(made["labels"])

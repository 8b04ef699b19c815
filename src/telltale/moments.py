"""The verb: learn to find moments, from people's labels or from a machine's, and measure it.

    pairs = read_labels(Path("charades_sta_train.txt"), Path("Charades_v1_train.csv"))
    examples = gathered(pairs, Path("features"), clip.sentences, clips=128)
    network = VidMorp()
    learn(network, examples)                         # supervised
    learn(network, examples, machine=True)           # labels by a machine: ReCorrect's two stages
    judge(network, test)

The published settings differ in where the labels come from. *Zero-shot*: machine-made labels of
other videos. *Unsupervised*: then also machine-made ones of the target's own training videos.
*Supervised*: then people's.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from telltale.data.moments import (
    Described,
    pooled,
    read_activitynet,
    read_charades,
    read_features,
    read_qvhighlights,
)
from telltale.fit import adam, fit
from telltale.language.recorrect import Memory, refined
from telltale.language.vid_morp import VidMorp
from telltale.metrics.moments import grounding, mean_iou, moment_map

Rows = Sequence[NDArray[np.float64]]
CHUNK = 256  # pairs that a network answers at once
SIMPLE = {"whole video": (0.0, 1.0), "first 30 %": (0.0, 0.3), "middle third": (1 / 3, 2 / 3)}


class Examples(NamedTuple):
    """Sentences with their spans, and the videos that they are of."""

    clips: Tensor  # (V, T, C)
    video: Tensor  # (N,) int64, each sentence's video
    sentences: Tensor  # (N, S)
    spans: Tensor  # (N, 2), start and end as shares of the video
    durations: Tensor  # (N,), seconds
    truths: tuple[tuple[tuple[float, float], ...], ...]  # of each sentence, all windows in seconds

    def batch(self, rows: Tensor, spans: Tensor) -> dict[str, Tensor]:
        """What :meth:`VidMorp.loss` takes, of some rows with these labels (N, 2)."""
        return {
            "features": self.clips[self.video[rows]].float(),
            "sentences": self.sentences[rows],
            "spans": spans[rows] * self.durations[rows, None],
            "durations": self.durations[rows],
        }


def read_labels(path: Path, durations: Path | None = None) -> list[Described]:
    """Pairs of a file of labels.

    Args:
        path: Of Charades-STA (.txt), ActivityNet Captions (.json) or QVHighlights (.jsonl), which
            is also what ``telltale moments annotate`` writes.
        durations: Charades-STA's table of lengths.

    Raises:
        ValueError: If the file is not of that form, or has no pair with a window.
    """
    if path.suffix == ".txt":
        if durations is None:
            raise ValueError(f"{path}: Charades-STA also wants its table of lengths (--durations)")
        pairs = read_charades(path, durations)
    elif path.suffix == ".json":
        pairs = read_activitynet(path)
    elif path.suffix == ".jsonl":
        pairs = read_qvhighlights(path)
    else:
        raise ValueError(f"{path}: want a name that ends in .txt, .json or .jsonl")
    pairs = [pair for pair in pairs if pair.windows]
    if not pairs:
        raise ValueError(f"{path}: has no sentence with a window")
    return pairs


def gathered(
    pairs: Sequence[Described],
    folder: Path,
    sentences: Callable[[Sequence[str]], Tensor],
    *,
    clips: int = 128,
    every_window: bool = False,
) -> Examples:
    """Examples of pairs whose videos' frame features lie in ``folder/VIDEO.npy``.

    Args:
        pairs: With windows.
        folder: One file (frames, C) a video.
        sentences: Texts to vectors (n, S).
        clips: T.
        every_window: An example of each window, to learn from, in place of the first alone.

    Raises:
        ValueError: If a video's file is missing or of another width.
    """
    names = sorted({pair.video for pair in pairs})
    videos = [torch.from_numpy(pooled(read_features(folder / f"{n}.npy"), clips)) for n in names]
    widths = {rows.shape[1] for rows in videos}
    if len(widths) > 1:
        raise ValueError(f"{folder}: want features of one width, got {sorted(widths)}")
    known = {name: number for number, name in enumerate(names)}
    windows = [pair.windows if every_window else pair.windows[:1] for pair in pairs]
    owner = [number for number, some in enumerate(windows) for _ in some]
    texts = [pair.sentence for pair in pairs]
    said = torch.cat([sentences(texts[k : k + 64]).cpu() for k in range(0, len(texts), 64)])
    length = torch.tensor([pairs[k].duration for k in owner])
    spans = torch.tensor([span for some in windows for span in some])
    return Examples(
        torch.stack(videos).half(),
        torch.tensor([known[pairs[k].video] for k in owner]),
        said[owner],
        (spans / length[:, None]).clamp(0, 1),
        length,
        tuple(pairs[k].windows for k in owner),
    )


class Course(NamedTuple):
    """How a network learns; the published values.

    Args:
        epochs: Of training.
        warmup: Epochs before the second stage; half of them by default.
        batch: Examples a step.
        lr: Learning rate.
        weight_decay: Of matrices and kernels.
        stages: Of the correction of a machine's labels: by meaning before training, by consensus
            during it. The first wants sentences and clips from the two towers of one CLIP.
        seed: Of the order; None goes on with torch's own generator.
    """

    epochs: int = 15
    warmup: int | None = None
    batch: int = 256
    lr: float = 8e-4
    weight_decay: float = 1e-5
    stages: tuple[bool, bool] = (True, True)
    seed: int | None = None


def similarities(examples: Examples) -> Tensor:
    """Cosine of each sentence with each clip of its video, (N, T)."""
    found = []
    for rows in torch.arange(len(examples.video)).split(CHUNK):
        clips = F.normalize(examples.clips[examples.video[rows]].float(), dim=-1)
        words = F.normalize(examples.sentences[rows], dim=-1)
        found.append(torch.einsum("ntc,nc->nt", clips, words))
    return torch.cat(found)


def learn(
    network: VidMorp,
    examples: Examples,
    *,
    machine: bool = False,
    course: Course = Course(),  # noqa: B008  # immutable
    note: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[Tensor, Tensor]:
    """Train a network in place.

    Args:
        network: As it is, new or trained before.
        examples: To learn from.
        machine: Whether the labels are a machine's, and are corrected.
        course: How.
        note: Gets each epoch's number, from 1, and mean loss.

    Returns:
        The labels at the end (N, 2), as shares, and which examples were learnt from (N,) bool.

    Raises:
        ValueError: If settings mean nothing or the first stage finds clips and sentences of
            different widths.
    """
    if course.epochs < 1 or course.batch < 2:
        raise ValueError(f"want epochs ≥ 1, batch ≥ 2, got {course.epochs} and {course.batch}")
    labels, kept = examples.spans.clone(), torch.ones(len(examples.video), dtype=torch.bool)
    if machine and course.stages[0]:
        if examples.clips.shape[2] != examples.sentences.shape[1]:
            raise ValueError(
                "want clips and sentences by the towers of one CLIP to correct labels by meaning, "
                f"got widths {examples.clips.shape[2]} and {examples.sentences.shape[1]}"
            )
        count = examples.clips.shape[1]
        first = refined(similarities(examples), labels * count)
        labels, kept = first.spans / count, first.kept
    memory = Memory(labels, warmup=course.epochs // 2 if course.warmup is None else course.warmup)
    optimizer = adam(network, lr=course.lr, weight_decay=course.weight_decay)
    order = None if course.seed is None else torch.Generator().manual_seed(course.seed)
    rows = kept.nonzero()[:, 0]
    for epoch in range(1, course.epochs + 1):
        parts = rows[torch.randperm(len(rows), generator=order)].split(course.batch)
        batches = (examples.batch(part, labels) for part in parts if len(part) > 1)
        network.train()
        losses = [step.loss for step in fit(network, batches, optimizer, clip=5.0)]
        network.eval()
        note(epoch, float(np.mean(losses)))
        if machine and course.stages[1]:
            labels = memory.correct(rows, first_spans(network, examples)[rows])
    return labels, kept


@torch.no_grad()
def first_spans(network: VidMorp, examples: Examples) -> Tensor:
    """The span that a network ranks first for each example, (N, 2) as shares."""
    found = []
    for rows in torch.arange(len(examples.video)).split(CHUNK):
        clips = examples.clips[examples.video[rows]].float()
        scores, spans = network(clips, examples.sentences[rows])
        found.append(spans[torch.arange(len(rows)), scores.argmax(1)])
    return torch.cat(found)


def ranked(network: VidMorp, examples: Examples, *, overlap: float = 0.5) -> Rows:
    """Each example's ranked moments (n, 3): start and end in seconds, and score."""
    found: list[NDArray[np.float64]] = []
    for rows in torch.arange(len(examples.video)).split(CHUNK):
        clips = examples.clips[examples.video[rows]].float()
        some = network.localise(
            clips, examples.sentences[rows], examples.durations[rows], overlap=overlap
        )
        found += [each[:100].double().numpy() for each in some]
    return found


def weigh(
    network: VidMorp, held: Examples, grid: Sequence[float] = (0, 5, 10, 20, 40, 80, 160)
) -> float:
    """Set the network's evidence to what gives the best mIoU on examples set apart, and return it.

    Raises:
        ValueError: If its clips and sentences are not of one width.
    """
    if network.width != network.sentence_width:
        raise ValueError(
            f"want clips and sentences by the towers of one CLIP, got widths {network.width} and "
            f"{network.sentence_width}"
        )
    found = []
    for weight in grid:
        network.evidence.fill_(weight)
        spans = first_spans(network, held) * held.durations[:, None]
        found.append(mean_iou([row[None].double().numpy() for row in spans], held.truths))
    best = grid[int(np.argmax(found))]
    network.evidence.fill_(best)
    return best


def judge(network: VidMorp, examples: Examples) -> dict[str, dict[str, float]]:
    """The network's figures beside those of spans that look at nothing.

    Returns:
        Of each predictor, as shares: R@1 at IoU 0.3, 0.5 and 0.7 and mIoU, then the same with the
        authors' second added to intersection and union ("+1"), and of the network QVHighlights'
        mAP, from spans of which none overlaps a better one by more than half.
    """
    spans = ranked(network, examples)
    table = {"network": figures(spans, examples.truths)}
    average = moment_map(spans, examples.truths)
    table["network"] |= {f"mAP {name}": value for name, value in average.items()}
    for name, (start, end) in SIMPLE.items():
        fixed = [np.array([[start * t, end * t]]) for t in examples.durations.tolist()]
        table[name] = figures(fixed, examples.truths)
    return table


def figures(found: Rows, truths: Sequence[Sequence[tuple[float, float]]]) -> dict[str, float]:
    """R@1 and mIoU in both conventions."""
    plus = grounding(found, truths, plus_one=True)
    return grounding(found, truths) | {f"{name} (+1)": value for name, value in plus.items()}

"""Events to compress for: drawn here, or a dataset's folder."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from telltale.data.events.sets import Split

SYNTH = ("synth:saccades", "synth:gestures")
LEARN, TEST = 900, 300  # clips that are drawn


class Given(NamedTuple):
    """Counts (N, T, 2, H, W) and classes (N,), to learn from and to test on."""

    events: "Tensor"
    labels: "Tensor"
    test_events: "Tensor"
    test_labels: "Tensor"
    names: tuple[str, ...]
    says: str  # what the data are


def load_set(
    data: str,
    *,
    frames: int | None = None,
    size: int | None = None,
    most: int = 0,
    seed: int = 0,
    split: "Split" = "hash",
    learn: int = LEARN,
    test: int = TEST,
) -> Given:
    """Read or draw events.

    Args:
        data: One of :data:`SYNTH`, or a folder that :func:`telltale.data.events.read_set` reads.
        frames: T; None is 6 for drawn events and 10 for others.
        size: Side; None is 16 for drawn events and the sensor's for others.
        most: Clips of each class and split of a folder, at most; 0 is all.
        seed: Of draws.
        split: Of a folder without a published one, see :func:`telltale.data.events.read_set`.
        learn: Clips to draw to learn from.
        test: Clips to draw for tests.

    Raises:
        ValueError: If there are no such data, or one of the splits is empty.
    """
    import numpy as np
    import torch

    from telltale.data.events import read_set
    from telltale.data.synth import gestures, saccades

    if data in SYNTH:
        steps, side = frames or 6, size or 16
        if data == "synth:saccades":
            events, labels = saccades.saccade_digits(learn, seed=seed, steps=steps, side=side)
            others, truth = saccades.saccade_digits(
                test, seed=seed, steps=steps, side=side, test=True
            )
            names = tuple(map(str, range(10)))
        else:
            events, labels = gestures.gesture_clips(learn, seed=2 * seed, steps=steps, side=side)
            others, truth = gestures.gesture_clips(test, seed=2 * seed + 1, steps=steps, side=side)
            names = gestures.NAMES
        says = f"drawn events ({data}, seed {seed}), {learn} to learn from and {test} to test on"
    else:
        if not Path(data).is_dir():
            raise ValueError(f"{data}: no such folder; want one, or {' or '.join(SYNTH)}")
        given = read_set(
            Path(data), frames_each=frames or 10, size=size, most=most, seed=seed, split=split
        )
        if given.is_test.all() or not given.is_test.any():
            raise ValueError(f"{data}: want clips to learn from and clips for tests")
        events, labels = given.events[~given.is_test], given.labels[~given.is_test]
        others, truth = given.events[given.is_test], given.labels[given.is_test]
        names = given.names
        says = f"{data}: {len(labels)} clips to learn from and {len(truth)} to test on"
        says += f" (split: {given.split})"
    tensors = [
        torch.from_numpy(np.minimum(part, 255).astype(np.uint8)) for part in (events, others)
    ]
    classes = [torch.from_numpy(part) for part in (labels, truth)]
    return Given(tensors[0], classes[0], tensors[1], classes[1], names, says)

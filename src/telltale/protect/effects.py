"""What models that are trained here learn from protected copies, and from copies that were changed.

The figures are of small networks on the same pictures or on drawn clips. They show whether the
protection acts; they promise nothing on other networks.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from telltale.degrade.pixels import blur, jpeg, resize
from telltale.media import MediaError, read_picture
from telltale.protect import copies
from telltale.protect.copies import PLAN

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
LEAST = 40  # pictures below which nothing can be said
RESAMPLES = 1000  # of an interval
TESTED = 4  # every fourth picture is kept back to test on
SURVIVAL: dict[str, Callable[[Pixels], Pixels]] = {
    "protected": lambda pixels: pixels,
    "protected, JPEG 75": lambda pixels: jpeg(pixels, 75),
    "protected, JPEG 10": lambda pixels: jpeg(pixels, 10),
    "protected, half size": lambda pixels: resize(pixels, 0.5),
    "protected, blurred": lambda pixels: blur(pixels, 1.0),
}
CODINGS = (18, 23, 28)  # constant rate factors of H.264


def picture_effect(
    folder: Path,
    out: Path,
    *,
    labels: Path | None = None,
    watch: Callable[[str], None] = lambda text: None,
) -> dict[str, Any] | None:
    """Mean accuracy, on originals that were kept back, of networks that learnt from each kind.

    Args:
        folder: The originals.
        out: The folder of copies, finished.
        labels: As they were given for protecting.
        watch: Told what is being done.

    Returns:
        ``what`` in words and ``figures``, see :func:`compared`; None if there are too few pictures.
    """
    import torch

    from telltale.protect.pictures import as_images, read_labels, sampled, thumbnail

    plan = json.loads((out / PLAN).read_text("utf-8"))
    given, size = read_labels(folder, labels), plan["method_settings"]["size"]
    rows = sampled(given, plan["most"], plan["fit"]["seed"])
    finished = copies.done(out)
    kinds: dict[str, list[Pixels]] = {name: [] for name in ("originals", *SURVIVAL)}
    good = []
    for row in rows:
        file = given.files[row]
        if str(file) not in finished:
            continue
        try:
            original = read_picture(file).pixels
            copy = read_picture(out / finished[str(file)].copy).pixels
        except MediaError:  # it was reported when its copy was made
            continue
        good.append(row)
        kinds["originals"].append(thumbnail(original, size))
        for name, degrade in SURVIVAL.items():
            kinds[name].append(thumbnail(degrade(copy), size))
    if len(good) < LEAST:
        return None
    truth = torch.from_numpy(given.attributes[good])
    images = {name: as_images(found) for name, found in kinds.items()}
    noise = torch.randint(2, images["originals"].shape, generator=torch.Generator().manual_seed(0))
    change = plan["levels"] / 255 * (2 * noise - 1)
    images["random noise"] = ((images["originals"] + change).clamp(0, 1) * 255).round() / 255
    is_test = torch.arange(len(good)) % TESTED == 0
    right = {}
    for name, found in images.items():
        watch(f"training a network on {name}")
        right[name] = _learnt(
            plan, (found[~is_test], truth[~is_test]), (images["originals"][is_test], truth[is_test])
        )
    commonest = truth[~is_test].mode(0).values
    right["always the commonest class"] = (truth[is_test] == commonest).double().mean(1).numpy()
    tested, name = int(is_test.sum()), plan["surrogate"]["name"]
    what = (
        f"Mean accuracy over {truth.shape[1]} task(s) on {tested} originals kept back, of a {name} "
        f"trained from scratch on the other {len(good) - tested}. Lower than for originals is "
        "protection."
    )
    return {"what": what, "figures": compared(right)}


def _learnt(
    plan: dict[str, Any], train: "tuple[Tensor, Tensor]", test: "tuple[Tensor, Tensor]"
) -> Floats:
    """Share of right tasks for each picture that is tested on."""
    import torch

    from telltale import fit as fitting
    from telltale.data.memory import batches
    from telltale.nn.backbones import maker
    from telltale.nn.multitask import MultiTask
    from telltale.protect.pictures import BATCH

    torch.manual_seed(1000 + plan["fit"]["seed"])  # not the surrogate's own weights
    trunk = maker(plan["surrogate"]["name"])(**plan["surrogate"])
    network = MultiTask(trunk, plan["method_settings"]["classes"])
    columns = {"images": train[0], "attributes": train[1]}
    feed = batches(columns, min(BATCH, len(train[0])), seed=1)
    optimizer = fitting.adam(network, lr=plan["fit"]["lr"], weight_decay=1e-4)
    for step in fitting.fit(network, feed, optimizer, clip=plan["fit"]["clip"]):
        if step.number >= plan["fit"]["steps"]:
            break
    found: Floats = network.eval().right(*test).double().mean(1).numpy()
    return found


def video_effect(out: Path, *, watch: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """How often trackers that learnt from drawn clips, clean or protected, find clean targets.

    Args:
        out: The folder of copies, whose generator is used.
        watch: Told what is being done.

    Returns:
        ``what`` in words and ``figures``.
    """
    import torch

    from telltale.protect.videos import drawn, trained

    plan = json.loads((out / PLAN).read_text("utf-8"))
    network, seed = trained(plan, out, watch), plan["fit"]["seed"]
    clips, tracks = drawn(seed + 1)  # other clips than the generator's
    test, truth = drawn(seed + 2, 80)
    kinds = {"clean clips": clips}
    with torch.no_grad():
        pairs = zip(clips, tracks, strict=True)
        made = torch.stack([network(clip, track) for clip, track in pairs])
    kinds["protected"] = (made * 255).round() / 255
    for name, coded in _coded(kinds["protected"]):
        kinds[name] = coded
    right = {}
    for name, found in kinds.items():
        watch(f"training a tracker on {name}")
        right[name] = _followed(plan, found, tracks, test, truth)
    what = (
        "Share of 80 clean **drawn** clips in which a tracker, trained from scratch on 160 drawn "
        "clips, finds the target within 4 pixels five frames later. Not measured on your videos."
    )
    return {"what": what, "figures": compared(right)}


def _coded(clips: "Tensor") -> "Iterator[tuple[str, Tensor]]":
    """Clips after H.264 and after JPEG."""
    import torch

    from telltale.degrade.video import h264, has_h264

    frames = (clips * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()

    def again(found: Iterable[Pixels]) -> "Tensor":
        stacked = np.ascontiguousarray(np.stack([*found]).transpose(0, 3, 1, 2))
        whole: Tensor = torch.from_numpy(stacked).reshape(clips.shape).float() / 255
        return whole

    if has_h264():
        for factor in CODINGS:
            coded = chain.from_iterable(h264(clip, factor) for clip in frames)
            yield f"protected, H.264 at {factor}", again(coded)
    yield "protected, JPEG 75", again(jpeg(f, 75) for f in chain.from_iterable(frames))


def _followed(
    plan: dict[str, Any], clips: "Tensor", tracks: "Tensor", test: "Tensor", truth: "Tensor"
) -> Floats:
    """Whether each test clip's target is found."""
    import torch

    from telltale import fit as fitting
    from telltale.nn.siamese import Tracker
    from telltale.protect.videos import pairs

    settings, fit = plan["method_settings"], plan["fit"]
    torch.manual_seed(1000 + fit["seed"])
    tracker = Tracker(settings["tracker"], size=settings["size"])
    optimizer = fitting.adam(tracker, lr=1e-3)
    for step in fitting.fit(tracker, pairs(clips, tracks, 3), optimizer):
        if step.number >= 2 * fit["steps"]:
            break
    tracker.eval()
    apart = tracker.misses(test[:, 0], truth[:, 0], test[:, -1], truth[:, -1])
    found: Floats = (apart <= 4).double().numpy()
    return found


def compared(right: Mapping[str, Floats]) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Of what was right of each test item (N,), by what was learnt from; the first is unchanged.

    Returns:
        Name to ``right``, its mean, and ``drop``, how much less than the first it is, on the same
        items; each with the ends of a 95 % interval over items, drawn with replacement.
    """
    names = [*right]
    scores = np.stack([right[name] for name in names])  # (names, N)
    draws = np.random.default_rng(0).integers(0, scores.shape[1], (RESAMPLES, scores.shape[1]))
    means = scores[:, draws].mean(2)  # (names, draws)
    found = {}
    for name, score, mean in zip(names, scores, means, strict=True):
        lost = means[0] - mean
        found[name] = {
            "right": (float(score.mean()), *_ends(mean)),
            "drop": (float((scores[0] - score).mean()), *_ends(lost)),
        }
    return found


def _ends(drawn: Floats) -> tuple[float, float]:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)

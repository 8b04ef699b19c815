"""Train a small PIM on local changes of real photographs, for a detector that is to ship.

    python tools/ship_pim.py train --photos DIR --photos DIR --cache CACHE --run RUN
    python tools/ship_pim.py ship --photos DIR --photos DIR --run RUN

It learns from photographs that Telltale itself has changed (`telltale.data.synth.splicing`):
**synthetic** manipulations. Split by photograph. Removal by patches and retouching are never
trained on. First two streams learn alone: what reads JPEG's blocks (`--alone blocks --steps 1200
--batch 40`, a twentieth of a whole step) and what sees the scene, an EfficientNet-Lite0 that starts
from its published weights (`--alone scene --steps 1000 --batch 24 --lr 1e-3`). Then all of the
network goes on from both (`--start BLOCKS/weights.safetensors --start SCENE/weights.safetensors
--steps 500 --batch 16 --lr 1e-3`). An hour of one core in all. ``NAME_segments.png`` beside a
photograph is a human segmentation: objects for splices.

"ship" exports, calibrates on validation photographs, measures whole test photographs at several
JPEG qualities and sizes, beside the classical detectors of benchmarks/classical.py, and pristine
ones that were disturbed as wholes or are of `--others`, and writes the card; stopped, it goes on.
"""

import argparse
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from carriers import efficientnet_lite  # beside this file
from numpy.typing import NDArray
from PIL import Image
from shipping import band, learn, write_weights

from telltale.data.synth.shapes import blob, object_of
from telltale.data.synth.splicing import Changed, change, history, jpeg, removal, sent

SIZE, SEED, SIDE = 128, 0, 192  # of small training crops; of what is kept of a changed photograph
TRAINED = {"splice": 0.45, "copy_move": 0.2, "removal": 0.15, "recompress": 0.1, "pida": 0.1}
COUNTS = {"train": 6000, "val": 240}
UNSEEN = ("removal by patches", "retouch")
TESTED = ("splice", "copy_move", "removal", "recompress", *UNSEEN)
QUALITIES = {"uncompressed": 0, "JPEG 95": 95, "JPEG 75": 75, "JPEG 50": 50}
MOST = 100  # pictures of another source
SCALES = {"scaled by 0.75": 0.75, "scaled by 0.5": 0.5}
TILE, OVERLAP = 256, 64
GRID, BLOCKS = 16, 64  # pixels of JPEG's 4:2:0 units; channels of the blocks' stream


class Photo(NamedTuple):
    pixels: NDArray[np.uint8]
    segments: NDArray[np.uint8] | None


def names(folders: list[Path], split: str) -> list[Path]:
    """The photographs of a split; a hash of the name decides: 7, 1 and 2 of 10."""
    found = []
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png") and "_segments" not in path.name:
                draw = int(hashlib.sha256(path.stem.encode()).hexdigest(), 16) % 10
                if split == ("train" if draw < 7 else "val" if draw < 8 else "test"):
                    found.append(path)
    return found


@cache
def photo(path: Path) -> Photo:
    pixels = np.asarray(Image.open(path).convert("RGB"))
    beside = path.with_name(path.stem + "_segments.png")
    return Photo(pixels, np.asarray(Image.open(beside)) if beside.exists() else None)


def changed(kind: str, host: NDArray[np.uint8], other: Photo, rng: np.random.Generator) -> Changed:
    """One change; a splice takes a human-segmented object where there is one."""
    if kind == "removal by patches":
        return removal(host, blob(host.shape[:2], rng), rng, fill="patch")
    if kind == "removal":
        fill = str(rng.choice(("telea", "ns")))
        return removal(host, blob(host.shape[:2], rng), rng, fill=fill)
    donor, shape = history(other.pixels, rng), None
    if kind == "splice" and other.segments is not None and rng.random() < 0.7:
        size = donor.shape[1], donor.shape[0]
        shape = object_of(cv2.resize(other.segments, size, interpolation=cv2.INTER_NEAREST), rng)
    return change(kind, host, donor, rng, shape=shape)


def sample(paths: list[Path], rng: np.random.Generator, kind: str) -> Changed:
    """A window of a whole photograph, pristine if the kind is "", before it was sent.

    Nine in ten begin on the photograph's own JPEG grid, as a detector's tiles do: what an earlier
    compression left is then where it will be met.
    """
    one, two = (paths[int(k)] for k in rng.choice(len(paths), 2, replace=False))
    host = history(photo(one).pixels, rng)
    missing = [(0, max(0, SIDE - n)) for n in host.shape[:2]]
    if any(n for _, n in missing):
        host = np.pad(host, [*missing, (0, 0)], "symmetric")
    made = (
        changed(kind, host, photo(two), rng)
        if kind
        else Changed(host, np.zeros(host.shape[:2], bool))
    )
    step = GRID if rng.random() < 0.9 else 1
    rows, columns = np.nonzero(made.mask)
    for _ in range(8):
        if kind:  # so that the window holds some of it
            pick = int(rng.integers(len(rows)))
            corner = rows[pick] - rng.integers(SIDE), columns[pick] - rng.integers(SIDE)
        else:
            corner = tuple(rng.integers(0, n - SIDE + 1) for n in host.shape[:2])
        y, x = (
            int(np.clip(at, 0, n - SIDE)) // step * step
            for at, n in zip(corner, host.shape[:2], strict=True)
        )
        cut = slice(y, y + SIDE), slice(x, x + SIDE)
        if not kind or 0.005 < made.mask[cut].mean() < 0.8:
            break
    return Changed(made.pixels[cut], made.mask[cut])


def seen(
    pixels: NDArray[np.uint8], mask: NDArray[np.bool_], size: int, rng: np.random.Generator
) -> Changed:
    """What a network is shown of a window: sent, often as JPEG, sometimes made smaller or cut.

    Windows of the full size are sent only.
    """
    if size < SIDE:
        if rng.random() < 0.3:  # made smaller after the change
            side = int(rng.integers(size, SIDE))
            pixels = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=0).astype(bool)
        y, x = (int(v) * GRID for v in rng.integers(0, (len(pixels) - size) // GRID + 1, 2))
        if mask.any():
            rows, columns = np.nonzero(mask)
            pick = int(rng.integers(len(rows)))
            y, x = (
                int(np.clip(at - rng.integers(size), 0, len(pixels) - size)) // GRID * GRID
                for at in (rows[pick], columns[pick])
            )
        more = min(GRID, len(pixels) - size - max(y, x))  # room for a cut off the grid
        cut = slice(y, y + size + max(more, 0)), slice(x, x + size + max(more, 0))
        pixels, mask = pixels[cut], mask[cut]
    if rng.random() < 0.75:
        pixels = jpeg(np.ascontiguousarray(pixels), int(rng.integers(50, 99)))
    off = (0, 0)
    if len(pixels) > size and rng.random() < 0.1:
        off = tuple(int(v) for v in rng.integers(0, len(pixels) - size + 1, 2))
    cut = slice(off[0], off[0] + size), slice(off[1], off[1] + size)
    return Changed(pixels[cut], mask[cut])


class Crops(NamedTuple):
    """Crops with masks; label 0 is pristine."""

    pixels: NDArray[np.uint8]  # (N, S, S, 3)
    masks: NDArray[np.bool_]  # (N, S, S)
    labels: NDArray[np.int64]  # (N,)


def crops(folders: list[Path], cache: Path, split: str) -> Crops:
    """The crops of a split, made once and kept."""
    kept = cache / f"changes-{split}-{SIDE}.npz"
    if not kept.exists():
        paths = tuple(names(folders, split))
        made = [_one(paths, split, number) for number in range(COUNTS[split])]
        columns = zip(*made, strict=True)
        part = kept.with_suffix(".part.npz")
        np.savez(part, **dict(zip(Crops._fields, map(np.stack, columns), strict=True)))
        part.replace(kept)
    with np.load(kept) as stored:
        return Crops(*(stored[name] for name in Crops._fields))


def _one(paths: tuple[Path, ...], split: str, number: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng([SEED, len(split), number])
    shares = [*TRAINED.values()]
    kind = "" if rng.random() < 0.3 else str(rng.choice([*TRAINED], p=shares))
    made = sample([*paths], rng, kind)
    return made.pixels, made.mask, np.int64(bool(kind))


def as_batch(made: list[Changed]) -> dict[str, Any]:
    import torch

    images = np.stack([it.pixels for it in made]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    masks = np.stack([it.mask for it in made])[:, None].astype(np.float32)
    return {
        "images": torch.from_numpy(images),
        "labels": torch.from_numpy(masks.any((1, 2, 3)).astype(np.int64)),
        "masks": torch.from_numpy(masks),
    }


def stream(data: Crops, count: int, start: int = 0) -> Iterator[dict[str, Any]]:
    """Endless batches, every other one of whole windows, mirrored at random.

    Sides are whole blocks, so that a mirrored JPEG grid is a JPEG grid.
    """
    number = start
    while True:
        rng = np.random.default_rng([SEED, number])
        size = SIDE if number % 2 else SIZE
        rows = rng.choice(
            len(data.labels), max(2, round(count * (SIZE / size) ** 2)), replace=False
        )
        made = as_batch([seen(data.pixels[k], data.masks[k], size, rng) for k in rows])
        axes = [3] if rng.random() < 0.5 else []
        yield made | {name: made[name].flip(axes) for name in ("images", "masks")}
        number += 1


def network(weights: Path) -> Any:
    """PIM on two Swins of 8-pixel patches that see residuals, JPEG's blocks, scene and Dice.

    On colours, with cross entropy alone, so few steps never left "nothing was changed".
    """
    import torch
    import torch.nn.functional as F

    from telltale.losses import dice
    from telltale.nn.convnets import convnet
    from telltale.nn.scene import Scene
    from telltale.nn.swin import swin
    from telltale.pictures.pim import PIM, outline

    class Small(PIM):
        """With ``alone``, a stream learns by itself: JPEG's blocks in a twentieth of the time."""

        alone = ""

        def alone_says(self, images: Any) -> Any:
            one = self.alone == "blocks"
            said = self.say(self.blocks(images)) if one else self.tell(self.scene(images))
            return said[:, 1:] - said[:, :1]

        def loss(self, images: Any, labels: Any, masks: Any) -> dict[str, Any]:
            shares = F.avg_pool2d(masks, 8)
            if self.alone:
                logits = self.alone_says(images)
                return {
                    self.alone: F.binary_cross_entropy_with_logits(logits, shares),
                    "dice": 0.5 * dice(logits, shares)[labels > 0].sum() / len(labels),
                }
            maps = self.inspect(images)
            edge = F.max_pool2d(outline(masks), 8)[:, 0]
            colours = F.avg_pool2d(self.normalised(images), 8)
            logits = maps.mask[:, 1:] - maps.mask[:, :1]
            overlap = dice(logits, shares)
            return {
                "mask": F.binary_cross_entropy_with_logits(logits, shares),
                "dice": 0.5 * overlap[labels > 0].sum() / len(labels),
                "boundary": 0.2 * F.cross_entropy(maps.boundary, edge.long()),
                "reconstruction": 0.1 * F.l1_loss(maps.reconstruction, colours),
            }

    stem = {"stem": "residual"}
    net = Small(
        swin("swin_coarse", **stem),
        swin("swin_coarse", causal=True, **stem),
        channels=24,
        blocks=BLOCKS,
        scene=Scene(convnet("tf_efficientnet_lite0", weights)),
    ).to(memory_format=torch.channels_last)
    with torch.no_grad():  # standard normal weights hardly move in so few steps
        for level in net.differences:
            for weight in (level.central, level.radial):
                weight.mul_((9 * weight.shape[1]) ** -0.5)
        net.mask_head.out.weight.mul_(0.1)  # what was learnt alone is said at first
    return net


class Plan(NamedTuple):
    """How to train."""

    steps: int
    lr: float
    batch: int
    alone: str  # a stream by itself: "blocks" or "scene"
    start: Sequence[Path]  # weights of runs of streams alone


def train(folders: list[Path], cache: Path, run: Path, plan: Plan) -> None:
    """Train, or go on where the run stands; kept by pixel F1 on validation photographs."""
    import torch

    torch.manual_seed(SEED)
    check, net = crops(folders, cache, "val"), network(efficientnet_lite(cache))
    net.alone = plan.alone
    batches = _checks(check)

    def validate(net: Any) -> float:
        """F1 of changed windows, area left alone of pristine ones, at the best of some levels."""
        found = []
        with torch.no_grad():
            for each in batches:
                logits = net.alone_says(each["images"]) if net.alone else net(each["images"]).mask
                masks = each["masks"]
                if net.alone:
                    masks = torch.nn.functional.max_pool2d(masks, 8)
                masks = masks.bool()
                rows = []
                for level in np.linspace(-2, 1, 7):
                    called = logits > level
                    both = (called & masks).sum((1, 2, 3))
                    union = called.sum((1, 2, 3)) + masks.sum((1, 2, 3))
                    f1 = 2 * both / union.clamp(min=1)
                    left = 1 - called.float().mean((1, 2, 3))
                    rows.append(torch.where(each["labels"] > 0, f1, left))
                found.append(torch.stack(rows))
        return float(torch.cat(found, 1).mean(1).max())

    state, log = run / "progress.safetensors", run / "steps.jsonl"
    start = len(log.read_text().splitlines()) if state.exists() else 0
    data = crops(folders, cache, "train")
    for path in () if start else plan.start:
        _begin(net, path)
    learn(
        net,
        stream(data, plan.batch, start),
        run,
        steps=plan.steps,
        lr=plan.lr,
        validate=validate,
        every=100,
    )


def _checks(check: Crops) -> list[dict[str, Any]]:
    """Validation windows as they are, then the same at JPEG 75."""
    made = [Changed(p, m) for p, m in zip(check.pixels, check.masks, strict=True)]
    again = [it._replace(pixels=jpeg(np.ascontiguousarray(it.pixels), 75)) for it in made]
    return [as_batch(part[k : k + 12]) for part in (made, again) for k in range(0, len(part), 12)]


def _begin(net: Any, start: Path) -> None:
    """Start from what a stream learnt alone: the one of which the run's log tells."""
    from safetensors.torch import load_file

    first = json.loads((start.parent / "steps.jsonl").read_text().partition("\n")[0])
    parts = ("blocks.", "say.") if "blocks" in first else ("scene.", "tell.")
    weights = {k: v for k, v in load_file(start).items() if k.startswith(parts)}
    net.load_state_dict(weights, strict=False)


class Shown(NamedTuple):
    """A whole photograph to be judged."""

    pixels: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    kind: str  # "" is pristine
    end: str
    source: str


def shown(paths: list[Path], number: int, ends: dict[str, list[str]]) -> Iterator[Shown]:
    """One photograph, pristine and changed in every kind, at the ends that ``ends`` has for it."""
    rng = np.random.default_rng([SEED, 77, number])
    other = photo(paths[int(rng.integers(len(paths) - 1)) - len(paths) + number])
    host = history(photo(paths[number]).pixels, rng)
    for kind, wanted in ends.items():
        made = (
            changed(kind, host, other, rng)
            if kind
            else Changed(host, np.zeros(host.shape[:2], bool))
        )
        for end in wanted:
            pixels, mask = made.pixels, made.mask
            if end in SCALES:
                size = tuple(round(SCALES[end] * n) for n in pixels.shape[1::-1])
                pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
                mask = cv2.resize(mask.astype(np.uint8), size, interpolation=0).astype(bool)
            elif end == "sent":
                pixels = sent(pixels, rng)
            elif QUALITIES[end]:
                pixels = jpeg(pixels, QUALITIES[end])
            yield Shown(pixels, mask, kind, end, paths[number].stem)


class Answer(NamedTuple):
    """What is kept of a judged photograph."""

    kind: str
    end: str
    source: str
    strongest: float
    counts: tuple[int, int, int]  # right, false and missed pixels at 0.5
    auc: float
    best: float
    classical: dict[str, tuple[float, float]]  # AUC and best F1


def map_of(onnx: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Log-odds of a photograph's cells, as a detector stitches them."""
    from telltale.detector.tiles import Tiled

    runner, tiles = _runner(str(onnx)), Tiled(pixels, TILE, OVERLAP)
    batches = (tile[None].transpose(0, 3, 1, 2).astype(np.float32) / 255 for tile in tiles)
    return tiles.stitched(
        np.stack([runner.run(["heatmap"], {"images": batch})[0][0] for batch in batches])
    )


def _judge(
    onnx: Path, folders: list[Path], split: str, number: int, ends: Any, share: float
) -> list[Answer]:
    import sys

    from telltale.detector.tiles import relative, strongest

    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    from classical import DETECTORS

    found = []
    for it in shown(names(folders, split), number, ends):
        whole = map_of(onnx, it.pixels)
        rows = it.mask.shape[::-1]
        size = whole.shape[1] * 8, whole.shape[0] * 8
        logits = cv2.resize(relative(whole, share), size)[: rows[1], : rows[0]]
        called = logits > 0
        counts = tuple(
            int(n.sum()) for n in (called & it.mask, called & ~it.mask, ~called & it.mask)
        )
        auc, best, classical = 0.0, 0.0, {}
        if it.kind:
            auc, best = _ranked(logits, it.mask)
            if it.kind == "splice" and it.end in ("uncompressed", "JPEG 75"):
                classical = {n: _ranked(f(it.pixels), it.mask) for n, f in DETECTORS.items()}
        found.append(
            Answer(it.kind, it.end, it.source, strongest(whole), counts, auc, best, classical)
        )
    return found


def _ranked(scores: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """AUC, and F1 at the best of all thresholds."""
    from telltale import metrics

    auc = float(metrics.auc(scores.ravel()[::3], mask.ravel()[::3].astype(int)))
    right = np.cumsum(mask.ravel()[np.argsort(-scores, axis=None)])
    return auc, float((2 * right / (np.arange(1, right.size + 1) + right[-1])).max())


@cache
def _runner(onnx: str) -> Any:
    from telltale.engine import session

    return session(Path(onnx), 1)


def judged(
    onnx: Path, folders: list[Path], split: str, ends: Any, share: float, kept: Path, most: int
) -> list[Answer]:
    """Answers for ``most`` photographs of a split; those in ``kept`` are not asked again."""
    lines = kept.read_text().splitlines() if kept.exists() else []
    done = {line["number"]: line["answers"] for line in map(json.loads, lines)}
    order = np.random.default_rng(SEED).permutation(len(names(folders, split)))[:most]
    with kept.open("a") as file:
        for number in map(int, order):
            if number not in done:
                done[number] = [*map(list, _judge(onnx, folders, split, number, ends, share))]
                file.write(json.dumps({"number": number, "answers": done[number]}) + "\n")
                file.flush()
                print(split, number, flush=True)
    return [Answer(*answer) for number in sorted(done) for answer in done[number]]


def f1_of(answers: list[Answer]) -> list[float]:
    """Mean pixel F1 at 0.5 and its 95 % interval over photographs."""
    each = np.array([2 * a / max(2 * a + b + c, 1) for a, b, c in (it.counts for it in answers)])
    rng = np.random.default_rng(0)
    draws = [each[rng.integers(len(each), size=len(each))].mean() for _ in range(500)]
    return [round(float(v), 4) for v in (each.mean(), *np.quantile(draws, (0.025, 0.975)))]


def exported(run: Path, cache: Path, out: Path, offset: float) -> float:
    """Write the network as ONNX, its maps ``offset`` nats lower; the difference from torch.

    Large weights are stored as half floats, but not the DCT's kernels: a coefficient is held
    against quantisation steps of 1, so that every tenth of a grey level counts.
    """
    import torch

    from telltale import fit
    from telltale.export import export_onnx, halve
    from telltale.nn.contract import Evidence

    class Lower(torch.nn.Module):
        def __init__(self, net: Any) -> None:
            super().__init__()
            self.net = net

        def forward(self, images: Any) -> Evidence:
            found = self.net(images)
            return Evidence(found.logit - offset, found.mask - offset)

    net = network(efficientnet_lite(cache))
    fit.restore(net, run / "weights.safetensors")
    full = run / "pim_full.onnx"
    worst = export_onnx(Lower(net.eval()).eval(), full, size=TILE, grid=TILE // 8)
    halve(full, out, least=64 * 64 + 1)
    return worst


def ship(folders: list[Path], others: list[Path], cache: Path, run: Path, most: int) -> None:
    """Export, calibrate on validation photographs, measure on test photographs, write the card."""
    from telltale import metrics
    from telltale.calibrate import fit as calibrate
    from telltale.detector.tiles import strongest
    from telltale.engine import sha256, weights_folder

    raw = run / "pim_raw.onnx"
    exported(run, cache, raw, 0.0)
    seen = checked(raw, folders)
    offset, share = best_level(seen)
    target = weights_folder() / "pim.onnx"
    worst = exported(run, cache, target, offset)
    logits = np.array([strongest(it.found - offset) for it in seen])
    labels = np.array([int(bool(it.kind)) for it in seen])
    line = calibrate(logits, labels, np.array([it.source for it in seen]))
    threshold, doubt = band(line.score(logits), labels)
    cells = {"slope": slope_of_cells(seen, offset, share), "intercept": 0.0}
    cells |= {"covariance": [0.0, 0.0, 0.0], "limit": 3.0}
    every = [*QUALITIES, *SCALES]
    ends = {k: every if k in ("", "splice") else ["uncompressed", "JPEG 75"] for k in ["", *TESTED]}
    kept = run / f"answers-{sha256(target)[:12]}-{share}.jsonl"
    test = judged(target, folders, "test", ends, share, kept, most)
    figures: dict[str, Any] = {}
    for end in every:
        pristine = [it for it in test if not it.kind and it.end == end]
        calls = [float(line.score(it.strongest)) >= threshold + doubt for it in pristine]
        figures[f"pristine photographs flagged: {end}"] = round(float(np.mean(calls)), 4)
        for kind in TESTED:
            rows = [it for it in test if it.kind == kind and it.end == end]
            if not rows:
                continue
            name = f"{kind}{' (never trained on)' if kind in UNSEEN else ''}, {end}"
            figures[f"pixel f1 at 0.5: {name}"] = f1_of(rows)
            figures[f"pixel auc: {name}"] = round(float(np.mean([it.auc for it in rows])), 4)
            both = [*pristine, *rows]
            truth = np.array([int(bool(it.kind)) for it in both])
            scores = np.array([it.strongest for it in both])
            groups = np.array([it.source for it in both])
            found = metrics.bootstrap(metrics.auc, scores, truth, groups, seed=0)
            figures[f"picture auc: {name}"] = [round(float(v), 4) for v in found]
            hit = np.mean([float(line.score(it.strongest)) >= threshold + doubt for it in rows])
            figures[f"changed photographs flagged: {name}"] = round(float(hit), 4)
    write_table(test, run / "classical.md")
    weights = {
        "file": target.name,
        "sha256": sha256(target),
        "license": "Apache-2.0",
        "source": "telltale, its scene stream from EfficientNet-Lite0 (Apache-2.0, Google)",
        "trained_on": "windows of 333 natural photographs, changed by SYNTHESIS: splices, copied "
        "parts, inpainting, recompression, PIDA; tools/ship_pim.py, seed 0",
        "threshold": threshold,
        "doubt": doubt,
        # At JPEG 75 every seventh "yes" would be withdrawn that is right all the same.
        "input": {"size": TILE, "crop": "tiles", "overlap": OVERLAP, "survival": ["JPEG 95"]}
        | {"relative": share},
        "calibration": line.to_table(),
        "cells": cells,
        "operating_range": {
            "picture_pixels": [128.0, math.inf],
            "jpeg_quality": [50.0, 100.0],
            "visual_quality": [0.92, math.inf],
        },
    }
    result = {"difference": worst, "offset": offset, "metrics": figures, "weights": weights}
    (run / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    card = weights_folder().parent / "pictures/pim.toml"
    write_weights(card, weights, figures)  # the detector needs it to say anything
    figures |= on_pristine(folders, others)
    (run / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    write_weights(card, weights, figures)
    print(json.dumps(figures, indent=1))


def blurred(pixels: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), np.uint8)


def out_of_focus(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All but an ellipse in the middle."""
    height, width = pixels.shape[:2]
    near = np.zeros((height, width), np.float32)
    cv2.ellipse(near, (width // 2, height // 2), (width // 4, height // 3), 0, 0, 360, 1.0, -1)
    near = np.asarray(cv2.GaussianBlur(near, (0, 0), 9), np.float32)[..., None]
    return np.asarray(near * pixels + (1 - near) * blurred(pixels, 4), np.uint8)


DISTURBED = {  # as wholes, or as lenses do: nothing was put in
    "blurred": lambda x: blurred(x, 2),
    "denoised": lambda x: cv2.fastNlMeansDenoisingColored(x, None, 5, 5),
    "sharpened": lambda x: cv2.addWeighted(x, 1.8, blurred(x, 1.5), -0.8, 0),
    "JPEG 75, cut off its grid, JPEG 80": lambda x: jpeg(jpeg(x, 75)[3:, 5:].copy(), 80),
    "surroundings out of focus": out_of_focus,
}


def on_pristine(folders: list[Path], others: list[Path]) -> dict[str, Any]:
    """Verdicts and area called of pristine pictures: disturbed as wholes, and of other sources."""
    from telltale.detector import Detector
    from telltale.detector.located import map_of

    detector, rng = Detector.load("pim", threads=1), np.random.default_rng(SEED)
    test = names(folders, "test")
    found: dict[str, Any] = {}

    def judge(name: str, pictures: list[NDArray[np.uint8]]) -> None:
        said = [detector.detect(pixels, survival=False)[0].verdict for pixels in pictures]
        areas = [float((map_of(detector, pixels) >= 0.5).mean()) for pixels in pictures]
        where = f"{name} ({len(pictures)} pristine pictures)"
        found[f"verdict 'yes': {where}"] = round(said.count("yes") / len(said), 4)
        found[f"verdict 'can't tell': {where}"] = round(said.count("can't tell") / len(said), 4)
        found[f"area called: {where}"] = round(float(np.mean(areas)), 4)
        print(where, said.count("yes"), said.count("can't tell"), flush=True)

    judge("held-out photographs", [photo(path).pixels for path in test])
    for name, disturb in DISTURBED.items():
        judge(name, [np.ascontiguousarray(disturb(photo(path).pixels)) for path in test])
    for folder in others:
        paths = [it for it in sorted(folder.rglob("*")) if it.suffix.lower() in (".jpg", ".png")]
        some = rng.permutation(len(paths))[:MOST]
        judge(f"source {folder.name}", [photo(paths[k]).pixels for k in some])
    return found


class Checked(NamedTuple):
    """A validation photograph's map."""

    kind: str
    source: str
    found: NDArray[np.float32]  # log-odds of cells
    mask: NDArray[np.bool_]  # of the same size


def checked(onnx: Path, folders: list[Path]) -> list[Checked]:
    """Maps of all validation photographs, pristine and changed in every kind that was trained."""
    ends, seen = {kind: ["sent"] for kind in ("", *TESTED) if kind not in UNSEEN}, []
    paths = names(folders, "val")
    for number in range(len(paths)):
        for it in shown(paths, number, ends):
            found = map_of(onnx, it.pixels)
            mask = cv2.resize(it.mask.astype(np.uint8), found.shape[::-1], interpolation=0)
            seen.append(Checked(it.kind, it.source, found, mask.astype(bool)))
    return seen


def best_level(seen: list[Checked]) -> tuple[float, float]:
    """Where a map's mask begins: a level, and a share of what is strongest beyond it.

    The best mean F1 of validation splices and removals, less the area called in pristine ones.
    """
    from telltale.detector.tiles import relative

    best = (-1.0, 0.0, 0.0)
    for share in (0.0, 0.2, 0.3, 0.4, 0.5):
        for level in np.arange(-2.0, 2.01, 0.25):
            f1, areas = [], []
            for it in seen:
                called = relative(it.found - np.float32(level), share) > 0
                if not it.kind:
                    areas.append(float(called.mean()))
                elif it.kind in ("splice", "removal"):
                    both = 2 * float((called & it.mask).sum())
                    f1.append(both / max(float(called.sum() + it.mask.sum()), 1.0))
            best = max(best, (float(np.mean(f1) - np.mean(areas)), float(level), share))
    print("validation: f1 less area, level, share:", best, flush=True)
    return best[1:]


def slope_of_cells(seen: list[Checked], offset: float, share: float) -> float:
    """Log-odds of change a nat of a cell's own; 0 of the map stays 0, where the mask ends."""
    from telltale.calibrate import fit as calibrate
    from telltale.detector.tiles import relative

    rng = np.random.default_rng(SEED)
    logits, labels, sources = [], [], []
    for it in seen:
        pick = rng.integers(it.found.size, size=400)
        logits.append(relative(it.found - np.float32(offset), share).ravel()[pick])
        labels.append(it.mask.ravel()[pick].astype(int))
        sources += [it.source] * len(pick)
    line = calibrate(np.concatenate(logits), np.concatenate(labels), np.array(sources))
    return round(float(line.slope), 4)


def write_table(test: list[Answer], path: Path) -> None:
    """Ours beside the classical detectors, on the same splices."""
    lines = [
        "| detector | end | pixel AUC | best F1 of each picture | F1 at 0.5 |",
        "|---|---|---|---|---|",
    ]
    for end in ("uncompressed", "JPEG 75"):
        rows = [it for it in test if it.kind == "splice" and it.end == end]
        fixed = f1_of(rows)[0]
        auc, best = (float(np.mean([getattr(it, n) for it in rows])) for n in ("auc", "best"))
        lines.append(f"| PIM (small, ships) | {end} | {auc:.3f} | {best:.3f} | {fixed:.3f} |")
        for name in rows[0].classical:
            auc, best = (float(np.mean([it.classical[name][k] for it in rows])) for k in (0, 1))
            lines.append(f"| {name} | {end} | {auc:.3f} | {best:.3f} | – |")
    path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("train", "ship"))
    parser.add_argument("--photos", type=Path, action="append", required=True)
    parser.add_argument(
        "--others", type=Path, action="append", default=[], help="pristine pictures, to ask of"
    )
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--run", type=Path, default=Path("runs/ship-pim"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=10, help="crops of 128 pixels a step")
    parser.add_argument("--alone", choices=("blocks", "scene"), default="", help="one stream only")
    parser.add_argument(
        "--start", type=Path, action="append", default=[], help="weights of an --alone run"
    )
    parser.add_argument("--most", type=int, default=1000, help="test photographs to measure on")
    args = parser.parse_args()
    if args.what == "train":
        plan = Plan(args.steps, args.lr, args.batch, args.alone, args.start)
        train(args.photos, args.cache, args.run, plan)
    else:
        ship(args.photos, args.others, args.cache, args.run, args.most)


if __name__ == "__main__":
    main()

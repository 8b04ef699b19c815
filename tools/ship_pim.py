"""Train a small PIM on local changes of real photographs, for a detector that is to ship.

    python tools/ship_pim.py --photos DIR --photos DIR --cache CACHE --run RUN

It learns from photographs that Telltale itself has changed (`telltale.data.synth.splicing`):
**synthetic** manipulations. Split by photograph. Removal by patches and retouching are never
trained on. ``NAME_segments.png`` beside a photograph is a human segmentation: objects for splices.
Nothing is exported yet: what it reaches is not measured on test photographs.
"""

import argparse
import hashlib
from collections.abc import Iterator
from functools import cache
from multiprocessing import Pool
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from shipping import learn  # beside this file

from telltale.data.synth.shapes import blob, object_of
from telltale.data.synth.splicing import (
    Changed,
    change,
    history,
    removal,
    sent,
)

SIZE, SEED, SIDE = 128, 0, 256  # of a training crop; of what is changed before it is cut
TRAINED = {"splice": 0.4, "copy_move": 0.15, "removal": 0.15, "recompress": 0.05, "pida": 0.25}
COUNTS = {"train": 7000, "val": 200}


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


def square(picture: NDArray[Any], side: int, rng: np.random.Generator) -> NDArray[Any]:
    """A random square, mirrored where the picture is smaller."""
    missing = [(0, max(0, side - n)) for n in picture.shape[:2]]
    if any(b for _, b in missing):
        picture = np.pad(picture, missing + [(0, 0)] * (picture.ndim - 2), "symmetric")
    y, x = (int(rng.integers(n - side + 1)) for n in picture.shape[:2])
    return np.ascontiguousarray(picture[y : y + side, x : x + side])


def changed(kind: str, host: NDArray[np.uint8], other: Photo, rng: np.random.Generator) -> Changed:
    """One change; a splice takes a human-segmented object where there is one."""
    if kind == "removal":
        fill = str(rng.choice(("telea", "ns")))
        return removal(host, blob(host.shape[:2], rng), rng, fill=fill)
    donor, shape = history(other.pixels, rng), None
    if kind == "splice" and other.segments is not None and rng.random() < 0.7:
        size = donor.shape[1], donor.shape[0]
        shape = object_of(cv2.resize(other.segments, size, interpolation=cv2.INTER_NEAREST), rng)
    return change(kind, host, donor, rng, shape=shape)


def sample(paths: list[Path], rng: np.random.Generator, kind: str) -> Changed:
    """A training crop; pristine if the kind is ""."""
    one, two = (paths[int(k)] for k in rng.choice(len(paths), 2, replace=False))
    host = square(history(photo(one).pixels, rng), SIDE, rng)
    made = (
        changed(kind, host, photo(two), rng)
        if kind
        else Changed(host, np.zeros(host.shape[:2], bool))
    )
    pixels = sent(made.pixels, rng)
    y, x = (int(v) for v in rng.integers(0, SIDE - SIZE + 1, 2))
    if kind:  # so that the crop holds some of it
        rows, columns = np.nonzero(made.mask)
        pick = int(rng.integers(len(rows)))
        y = int(np.clip(rows[pick] - rng.integers(SIZE), 0, SIDE - SIZE))
        x = int(np.clip(columns[pick] - rng.integers(SIZE), 0, SIDE - SIZE))
    cut = slice(y, y + SIZE), slice(x, x + SIZE)
    flip = -1 if rng.random() < 0.5 else 1
    return Changed(pixels[cut][:, ::flip], made.mask[cut][:, ::flip])


class Crops(NamedTuple):
    """Crops with masks; label 0 is pristine."""

    pixels: NDArray[np.uint8]  # (N, S, S, 3)
    masks: NDArray[np.bool_]  # (N, S, S)
    labels: NDArray[np.int64]  # (N,)


def crops(folders: list[Path], cache: Path, split: str) -> Crops:
    """The crops of a split, made once and kept."""
    kept = cache / f"changes-{split}-{SIZE}.npz"
    if not kept.exists():
        paths = tuple(names(folders, split))
        with Pool(2) as pool:
            jobs = ((paths, split, number) for number in range(COUNTS[split]))
            made = pool.starmap(_one, jobs, chunksize=50)
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


def as_batch(data: Crops, rows: NDArray[np.int64]) -> dict[str, Any]:
    import torch

    images = data.pixels[rows].transpose(0, 3, 1, 2).astype(np.float32) / 255
    masks = data.masks[rows][:, None].astype(np.float32)
    return {
        "images": torch.from_numpy(images),
        "labels": torch.from_numpy(data.labels[rows]),
        "masks": torch.from_numpy(masks),
    }


def stream(data: Crops, count: int, start: int = 0) -> Iterator[dict[str, Any]]:
    """Endless batches, mirrored and turned upside down at random."""
    number = start
    while True:
        rng = np.random.default_rng([SEED, number])
        made = as_batch(data, rng.choice(len(data.labels), count, replace=False))
        axes = [axis for axis in (2, 3) if rng.random() < 0.5]
        yield made | {name: made[name].flip(axes) for name in ("images", "masks")}
        number += 1


def network() -> Any:
    """PIM on two slim Swins that see residuals, with Dice beside its losses.

    On colours, with cross entropy alone, so few steps never left "nothing was changed".
    """
    import torch
    import torch.nn.functional as F

    from telltale.losses import dice
    from telltale.nn.swin import swin
    from telltale.pictures.pim import PIM, outline

    class Small(PIM):
        def loss(self, images: Any, labels: Any, masks: Any) -> dict[str, Any]:
            maps, side = self.inspect(images), images.shape[-1] // 4
            changed, edge = (
                F.interpolate(it, side, mode="nearest")[:, 0] for it in (masks, outline(masks))
            )
            colours = F.avg_pool2d(self.normalised(images), 4)
            logits = maps.mask[:, 1:] - maps.mask[:, :1]
            overlap = dice(logits, changed[:, None])
            return {
                "mask": F.cross_entropy(maps.mask, changed.long()),
                "dice": 0.5 * overlap[labels > 0].sum() / len(labels),
                "boundary": 0.2 * F.cross_entropy(maps.boundary, edge.long()),
                "reconstruction": 0.1 * F.l1_loss(maps.reconstruction, colours),
            }

    stem = {"stem": "residual"}
    net = Small(swin("swin_slim", **stem), swin("swin_slim", causal=True, **stem), channels=24)
    with torch.no_grad():  # standard normal weights hardly move in so few steps
        for level in net.differences:
            for weight in (level.central, level.radial):
                weight.mul_((9 * weight.shape[1]) ** -0.5)
    return net


def train(folders: list[Path], cache: Path, run: Path, steps: int, lr: float, count: int) -> None:
    """Train, or go on where the run stands; kept by pixel F1 on validation photographs."""
    import torch

    torch.manual_seed(SEED)
    check = crops(folders, cache, "val")

    def validate(net: Any) -> float:
        found = []
        with torch.no_grad():
            for rows in np.array_split(np.arange(len(check.labels)), 20):
                each = as_batch(check, rows)
                called, masks = net(each["images"]).mask > 0, each["masks"].bool()
                both, union = (
                    (called & masks).sum((1, 2, 3)),
                    (called.sum((1, 2, 3)) + masks.sum((1, 2, 3))),
                )
                f1 = torch.where(union > 0, 2 * both / union.clamp(min=1), 1.0)
                found.append(
                    torch.where(each["labels"] > 0, f1, 1 - called.float().mean((1, 2, 3)))
                )
        return float(torch.cat(found).mean())

    state, log = run / "progress.safetensors", run / "steps.jsonl"
    start = len(log.read_text().splitlines()) if state.exists() else 0
    batches = stream(crops(folders, cache, "train"), count, start)
    learn(network(), batches, run, steps=steps, lr=lr, validate=validate, every=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, action="append", required=True)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--run", type=Path, default=Path("runs/ship-pim"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--batch", type=int, default=10)
    args = parser.parse_args()
    train(args.photos, args.cache, args.run, args.steps, args.lr, args.batch)


if __name__ == "__main__":
    main()

"""Make, train, calibrate, measure and export the shipped detector of local changes.

    python tools/ship_pim.py train --photos DIR --photos DIR
    python tools/ship_pim.py ship  --photos DIR --photos DIR

A small PIM learns from real photographs that were changed by Telltale itself
(`telltale.data.synth.splicing`): **synthetic** manipulations. Split by photograph. Removal by
patches and retouching are never trained on. ``NAME_segments.png`` beside a photograph is a human
segmentation: objects for splices.
"""

import argparse
import hashlib
from collections.abc import Iterator
from functools import cache
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
HELD_OUT = ("removal by patches", "retouch")
TESTED = ("splice", "copy_move", "removal", "recompress", *HELD_OUT)
ENDS = {"none": 0, "JPEG 95": 95, "JPEG 75": 75, "JPEG 50": 50}


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


def batch(paths: list[Path], number: int, count: int, salt: int = 0) -> dict[str, Any]:
    import torch

    rng = np.random.default_rng([SEED, salt, number])
    kinds = [
        "" if rng.random() < 0.3 else str(rng.choice([*TRAINED], p=[*TRAINED.values()]))
        for _ in range(count)
    ]
    made = [sample(paths, rng, kind) for kind in kinds]
    images = np.stack([it.pixels for it in made]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return {
        "images": torch.from_numpy(images),
        "labels": torch.tensor([int(bool(kind)) for kind in kinds]),
        "masks": torch.from_numpy(np.stack([it.mask for it in made])[:, None].astype(np.float32)),
    }


def stream(paths: list[Path], count: int, start: int = 0) -> Iterator[dict[str, Any]]:
    number = start
    while True:
        yield batch(paths, number, count)
        number += 1


def network() -> Any:
    """PIM on two slim Swins that see residuals, with Dice beside its losses.

    On colours, with cross entropy alone, so few steps never left "nothing was changed".
    """
    import torch
    import torch.nn.functional as F

    from telltale.nn.swin import swin
    from telltale.pictures.pim import PIM, outline

    class Small(PIM):
        def loss(self, images: Any, labels: Any, masks: Any) -> dict[str, Any]:
            maps, side = self.inspect(images), images.shape[-1] // 4
            changed, edge = (
                F.interpolate(it, side, mode="nearest")[:, 0] for it in (masks, outline(masks))
            )
            colours = F.avg_pool2d(self.normalised(images), 4)
            found = maps.mask.softmax(1)[:, 1]
            both, each = (found * changed).sum((1, 2)), (found + changed).sum((1, 2))
            dice = 1 - (2 * both + 1) / (each + 1)
            return {
                "mask": F.cross_entropy(maps.mask, changed.long()),
                "dice": 0.5 * dice[labels > 0].sum() / len(labels),
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


def train(folders: list[Path], run: Path, steps: int, lr: float, count: int) -> None:
    """Train, or go on where the run stands; kept by pixel F1 at 0.5 on validation photographs."""
    import torch

    torch.manual_seed(SEED)
    check = [batch(names(folders, "val"), k, 8, salt=1) for k in range(16)]

    def validate(net: Any) -> float:
        found = []
        with torch.no_grad():
            for each in check:
                called = net(each["images"]).mask > 0
                for label, mask, own in zip(
                    each["labels"], each["masks"].bool(), called, strict=True
                ):
                    if label:
                        found.append(
                            float(2 * (own & mask).sum() / (own.sum() + mask.sum()).clamp(min=1))
                        )
                    else:
                        found.append(float(1 - own.float().mean()))
        return float(np.mean(found))

    paths = names(folders, "train")
    print(len(paths), "photographs to learn from", flush=True)
    state = run / "progress.safetensors"
    start = sum(1 for _ in (run / "steps.jsonl").open()) if state.exists() else 0
    learn(
        network(),
        stream(paths, count, start),
        run,
        steps=steps,
        lr=lr,
        validate=validate,
        every=100,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("train", "ship"))
    parser.add_argument("--photos", type=Path, action="append", required=True)
    parser.add_argument("--run", type=Path, default=Path("runs/ship-pim"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    if args.what == "train":
        train(args.photos, args.run, args.steps, args.lr, args.batch)


if __name__ == "__main__":
    main()

"""Make, train, calibrate, measure and export the shipped detector of recaptured documents.

    python tools/ship_recapture.py make  --cache CACHE --pages SCANS
    python tools/ship_recapture.py train --cache CACHE
    python tools/ship_recapture.py ship  --cache CACHE

Learns from drawn pages (`telltale.data.synth.pages`), photographed as they are or after a
**simulated** print or display (`telltale.data.synth.recapture`); split by page, and by display,
printer and camera. Prints with diffused dots are never trained on. Scans of real pages are only
tested on.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from shipping import (
    SURVIVES,
    answers,
    band,
    learn,
    logits_of,
    rates,
    write_weights,
)  # beside this file

from telltale.data.synth.camera import draw_camera
from telltale.data.synth.display import Display, draw_display
from telltale.data.synth.pages import page
from telltale.data.synth.printing import Printer, draw_printer
from telltale.data.synth.recapture import attacked, bona_fide
from telltale.detector import sharpness

SIZE, SIDE, SEED = 112, 448, 0  # of a crop, and of the part of a page that is photographed
KINDS = ("display", "clustered print", "diffused print")
UNSEEN = "diffused print"
DEVICES = {"train": (0, 60), "val": (60, 75), "test": (75, 100), "scans": (75, 100)}
COUNTS = {"train": 480, "val": 60, "test": 150, "scans": 143}
CROPS = {"train": 8, "val": 6, "test": 16, "scans": 16}  # of a page


class Pages(NamedTuple):
    """Crops of pages photographed as they are and recaptured."""

    genuine: NDArray[np.uint8]  # (N, n, S, S, 3)
    recaptured: NDArray[np.uint8]  # (N, n, S, S, 3)
    kinds: NDArray[np.str_]  # (N,)
    sources: NDArray[np.str_]  # (N,) the page


def pages(cache: Path, split: str, scans: Path | None = None) -> Pages:
    """The crops of a split, made once and kept."""
    kept = cache / f"pages-{split}-{SIZE}.npz"
    if not kept.exists():
        part = kept.with_suffix(".part.npz")
        np.savez(part, **make(split, scans)._asdict())
        part.replace(kept)
    with np.load(kept) as stored:
        return Pages(**{name: stored[name] for name in Pages._fields})


def make(split: str, scans: Path | None) -> Pages:
    """Photograph and recapture the pages of a split."""
    kinds = [kind for kind in KINDS if kind != UNSEEN or split in ("test", "scans")]
    files = sorted(scans.glob("*.jpg")) if scans and split == "scans" else []
    rows = []
    for number in range(len(files) if split == "scans" else COUNTS[split]):
        rng = np.random.default_rng([SEED, len(split), number])
        shown = scanned(files[number], rng) if files else page((SIDE, SIDE), rng)
        first, last = DEVICES[split]
        device, camera_number, other = (int(k) for k in rng.integers(first, last, 3))
        camera = draw_camera(np.random.default_rng([7, camera_number]))
        camera = camera._replace(exposure=float(rng.uniform(0.8, 1.0)))
        before = draw_camera(np.random.default_rng([7, other]))._replace(exposure=0.95)
        kind = kinds[number % len(kinds)]
        genuine = bona_fide(shown, rng, camera)
        # What is printed or displayed is itself a photograph of the page.
        source = bona_fide(shown, rng, before)
        thing = device_of(kind, device)
        way = "display" if kind == "display" else "print"
        fake = attacked(source, way, rng, camera, device=thing)
        places = places_of(CROPS[split], rng)
        name = files[number].name if files else f"drawn {split} {number}"
        rows.append((cut(genuine, places), cut(fake, places), kind, name))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Pages(*columns)


def device_of(kind: str, number: int) -> Display | Printer:
    """The display or the printer of this number, always the same."""
    rng = np.random.default_rng([8, number])
    if kind == "display":
        return draw_display(rng)
    return draw_printer(rng)._replace(screen=kind.split()[0])


def scanned(path: Path, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A square part of a scan at its own resolution, mirrored where it is too small."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    missing = [(0, max(0, SIDE - length)) for length in pixels.shape[:2]]
    pixels = np.pad(pixels, (*missing, (0, 0)), "symmetric")
    y, x = (int(rng.integers(length - SIDE + 1)) for length in pixels.shape[:2])
    return np.ascontiguousarray(pixels[y : y + SIDE, x : x + SIDE])


def places_of(count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Where crops begin: a full grid of 16, or so many at random."""
    if count == (SIDE // SIZE) ** 2:
        return [(y, x) for y in range(0, SIDE, SIZE) for x in range(0, SIDE, SIZE)]
    return [(int(y), int(x)) for y, x in rng.integers(0, SIDE - SIZE + 1, (count, 2))]


def cut(pixels: NDArray[np.uint8], places: list[tuple[int, int]]) -> NDArray[np.uint8]:
    return np.stack([pixels[y : y + SIZE, x : x + SIZE] for y, x in places])


def network() -> Any:
    """The method on two small networks."""
    from telltale.nn.resnets import resnet
    from telltale.pictures.recapture import Recapture

    return Recapture(resnet("resnet_toy"), resnet("resnet_toy"), attention_side=14)


def stream(data: Pages, pairs: int, start: int = 0) -> Iterator[dict[str, Any]]:
    """Endless batches: genuine crops, then the same places recaptured."""
    import torch

    number = start
    while True:
        rng = np.random.default_rng([SEED, number])
        rows = rng.choice(len(data.genuine), pairs, replace=False)
        crops = rng.integers(0, data.genuine.shape[1], pairs)
        images = np.concatenate([data.genuine[rows, crops], data.recaptured[rows, crops]])
        if rng.random() < 0.5:
            images = images[:, :, ::-1]
        images = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
        labels = torch.arange(2).repeat_interleave(pairs)
        yield {"images": torch.from_numpy(np.ascontiguousarray(images)), "labels": labels}
        number += 1


def train(cache: Path, run: Path, steps: int, lr: float, pairs: int) -> None:
    """Train, or go on where the run stands; validated on single crops."""
    import torch

    from telltale import metrics

    torch.manual_seed(SEED)
    check = pages(cache, "val")
    crops = np.concatenate([check.genuine[:, 0], check.recaptured[:, 0]])
    crops = np.concatenate([crops, check.genuine[:, 1], check.recaptured[:, 1]])
    labels = np.tile(np.repeat([0, 1], len(check.genuine)), 2)
    learn(
        network(),
        stream(pages(cache, "train"), pairs),
        run,
        steps=steps,
        lr=lr,
        validate=lambda net: float(metrics.auc(logits_of(net, crops), labels)),
    )


def page_scores(runner: Any, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean logit of each page's crops, as the detector takes it."""
    return np.array([answers(runner, own).mean() for own in crops])


def ship(cache: Path, run: Path) -> None:
    """Export, calibrate on validation, measure on test, write the card's table."""
    from telltale import fit, metrics
    from telltale.calibrate import fit as calibrate
    from telltale.engine import session, sha256, weights_folder
    from telltale.export import export_onnx, gate, halve, quantise

    net = network()
    fit.restore(net, run / "weights.safetensors")
    net.eval()
    full, small, half = (run / f"recapture{end}.onnx" for end in ("_full", "_int8", "_half"))
    worst = export_onnx(net, full, size=SIZE, grid=None)
    quantise(full, small)
    halve(full, half)
    check = pages(cache, "val")
    flat = np.concatenate([check.genuine, check.recaptured]).reshape(-1, SIZE, SIZE, 3)[::3]
    images = flat.transpose(0, 3, 1, 2).astype(np.float32) / 255
    truth = np.repeat([0, 1], check.genuine.shape[0] * check.genuine.shape[1])[::3]
    tried = gate(full, small, images, lambda z: float(metrics.auc(z, truth)))
    target = weights_folder() / "recapture.onnx"
    target.write_bytes((small if tried.kept else half).read_bytes())
    runner = session(target)
    genuine, fake = page_scores(runner, check.genuine), page_scores(runner, check.recaptured)
    logits, labels = np.r_[genuine, fake], np.repeat([0, 1], len(genuine))
    line = calibrate(logits, labels, np.array([*check.sources, *check.sources]))
    threshold, doubt = band(line.score(logits), labels)
    frozen = metrics.threshold_at_eer(logits, labels)
    figures: dict[str, Any] = {}
    for name, split in (("held-out drawn pages and devices", "test"), ("real scans", "scans")):
        data = pages(cache, split)
        genuine, fake = page_scores(runner, data.genuine), page_scores(runner, data.recaptured)
        for kind in (*KINDS, "all"):
            rows = np.full(len(fake), True) if kind == "all" else data.kinds == kind
            seen = " (never trained on)" if kind == UNSEEN else ""
            found = rates(genuine, fake[rows], data.sources, data.sources[rows], frozen)
            for measure, value in found.items():
                figures[f"{measure}: {name}, {kind}{seen}"] = value
        one = answers(runner, data.genuine[:, 0]), answers(runner, data.recaptured[:, 0])
        single = metrics.auc(np.concatenate(one), np.repeat([0, 1], len(one[0])))
        figures[f"auc of a single crop: {name}"] = round(float(single), 4)
        scored = line.score(genuine), line.score(fake)
        shares = [float((s >= threshold + doubt).mean()) for s in scored]
        figures[f"genuine pages called recaptured: {name}"] = round(shares[0], 4)
        figures[f"recaptured pages called recaptured: {name}"] = round(shares[1], 4)
    sharp = [sharpness(crop) for crop in flat]
    weights = {
        "file": target.name,
        "sha256": sha256(target),
        "license": "Apache-2.0",
        "source": "telltale, from random weights",
        "trained_on": "480 drawn pages, photographed and recaptured by SIMULATORS: displays and "
        "clustered-dot prints; tools/ship_recapture.py, seed 0",
        "threshold": threshold,
        "doubt": doubt,
        "input": {"size": SIZE, "crop": "page", "survival": SURVIVES},
        "calibration": line.to_table(),
        "operating_range": {
            "page_pixels": [224.0, math.inf],
            "sharpness": [round(float(np.quantile(sharp, 0.01)), 2), math.inf],
            "jpeg_quality": [60.0, 100.0],
        },
    }
    result = {"export": {"difference": worst, "gate": tried._asdict()}, "metrics": figures}
    (run / "result.json").write_text(json.dumps(result | {"weights": weights}, indent=1) + "\n")
    write_weights(weights_folder().parent / "pictures/recapture.toml", weights, figures)
    print(json.dumps(figures, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("make", "train", "ship"))
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--pages", type=Path, help="folder of scanned pages (*.jpg), to test on")
    parser.add_argument("--run", type=Path, default=Path("runs/ship-recapture"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--pairs", type=int, default=16)
    args = parser.parse_args()
    if args.what == "make":
        for split in COUNTS:
            print(split, len(pages(args.cache, split, args.pages).genuine), flush=True)
    elif args.what == "train":
        train(args.cache, args.run, args.steps, args.lr, args.pairs)
    else:
        ship(args.cache, args.run)


if __name__ == "__main__":
    main()

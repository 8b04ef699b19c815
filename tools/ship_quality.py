"""Train the small network that rates how much a picture has suffered, for the scan.

    python tools/ship_quality.py --photos DIR --photos DIR --cache CACHE --run RUN
        --card src/telltale/detector/quality.toml --weights src/telltale/weights/quality.onnx

It is FPR's head, losses and couplings (`telltale.pictures.fpr_iqa`) over fixed statistics of a crop
of 128 pixels (quality_statistics.py beside this file), in place of FPR's convolutions: of those, an
eighth as wide as the paper's, 450 steps of 16 crops and 12 minutes of a core gave a rank
correlation of 0.25 on validation photographs, and each picture took thrice as long.

It learns from photographs that Telltale has distorted (`telltale.data.synth.distortions`). Its
labels are a **proxy**: FSIM (Zhang et al., IEEE TIP 2011, by piq) of the crop against the
undistorted one; no person was asked. Split by photograph, faces by person; four kinds of distortion
are never trained on. ``--network plain`` learns the same without any reference, to compare with.
The run ends with the rank correlations; without --card nothing else is written.
"""

import argparse
import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from functools import partial
from itertools import count
from multiprocessing import Pool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from quality_statistics import Statistics  # beside this file
from shipping import learn, write_weights
from torch import Tensor, nn

from telltale import fit
from telltale.data.synth.distortions import KINDS, distort
from telltale.metrics.quality import plcc, srcc
from telltale.pictures.fpr_iqa import Invertible

SIDE, SEED = 128, 0
UNSEEN = ("motion_blur", "jpeg2000", "multiplicative_noise", "pixelate")
TRAINED = tuple(kind for kind in KINDS if kind not in UNSEEN)
COUNTS = {"train": 4000, "val": 240, "test": 640, "unseen": 400}
PRISTINE = 0.08
TOGETHER = 16  # crops that FSIM compares in one call
MOST = 160  # photographs of each folder, so that none outweighs the others
BATCH, WIDTH = 64, 32
WHOLE = 160


class Crops(NamedTuple):
    pixels: NDArray[np.uint8]  # (N, S, S, 3)
    clean: NDArray[np.uint8]  # the same before they were distorted
    scores: NDArray[np.float64]  # (N,) 100 · (1 - FSIM): 0 is untouched
    sources: NDArray[np.str_]  # (N,) folder and photograph


def photographs(folders: list[Path], split: str) -> list[Path]:
    """Those of a split; a hash of the name decides: 7, 1 and 2 of 10, of a person all the same."""
    found = []
    for folder in folders:
        drawn = {
            path: int(hashlib.sha256(re.sub(r"_\d{4}$", "", path.stem).encode()).hexdigest(), 16)
            for path in folder.iterdir()
            if path.suffix.lower() in (".jpg", ".jpeg", ".png") and "_segments" not in path.name
        }
        kept = sorted(drawn, key=lambda path: (drawn[path] // 10, path.name))[:MOST]
        for path in kept:
            draw = drawn[path] % 10
            if split == ("train" if draw < 7 else "val" if draw < 8 else "test"):
                found.append(path)
    return [path for path in found if min(Image.open(path).size) >= SIDE]


def crops(folders: list[Path], cache: Path, split: str) -> Crops:
    """The crops of a split, made once and kept."""
    kept = cache / f"quality-{split}-{SIDE}.npz"
    if not kept.exists():
        paths = photographs(folders, "test" if split == "unseen" else split)
        jobs = [(paths, split, n) for n in range(COUNTS[split] // TOGETHER)]
        with Pool(2) as pool:
            parts = pool.starmap(some, jobs)
        made = Crops(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        part = kept.with_suffix(".part.npz")
        np.savez(part, **made._asdict())
        part.replace(kept)
    with np.load(kept) as stored:
        return Crops(*(stored[name] for name in Crops._fields))


def some(paths: list[Path], split: str, number: int) -> Crops:
    """Distorted crops, their proxy scores and where they are from."""
    import piq

    torch.set_num_threads(1)
    made = [sample(paths, split, [SEED, len(split), number, n]) for n in range(TOGETHER)]
    pixels, clean = (np.stack([it[k] for it in made]) for k in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = piq.fsim(as_tensor(pixels), as_tensor(clean), reduction="none").double().numpy()
    scores = np.where((pixels == clean).all((1, 2, 3)), 0.0, 100 * (1 - found))
    return Crops(pixels, clean, scores, np.array([it[2] for it in made]))


def sample(paths: list[Path], split: str, seed: list[int]) -> tuple[Any, Any, str]:
    """A crop distorted, as it was, and its photograph."""
    rng = np.random.default_rng(seed)
    path = paths[int(rng.integers(len(paths)))]
    whole = np.asarray(Image.open(path).convert("RGB"))
    y, x = (int(rng.integers(n - SIDE + 1)) for n in whole.shape[:2])
    clean = np.ascontiguousarray(whole[y : y + SIDE, x : x + SIDE])
    kind = str(rng.choice(UNSEEN if split == "unseen" else TRAINED))
    level = int(rng.integers(1, 6))
    made = clean if rng.random() < PRISTINE else distort(kind, clean, level, rng)
    return made, clean, f"{path.parent.name}/{path.stem}"


class Rater(nn.Module):
    """FPR over statistics: what is kept of a crop is a row of numbers, not a map.

    Args:
        middle: Mean of each statistic, (F,).
        spread: Its deviation, (F,).
        mutual: Learn from the reference, too.
    """

    def __init__(self, middle: Tensor, spread: Tensor, mutual: bool) -> None:
        super().__init__()
        self.statistics = Statistics()
        self.register_buffer("middle", middle)
        self.register_buffer("spread", spread)
        self.integrity = layers(len(middle), 2 * WIDTH)
        self.head = nn.Linear(2 * WIDTH, 1)
        self.mutual = mutual
        if mutual:
            self.quality = layers(len(middle), WIDTH)
            self.disentangle = Invertible(WIDTH, 3)
            self.pair_head = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.ReLU())
            self.pair_score = nn.Linear(WIDTH, 1)

    def forward(self, images: Tensor) -> Tensor:
        """100 · (1 - FSIM) of crops (N, 3, S, S); it learnt 100 · √(1 - FSIM)."""
        return self.root(self.integrity(self.normal(self.statistics(images)))).relu().square() / 100

    def normal(self, statistics: Tensor) -> Tensor:
        return ((statistics - self.middle) / self.spread).clamp(-4, 4)

    def root(self, features: Tensor) -> Tensor:
        return self.head(features)[:, 0] * 30

    def loss(self, images: Tensor, partners: Tensor, scores: Tensor) -> dict[str, Tensor]:
        """FPR's terms; images and partners are statistics (N, F) of crops and of their references.

        A tenth of the paper's, as labels go to 70 here.
        """
        wanted = 10 * scores.clamp(min=0).sqrt()
        own = self.integrity(self.normal(images))
        losses = {"no_reference": F.l1_loss(self.root(own), wanted) / 10}
        if not self.mutual:
            return losses
        distorted, reference = (self.quality(self.normal(it)) for it in (images, partners))
        a, b = (part[..., None, None] for part in own.chunk(2, 1))
        hallucinated, pseudo = (part[..., 0, 0] for part in self.disentangle(a, b))
        for name, pair in {
            "full_reference": (reference, distorted),
            "pseudo_reference": (pseudo, hallucinated),
        }.items():
            found = self.pair_score(self.pair_head(torch.cat(pair, 1)))[:, 0] * 30
            losses[name] = F.l1_loss(found, wanted) / 10
        triplet = partial(F.triplet_margin_loss, margin=0.5)
        losses["distortion"] = 2 * triplet(distorted, hallucinated, reference)
        losses["reference"] = 2 * triplet(reference, pseudo, distorted)
        return losses


def layers(width: int, out: int) -> nn.Module:
    """Two layers, a fifth of their numbers dropped in training."""
    return nn.Sequential(
        nn.Linear(width, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, out), nn.ReLU()
    )


@torch.no_grad()
def described(pixels: NDArray[np.uint8]) -> Tensor:
    """Statistics of crops (N, S, S, 3)."""
    made = Statistics()
    parts = np.array_split(np.arange(len(pixels)), max(1, len(pixels) // 40))
    return torch.cat([made(as_tensor(pixels[rows])) for rows in parts])


def statistics_of(data: Crops, cache: Path) -> list[Tensor]:
    """Statistics of the crops and of their references, as they are and mirrored; kept."""
    kept = cache / f"quality-statistics-{SIDE}.npz"
    if not kept.exists():
        views = (data.pixels, data.pixels[:, :, ::-1], data.clean, data.clean[:, :, ::-1])
        part = kept.with_suffix(".part.npz")
        np.savez(part, *(described(view).numpy() for view in views))
        part.replace(kept)
    with np.load(kept) as stored:
        found = [torch.from_numpy(stored[f"arr_{k}"]) for k in range(4)]
    return [torch.cat(found[:2]), torch.cat(found[2:])]


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) / np.float32(255))


def stream(seen: Tensor, clean: Tensor, scores: Tensor, *where: int) -> Iterator[dict[str, Tensor]]:
    """Endless batches of a seed from a number on."""
    seed, start = where
    for number in count(start):
        rows = np.random.default_rng([seed, number]).choice(len(scores), BATCH, replace=False)
        yield {"images": seen[rows], "partners": clean[rows], "scores": scores[rows]}


@torch.no_grad()
def rated(net: Rater, statistics: Tensor) -> NDArray[np.float64]:
    root = net.root(net.integrity(net.normal(statistics)))
    return (root.relu().square() / 100).double().numpy()


def interval(
    found: NDArray[np.float64], wanted: NDArray[np.float64], sources: NDArray[np.str_]
) -> list[float]:
    """SRCC and its 95 % interval: photographs are drawn again, with all their crops."""
    groups = [np.flatnonzero(sources == source) for source in np.unique(sources)]
    rng, draws = np.random.default_rng(0), []
    for _ in range(1000):
        rows = np.concatenate([groups[int(k)] for k in rng.integers(len(groups), size=len(groups))])
        draws.append(srcc(found[rows], wanted[rows]))
    ends = np.quantile(draws, (0.025, 0.975))
    return [round(float(v), 4) for v in (srcc(found, wanted), *ends)]


def agreement(net: Rater, data: dict[str, Crops]) -> dict[str, Any]:
    """The card's figures: agreement with the proxy, intervals over photographs."""
    figures: dict[str, Any] = {}
    wheres = {"test": "held-out photographs", "unseen": f"kinds never trained on ({len(UNSEEN)})"}
    for split, where in wheres.items():
        part, found = data[split], rated(net, described(data[split].pixels))
        rows = {where: np.ones(len(found), bool)}
        for folder in sorted({source.partition("/")[0] for source in part.sources}):
            inside = np.char.startswith(part.sources, f"{folder}/")
            if inside.sum() >= 50 and split == "test":
                rows[f"{where}, {folder}"] = inside
        for name, kept in rows.items():
            triple = interval(found[kept], part.scores[kept], part.sources[kept])
            figures[f"srcc with the proxy: {name}"] = triple
        figures[f"plcc with the proxy: {where}"] = round(plcc(found, part.scores), 4)
        error = float(np.abs(found - part.scores).mean()) / 100
        figures[f"mean absolute error: {where}"] = round(error, 4)
    return figures


def whole(folders: list[Path], card: Path, weights: Path) -> dict[str, Any]:
    """Agreement on whole held-out photographs, up to 512 pixels a side, in all 24 ways."""
    import piq

    from telltale.detector.quality import Rater as Shipped

    rater, paths = Shipped(1, card=card, folder=weights), photographs(folders, "test")
    found, wanted, sources = [], [], []
    for number in range(WHOLE):
        rng = np.random.default_rng([SEED, 9, number])
        path = paths[number % len(paths)]
        clean = np.asarray(Image.open(path).convert("RGB"))[:512, :512]
        made = distort(str(rng.choice([*KINDS])), clean, int(rng.integers(1, 6)), rng)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted.append(float(piq.fsim(as_tensor(made[None]), as_tensor(clean[None]))))
        found.append(rater.rate(made))
        sources.append(str(path))
    columns = np.array(found), np.array(wanted)
    return {
        f"srcc with the proxy: whole held-out photographs ({WHOLE}), all 24 kinds": interval(
            *columns, np.array(sources)
        ),
        "plcc with the proxy: whole held-out photographs, all 24 kinds": round(plcc(*columns), 4),
    }


def folded(exported: Path, target: Path) -> None:
    """The same graph with its constants worked out: it is ready in two thirds of the time."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(exported)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
    model = onnx.load(exported)
    plain = [it for it in model.opset_import if not it.domain]
    if any(node.domain for node in model.graph.node):
        raise ValueError(f"{exported}: want operators of ONNX alone")
    del model.opset_import[:]
    model.opset_import.extend(plain)
    onnx.checker.check_model(model)
    onnx.save(model, exported)
    exported.replace(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photos", type=Path, action="append", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--card", type=Path, help="where the weights' table goes")
    parser.add_argument("--weights", type=Path, help="the ONNX file")
    parser.add_argument("--network", choices=("fpr", "plain"), default="fpr")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=SEED, help="of the training")
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    args.cache.mkdir(parents=True, exist_ok=True)
    data = {split: crops(args.photos, args.cache, split) for split in COUNTS}
    seen, clean = statistics_of(data["train"], args.cache)
    scores = torch.from_numpy(np.tile(data["train"].scores, 2)).float()
    check = described(data["val"].pixels)
    log = args.run / "steps.jsonl"
    done = len(log.read_text().splitlines()) if (args.run / "progress.safetensors").exists() else 0
    net = Rater(seen.mean(0), seen.std(0) + 1e-3, args.network == "fpr")
    batches = stream(seen, clean, scores, args.seed, done)
    learn(
        net, batches, args.run, steps=args.steps, lr=args.lr, every=100,
        validate=lambda n: srcc(rated(n, check), data["val"].scores),
    )  # fmt: skip
    fit.restore(net, args.run / "weights.safetensors")
    net.eval()
    figures = agreement(net, data)
    print(json.dumps(figures, indent=1), flush=True)
    if not args.card or not args.weights:
        return
    part_file = args.weights.with_suffix(".part")
    torch.onnx.export(
        net, (torch.rand(2, 3, SIDE, SIDE),), str(part_file), dynamo=False, verbose=False,
        input_names=["images"], output_names=["score"],
        dynamic_axes={"images": {0: "n"}, "score": {0: "n"}}, opset_version=17,
    )  # fmt: skip
    folded(part_file, args.weights)
    about = {
        "file": args.weights.name,
        "sha256": hashlib.sha256(args.weights.read_bytes()).hexdigest(),
        "license": "Apache-2.0",
        "source": "telltale, from random weights",
        "trained_on": f"{COUNTS['train']:,} crops of photographs and faces (BSDS500, ImageNet, "
        f"Kodak, LFW), distorted in {len(TRAINED)} ways by SYNTHESIS (never {', '.join(UNSEEN)}); "
        f"labels are FSIM, a PROXY, no person was asked; seed {args.seed}, {args.steps} steps; "
        "tools/ship_quality.py",
        "input": {"size": SIDE},
    }
    write_weights(args.card, about, figures)
    write_weights(args.card, about, figures | whole(args.photos, args.card, args.weights.parent))


if __name__ == "__main__":
    main()

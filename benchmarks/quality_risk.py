"""Does abstaining from bad pictures lower the error? Risk against coverage of the face detector.

    python benchmarks/quality_risk.py FACES OUT --count 60

Takes photographs of faces, forges each by self-blending, distorts both at random as
:mod:`telltale.data.synth.distortions` does, asks the shipped face detector of each, and orders its
answers by the estimated quality of the face, a **proxy**. Risk is the mean of the error among
genuine and among forged ones, at the card's threshold. Writes OUT.json and OUT.png.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import telltale
from telltale import metrics
from telltale.data.crops import Crop, cut_faces
from telltale.data.pairs import forge
from telltale.data.synth.distortions import KINDS, distort
from telltale.detector.quality import Rater
from telltale.media.facefinder import FaceFinder

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)


def risk(wrong: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the two classes' error."""
    return float(np.mean([wrong[labels == k].mean() for k in (0, 1)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=60)
    args = parser.parse_args()
    files = sorted(p for p in args.faces.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    finder, rater = FaceFinder(), Rater(1)
    rng = np.random.default_rng(0)
    picked = [files[int(k)] for k in rng.permutation(len(files))[: args.count]]
    crops = [c for c in cut_faces([(p, str(p)) for p in picked], finder) if isinstance(c, Crop)]
    detector = telltale.load("vit_lora_scl", threads=1)
    scores, labels, quality, people = [], [], [], []
    for number, crop in enumerate(crops):
        fake, real, _ = forge("self_blend", crop, crops, rng)
        kind, level = str(rng.choice([*KINDS])), int(rng.integers(0, 6))  # 0: as it is
        for label, pixels in enumerate((real, fake)):
            seed = np.random.default_rng([number])
            seen = distort(kind, pixels, level, seed) if level else pixels
            found = detector.detect(seen, survival=False)[0]
            if found.region is not None:
                scores.append(found.score)
                labels.append(label)
                quality.append(rater.rate(seen, found.region))
                people.append(number)
    s, y, q, g = (np.array(column) for column in (scores, labels, quality, people))
    wrong = (s >= detector.weights.threshold) != (y == 1)
    curve = {}
    for coverage in COVERAGES:
        least = float(np.quantile(q, 1 - coverage))
        kept = q >= least
        values = metrics.bootstrap(risk, wrong[kept], y[kept], g[kept], seed=0)
        auc = metrics.auc(s[kept], y[kept])
        curve[str(coverage)] = {
            "least_quality": round(least, 3),
            "risk": [round(float(v), 3) for v in values],
            "auc": round(float(auc), 3),
        }
        print(coverage, curve[str(coverage)], flush=True)
    part = args.out.with_suffix(".json.part")
    part.write_text(json.dumps({"answers": len(s), "curve": curve}, indent=1) + "\n")
    part.replace(args.out.with_suffix(".json"))
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(5, 3.2))
    low, mid, high = (
        [row["risk"][k] for row in curve.values()] for k in (1, 0, 2)
    )  # fmt: skip
    axes.fill_between(COVERAGES, low, high, alpha=0.2)
    axes.plot(COVERAGES, mid, "o-")
    axes.set(xlabel="coverage, best quality first", ylabel="balanced error", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(args.out.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()

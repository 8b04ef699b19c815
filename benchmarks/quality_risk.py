"""Does abstaining from bad pictures lower a detector's error? Risk against coverage.

    python benchmarks/quality_risk.py vit_lora_scl --faces LFW --out OUT --split test
    python benchmarks/quality_risk.py pim --photos PHOTOS --out OUT --split test
    python benchmarks/quality_risk.py vit_lora_scl joint_attacks --out ONE OTHER --draw CURVES.png

LFW are folders of portraits or files of face crops (`telltale.data.crops`), of which the people of
a split are taken, PHOTOS folders of photographs, split as the tools that made the shipped weights
split them. Of each there is a genuine picture and an attack (**synthetic**): a forgery for the face
detector, a simulated presentation for the spoofing detector, a local change for PIM. Three in four
pairs are distorted as :mod:`telltale.data.synth.distortions` does, both alike. The shipped detector
is asked, and the shipped rater estimates the subject's quality, a **proxy**.

OUT.json: the error of forced answers (mean of both classes, at the card's threshold) of the share
of best quality, and what the card's verdicts come to with and without its bound on visual quality.
OUT.answers.jsonl: each answer, so that bounds can be tried on validation people.
"""

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from telltale import catalog, metrics
from telltale.calibrate import decide
from telltale.data.crops import Crop, cut_faces, load_crops
from telltale.data.pairs import forge
from telltale.data.synth.camera import draw_camera
from telltale.data.synth.distortions import KINDS, distort
from telltale.data.synth.masks import mesh_landmarks
from telltale.data.synth.recapture import KINDS as ATTACKS
from telltale.data.synth.recapture import attacked, bona_fide
from telltale.data.synth.splicing import change
from telltale.detector import Detector
from telltale.detector.quality import MEASURE, Rater
from telltale.media import read_picture
from telltale.media.facefinder import FaceFinder

COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
CHANGES = ("splice", "copy_move", "removal")
RATED = 0.03  # tools/ship_quality.py takes the portraits whose hashes come first: 160, below 0.027
FORGERIES = ("self_blend", "swap_alpha", "regenerate", "swap_poisson")


def faces(places: Sequence[Path], split: str, count: int) -> list[Crop]:
    """Faces of a split's people, one each; nobody of whom the rater's crops could be."""
    found: dict[str, Crop] = {}
    for place in places:
        if place.suffix == ".crops":
            crops: Iterator[Any] = load_crops(place)
        else:
            files = [p for p in place.rglob("*") if p.suffix.lower() in (".jpg", ".png")]
            crops = cut_faces([(p, f"lfw:{p.stem[:-5]}") for p in sorted(files)], FaceFinder())
        for crop in crops:
            if isinstance(crop, Crop) and crop.source.startswith("lfw:") and not rated(crop.source):
                draw = int(hashlib.sha256(crop.source.encode()).hexdigest(), 16) % 100
                if split == ("train" if draw < 80 else "val" if draw < 90 else "test"):
                    found.setdefault(crop.source, crop)
    order = np.random.default_rng(0).permutation(len(found))[:count]
    return [[*found.values()][int(k)] for k in order]


def rated(source: str) -> bool:
    """Whether a person's portraits may be among those that the rater learnt from."""
    draw = int(hashlib.sha256(source.removeprefix("lfw:").encode()).hexdigest(), 16)
    return draw < RATED * 2**256


def photographs(places: Sequence[Path], split: str, count: int) -> list[Any]:
    """Photographs of a split, those of ``tools/ship_pim.py``."""
    found = []
    for place in places:
        for path in sorted(place.iterdir()):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png") and "_segments" not in path.name:
                draw = int(hashlib.sha256(path.stem.encode()).hexdigest(), 16) % 10
                if split == ("train" if draw < 7 else "val" if draw < 8 else "test"):
                    found.append(path)
    order = np.random.default_rng(0).permutation(len(found))[:count]
    return [read_picture(found[int(k)]).pixels for k in order]


def pair(slug: str, number: int, crops: Sequence[Any]) -> tuple[Any, Any]:
    """The genuine picture and the attack, not yet distorted."""
    rng, crop = np.random.default_rng([1, number]), crops[number]
    if slug == "pim":
        kind, other = CHANGES[number % len(CHANGES)], crops[number - 1]
        return crop, change(kind, crop, other if kind == "splice" else crop, rng).pixels
    if slug == "joint_attacks":
        camera, kind = draw_camera(rng), ATTACKS[number % len(ATTACKS)]
        fake = attacked(crop.pixels, kind, rng, camera, landmarks=mesh_landmarks(crop.points))
        return bona_fide(crop.pixels, rng, camera), fake
    fake, real, _ = forge(FORGERIES[number % len(FORGERIES)], crop, crops, rng)
    return real, fake


def answers(slug: str, crops: Sequence[Any]) -> Iterator[dict[str, Any]]:
    detector, rater = Detector.load(slug, threads=1), Rater(1)
    for number in range(len(crops)):
        try:
            made = pair(slug, number, crops)
        except ValueError:  # nobody of another's size to swap with
            continue
        rng = np.random.default_rng([2, number])
        kind = str(rng.choice([*KINDS]))
        level = int(rng.integers(1, 6)) if rng.random() < 0.75 else 0
        for label, pixels in enumerate(made):
            seen = distort(kind, pixels, level, np.random.default_rng(number)) if level else pixels
            found = detector.detect(seen, survival=False)[0]
            if found.region is None:  # no face: "can't tell" in any case
                continue
            quality = {**found.quality, MEASURE: rater.rate(seen, found.region)}
            yield {
                "label": label,
                "score": found.score,
                "quality": {name: round(float(v), 4) for name, v in quality.items()},
                "person": number,
                "kind": kind if level else "",
                "level": level,
            }


def error(wrong: Any, labels: Any) -> float:
    """Mean of both classes' error; of one class if there is but one."""
    return float(np.mean([wrong[labels == k].mean() for k in np.unique(labels)]))


def interval(measure: Any, groups: Any) -> list[float]:
    """A measure of rows and its 95 % interval: people are drawn again, with all their rows."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(500):
        picked = rng.integers(len(members), size=len(members))
        draws.append(measure(np.concatenate([members[int(k)] for k in picked])))
    whole = measure(np.arange(len(groups)))
    return [round(float(v), 4) for v in (whole, *np.nanquantile(draws, (0.025, 0.975)))]


def curve(rows: Sequence[dict[str, Any]], threshold: float) -> dict[str, Any]:
    """Error of forced answers among the share of best quality."""
    score, label, person, quality = columns(rows)
    wrong, found = (score >= threshold) != (label == 1), {}
    for coverage in COVERAGES:
        least = float(np.quantile(quality, 1 - coverage))
        k = quality >= least
        found[str(coverage)] = {
            "least_quality": round(least, 3),
            "error": interval(lambda r, k=k: error(wrong[k][r], label[k][r]), person[k]),
            "auc": round(float(metrics.auc(score[k], label[k])), 4),
        }
    return found


def columns(rows: Sequence[dict[str, Any]]) -> tuple[Any, Any, Any, Any]:
    return (
        np.array([row["score"] for row in rows]),
        np.array([row["label"] for row in rows]),
        np.array([row["person"] for row in rows]),
        np.array([row["quality"][MEASURE] for row in rows]),
    )


def said_of(rows: Sequence[dict[str, Any]], weights: Any, least: float | None) -> Any:
    """The card's verdicts with a bound on visual quality, or without one."""
    limits = {k: v for k, v in weights.operating_range.items() if k != MEASURE}
    if least is not None:
        limits[MEASURE] = [least, float("inf")]
    asked = dataclasses.replace(weights, operating_range=limits)
    return np.array([decide(row["score"], asked, row["quality"], {})[0] for row in rows])


def verdicts(rows: Sequence[dict[str, Any]], weights: Any, least: float | None) -> dict[str, Any]:
    """What verdicts come to; with a bound also by how much it lowers the error of the answers."""
    said, plain = said_of(rows, weights, least), said_of(rows, weights, None)
    _, label, person, _ = columns(rows)
    wrong = wrong_of(said, label)
    told = said != "can't tell"
    clean = np.array([row["level"] == 0 for row in rows])
    return {
        "less wrong of the answered than without": interval(
            lambda r: (
                share(wrong_of(plain, label)[r], (plain != "can't tell")[r])
                - share(wrong[r], told[r])
            ),
            person,
        ),
        "answered": interval(lambda r: told[r].mean(), person),
        "answered, undistorted": round(float(told[clean].mean()), 4),
        "wrong of all": interval(lambda r: wrong[r].mean(), person),
        "wrong of the answered": interval(lambda r: wrong[r].sum() / max(1, told[r].sum()), person),
        "genuine called attacks": int((said[label == 0] == "yes").sum()),
        "attacks called genuine": int((said[label == 1] == "no").sum()),
        "of": len(rows),
    }


def wrong_of(said: Any, label: Any) -> Any:
    return np.where(label == 1, said == "no", said == "yes")


def share(wrong: Any, told: Any) -> float:
    return float(wrong.sum() / max(1, told.sum()))


def draw_curves(outs: Sequence[Path], names: Sequence[str], target: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(outs), figsize=(4.6 * len(outs), 3.3), squeeze=False)
    for place, out, name in zip(axes[0], outs, names, strict=True):
        found = json.loads(out.with_suffix(".json").read_text())
        share = [float(coverage) for coverage in found["curve"]]
        middle, low, high = ([row["error"][k] for row in found["curve"].values()] for k in range(3))
        place.fill_between(share, low, high, alpha=0.2)
        place.plot(share, middle, "o-")
        place.set(xlabel="coverage, best visual quality first", title=name, ylim=(0, None))
        place.set_ylabel("error, mean of both classes")
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("slug", nargs="+")
    parser.add_argument("--faces", type=Path, nargs="+", default=[])
    parser.add_argument("--photos", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, nargs="+", required=True)
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--count", type=int, default=180)
    parser.add_argument("--bounds", type=float, nargs="*", default=[])
    parser.add_argument("--draw", type=Path)
    args = parser.parse_args()
    for slug, out in zip(args.slug, args.out, strict=True):
        kept = out.with_suffix(".answers.jsonl")
        if not kept.exists():
            given = photographs(args.photos, args.split, args.count) if slug == "pim" else []
            given = given or faces(args.faces, args.split, args.count)
            made = answers(slug, given)
            part = kept.with_suffix(".part")
            part.write_text("".join(json.dumps(row) + "\n" for row in made))
            part.replace(kept)
        rows = [json.loads(line) for line in kept.read_text().splitlines()]
        weights = catalog.card(slug).weights[0]
        own = weights.operating_range.get(MEASURE, [None])[0]
        bounds = [*args.bounds, *([own] if own is not None else [])]
        result = {
            "split": args.split,
            "answers": len(rows),
            "curve": curve(rows, weights.threshold),
            "verdicts": {
                "no bound": verdicts(rows, weights, None),
                **{f"from {bound}": verdicts(rows, weights, bound) for bound in bounds},
            },
        }
        part = out.with_suffix(".part")
        part.write_text(json.dumps(result, indent=1) + "\n")
        part.replace(out.with_suffix(".json"))
        print(json.dumps({slug: result}, indent=1), flush=True)
    if args.draw:
        draw_curves(args.out, args.slug, args.draw)


if __name__ == "__main__":
    main()

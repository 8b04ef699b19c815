"""Spiking networks with N of every M weights, beside the dense one and beside other masks.

    python experiments/spike_nm.py          about 6 minutes a seed on one idle core

**Synthetic** events: a simulated camera shakes before scikit-learn's scanned digits (1,297 scans to
learn from, 500 of other writers to test on), 16 × 16 pixels, 6 frames, 900 clips to learn from and
300 to test on. The toy network, 30 epochs of 50 clips, TET, Adam 2e-3, the same number of steps for
every arm. Masks are drawn for 60 % of the steps, then fixed; "magnitude" and "unstructured" train
densely for these 60 %, are pruned, and tuned for the rest. A point of accuracy is three clips.

Found with 20 epochs, with digits that moved a sixth less and with 504 steps for "magnitude" and
"unstructured" in place of 360 (3 seeds, %; results/spike_nm.json): dense 91.7 ± 0.9. 2:4: SpikeNM
89.4 ± 0.5, without distillation 88.3 ± 0.3, fixed random 87.1 ± 0.8, SR-STE 88.9 ± 0.8; magnitude
and unstructured 92.0. 1:4: 87.3, without distillation 85.9, magnitude 91.2. 2:8: 87.6, 87.8 and
90.9. At equal training the learnt masks are the best at 2:4, and distillation helps by a point at
2:4 and 1:4 and not at 2:8; the aim, within a point of dense at 2:4, is missed by 1.3 points.

The budget seems to be why: with 30 epochs and equal steps, on training clips that were held out
and in **one seed**, dense 95.3, SpikeNM at 2:4 95.0, magnitude 94.3. Not yet measured over three
seeds.

Writes results/spike_nm.json and .png. A run that was stopped goes on with the next seed.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from toy import RESULTS, Figures, draw, over_seeds

from telltale.compress.learning import fresh
from telltale.compress.pruning import RIVALS, arm_of, figures, half_way, trained
from telltale.compress.sets import load_set

SOME = ("spike-nm", "no distillation", "magnitude", "unstructured")
PATTERNS = {(2, 4): ("spike-nm", *RIVALS), (1, 4): SOME, (2, 8): SOME}


def one_seed(seed: int, steps: int) -> dict[str, Figures]:
    given = load_set("synth:saccades", seed=seed)
    network = {"name": "snn_toy", "size": 16, "classes": 10}
    fit = {"seed": seed, "steps": steps, "lr": 2e-3}
    plan: dict[str, Any] = {"method": {}, "fit": fit, "batch": 50}
    dense = trained(fresh(network, seed), given, plan, steps)
    found = {"dense": kept(figures(dense, given))}
    print(seed, "dense", found["dense"], flush=True)
    base = half_way(network, given, plan)
    for (n, m), arms in PATTERNS.items():
        for arm in arms:
            if (n, m, arm) == (2, 8, "unstructured"):  # a quarter of the weights, as for 1:4
                found["2:8 unstructured"] = found["1:4 unstructured"]
                continue
            made = arm_of(arm, n, m, network, given, plan, base=base)
            found[f"{n}:{m} {arm}"] = kept(figures(made, given, n, m))
            print(seed, n, m, arm, found[f"{n}:{m} {arm}"]["accuracy"], flush=True)
    return found


def kept(row: Figures) -> Figures:
    return {k: row[k] for k in ("accuracy", "inner_sparsity", "sops", "nanojoule")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=540)
    parser.add_argument("--out", type=Path, default=RESULTS / "spike_nm.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = over_seeds(
        args.out, {"steps": args.steps}, args.seeds, lambda seed: one_seed(seed, args.steps)
    )
    draw(
        result,
        args.out.with_suffix(".png"),
        "N of every M weights, drawn events",
        ("accuracy on test clips", ["accuracy"]),
        ("nanojoule a clip", ["nanojoule"]),
    )


if __name__ == "__main__":
    main()

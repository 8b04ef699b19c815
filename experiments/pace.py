"""Event sets of a few clips per class, and fresh spiking networks that learn from them alone.

    python experiments/pace.py              about 10 minutes a seed on one core

**Synthetic** events. Digits: as in experiments/spike_nm.py; 1, 10 and 50 clips per class in place
of 90, by PACE, at random, by herding, by k-center and by matching mean rates. Gestures: blobs that
turn or wave, 1 clip per class; clockwise and counter-clockwise, right and left differ in nothing
but their order in time: PACE, PACE with amplitudes only, matching of mean rates, random. Two
teachers of 300 steps, 150 steps of distillation with 12 real clips a class, 240 steps of a fresh
network.

Not yet measured over three seeds.

Writes results/pace.json and .png. A run that was stopped goes on with the next seed.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from toy import RESULTS, Figures, draw, over_seeds

from telltale.compress import distilling
from telltale.compress.distilling import RIVALS, chosen, studied, taught
from telltale.compress.sets import load_set

IPCS = (1, 10, 50)
NETWORK = {"name": "snn_toy", "size": 16}


def one_seed(seed: int, steps: int) -> dict[str, Figures]:
    plan = {"method": {}, "fit": {"seed": seed, "steps": steps}}
    digits: dict[str, Figures] = {}
    given = load_set("synth:saccades", seed=seed)
    network: dict[str, Any] = NETWORK | {"classes": len(given.names)}
    teachers, whole = taught(network, given, seed, print)
    digits["all digits"] = kept(whole)
    for ipc in IPCS:
        for arm in ("pace", *RIVALS):
            events, labels = chosen(arm, ipc, teachers, given, plan, 0.05)
            digits[f"{arm} {ipc}"] = kept(studied(network, events, labels, given, seed + 100))
            print(seed, ipc, arm, digits[f"{arm} {ipc}"], flush=True)
    given = load_set("synth:gestures", seed=seed)
    network = NETWORK | {"classes": len(given.names)}
    teachers, whole = taught(network, given, seed, print)
    digits["all gestures"] = kept(whole)
    for name, arm, method in (
        ("pace", "pace", {}),
        ("amplitude", "pace", {"phase": 0.0}),
        ("rates", "rates", {}),
        ("random", "random", {}),
    ):
        events, labels = chosen(arm, 1, teachers, given, plan | {"method": method}, 0.05)
        digits[f"gestures {name}"] = kept(studied(network, events, labels, given, seed + 100))
    return digits


def kept(row: Figures) -> Figures:
    return {k: row[k] for k in ("accuracy", "seconds_to_train")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--each", type=int, default=12, help="real clips a class and step")
    parser.add_argument("--out", type=Path, default=RESULTS / "pace.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    distilling.EACH = args.each
    settings = {"steps": args.steps, "each": args.each}
    result = over_seeds(args.out, settings, args.seeds, lambda seed: one_seed(seed, args.steps))
    draw(
        result,
        args.out.with_suffix(".png"),
        "A few clips per class, drawn events",
        ("accuracy on test clips", ["accuracy"]),
    )


if __name__ == "__main__":
    main()

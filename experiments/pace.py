"""Event sets of a few clips per class, and fresh spiking networks that learn from them alone.

    python experiments/pace.py              about 6 minutes a seed on one idle core

**Synthetic** events. Digits: as in experiments/spike_nm.py; 1, 10 and 50 clips per class in place
of 90, by PACE, at random, by herding, by k-center and by matching mean rates. Gestures: blobs that
turn or wave, 1 clip per class; clockwise and counter-clockwise, right and left differ in nothing
but their order in time: PACE, PACE with amplitudes only, matching of mean rates, random. Two
teachers of 300 steps; 150 steps of distillation (40 at 50 clips a class, where a step costs most)
with 12 real clips a class, Adam 0.1, chosen on training clips that were held out; then 240 steps
of 25 clips of a fresh network, the same for every set. A point of accuracy is three clips.

Writes results/pace.json and .png, and pace_clips.png with the first seed's clips. A run that was
stopped goes on with the next seed.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from toy import RESULTS, Figures, over_seeds

from telltale.compress.distilling import RIVALS, chosen, likeness, picture, studied, taught
from telltale.compress.sets import Given, load_set

STEPS = {1: 150, 10: 150, 50: 40}  # clips a class to steps
NETWORK = {"name": "snn_toy", "size": 16}
GESTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "pace": ("pace", {}),
    "amplitudes only": ("pace", {"phase": 0.0}),
    "rates": ("rates", {}),
    "random": ("random", {}),
}


def one_seed(seed: int, each: int, lr: float, clips: Path) -> dict[str, Figures]:
    plan: dict[str, Any] = {"method": {}, "batch": each}
    found: dict[str, Figures] = {}
    given = load_set("synth:saccades", seed=seed)
    network: dict[str, Any] = NETWORK | {"classes": len(given.names)}
    teachers, whole = taught(network, given, seed, print)
    found["all digits"] = kept(whole)
    for ipc, steps in STEPS.items():
        plan["fit"] = {"seed": seed, "steps": steps}
        for arm in ("pace", *RIVALS):
            events, labels, row = small(arm, ipc, teachers, given, plan, lr, network)
            found[f"{arm} {ipc}"] = row
            print(seed, ipc, arm, row, flush=True)
            if (seed, ipc, arm) == (0, 1, "pace"):
                picture(clips, events, labels, given.names)
    given = load_set("synth:gestures", seed=seed)
    network = NETWORK | {"classes": len(given.names)}
    teachers, whole = taught(network, given, seed, print)
    found["all gestures"] = kept(whole)
    plan["fit"] = {"seed": seed, "steps": STEPS[1]}
    for name, (arm, method) in GESTURES.items():
        _, _, row = small(arm, 1, teachers, given, plan | {"method": method}, lr, network)
        found[f"gestures {name}"] = row
    return found


def small(
    arm: str,
    ipc: int,
    teachers: torch.nn.ModuleList,
    given: Given,
    plan: dict[str, Any],
    lr: float,
    network: dict[str, Any],
) -> tuple[torch.Tensor, torch.Tensor, Figures]:
    """A small set made by one of the ways, and what a fresh network learns from it."""
    began = time.process_time()
    events, labels = chosen(arm, ipc, teachers, given, plan, lr)
    row = {"seconds_to_make": time.process_time() - began}
    row |= studied(network, events, labels, given, plan["fit"]["seed"] + 100)
    row["times_smaller"] = given.events.numel() / events.numel()
    return events, labels, kept(row | likeness(events, labels, given))


def kept(row: Figures) -> Figures:
    left_out = ("bytes",)
    return {key: round(value, 4) for key, value in row.items() if key not in left_out}


def draw(result: dict[str, Any], path: Path) -> None:
    """Accuracy over clips per class, and the gestures beside it."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    table = result["summary"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
    places = range(len(STEPS))
    for number, arm in enumerate(("pace", *RIVALS)):
        mean, deviation = zip(*(table[f"{arm} {ipc}"]["accuracy"] for ipc in STEPS), strict=True)
        spots = [place + 0.05 * (number - 2) for place in places]
        left.errorbar(spots, mean, deviation, marker="o", capsize=3, label=arm)
    left.axhline(table["all digits"]["accuracy"][0], color="grey", linewidth=0.8, label="all clips")
    left.set_xticks([*places], [str(ipc) for ipc in STEPS])
    left.set_xlabel("clips per class")
    left.set_ylabel("accuracy on test clips, digits")
    left.legend(fontsize=7)
    mean, deviation = zip(*(table[f"gestures {n}"]["accuracy"] for n in GESTURES), strict=True)
    right.bar(range(len(GESTURES)), mean, yerr=deviation, capsize=3)
    right.axhline(table["all gestures"]["accuracy"][0], color="grey", linewidth=0.8)
    right.set_xticks(range(len(GESTURES)), [*GESTURES], fontsize=8)
    right.set_ylabel("gestures, 1 clip per class")
    title = f"A few clips per class, drawn events; {len(result['runs'])} seeds"
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--each", type=int, default=12, help="real clips a class and step")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--out", type=Path, default=RESULTS / "pace.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"steps": [*STEPS.values()], "each": args.each, "lr": args.lr}
    clips = args.out.with_name(args.out.stem + "_clips.png")
    clips.parent.mkdir(parents=True, exist_ok=True)
    result = over_seeds(
        args.out, settings, args.seeds, lambda seed: one_seed(seed, args.each, args.lr, clips)
    )
    draw(result, args.out.with_suffix(".png"))


if __name__ == "__main__":
    main()

"""Trackers that learn from protected clips: do they still follow targets in clean ones?

    python experiments/tue.py               about 3 minutes a seed on one core
    python experiments/tue.py --films filmed.npz       a minute a seed; see filmed.py

**Synthetic** clips of 72 pixels: a target of 12 pixels with a faint texture of its own, whose
contrast flips at random, over another texture, with a distractor and noise. A Siamese tracker of
three convolutions learns from scratch on: clips as they are; with noise of random signs in the
window round the target; with noise of each clip's own that was optimised in turns with a tracker
(EM); with TUE's noise in the box only, in the window, and without the contrast; and on TUE's clips
after H.264 at constant rate factors of 18, 23 and 28. ε = 16/255, rounded to bytes. Figures on
clean test clips: the share of pairs whose response peaks within a third of the target's side;
average overlap and success AUC of targets that are followed through six frames; and the same share
on protected test pairs. With ``--films``, generator and trackers learn from synthetic clips and
real ones of walkers and faces together, and each kind is tested by itself, on other people.

Found (3 seeds, share of pairs near the target): originals 0.98, random signs 0.98, EM 0.35, noise
in the box only 0.05, without the contrast 0.00, TUE 0.00 (0.01 at most); after H.264 at 18, 23 and
28 0.03, 0.02 and 0.07; untrained 0.08. The contrast has nothing left to add here. With films (one
seed, 80 steps), from originals / random signs / TUE / H.264 at 23: walkers 0.91, 0.91, 0.65, 0.57,
synthetic 0.54, 0.44, 0.00, 0.00, faces 0.02 at most: they are not learnt.

Writes results/tue.json or tue_films.json, and a .png. A run that was stopped goes on with the next
seed.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from toy import RESULTS, Figures, draw, over_seeds

from telltale.data.memory import batches
from telltale.data.synth.moving import moving_clips
from telltale.degrade.video import h264
from telltale.fit import adam, fit
from telltale.metrics.tracking import average_overlap, overlap, success_auc
from telltale.nn.siamese import Tracker, template_windows
from telltale.robustness.tue import TUE, placed

EPS, SIZE, NEAR = 16 / 255, 32, 1 / 3  # of the target's side
ARMS = ("untrained", "clean", "random", "EM", "box only", "no contrast", "TUE")
CODINGS = (18, 23, 28)  # constant rate factors


def clips_of(count: int, seed: int) -> tuple[Tensor, Tensor]:
    clips, tracks = moving_clips(count, frames=6, seed=seed)
    return torch.from_numpy(clips), torch.from_numpy(tracks)


def pairs(clips: Tensor, tracks: Tensor, seed: int) -> object:
    """Batches of two random frames of a clip."""
    random = torch.Generator().manual_seed(seed)
    for batch in batches({"clips": clips, "tracks": tracks}, 16, seed=seed):
        rows = torch.arange(len(batch["clips"]))[:, None]
        frames = torch.rand(len(rows), clips.shape[1], generator=random).argsort(1)[:, :2]
        yield {"clips": batch["clips"][rows, frames], "tracks": batch["tracks"][rows, frames]}


def learn(tracker: Tracker, clips: Tensor, tracks: Tensor, steps: int) -> None:
    for step in fit(tracker, pairs(clips, tracks, 3), adam(tracker, lr=1e-3)):  # type: ignore[arg-type]
        if step.number == steps:
            return


def generator(arm: str, clips: Tensor, tracks: Tensor, seed: int, steps: int) -> TUE:
    torch.manual_seed(seed)
    made = TUE(
        size=SIZE,
        width=64,
        depth=2,
        tracker="toy",
        eps=EPS,
        contrast=0.0 if arm == "no contrast" else 0.05,
        context=arm != "box only",
    )
    feed = pairs(clips, tracks, seed)
    optimizers: dict[str, Optimizer] = {}
    for turn in range(2 * steps):
        stage = ("generator", "tracker")[turn % 2]
        made.enter(stage)
        optimizers.setdefault(stage, adam(made, lr=1e-3))
        next(iter(fit(made, feed, optimizers[stage])))  # type: ignore[arg-type]
    return made.eval()


def own_noise(clips: Tensor, tracks: Tensor, seed: int, steps: int) -> Tensor:
    """EM: each clip's noise (N, 3, S, S), by steps of sign in turns with a tracker's."""
    torch.manual_seed(seed)
    tracker, noise = Tracker("toy", size=SIZE), torch.zeros(len(clips), 3, SIZE, SIZE)
    optimizer, random = adam(tracker, lr=1e-3), torch.Generator().manual_seed(seed)
    sides = (clips.shape[-2], clips.shape[-1])
    for _ in range(steps):
        rows = torch.randperm(len(clips), generator=random)[:16]
        frames = torch.rand(16, clips.shape[1], generator=random).argsort(1)[:, :2]
        given, boxes = clips[rows[:, None], frames], tracks[rows[:, None], frames]

        def protected(own: Tensor, given: Tensor = given, boxes: Tensor = boxes) -> Tensor:
            put = [placed(own, template_windows(boxes[:, k]), sides) for k in (0, 1)]
            return given + torch.stack(put, 1)

        for _ in range(4):  # each clip is seen too rarely for one
            own = noise[rows].requires_grad_(True)
            loss = tracker.loss(protected(own), boxes)["track"]
            (slope,) = torch.autograd.grad(loss, own)
            noise[rows] = (own.detach() - EPS / 10 * slope.sign()).clamp(-EPS, EPS)
        with torch.no_grad():
            batch = {"clips": protected(noise[rows]), "tracks": boxes}
        next(iter(fit(tracker, iter([batch]), optimizer)))
    return noise


@torch.no_grad()
def changed(made: TUE | Tensor | None, clips: Tensor, tracks: Tensor) -> Tensor:
    """Clips with noise, in bytes: a generator's, each clip's own, or random signs."""
    found = []
    for number, (clip, track) in enumerate(zip(clips, tracks, strict=True)):
        if isinstance(made, TUE):
            other = made(clip, track)
        else:
            noise = EPS * (2.0 * torch.randint(2, (len(clip), 3, SIZE, SIZE)) - 1)
            if made is not None:
                noise = made[number].expand(len(clip), -1, -1, -1)
            other = clip + placed(noise, template_windows(track), clip.shape[-2:])
        found.append((other.clamp(0, 1) * 255).round() / 255)
    return torch.stack(found)


def coded(clips: Tensor, factor: int) -> Tensor:
    """Clips after H.264."""
    frames = (clips * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()
    again = np.stack([np.stack([*h264(clip, factor)]) for clip in frames])
    return torch.from_numpy(again).permute(0, 1, 4, 2, 3).float() / 255


@torch.no_grad()
def right(tracker: Tracker, clips: Tensor, tracks: Tensor) -> float:
    """Share of pairs of the first and the last frame with the peak near the target."""
    apart = tracker.misses(clips[:, 0], tracks[:, 0], clips[:, -1], tracks[:, -1])
    return float((apart <= NEAR * tracks[:, -1, 2:].prod(1).sqrt()).double().mean())


def judged(tracker: Tracker, test: Tensor, truth: Tensor, protected: Tensor) -> Figures:
    boxes = torch.stack([tracker.follow(c, t[0]) for c, t in zip(test, truth, strict=True)])
    overlaps = overlap(boxes[:, 1:].numpy(), truth[:, 1:].numpy())
    return {
        "near": right(tracker, test, truth),
        "near_protected": right(tracker, protected, truth),
        "average_overlap": average_overlap(overlaps),
        "success_auc": success_auc(overlaps),
    }


def taught(clips: Tensor, tracks: Tensor, seed: int, steps: int) -> Tracker:
    torch.manual_seed(50 + seed)
    tracker = Tracker("toy", size=SIZE)
    if steps:
        learn(tracker, clips, tracks, steps)
    return tracker.eval()


def one_seed(seed: int, count: int, steps: int) -> dict[str, Figures]:
    clips, tracks = clips_of(count, 1000 + seed)
    test, truth = clips_of(80, 2000 + seed)
    figures = {}
    for arm in ARMS:
        made: TUE | Tensor | None = None
        torch.manual_seed(seed)
        seen, test_changed = clips, test
        if arm == "random":
            seen, test_changed = changed(None, clips, tracks), changed(None, test, truth)
        elif arm == "EM":  # it has no noise for other clips
            seen = changed(own_noise(clips, tracks, seed, steps), clips, tracks)
        elif arm not in ("untrained", "clean"):
            made = generator(arm, clips, tracks, seed, steps)
            seen, test_changed = changed(made, clips, tracks), changed(made, test, truth)
        tracker = taught(seen, tracks, seed, 0 if arm == "untrained" else 3 * steps)
        figures[arm] = judged(tracker, test, truth, test_changed)
    for factor in CODINGS:
        tracker = taught(coded(seen, factor), tracks, seed, 3 * steps)
        figures[f"H.264 {factor}"] = judged(tracker, test, truth, coded(test_changed, factor))
    return figures


def with_films(films: Path, seed: int, count: int, steps: int) -> dict[str, Figures]:
    """Synthetic and real clips to learn from; figures of each kind by "near" and its name."""
    kept = {name: torch.from_numpy(array) for name, array in np.load(films).items()}
    drawn = clips_of(count, 1000 + seed)
    clips = torch.cat([drawn[0], kept["learn_clips"]])
    tracks = torch.cat([drawn[1], kept["learn_tracks"]])
    tests = {"synthetic": clips_of(80, 2000 + seed)}
    tests |= {n: (kept[f"{n}_clips"], kept[f"{n}_tracks"]) for n in ("walkers", "faces")}
    figures: dict[str, Figures] = {}
    for arm in ("untrained", "clean", "random", "TUE", "H.264 23"):
        torch.manual_seed(seed)
        seen = clips
        if arm == "random":
            seen = changed(None, clips, tracks)
        elif arm == "TUE":
            seen = protected = changed(generator(arm, clips, tracks, seed, steps), clips, tracks)
        elif arm.startswith("H.264"):
            seen = coded(protected, 23)
        tracker = taught(seen, tracks, seed, 0 if arm == "untrained" else 4 * steps)
        figures[arm] = {name: right(tracker, *test) for name, test in tests.items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--films", type=Path, help="real clips that filmed.py cut")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    settings = {"count": args.count, "steps": args.steps, "batch norm": "by the batch"}
    if args.films:
        out = args.out or RESULTS / "tue_films.json"
        result = over_seeds(
            out,
            settings,
            args.seeds,
            lambda seed: with_films(args.films, seed, args.count, args.steps),
        )
        title = "Trackers that learnt from protected synthetic and real clips"
        panel = ("near the target in clean clips", ["synthetic", "walkers", "faces"])
        draw(result, out.with_suffix(".png"), title, panel)
        return
    args.out = args.out or RESULTS / "tue.json"
    result = over_seeds(
        args.out, settings, args.seeds, lambda seed: one_seed(seed, args.count, args.steps)
    )
    draw(
        result,
        args.out.with_suffix(".png"),
        "Trackers that learnt from protected clips",
        ("near the target", ["near", "near_protected"]),
        ("overlap on clean clips", ["average_overlap", "success_auc"]),
    )


if __name__ == "__main__":
    main()

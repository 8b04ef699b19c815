"""Do statistics of texture carry over to a camera that was never seen, where plain adapters don't?

    python experiments/s_adapter.py                 about 8 minutes on one core

Toy faces before four cameras, each with its own blur, noise, JPEG, gain and gamma; attacks are
prints and displays of `data/synth/recapture.py`, **simulated**. Learnt with three cameras, tested
with other people before the fourth (two rotations); two blocks of the pretrained trunk of
`toy.py`. Arms: a linear head; plain adapters (no differences, no histogram); with differences
(CDC); with the histogram as well; with TSR too; and the histogram as the published code has it.
HTER is at the threshold of equal errors on validation people of the three cameras.

Found (3 seeds, 100 steps), AUC before the camera not seen / HTER there: head 0.56 ± 0.02 / 0.45 ±
0.02; plain adapters 0.71 ± 0.02 / 0.39 ± 0.01; CDC 0.69 ± 0.02 / 0.40 ± 0.01; with the histogram
0.69 ± 0.03 / 0.38 ± 0.02; with TSR 0.69 ± 0.03 / 0.38 ± 0.03; the code's bins 0.68 ± 0.03 / 0.38 ±
0.02. Adapters beat the head in every seed; what is inside of them makes no difference beyond the
seeds' own, and TSR at 0.1 weighs nothing on this trunk, whose maps are small. That differences and
histograms drop what a camera adds and multiplies is shown on maps, by a test.

Writes results/s_adapter.json and .png. A run that was stopped goes on with the next seed.
"""

import argparse
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from toy import LEARN, RESULTS, TEST, Figures, Plain, as_tensor, draw, learn, over_seeds, trunk

from telltale import metrics
from telltale.data.synth.camera import draw_camera
from telltale.data.synth.recapture import attacked, bona_fide
from telltale.data.synth.toyfaces import toy_faces
from telltale.faces.s_adapter import SAdapter
from telltale.losses import style_distance

CAMERAS = 4
ARMS: dict[str, dict[str, Any]] = {
    "head": {},
    "plain": {"theta": 0.0, "bins": "none", "tsr_weight": 0.0},  # keeps a plain convolution
    "CDC": {"bins": "none", "tsr_weight": 0.0},
    "CDC + histogram": {"tsr_weight": 0.0},
    "+ TSR": {"tsr_weight": 0.1},
    "code's bins": {"bins": "linear_normalised", "tsr_weight": 0.0},
}
Shots = tuple[Tensor, Tensor, Tensor]  # images, labels, cameras


class Headed(Plain):
    """A linear head; it takes the domains that the adapters learn from and looks away."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__(body.requires_grad_(False))

    def loss(  # type: ignore[override]
        self, images: Tensor, labels: Tensor, domains: Tensor
    ) -> dict[str, Tensor]:
        return super().loss(images, labels)


def body() -> nn.Module:
    """The pretrained toy trunk's first two blocks: a quarter of an hour less for three seeds."""
    vit = trunk()
    vit.blocks = vit.blocks[:2]  # type: ignore[assignment,index]
    return vit


def shots(faces: NDArray[np.uint8], cameras: list[int], seed: int) -> Shots:
    """Each face live and attacked before each camera."""
    made, labels, domains = [], [], []
    for number in cameras:
        camera = draw_camera(np.random.default_rng([3, number]))
        gamma = (0.75, 1.0, 1.3, 1.6)[number]
        rng = np.random.default_rng([seed, number])
        for k, face in enumerate(faces):
            lit = (255 * (face / 255.0) ** gamma).astype(np.uint8)
            made.append(bona_fide(lit, rng, camera))
            made.append(attacked(lit, ("print", "display")[k % 2], rng, camera))
            labels += [0, 1]
            domains += [number, number]
    return as_tensor(np.stack(made)), torch.tensor(labels), torch.tensor(domains)


def batches(data: Shots, seed: int) -> Iterator[dict[str, Tensor]]:
    """Five live faces and five attacks of each of three cameras."""
    images, labels, domains = data
    cells = [
        torch.nonzero((labels == y) & (domains == d)).flatten()
        for d in domains.unique()
        for y in (0, 1)
    ]
    for number in count():
        random = torch.Generator().manual_seed(1000 * seed + number)
        rows = torch.cat([c[torch.randperm(len(c), generator=random)[:5]] for c in cells])
        yield {"images": images[rows], "labels": labels[rows], "domains": domains[rows]}


@torch.no_grad()
def scores(net: nn.Module, images: Tensor) -> NDArray[np.float64]:
    parts = [net(part).logit.double().numpy() for part in images.split(100)]
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS / "s_adapter.json")
    args = parser.parse_args()
    test = toy_faces(60, seed=2, identities=TEST).images["real"]

    def one_seed(seed: int) -> dict[str, Figures]:
        learnt = toy_faces(80, seed=3 + seed, identities=LEARN[:70]).images["real"]
        checked = toy_faces(40, seed=3 + seed, identities=LEARN[70:]).images["real"]
        sides = {}
        for held_out in (0, 3):
            known = [k for k in range(CAMERAS) if k != held_out]
            mine, theirs = shots(learnt, known, seed), shots(checked, known, seed + 50)
            sides[held_out] = mine, theirs, shots(test, [held_out], 99)
        rows: dict[str, Figures] = {}
        for name, settings in ARMS.items():
            found: dict[str, list[float]] = {"auc": [], "hter": [], "auc_seen": [], "gram": []}
            for mine, (images, labels, domains), (new, truth, _) in sides.values():
                torch.manual_seed(seed)
                net = Headed(body()) if name == "head" else SAdapter(body(), **settings)
                learn(net, batches(mine, seed), args.steps, 2e-3)
                seen = scores(net, images)
                threshold = metrics.threshold_at_eer(seen, labels.numpy())
                given = scores(net, new)
                found["auc_seen"].append(float(metrics.auc(seen, labels.numpy())))
                found["auc"].append(float(metrics.auc(given, truth.numpy())))
                found["hter"].append(float(metrics.hter(given, truth.numpy(), threshold)))
                if isinstance(net, SAdapter):
                    live = labels == 0
                    with torch.no_grad():
                        maps = net.embed(images[live])[1]
                        apart = style_distance(maps, domains[live]) / maps.square().mean() ** 2
                    found["gram"].append(float(apart))
            rows[name] = {k: float(np.mean(v)) for k, v in found.items() if v}
        return rows

    result = over_seeds(args.out, {"steps": args.steps}, args.seeds, one_seed)
    title = "Toy faces before a camera never seen"
    draw(result, args.out.with_suffix(".png"), title, ("AUC", ("auc_seen", "auc")))


if __name__ == "__main__":
    main()

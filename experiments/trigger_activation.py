"""Do attacks crafted on other models carry over to one that wants its owner's trigger?

    python experiments/trigger_activation.py            about 3 minutes a seed on one core
    python experiments/trigger_activation.py --starts   what becomes of a learnt trigger; a minute

scikit-learn's digits (real scans) at 16 pixels, 1,200 to learn and 597 to test; CNNs of three
convolutions with batch norm and mean over places, 20 epochs of SGD. Three surrogates (3 × 3, 5 × 5
and wider) and a plain target have their own seeds. Targets: plain; plain behind JPEG 75; fixed and
learnt triggers of ε_t = 0.1 and 0.3; fixed 0.3 without the divergence; adversarially trained by PGD
of five steps at ε = 0.1. Crafted at ε = 0.1 on each surrogate and on the mean of their logits, with
six attacks, from the same 150 test digits that surrogates and plain target judge rightly; MI on all
three at four sizes. And those who know more: PGD with the whole model; with the network but a
trigger guessed at random; MI on a network that learnt the target's answers; MI on a network of the
attacker's own that has a fixed trigger of 0.3, another one; Square, which asks only; and the
surrogates' mean gradient over pictures, one change for all.

Found (3 seeds; accuracy at ε = 0.1, mean over surrogates, under MI / VMI / Square / the whole
model known): plain 0.23 / 0.21 / 0.04 / 0.00, JPEG 75 0.24 / 0.22, fixed trigger of 0.1 0.71 /
0.70 / 0.00 / 0.00, of 0.3 0.88 / 0.88 / 0.34 / 0.00, learnt 0.1 0.57 / 0.56, learnt 0.3 0.77 /
0.77, fixed 0.3 without the divergence 0.87 / 0.87, adversarially trained 0.91 / 0.91 / 0.84 / 0.64
at a clean accuracy of 0.94 against 0.99 and 4.4 times the training. The claim holds for
transferred attacks; that a learnt trigger is better does not show, nor does the divergence matter.

A learnt trigger that starts uniform ends small and its network steep; one that starts at ±ε_t is
ahead of the fixed one (--starts; one seed, ε_t = 0.3, 40 epochs, MI at 0.1 on two surrogates: fixed
0.82, learnt 0.76, from ±ε_t 0.87, at rest from halfway 0.84).

Writes results/trigger_activation.json and .png. A run that was stopped goes on with the next seed.
"""

import argparse
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from toy import RESULTS, Figures, draw, over_seeds

from telltale.attacks import TRANSFER, craft, cross_entropy, ensemble, pgd, square
from telltale.data.memory import batches
from telltale.fit import cosine, fit
from telltale.nn.contract import Losses
from telltale.robustness.trigger_activation import TriggerActivation

EPS, SIZES, LEARN, SHOWN = 0.1, (0.05, 0.1, 0.15, 0.2), 1200, 150
BATCH, EPOCH = 64, 19  # steps
Logits = Callable[[Tensor], Tensor]
TRIGGERS = {
    "fixed 0.1": ("fixed", 0.1, (1.0, 0.0)),
    "fixed 0.3": ("fixed", 0.3, (1.0, 0.0)),
    "learnt 0.1": ("learnable", 0.1, (1.0, 0.0)),
    "learnt 0.3": ("learnable", 0.3, (1.0, 0.0)),
    "no KL": ("fixed", 0.3, (0.0, 0.0)),
}


class Net(nn.Module):
    """Three convolutions to logits (B, 10)."""

    size = 16

    def __init__(self, kernel: int = 3, width: int = 16, *, flat: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for into, out, stride in ((3, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)):
            conv = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False)
            layers += [conv, nn.BatchNorm2d(out), nn.ReLU()]
        head = [nn.Flatten(), nn.Linear(4 * width * 16, 10)]
        if not flat:
            head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, 10)]
        self.body = nn.Sequential(*layers, *head)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.body(images)
        return found

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        return {"ce": F.cross_entropy(self(images), labels)}


class Hardened(nn.Module):
    """A network that learns from pictures attacked as it is now."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.net(images)
        return found

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        self.net.eval()
        measure = cross_entropy(self.net, labels)
        shown = pgd(measure, images, eps=EPS, step=EPS / 3, steps=5, start=EPS)
        self.net.train()
        return {"ce": F.cross_entropy(self.net(shown), labels)}


class Distilled(nn.Module):
    """A network that learns another's answers."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def loss(self, images: Tensor, answers: Tensor) -> Losses:
        return {"ce": F.cross_entropy(self.net(images), answers)}


def digits(seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 16, 16) in [0, 1] and labels, shuffled."""
    found = load_digits()
    order = np.random.default_rng(seed).permutation(len(found.target))
    images = torch.from_numpy(found.images[order] / 16).float()[:, None]
    images = F.interpolate(images, 16, mode="bilinear", align_corners=False)
    return images.expand(-1, 3, -1, -1).contiguous(), torch.from_numpy(found.target[order])


def taught(
    net: nn.Module, columns: dict[str, Tensor], seed: int, epochs: int, *, rests: bool = False
) -> float:
    """Train, freeze; the seconds that it took. A trigger that rests moves no more from halfway."""
    began, steps = time.process_time(), EPOCH * epochs
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    given = batches(columns, BATCH, seed=seed)
    for step in fit(net, given, optimizer, schedule=cosine(steps), clip=5.0):  # type: ignore[arg-type]
        if rests and step.number == steps // 2:
            net.update_every = 0
        if step.number == steps:
            break
    net.eval().requires_grad_(False)
    return time.process_time() - began


@torch.no_grad()
def share(logits: Logits, images: Tensor, labels: Tensor) -> float:
    return float((logits(images).argmax(1) == labels).float().mean())


def by_jpeg(net: Logits) -> Logits:
    """A network that looks at its pictures after JPEG of quality 75."""

    def coded(images: Tensor) -> Tensor:
        out = []
        for pixels in (images * 255).round().byte().permute(0, 2, 3, 1).numpy():
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "JPEG", quality=75)
            out.append(np.asarray(Image.open(file)))
        return net(torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2).float() / 255)

    return coded


def insiders(
    name: str, net: nn.Module, x: Tensor, y: Tensor, known: Tensor, seed: int, flat: bool
) -> Figures:
    """What those can do who have more than surrogates."""
    draws = torch.Generator().manual_seed(seed)
    own = cross_entropy(net, y)
    found = {
        "white_box": share(
            net, pgd(own, x, eps=EPS, step=EPS / 4, steps=20, start=EPS, generator=draws), y
        ),
        "square": share(net, square(own, x, eps=EPS, queries=150, generator=draws), y),
    }
    if not isinstance(net, TriggerActivation):
        return found
    guess = net.eps * (2 * torch.randint(2, net.tau.shape, generator=draws) - 1)

    def guessed(images: Tensor) -> Tensor:
        return net.answer(images + guess, is_plain=False)

    without = cross_entropy(net.plain, y)
    moved = pgd(cross_entropy(guessed, y), x, eps=EPS, step=EPS / 4, steps=20)
    found["guessed_trigger"] = share(net, moved, y)
    found["without_trigger"] = share(
        net, pgd(without, x, eps=EPS, step=EPS / 4, steps=20, start=EPS, generator=draws), y
    )
    found["right_by_guess"] = share(guessed, x, y)
    if name.endswith("0.3"):
        torch.manual_seed(seed + 500)
        copy = Distilled(Net(flat=flat))
        with torch.no_grad():
            answers = net(known).softmax(1)
        taught(copy, {"images": known, "answers": answers}, seed, 15)
        found["distilled"] = share(net, craft("MI", copy.net, x, y, eps=EPS), y)
    return found


def one_seed(seed: int, epochs: int, flat: bool) -> dict[str, Figures]:
    images, labels = digits(seed)
    columns = {"images": images[:LEARN], "labels": labels[:LEARN]}
    helping: list[Net] = []
    for number, (kernel, width) in enumerate(((3, 16), (5, 16), (3, 24))):
        torch.manual_seed(100 * seed + number)
        helping.append(Net(kernel, width, flat=flat))
        taught(helping[-1], columns, 10 * seed + number, epochs)
    targets: dict[str, nn.Module] = {}
    cost = {}
    for name in ("plain", "adversarial", *TRIGGERS):
        torch.manual_seed(100 * seed + 50)
        net: nn.Module = Net(flat=flat)
        if name == "adversarial":
            net = Hardened(net)  # type: ignore[arg-type]
        elif name != "plain":
            kind, eps, weights = TRIGGERS[name]
            net = TriggerActivation(
                net, classes=0, trigger=kind, eps=eps, update_every=EPOCH, kl=weights
            )
        cost[name] = taught(net, columns, 10 * seed + 5, epochs)
        targets[name] = net
    judges: dict[str, Logits] = {**targets, "JPEG 75": by_jpeg(targets["plain"])}
    test, truth = images[LEARN:], labels[LEARN:]
    with torch.no_grad():
        calls = [net(test).argmax(1) == truth for net in (*helping, targets["plain"])]
    rows = torch.stack(calls).all(0).nonzero().flatten()[:SHOWN]
    x, y = test[rows], truth[rows]
    found: dict[str, Figures] = {}
    for name, judge in judges.items():
        found[name] = {"clean": share(judge, test, truth), "shown": float(len(rows))}
        if name in cost:
            found[name]["times_plain"] = cost[name] / cost["plain"]
        net = targets.get(name, nn.Identity())
        if isinstance(net, TriggerActivation):
            with torch.no_grad():
                sure = net.plain(test).softmax(1).amax(1).mean()
            found[name]["plain_right"] = share(net.plain, test, truth)
            found[name]["plain_sure"] = float(sure)
    together = ensemble(helping)
    for eps in SIZES:
        made = craft("MI", together, x, y, eps=eps)
        for name, judge in judges.items():
            found[name][f"MI_{eps}"] = share(judge, made, y)
    for attack in TRANSFER:
        each: dict[str, list[float]] = {name: [] for name in judges}
        for source in (*helping, together):
            draws = torch.Generator().manual_seed(seed)
            made = craft(attack, source, x, y, eps=EPS, generator=draws)
            for name, judge in judges.items():
                each[name].append(share(judge, made, y))
        for name, values in each.items():
            found[name][attack] = float(np.mean(values))
    asked = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(cross_entropy(together, y)(asked).sum(), asked)
    same = (x + EPS * slope.mean(0).sign()).clamp(0, 1)
    torch.manual_seed(100 * seed + 60)
    likewise = TriggerActivation(Net(flat=flat), classes=0, trigger="fixed", eps=0.3)
    taught(likewise, columns, 10 * seed + 6, epochs)
    knowing = craft("MI", likewise, x, y, eps=EPS)
    for name, judge in judges.items():
        found[name]["own_trigger"] = share(judge, knowing, y)
        found[name]["carried"] = float(np.mean([found[name][attack] for attack in TRANSFER]))
        found[name]["mean_gradient"] = share(judge, same, y)
    for name, net in targets.items():
        found[name] |= insiders(name, net, x, y, images[:LEARN], seed, flat)
    return found


STARTS: dict[str, tuple[str, tuple[str, ...], bool]] = {  # kind, options, rests halfway
    "fixed": ("fixed", (), False),
    "learnt, uniform start": ("learnable", (), False),
    "learnt, ±ε start": ("learnable", ("signs",), False),
    "learnt, ±ε, rests halfway": ("learnable", ("signs",), True),
}


def starts(seed: int, epochs: int, eps: float = 0.3) -> dict[str, Figures]:
    """Learnt triggers by where they start and whether they come to rest, against a fixed one."""
    images, labels = digits(seed)
    columns = {"images": images[:LEARN], "labels": labels[:LEARN]}
    helping = []
    for number, (kernel, width) in enumerate(((3, 16), (5, 16))):
        torch.manual_seed(100 * seed + number)
        helping.append(Net(kernel, width))
        taught(helping[-1], columns, 10 * seed + number, epochs)
    test, truth = images[LEARN:], labels[LEARN:]
    with torch.no_grad():
        right = torch.stack([net(test).argmax(1) == truth for net in helping]).all(0)
    x, y = test[right][:SHOWN], truth[right][:SHOWN]
    shown = {size: craft("MI", ensemble(helping), x, y, eps=size) for size in SIZES}
    found: dict[str, Figures] = {}
    for name, (kind, options, rests) in STARTS.items():
        torch.manual_seed(100 * seed + 50)
        net = TriggerActivation(
            Net(), classes=0, trigger=kind, eps=eps, update_every=EPOCH, options=options
        )
        first = net.tau.clone()
        taught(net, columns, 10 * seed + 5, epochs, rests=rests)
        with torch.no_grad():
            # how much of the slope's length lies along τ: the brief's argument wants all of it
            asked = (test + net.tau).requires_grad_(True)
        with torch.enable_grad():
            loss = F.cross_entropy(net.answer(asked, is_plain=False), truth, reduction="sum")
            (slope,) = torch.autograd.grad(loss, asked)
        found[name] = {
            "clean": share(net, test, truth),
            "size": float(net.tau.abs().mean() / eps),
            "turned": float((net.tau * first < 0).float().mean()),
            "slope": float(slope.abs().sum((1, 2, 3)).mean()),
            **{f"MI_{size}": share(net, moved, y) for size, moved in shown.items()},
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--flat", action="store_true", help="heads that see each place apart")
    parser.add_argument("--out", type=Path, default=RESULTS / "trigger_activation.json")
    parser.add_argument("--starts", action="store_true", help="learnt triggers, by their start")
    args = parser.parse_args()
    if args.starts:
        out = RESULTS / "trigger_activation_starts.json"
        result = over_seeds(out, {"epochs": 40}, args.seeds, lambda seed: starts(seed, 40))
        panels = ("MI on two surrogates", [f"MI_{eps}" for eps in SIZES]), ("share", ["turned"])
        draw(result, out.with_suffix(".png"), "Learnt triggers of ε = 0.3, 40 epochs", *panels)
        return
    settings = {"epochs": args.epochs, "flat": args.flat, "eps": EPS}
    result = over_seeds(
        args.out, settings, args.seeds, lambda seed: one_seed(seed, args.epochs, args.flat)
    )
    draw(
        result,
        args.out.with_suffix(".png"),
        "Digits: accuracy on what was crafted on other networks",
        ("MI on three surrogates", [f"MI_{eps}" for eps in SIZES]),
        (
            "at ε = 0.1: six attacks; who knows more",
            ["carried", "own_trigger", "white_box"],
        ),
        ("accuracy; without the trigger", ["clean", "plain_right", "right_by_guess"]),
    )


if __name__ == "__main__":
    main()

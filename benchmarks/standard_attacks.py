"""What the standard attacks cost, over torchattacks' time for the same steps.

    python benchmarks/standard_attacks.py                 (writes STANDARD_ATTACKS.md)

Wants torchattacks (MIT), a peer and no dependency. One thread; a small residual network on 32
pictures of 32 pixels, ten steps of 2/255 within 8/255. Both sides run the same attack in turns
after one turn to warm up; the ratio is the median over turns. APGD and Square are left out: the
peer's stop working on a picture that is misled, so that steps are not the same.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torchattacks
from torch import Tensor, nn

from telltale.attacks import cross_entropy, diverse, gaussian_kernel, mi_fgsm, pgd, scaled, vmi_fgsm
from telltale.nn.resnets import resnet

HERE = Path(__file__).resolve().parent
EPS, STEP, STEPS, TURNS = 8 / 255, 2 / 255, 10, 9
SAME: dict[str, Any] = {"eps": EPS, "step": STEP, "steps": STEPS}
THEIRS: dict[str, Any] = {"eps": EPS, "alpha": STEP, "steps": STEPS}
Attack = Callable[[], Tensor]


class Classifier(nn.Module):
    """A trunk with a head for ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = resnet("resnet_toy", size=32)
        self.head = nn.Linear(self.trunk.width, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.trunk(images).mean((2, 3)))
        return logits


def pairs(net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, tuple[Attack, Attack]]:
    """Ours and theirs by name."""
    measure = cross_entropy(net, labels)
    ta = torchattacks
    ours: dict[str, Attack] = {
        "PGD": lambda: pgd(measure, images, start=EPS, **SAME),
        "PGD, l2": lambda: pgd(
            measure, images, eps=0.5, step=0.1, steps=STEPS, norm="l2", start=0.5
        ),
        "MI": lambda: mi_fgsm(measure, images, **SAME),
        "DI": lambda: mi_fgsm(diverse(measure), images, **SAME),
        "TI": lambda: mi_fgsm(diverse(measure), images, kernel=gaussian_kernel(), **SAME),
        "NI": lambda: mi_fgsm(measure, images, ahead=True, **SAME),
        "SI-NI": lambda: mi_fgsm(scaled(measure), images, ahead=True, **SAME),
        "VMI": lambda: vmi_fgsm(measure, images, neighbours=5, **SAME),
    }
    made: dict[str, Any] = {
        "PGD": ta.PGD(net, random_start=True, **THEIRS),
        "PGD, l2": ta.PGDL2(net, eps=0.5, alpha=0.1, steps=STEPS, random_start=True),
        "MI": ta.MIFGSM(net, decay=1.0, **THEIRS),
        "DI": ta.DIFGSM(net, decay=1.0, **THEIRS),
        "TI": ta.TIFGSM(net, decay=1.0, **THEIRS),
        "NI": ta.NIFGSM(net, decay=1.0, **THEIRS),
        "SI-NI": ta.SINIFGSM(net, decay=1.0, m=5, **THEIRS),
        "VMI": ta.VMIFGSM(net, decay=1.0, N=5, **THEIRS),
    }
    return {
        name: (attack, lambda name=name: made[name](images, labels))  # type: ignore[misc]
        for name, attack in ours.items()
    }


def seconds(attack: Attack) -> float:
    began = time.perf_counter()
    attack()
    return time.perf_counter() - began


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = Classifier().eval()
    images, labels = torch.rand(32, 3, 32, 32), torch.randint(10, (32,))
    lines = [
        "# What the standard attacks cost",
        "",
        f"`python benchmarks/standard_attacks.py`: torchattacks {torchattacks.__version__} and "
        f"these, in turns, one thread; {STEPS} steps on 32 pictures of 32 pixels and a small "
        "residual network.",
        "",
        "| attack | milliseconds | over torchattacks' time | aim |",
        "|---|---|---|---|",
    ]
    for name, (ours, theirs) in pairs(net, images, labels).items():
        ours(), theirs()
        turns = [(seconds(ours), seconds(theirs)) for _ in range(TURNS)]
        ratio = median(mine / other for mine, other in turns)
        spent = 1000 * median(mine for mine, _ in turns)
        lines.append(f"| {name} | {spent:.0f} | {ratio:.2f}× | 1.10× |")
        print(lines[-1], flush=True)
    (HERE / "STANDARD_ATTACKS.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

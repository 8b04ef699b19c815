"""Which parts of a visual prompt injection carry over to an encoder that it has not seen?

    python experiments/prompt_injection.py               about 2 minutes a seed on one core

Three small dual encoders learn to name pictures of 48 pixels: 12 phrases of two short words,
written somewhat larger or smaller and turned on a texture, and 12 coloured shapes. Two of them,
CNNs, are attacked; the third, a ViT, is the victim. 50 pictures of shapes, ε = 16/255, 60 steps,
towards five phrases, ten pictures each. Success: the nearest of all 24 texts is the phrase, of the
changed picture in bytes. Arms: noise toward the sentence alone, toward the rendered phrase alone,
toward both; the overlay alone; overlay and noise; with the target refined (dynamic); with tokens
matched, too (fine; "ot": by transport); and the phrase written at full strength for comparison
("visible"). Then what defences leave of "fine", the whole method, on victim and surrogates; "right"
is the victim's accuracy on unchanged pictures under the same defence.

Found (3 seeds, share of pictures taken for the phrase, victim / surrogates): the phrase at full
strength 0.99 / 0.72; overlay alone 0.02 / 0.01; noise toward the sentence 0.04 / 0.34, toward the
rendered phrase 0.04 / 0.14, toward both 0.05 / 0.30; with the overlay 0.10 / 0.27, target refined
0.10 / 0.27, tokens matched 0.11 / 0.28, by transport 0.11 / 0.27. Half size and back or a blur
leave 0.04, JPEG 75 0.13. Overlay and noise together carry over twice as well as noise alone,
within the spread over seeds (0.1); refining the target and matching tokens show no effect on
encoders as small as these.

Even the surrogates are taken in on a third of the pictures only: they are attacked through crops
that they never learnt from. ``--crops`` lets all encoders learn from them; it has no figures yet,
nor has the row "detector".

Writes results/prompt_injection.json and .png. A run that was stopped goes on with the next seed.
"""

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from toy import RESULTS, Figures, draw, over_seeds

from telltale.audit import DEFENCES
from telltale.audit.judging import held_out
from telltale.fit import adam, cosine, fit
from telltale.metrics.visibility import psnr, ssim
from telltale.nn.contract import Losses
from telltale.nn.lettering import placed, rendered
from telltale.nn.residual_block import ResidualBlock, conv_norm
from telltale.nn.vit import Shape, ViT
from telltale.robustness.feature_smoothing import FeatureSmoothing
from telltale.robustness.prompt_injection import Features, PromptInjection, cropped, features

SIDE, WIDTH, EPS = 48, 64, 16 / 255
PHRASES = [
    "RED FOX", "OLD OWL", "BIG JAR", "WET HAT", "MUD PIE", "ICE CAVE",
    "TIN CUP", "FLAT SKY", "NEW KEY", "JAZZ BOX", "SALT LAKE", "DIM LAMP",
]  # fmt: skip
COLOURS = {"red": (0.85, 0.2, 0.2), "olive": (0.5, 0.55, 0.15), "blue": (0.2, 0.35, 0.85)}
SHAPES = ("disc", "square", "ring", "cross")
TEXTS = [*PHRASES, *(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)]
WORDS = sorted({word for text in TEXTS for word in text.split()})
ROWS = torch.tensor([[WORDS.index(word) for word in text.split()] for text in TEXTS])
BOTH = ("noise", "sentence", "picture")
ARMS: Mapping[str, Mapping[str, object]] = {
    "sentence": {"parts": ("noise", "sentence"), "fine": "none"},
    "picture": {"parts": ("noise", "picture"), "fine": "none"},
    "dual": {"parts": BOTH, "fine": "none", "every": 0},
    "overlay": {"parts": ("overlay", "sentence", "picture"), "fine": "none", "every": 0},
    "dual+overlay": {"parts": ("overlay", *BOTH), "fine": "none", "every": 0},
    "dynamic": {"parts": ("overlay", *BOTH), "fine": "none"},
    "fine": {"parts": ("overlay", *BOTH)},
    "ot": {"parts": ("overlay", *BOTH), "fine": "ot"},
}
KEPT = ("JPEG 75", "JPEG 30", "half size and back", "blur, 1 pixel", "4 bits a colour")


class Dual(nn.Module):
    """An image tower and a text tower: the mean of word vectors after an MLP.

    Args:
        tower: Images to maps (B, C, 6, 6), or to tokens with a class token first.
        width: C.
    """

    def __init__(self, tower: nn.Module, width: int) -> None:
        super().__init__()
        self.tower, self.out = tower, nn.Linear(width, WIDTH)
        self.places = nn.Linear(36 * width, WIDTH)  # letters are told apart by where they stand
        self.words = nn.Embedding(len(WORDS), WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))

    def forward(self, images: Tensor) -> Tensor:
        """Tokens (B, 1 + N, C) in the space of texts, the whole picture's first."""
        seen = self.tower(images)
        tokens = seen.flatten(2).mT if seen.ndim == 4 else seen[:, 1:]
        patches = self.out(tokens)
        whole = patches.mean(1) + self.places(tokens.flatten(1))
        return torch.cat([whole[:, None], patches], 1)

    def texts(self) -> Tensor:
        """All texts, (24, C), of length 1."""
        return F.normalize(self.mlp(self.words(ROWS).mean(1)), dim=1)

    def loss(self, images: Tensor, labels: Tensor) -> Losses:
        near = F.normalize(self(images)[:, 0], dim=1) @ self.texts().T
        return {"contrast": F.cross_entropy(near / 0.07, labels)}

    @torch.no_grad()
    def text(self, number: int) -> Features:
        words = F.normalize(self.mlp(self.words(ROWS[number : number + 1])), dim=2)
        return Features(self.texts()[number : number + 1], words)

    @torch.no_grad()
    def named(self, images: Tensor) -> Tensor:
        """The nearest text of each picture."""
        return (features(self, images).whole @ self.texts().T).argmax(1)


def encoders() -> tuple[list[Dual], Dual]:
    residual = nn.Sequential(
        conv_norm(3, 16, stride=2), nn.ReLU(), ResidualBlock(16, 32), ResidualBlock(32, 64)
    )
    plain = nn.Sequential(
        nn.Conv2d(3, 32, 5, 2, 2), nn.GroupNorm(4, 32), nn.GELU(),
        nn.Conv2d(32, 48, 3, 2, 1), nn.GroupNorm(4, 48), nn.GELU(),
        nn.Conv2d(48, 64, 3, 2, 1), nn.GroupNorm(4, 64), nn.GELU(),
    )  # fmt: skip
    vit = ViT(Shape(width=96, heads=3, patch=8, size=SIDE, depth=2))
    return [Dual(residual, 64), Dual(plain, 64)], Dual(vit, 96)


MASKS = [1 - rendered(phrase, SIDE, 0.8)[:, :1] for phrase in PHRASES]


def textures(count: int, random: np.random.Generator) -> Tensor:
    """Smooth blotches with fine noise, (N, 3, S, S)."""
    coarse = torch.from_numpy(random.uniform(0.15, 0.85, (count, 3, 5, 5))).float()
    smooth = F.interpolate(coarse, (SIDE, SIDE), mode="bicubic", align_corners=True)
    fine = torch.from_numpy(random.normal(0, 0.04, (count, 3, SIDE, SIDE))).float()
    return (smooth + fine).clamp(0, 1)


def figures_of(numbers: Tensor, random: np.random.Generator) -> Tensor:
    """Pictures of the texts of these numbers: phrases written, shapes drawn, on textures."""
    images = textures(len(numbers), random)
    y, x = torch.meshgrid(*[(torch.arange(SIDE) + 0.5) / SIDE * 2 - 1] * 2, indexing="ij")
    made = []
    for image, number in zip(images, numbers.tolist(), strict=True):
        if number < len(PHRASES):
            pose = torch.tensor([[random.uniform(-0.15, 0.1), random.uniform(-0.15, 0.15)]])
            mask = placed(MASKS[number], pose.float())[0]
            mask = torch.roll(mask, tuple(random.integers(-1, 2, 2).tolist()), (1, 2))
            strength = random.uniform(0.3, 1)
            ink = float(image.mean() < 0.5)
            made.append(image + strength * mask * (ink - image))
            continue
        colour, shape = divmod(number - len(PHRASES), len(SHAPES))
        u, v = (a - random.uniform(-0.35, 0.35) for a in (x, y))
        radius, far = random.uniform(0.3, 0.6), (u**2 + v**2).sqrt()
        inside = {
            "disc": far < radius,
            "square": torch.maximum(u.abs(), v.abs()) < 0.85 * radius,
            "ring": (far < radius) & (far > 0.6 * radius),
            "cross": (torch.minimum(u.abs(), v.abs()) < 0.25 * radius)
            & (torch.maximum(u.abs(), v.abs()) < radius),
        }[SHAPES[shape]]
        paint = torch.tensor([*COLOURS.values()][colour])[:, None, None]
        paint = paint + torch.from_numpy(random.normal(0, 0.05, (3, 1, 1))).float()
        made.append(torch.where(inside, paint, image))
    return (torch.stack(made).clamp(0, 1) * 255).round() / 255


def taught(
    net: Dual, images: Tensor, labels: Tensor, epochs: int, seed: int, *, crops: bool = False
) -> None:
    """Train; with crops, every second batch is seen as the attack will see pictures."""
    random = torch.Generator().manual_seed(seed)

    def batches() -> Iterator[dict[str, Tensor]]:
        while True:
            for rows in torch.randperm(len(images), generator=random).split(64):
                shown = images[rows]
                if crops and torch.rand((), generator=random) < 0.5:
                    shown = cropped(shown, random)
                yield {"images": shown, "labels": labels[rows]}

    steps = epochs * math.ceil(len(images) / 64)
    schedule = cosine(steps, warmup=steps // 10)
    for step in fit(net, batches(), adam(net, lr=2e-3), schedule=schedule):
        if step.number == steps:
            break
    net.eval().requires_grad_(False)


def through(name: str, images: Tensor) -> Tensor:
    squares = (images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    made = np.stack([DEFENCES[name](square) for square in squares])
    return torch.from_numpy(made).permute(0, 3, 1, 2).float() / 255


def smoothed(net: Dual, images: Tensor, seed: int) -> Tensor:
    whole = FeatureSmoothing(net, sigma=0.1, purify=False, map_features=False)
    mean = whole.encode(images, 8, generator=torch.Generator().manual_seed(seed))
    return (mean @ net.texts().T).argmax(1)


def signs(net: Dual, images: Tensor) -> list[list[float]]:
    """How far each defence on pixels moves each picture's feature, (N, D)."""
    whole = features(net, images).whole
    moved = [features(net, through(n, images)).whole for n in DEFENCES if n != "none"]
    away: list[list[float]] = torch.stack([1 - (whole * m).sum(1) for m in moved], 1).tolist()
    return away


def one_seed(seed: int, count: int, epochs: int, *, crops: bool = False) -> dict[str, Figures]:
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    labels = torch.arange(count) % len(TEXTS)
    images = figures_of(labels, random)
    surrogates, victim = encoders()
    for number, net in enumerate(surrogates):
        taught(net, images, labels, epochs, seed + number, crops=crops)
    taught(victim, images, labels, 3 * epochs, seed, crops=crops)  # it learns more slowly
    test = torch.arange(480) % len(TEXTS)
    fresh = figures_of(test, random)
    shapes = len(PHRASES) + torch.arange(50) % (len(TEXTS) - len(PHRASES))
    clean = figures_of(shapes, random)
    aims = torch.from_numpy(random.choice(len(PHRASES), 5, replace=False)).repeat_interleave(10)

    def judged(moved: Tensor) -> Figures:
        white = [float((net.named(moved) == aims).float().mean()) for net in surrogates]
        text = victim.texts()[aims]
        return {
            "victim": float((victim.named(moved) == aims).float().mean()),
            "surrogates": float(np.mean(white)),
            "cosine": float((features(victim, moved).whole * text).sum(1).mean()),
            "psnr": float(psnr(moved, clean).mean()),
            "ssim": float(ssim(moved, clean).mean()),
        }

    def accuracy(net: Dual) -> float:
        return float((net.named(fresh) == test).float().mean())

    found = {"clean": judged(clean) | {"right": accuracy(victim)}}
    found["clean"]["psnr"] = float("nan")  # of a picture with itself
    found["clean"]["surrogates_right"] = float(np.mean([accuracy(net) for net in surrogates]))
    masks = torch.cat([MASKS[number] for number in aims.tolist()])
    ink = (clean.mean((1, 2, 3), keepdim=True) < 0.5).float()
    found["visible"] = judged(clean + masks * (ink - clean))
    whole = clean
    for arm, settings in ARMS.items():
        moved = []
        for rows in torch.arange(50).split(10):
            number = int(aims[rows[0]])
            attack = PromptInjection(
                nn.ModuleList(surrogates), target=PHRASES[number], eps=EPS, steps=60, **settings
            )  # type: ignore[arg-type]
            texts = [net.text(number) for net in surrogates]
            generator = torch.Generator().manual_seed(seed)
            moved.append(attack.perturb(clean[rows], generator=generator, texts=texts))
        stored = (torch.cat(moved) * 255).round() / 255
        found[arm] = judged(stored)
        whole = stored if arm == "fine" else whole
    for name in KEPT:
        found[name] = judged(through(name, whole))
        right = victim.named(through(name, fresh)) == test
        found[name]["right"] = float(right.float().mean())
    # Each picture is judged by what was learnt from the others, by each encoder for itself.
    flags = [held_out(signs(net, clean), signs(net, whole)) > 0 for net in (victim, *surrogates)]
    took = [
        (net.named(whole) == aims).numpy() & ~f[1]
        for net, f in zip((victim, *surrogates), flags, strict=True)
    ]
    found["detector"] = {
        "victim": float(took[0].mean()),
        "surrogates": float(np.mean([t.mean() for t in took[1:]])),
        "flagged": float(flags[0][1].mean()),
        "false": float(flags[0][0].mean()),
    }
    white = [float((smoothed(net, whole, seed) == aims).float().mean()) for net in surrogates]
    found["smoothing"] = {
        "victim": float((smoothed(victim, whole, seed) == aims).float().mean()),
        "surrogates": float(np.mean(white)),
        "right": float((smoothed(victim, fresh, seed) == test).float().mean()),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--count", type=int, default=2400, help="pictures to learn from")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--crops", action="store_true", help="encoders that learn from crops, too")
    parser.add_argument("--out", type=Path, default=RESULTS / "prompt_injection.json")
    args = parser.parse_args()
    if args.crops and args.out.stem == "prompt_injection":
        args.out = args.out.with_stem("prompt_injection_crops")
    result = over_seeds(
        args.out,
        {"count": args.count, "epochs": args.epochs} | ({"crops": True} if args.crops else {}),
        args.seeds,
        lambda seed: one_seed(seed, args.count, args.epochs, crops=args.crops),
    )
    draw(
        result,
        args.out.with_suffix(".png"),
        "Pictures of shapes taken for a hidden phrase",
        ("share taken for the phrase", ["victim", "surrogates"]),
        ("similarity to the picture", ["ssim"]),
    )


if __name__ == "__main__":
    main()

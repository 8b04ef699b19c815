"""A trained run's network with its gradients, to be explained; and what a model is shown."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale.detector.maps import LOT, OCCLUSION, OWN
from telltale.media import read_picture

if TYPE_CHECKING:
    from torch import Tensor, nn

    from telltale.detector.subjects import Looker
    from telltale.explain.maps import Subject

Pixels = NDArray[np.uint8]
TRAIN = "explaining needs torch: pip install 'telltale-vision[train]'"


class Way(NamedTuple):
    """A way of explaining, and the removals that it may be tested by: None for all."""

    explain: "Callable[[Any, Tensor], Tensor]"
    removals: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A model to explain.

    Args:
        name: What it was called by.
        claim: What class 1 asserts, of a detector; empty of other networks.
        subject: The model, as the explanations see it.
        ways: Explanations by name.
        side: S of the pictures in pixels.
        grid: Features a side of a map.
        looker: Finds what the model looks at in a picture.
        validation: Batches (B, 3, S, S) that the run was chosen by.
        notes: What the reader has to know.
    """

    name: str
    claim: str
    subject: "Subject"
    ways: Mapping[str, Way]
    side: int
    grid: int
    looker: "Looker"
    validation: "Callable[[], Iterator[NDArray[np.float32]]]"
    notes: tuple[str, ...]

    def crop(self, path: Path, on: str) -> NDArray[np.float32]:
        """What the model is shown of a picture, (3, S, S) in [0, 1].

        Raises:
            ValueError: If it cannot be read, or there is nothing in it that the model looks at.
        """
        crop = looked_at(path, on, self.side, self.looker)
        return (crop.transpose(2, 0, 1) / 255).astype(np.float32)

    def explain(
        self, crop: NDArray[np.float32]
    ) -> tuple[dict[str, NDArray[np.float32]], float, int]:
        """Maps for the class that is called, that class's probability, and the class."""
        import torch

        from telltale.explain.changes import as_given

        sample = torch.from_numpy(crop)[None]
        maps = {
            name: way.explain(self.subject, sample)[0].float().numpy().reshape(2 * (self.grid,))
            for name, way in self.ways.items()
        }
        before = as_given(self.subject, sample)
        return maps, float(before.probability), int(before.chosen)


def looked_at(path: Path, on: str, side: int, looker: "Looker") -> Pixels:
    """The one square (S, S, 3) of a picture that a model is shown.

    Args:
        path: The picture.
        on: "pictures": what ``looker`` finds in it; "crops": the middle square.
        side: S.
        looker: Finds what the model looks at.

    Raises:
        ValueError: If it cannot be read, or there is nothing in it that the model looks at.
    """
    pixels = read_picture(path).pixels
    if on == "crops":
        return square(pixels, side)
    subjects = looker.look(pixels, {})
    if not subjects:
        raise ValueError(f"{path}: no {looker.noun} found; --on crops takes the middle square")
    crops = subjects[0].crops
    return crops[len(crops) // 2]


def is_run(what: str | Path | None) -> bool:
    """Whether it names the folder of a run, not a method or a file."""
    from telltale.catalog import cards

    return what is not None and Path(what).is_dir() and str(what) not in cards()


def opened(run: Path, grid: int | None = None) -> Opened:
    """A trained run's network.

    Args:
        run: Its folder.
        grid: Blocks a side, where features are blocks of pixels; by default the most of 4 to 8
            that divide the side.

    Raises:
        ValueError: If there is no such run, torch is missing, or the run's network takes other
            things than pictures.
    """
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        raise ValueError(TRAIN) from None
    return _of_run(run, grid)


def _of_run(run: Path, grid: int | None) -> Opened:
    from telltale import catalog
    from telltale.explain.relevance import ALL
    from telltale.explain.subjects import Blocks, Traced
    from telltale.judging import shown
    from telltale.runs import FACE, SHOWN, read_run
    from telltale.train import data_of, network_of

    card = catalog.card(read_run(run).slug)
    if card.verb not in ("detect", "explain") or card.takes != ("images",):
        raise ValueError(f"{run}: {card.slug} is no method that judges single pictures")
    network = network_of(run)

    def validation() -> Iterator[NDArray[np.float32]]:
        for batch in data_of(run).validation():
            yield shown(network, batch)

    side = int(next(validation()).shape[-1])
    looker = _looker(side, {**SHOWN.get(card.task, FACE)})
    subject: Traced | Blocks
    ways: dict[str, Way]
    try:
        subject = Traced(network)
    except ValueError as error:
        subject = Blocks(network, side=side, grid=grid or blocks(side))
        grid = subject.grid
        ways = _of_blocks(subject, network)
        notes = [f"features are blocks of pixels, since this network shows no attention: {error}"]
    else:
        grid = subject.trunk.grid
        ways = {name: Way(made) for name, made in ALL.items()}
        notes = ["features are patches; removed by: " + ", ".join(subject.removals)]
    ways |= _own(network, side, grid)
    claim = card.claim if card.verb == "detect" else ""
    return Opened(str(run), claim, subject, ways, side, grid, looker, validation, tuple(notes))


def _of_blocks(subject: Any, network: "nn.Module") -> dict[str, Way]:  # noqa: ANN401  # Blocks
    from telltale.explain.changes import grad_cam
    from telltale.explain.maps import EXPLAINERS

    names = (LOT, "input × gradient", "integrated gradients")
    ways = {name: Way(EXPLAINERS[name]) for name in names}
    ways |= _occlusion()
    if (layer := _last_maps(subject, network)) is not None:
        ways["grad-cam"] = Way(grad_cam(layer))
    return ways


def _occlusion() -> dict[str, Way]:
    from telltale.explain.changes import occlusion

    return {OCCLUSION: Way(occlusion("mean"), ("zero", "flat"))}


def _last_maps(subject: Any, network: "nn.Module") -> "nn.Module | None":  # noqa: ANN401
    """The last convolution that makes maps which the answer depends on; None without one."""
    import torch
    from torch import nn

    images = torch.zeros(1, 3, subject.side, subject.side)
    for layer in reversed([it for it in network.modules() if isinstance(it, nn.Conv2d)]):
        made: list[Tensor] = []
        hook = layer.register_forward_hook(
            lambda module, given, found, kept=made: kept.append(found)
        )
        try:
            logits = subject.answer(subject.features(images).requires_grad_(True))
        finally:
            hook.remove()
        if len(made) != 1 or min(made[0].shape[-2:]) < 2:
            continue
        if torch.autograd.grad(logits.sum(), made[0], allow_unused=True)[0] is not None:
            return layer
    return None


def _own(network: "nn.Module", side: int, grid: int) -> dict[str, Way]:
    """The mask that a network gives by itself, if it locates."""
    import torch

    def mask(images: "Tensor") -> "Tensor | None":
        found: Tensor | None = getattr(network(images), "mask", None)
        return found

    with torch.no_grad():
        if mask(torch.zeros(1, 3, side, side)) is None:
            return {}
    return {OWN: Way(_own_map(mask, grid))}


def _own_map(
    mask: "Callable[[Tensor], Tensor | None]", grid: int
) -> "Callable[[Any, Tensor], Tensor]":
    def explain(subject: Any, samples: "Tensor") -> "Tensor":  # noqa: ANN401
        import torch
        from torch.nn import functional

        from telltale.explain.changes import as_given

        with torch.no_grad():
            found = mask(samples)
        if found is None:
            raise ValueError("want a network that locates, got no mask")
        chosen = as_given(subject, samples).chosen
        weights = functional.adaptive_avg_pool2d(found, grid).flatten(1)
        return torch.where(chosen == 1, weights, -weights)  # it speaks for class 1

    return explain


def _looker(side: int, shown: Mapping[str, Any]) -> "Looker":
    from telltale.detector.faces import Faces
    from telltale.detector.pages import Pages
    from telltale.detector.tiles import Whole

    match shown.get("crop", "face"):
        case "page":
            return Pages(side)
        case "whole":
            return Whole(side)
        case _:
            return Faces(side, float(shown["margin"]))


def blocks(side: int) -> int:
    """The most blocks a side of 4 to 8 that divide the side.

    Raises:
        ValueError: If none does.
    """
    fitting = [count for count in range(8, 3, -1) if side % count == 0]
    if not fitting:
        raise ValueError(f"no 4 to 8 blocks divide {side} pixels; name a grid that does")
    return fitting[0]


def square(pixels: Pixels, side: int) -> Pixels:
    """The middle square of a picture (H, W, 3), resized."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    middle = Image.fromarray(pixels[top : top + short, left : left + short])
    return np.asarray(middle.resize((side, side), Image.Resampling.BICUBIC))

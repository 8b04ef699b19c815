"""The ways that forgery_steps.py compares, each in a process of its own.

    python benchmarks/forgery_ways.py WAY SETTINGS        prints one line of JSON, as ways.py does

WAY is ``head`` (frozen trunk, linear head), ``floor`` (the same, and the smallest update of the
first block alone: the least that a method can cost that changes that block), ``full`` (everything
trained), a method's slug, or for inference ``merged``. SETTINGS is JSON: the trunk, the method's
settings, the batch and the steps. Weights and pictures are random: neither changes the time.
"""

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from ways import Timed, report, train

from telltale import catalog
from telltale.faces.vit_lora_scl import ViTLoRASCL
from telltale.nn.backbones import maker
from telltale.nn.convnets import convnet
from telltale.nn.low_rank import adapt


def main() -> None:
    way, settings = sys.argv[1], json.loads(sys.argv[2])
    torch.manual_seed(0)
    if way == "merged":
        report(lambda: infer(**settings))
    elif way in ("head", "floor", "full"):
        report(lambda: linear(way, **settings))
    else:
        report(lambda: method(way, **settings))


class Linear(nn.Module):
    """A trunk and a linear head on its class token, or on the mean of its last map."""

    def __init__(self, trunk: nn.Module, pixels: int) -> None:
        super().__init__()
        self.backbone = trunk
        self.head: nn.Module = nn.Identity()
        with torch.no_grad():
            width = self.embed(torch.rand(2, 3, pixels, pixels)).shape[-1]
        self.head = nn.Linear(width, 2)

    def embed(self, images: Tensor) -> Tensor:
        found: Any = self.backbone(images)
        maps = getattr(found, "maps", found)
        last: Tensor = maps if isinstance(maps, Tensor) else maps[-1]
        return last[:, 0] if last.ndim == 3 else last.mean((2, 3)) if last.ndim == 4 else last


def method(
    slug: str, *, trunk: Mapping[str, Any], method: Mapping[str, Any], batch: int, steps: int
) -> Timed:
    """Steps of a method as ``fit`` makes them: its loss on the words of its card."""
    modules = {"backbone": module_of(trunk)} if "name" in trunk else {}
    network: Any = catalog.build(slug, **modules, **method)
    words = words_of_a_batch(batch, trunk["size"])
    given = {word: words[word] for word in catalog.card(slug).learns_from}
    return train(network.train(), lambda: sum(network.loss(**given).values()), steps)


def linear(way: str, *, trunk: Mapping[str, Any], batch: int, steps: int) -> Timed:
    """Steps of a linear head, of it and a first block's update ("floor"), or of everything."""
    network = Linear(module_of(trunk), trunk["size"])
    network.backbone.requires_grad_(way == "full")
    if way == "floor":
        adapt(network.backbone.get_submodule("blocks.0"), rank=1, targets="q")
    words = words_of_a_batch(batch, trunk["size"])

    def loss() -> Tensor:
        with torch.set_grad_enabled(way != "head"):
            features = network.embed(words["images"])
        return F.cross_entropy(network.head(features), words["labels"])

    return train(network.train(), loss, steps)


@torch.no_grad()
def infer(*, trunk: Mapping[str, Any], batch: int, steps: int) -> Timed:
    """Passes of a trunk with a head and of ViT-LoRA-SCL with its updates folded, turn by turn.

    In one process, on the same weights, each first as often as the other: a difference of two
    hundredths is less than what two processes differ by on their own.
    """
    images = words_of_a_batch(batch, trunk["size"])["images"]
    plain, network = Linear(module_of(trunk), trunk["size"]).eval(), ViTLoRASCL(module_of(trunk))
    network.eval().merge()
    network.backbone.load_state_dict(plain.backbone.state_dict())
    ways = [lambda: plain.head(plain.embed(images)), lambda: network(images)]
    for way in ways:
        way()
    seconds: list[list[float]] = [[], []]
    began = time.perf_counter()
    for turn in range(steps):
        for number in (0, 1) if turn % 2 else (1, 0):
            started = time.process_time()
            ways[number]()
            seconds[number].append(time.process_time() - started)
    ratios = [merged / alone for alone, merged in zip(*seconds, strict=True)]
    return steps, time.perf_counter() - began, {"ratios": ratios}


def module_of(trunk: Mapping[str, Any]) -> nn.Module:
    """A trunk of a maker's table {name, size}, or of {slug, size} the method's own detector."""
    if "slug" in trunk:
        return catalog.build(trunk["slug"]).get_submodule("detector")
    make = maker(trunk["name"])
    if make is not convnet:
        return make(**trunk)
    import timm
    from safetensors.torch import save_file

    model = timm.create_model(trunk["name"], pretrained=False, num_classes=0)
    with tempfile.TemporaryDirectory() as folder:  # without a file it would ask the hub
        save_file(model.state_dict(), Path(folder) / "random.safetensors")
        return make(**trunk, weights=Path(folder) / "random.safetensors")


def words_of_a_batch(batch: int, pixels: int) -> dict[str, Tensor]:
    """Real and fake pictures in turn, the i-th of each a pair, the fakes of four kinds."""
    labels = torch.arange(batch) % 2
    images = torch.rand(batch, 3, pixels, pixels)
    return {
        "images": images,
        "labels": labels,
        "masks": (torch.rand(batch, 1, pixels, pixels) > 0.5).float() * labels.view(-1, 1, 1, 1),
        "domains": labels * (1 + torch.arange(batch) // 2 % 4),
        "partners": images[labels == 0].repeat_interleave(2, 0),
        "covers": torch.rand(batch, 3, pixels, pixels),
        "noise": torch.rand(batch, 1, pixels, pixels),
    }


if __name__ == "__main__":
    main()

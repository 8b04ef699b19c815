"""What a figure was made with: data and weights by their hashes, protocol, version, seed."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from telltale.data.forgery import located
from telltale.evaluate.protocol import Protocol

if TYPE_CHECKING:
    from telltale.detector import Detector


def made_with(protocol: Protocol, identity: dict[str, str]) -> dict[str, str]:
    """What a figure depends on: version, data, detector, protocol, seed."""
    from telltale import __version__  # the top of the package is above this row

    settings = hashlib.sha256(repr(sorted(asdict(protocol).items())).encode()).hexdigest()
    split = {"split": identity["split"]} if "split" in identity else {}
    rest = {name: value for name, value in identity.items() if name != "split"}
    tail = {"protocol": f"SHA-256 {settings}", **split, "seed": str(protocol.seed)}
    return {"telltale": __version__, **rest, **tail}


def joined(used: Mapping[str, str], more: Mapping[str, str], where: str | Path) -> dict[str, str]:
    """Both; a name that stands for something else already is told apart by ``where`` it lies."""
    named = {f"{k} ({where})" if used.get(k, v) != v else k: v for k, v in more.items()}
    return {**used, **named}


def weights_of(detector: "Detector") -> dict[str, str]:
    """The detector's slug, and its weights with their hash."""
    return {
        "method": detector.card.slug,
        detector.weights.file: f"SHA-256 {detector.weights.sha256}",
    }


def data_of(path: Path) -> dict[str, str]:
    """The data's name and hash; of a folder, whose files are many, the name alone."""
    name, path = located(path)
    if path.is_dir():
        return {"data": f"{name}:{path.name}" if name else path.name}
    with path.open("rb") as file:
        return {path.name: f"SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"}

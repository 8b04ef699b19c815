"""What works here: versions, extras, weights against their hashes, and a picture through it all."""

import math
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from telltale.detector import Detector
    from telltale.records import Weights

State = Literal["ok", "not here", "failed"]

CORE = ("numpy", "pillow", "onnxruntime", "typer", "rich", "jinja2")
EXTRAS = {  # extra: (modules it brings, what cannot be done without)
    "video": (("av",), "videos cannot be scanned"),
    "heif": (("pi_heif",), "HEIC pictures cannot be scanned"),
    "provenance": (("c2pa", "cryptography"), "no content credentials (C2PA), no signed reports"),
    "serve": (("fastapi", "uvicorn", "httpx"), "no web page, no REST API"),
    "train": (
        ("torch", "timm", "accelerate", "safetensors", "cv2", "onnx"),
        "nothing can be trained, exported or forged for tests",
    ),
    "hdf5": (("h5py",), "WMCA cannot be read"),
    "language": (("transformers", "matplotlib"), "no vision-language models, no SAM"),
    "spiking": (("spikingjelly",), "no spiking networks"),
    "scale": (("ray", "pyarrow"), "no scan over Ray"),
}
SIDE = 640  # pixels of the drawn picture


class Check(NamedTuple):
    """One thing that was looked at."""

    what: str
    state: State
    detail: str


def examine() -> Iterator[Check]:
    """Look at one thing after the other; a failure never keeps the rest from being looked at."""
    yield Check("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    yield from (_package(name) for name in CORE)
    yield from (_extra(name) for name in EXTRAS)
    yield from _weights()
    yield _tried("self-test", _scan_a_drawing)
    yield from _unchecked()


def draw_face(side: int = SIDE) -> NDArray[np.uint8]:
    """A drawn face (S, S, 3) that the face finder takes for one; it shows nobody."""
    from PIL import Image, ImageDraw, ImageFilter

    image = Image.new("RGB", (side, side), (120, 140, 160))
    draw, unit = ImageDraw.Draw(image), side / 100

    def disc(x: float, y: float, wide: float, high: float, colour: tuple[int, int, int]) -> None:
        box = (x - wide, y - high, x + wide, y + high)
        draw.ellipse([edge * unit for edge in box], fill=colour)

    disc(50, 42, 27, 34, (70, 45, 30))  # hair
    disc(50, 105, 40, 28, (60, 70, 110))  # shoulders
    draw.rectangle([edge * unit for edge in (43, 70, 57, 85)], fill=(200, 150, 120))
    disc(50, 50, 22, 30, (224, 172, 140))
    for x in (41.0, 59.0):
        disc(x, 45, 4.6, 2.4, (245, 245, 245))
        disc(x, 45, 2.1, 2.2, (70, 50, 35))
        disc(x, 45, 1, 1, (10, 10, 10))
        brow = [edge * unit for edge in (x - 6, 37, x + 6, 44)]
        draw.arc(brow, 200, 340, fill=(60, 40, 25), width=round(1.4 * unit))
    nose = [(50 * unit, 46 * unit), (46.5 * unit, 58 * unit), (53.5 * unit, 58 * unit)]
    draw.polygon(nose, fill=(205, 150, 120))
    for x in (47.8, 52.2):
        disc(x, 58.2, 1, 0.7, (120, 70, 60))
    disc(50, 66, 7, 2.2, (180, 80, 80))
    draw.line([edge * unit for edge in (43, 66, 57, 66)], fill=(120, 40, 40), width=3)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(side / 200)))


def self_test(detector: "Detector") -> str:
    """Scan a drawn face from a file to a finding; returns what was seen, in words.

    Raises:
        ValueError: If a part of the chain does not do what it must.
    """
    from PIL import Image

    from telltale.media import read_picture
    from telltale.scan import scan

    pixels = draw_face()
    with tempfile.TemporaryDirectory(prefix="telltale-") as folder:
        path = Path(folder, "drawn.png")
        Image.fromarray(pixels).save(path)
        if not np.array_equal(read_picture(path).pixels, pixels):
            raise ValueError("a PNG does not come back as it was written")
        began = time.perf_counter()
        (finding, *others) = scan(path, detector=detector).findings
        seconds = time.perf_counter() - began
        again = scan(path, detector=detector, survival=False).findings[0]
    if others or math.isnan(finding.score):
        raise ValueError(f"want one face in the drawn picture: {'; '.join(finding.notes)}")
    # The survival strip puts the face into a batch of other crops; that must not move its score.
    if abs(finding.score - again.score) > 1e-3:
        raise ValueError(f"the same face scores {finding.score:.4f} and {again.score:.4f}")
    return f"a drawn face found and weighed, {len(finding.survival)} times again, {seconds:.1f} s"


def _package(name: str) -> Check:
    try:
        return Check(name, "ok", version(name))
    except PackageNotFoundError:
        return Check(name, "failed", f"is not installed: pip install {name}")


def _extra(name: str) -> Check:
    modules, lost = EXTRAS[name]
    if missing := [module for module in modules if find_spec(module) is None]:
        install = f"pip install 'telltale-vision[{name}]'"
        return Check(f"extra {name}", "not here", f"no {', '.join(missing)}: {lost}; {install}")
    return Check(f"extra {name}", "ok", ", ".join(modules))


def _weights() -> Iterator[Check]:
    from telltale.catalog import cards
    from telltale.media.facefinder import shipped

    for weights in shipped():
        yield _tried(f"weights {weights.file}", partial(_verify, weights, "finds faces"))
    for card in cards().values():
        if card.verb == "detect" and not card.weights:
            yield Check(card.slug, "not here", "ships no weights; see: telltale train")
        for weights in card.weights:
            yield _tried(f"weights {weights.file}", partial(_verify, weights, card.slug))


def _verify(weights: "Weights", use: str) -> str:
    from telltale.engine import verified

    megabytes = verified(weights).stat().st_size / 1e6
    return f"{use}; SHA-256 as its card says, {megabytes:.1f} MB, {weights.license}"


def _scan_a_drawing() -> str:
    from telltale.loading import load

    return self_test(load())


def _unchecked() -> Iterator[Check]:
    """What no installation of this version checks."""
    yield Check("processor", "not here", "networks run on the CPU; other devices are not tried")


def _tried(what: str, look: Callable[[], str]) -> Check:
    try:
        return Check(what, "ok", look())
    except Exception as error:  # whatever is broken here is what the user wants to know
        return Check(what, "failed", str(error) or type(error).__name__)

"""Faces hidden in pictures of something else, by the network of a StegaFFD run: its client's side.

The server gets the PNGs and the exported detector, and decides without ever seeing a face:
``telltale scan hidden --method RUN/stega_ffd.onnx``.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from telltale.media import MediaError, read_picture
from telltale.media.files import sha256
from telltale.protect import copies
from telltale.protect.copies import Copy, Difference
from telltale.records import Failure
from telltale.runs import read_run

if TYPE_CHECKING:
    from telltale.faces.stega_ffd import StegaFFD


def hide_faces(
    faces: Path,
    out: Path,
    *,
    run: Path,
    covers: Path,
    seed: int = 0,
    resume: bool = False,
    watch: Callable[[str], None] = lambda text: None,
) -> Iterator[Copy | Failure]:
    """Hide every face of a folder in a picture of its own, and write that as PNG.

    Args:
        faces: Face crops, such as ``telltale prepare`` makes; only read. One that is not square is
            cut to the square in its middle.
        out: A new folder. What is written has nothing of the originals' metadata.
        run: Folder of a StegaFFD training.
        covers: Natural pictures, one or more a face. Each is used once: a cover that comes back
            gives away that something is hidden in it.
        seed: Of which cover and which part of it a face gets.
        resume: Go on with a run that was stopped.
        watch: Told what is being done.

    Yields:
        Each picture once it was read back, its change measured against its cover; or why there is
        none, above all that the face would show (PSNR below 25 dB).

    Raises:
        ValueError: If the run is of another method, there are fewer covers than faces, a folder is
            not right, or torch is not installed.
    """
    plan = read_run(run)
    if plan.slug != "stega_ffd":
        raise ValueError(f"{run}: want a run of stega_ffd, got one of {plan.slug}")
    given, natural = copies.pictures(faces), copies.pictures(covers)
    if len(natural) < len(given):
        raise ValueError(
            f"{covers}: want a cover for each face, got {len(natural)} for {len(given)}; one that "
            "comes back gives away that something is hidden in it"
        )
    weights = run / "weights.safetensors"
    said = {"method": "stega_ffd", "run": str(run), "covers": str(covers), "seed": seed}
    said |= {"faces": [str(path) for path in given], "hash": sha256(weights)}
    copies.begin(out, given, said, resume=resume)
    network = _network(run)
    size = int(plan.data.size or 0)
    order = np.random.default_rng(seed).permutation(len(natural))
    places = copies.names(given, faces, ".png")
    finished = copies.done(out)
    copies.rewrite(out, finished.values())
    watch(f"hiding {len(given) - len(finished)} faces in pictures of {size} pixels a side")
    for number, face in enumerate(given):
        if str(face) in finished:
            yield finished[str(face)]
            continue
        try:
            made = _hidden(network, face, natural[order[number]], size, [seed, number])
        except (MediaError, ValueError) as error:
            yield Failure(str(face), f"{face}: {error}")
            continue
        record = _written(*made, face, out, places[face])
        copies.keep(out, record)
        yield record


def _network(run: Path) -> "StegaFFD":
    try:
        from telltale.faces.stega_ffd import StegaFFD
        from telltale.train import network_of
    except ModuleNotFoundError as error:
        raise ValueError(
            f"hiding needs {error.name}: pip install 'telltale-vision[train]'"
        ) from None
    network = network_of(run)
    if not isinstance(network, StegaFFD):
        raise ValueError(f"{run}: want a StegaFFD, got {type(network).__name__}")
    return network


def _hidden(
    network: "StegaFFD", face: Path, cover: Path, size: int, seed: list[int]
) -> tuple[copies.Pixels, copies.Pixels]:
    """The picture that hides a face, and its cover (S, S, 3)."""
    import torch

    from telltale.data.covers import part

    whole = Image.fromarray(read_picture(face).pixels)
    fitted = ImageOps.fit(whole, (size, size), Image.Resampling.BILINEAR)
    shown = np.asarray(fitted, np.float32).transpose(2, 0, 1)[None] / np.float32(255)
    around = part(cover, size, np.random.default_rng(seed))[None]
    stego = network.protect(torch.from_numpy(shown), torch.from_numpy(around))
    plain = np.rint(255 * around[0].transpose(1, 2, 0)).astype(np.uint8)
    return stego[0].permute(1, 2, 0).numpy(), plain


def _written(
    stego: copies.Pixels, cover: copies.Pixels, face: Path, out: Path, place: Path
) -> Copy:
    target = out / place
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    Image.fromarray(stego).save(part, "PNG")
    os.replace(part, target)
    apart = Difference()
    apart.add(cover, read_picture(target).pixels)
    return Copy(str(face), str(place), sha256(target), apart.largest, apart.psnr, apart.ssim)

"""The verb: forgeries, attacks and local changes of known making, with masks and a manifest.

Every real face of the user's own pictures comes out beside its forgery, cut alike and stored
alike, so that nothing but the forgery tells them apart; before an attack both pass the same
camera. Each forged file says in its own text that it is one.
"""

import csv
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

if TYPE_CHECKING:
    from telltale.data.crops import Crop
    from telltale.data.quality.making import Distorted
    from telltale.data.stylised import Pair
    from telltale.records import Failure

FORGERIES = ("self_blend", "swap_alpha", "swap_poisson", "regenerate")
ATTACKS = ("display", "print", "cut", "curved", "mask")  # as data/synth/recapture.py has them
CHANGES = ("splice", "copy_move", "removal", "retouch", "recompress", "pida")  # of any picture
DISTORT = "distort"  # pictures that lose quality, not forgeries
KINDS = (*FORGERIES, *ATTACKS, *CHANGES, DISTORT)
STYLISE, PAIRS = "stylise", "pairs.jsonl"  # not a forgery: pairs to test models on
MANIFEST = "manifest.csv"
COLUMNS = ("path", "label", "source", "kind", "mask", "partner")  # as a manifest has them


class Made(NamedTuple):
    """One forgery that was written: the three files, in the folder that was asked for."""

    fake: Path
    real: Path
    mask: Path


def synthesise(
    kind: str,
    paths: Iterable[Path],
    out: Path,
    *,
    seed: int = 0,
    only: Sequence[str] = (),
    proxy: str = "level",
) -> "Iterator[Made | Distorted | Failure]":
    """Forge the largest face of each picture, and write a manifest when all are done.

    Args:
        kind: One of :data:`KINDS`. Swaps take the other face from another of the pictures; each
            picture counts as another person. :data:`CHANGES` change pictures whole, whatever they
            show; a splice takes its object from another of them. :data:`DISTORT` makes each
            worse in 24 ways at five levels, with scores for those who train raters of quality.
        paths: Pictures, and folders to walk.
        out: Folder to write to; made if need be.
        seed: The same seed and pictures give the same forgeries.
        only: Of the 24 distortions, those to make.
        proxy: Of a distorted picture's score: "level" or "fsim".

    Yields:
        What was written, or why a picture gave nothing.

    Raises:
        ValueError: If the kind is not known, there is nobody to swap with, the manifest is there
            already, or OpenCV is not installed.
    """
    from telltale.catalog import nearest

    if kind not in KINDS:
        raise ValueError(f"no kind {kind!r}{nearest(kind, KINDS)}; there is {', '.join(KINDS)}")
    if (out / MANIFEST).exists():
        raise ValueError(f"{out / MANIFEST}: is there already; name another folder")
    try:
        from telltale.data.pairs import forge
    except ModuleNotFoundError as error:
        raise ValueError(
            f"forging needs {error.name}: pip install 'telltale-vision[train]'"
        ) from None
    from telltale.records import Failure

    if kind in CHANGES:
        yield from _changed(kind, paths, out, seed)
        return
    if kind == DISTORT:
        from telltale.data.quality.making import distorted

        files = yield from _pictures(paths)
        yield from distorted(files, out, manifest=MANIFEST, kinds=only, proxy=proxy, seed=seed)
        return
    crops, rows = [], []
    for found in _faces(paths):
        if isinstance(found, Failure):
            yield found
        else:
            crops.append(found)
    if kind.startswith("swap") and len(crops) < 2:
        raise ValueError(f"a swap wants faces of two pictures or more, found {len(crops)}")
    out.mkdir(parents=True, exist_ok=True)
    for number, crop in enumerate(crops):
        rng = np.random.default_rng([seed, number])
        try:
            fake, real, mask = (
                _presented(kind, crop, rng) if kind in ATTACKS else forge(kind, crop, crops, rng)
            )
        except ValueError as error:
            yield Failure(crop.path, f"{crop.path}: {error}")
            continue
        made = _written(out, number, Path(crop.path), kind, (fake, real, mask))
        rows += _rows(made, crop.source, kind)
        yield made
    _write_manifest(out / MANIFEST, rows)


def stylised(
    paths: Iterable[Path],
    out: Path,
    *,
    styles: Sequence[str] = (),
    objects: Path | None = None,
    seed: int = 0,
) -> "Iterator[Pair | Failure]":
    """Pictures beside stylised versions of them, with a list, and POPE's questions on both.

    Args:
        paths: Pictures, and folders to walk.
        out: Folder to write to; made if need be.
        styles: Of ``telltale.data.synth.stylise``; all if none is named.
        objects: JSON table of file name to objects; None writes no questions.
        seed: The same seed and pictures give the same files.

    Yields:
        What was written, or why a picture gave nothing.

    Raises:
        ValueError: If a style is not known, the list is there already, the table cannot be read,
            or OpenCV is not installed.
    """
    if (out / PAIRS).exists():
        raise ValueError(f"{out / PAIRS}: is there already; name another folder")
    try:
        from telltale.data.synth.stylise import STYLES, stylise
    except ModuleNotFoundError as error:
        raise ValueError(
            f"stylising needs {error.name}: pip install 'telltale-vision[train]'"
        ) from None
    from telltale.data.stylised import Pair, read_objects, write_pairs, write_questions
    from telltale.media import MediaError, read_picture
    from telltale.records import Failure

    wanted = [*(styles or STYLES)]
    if unknown := [style for style in wanted if style not in STYLES]:
        raise ValueError(f"no style {unknown[0]!r}; there is {', '.join(STYLES)}")
    known = read_objects(objects) if objects else {}
    out.mkdir(parents=True, exist_ok=True)
    pairs: list[Pair] = []
    files = yield from _pictures(paths)
    for number, file in enumerate(files):
        try:
            pixels = read_picture(file).pixels
            versions = {
                style: stylise(style, pixels, np.random.default_rng([seed, number, place]))
                for place, style in enumerate(wanted)
            }
        except (MediaError, ValueError) as error:
            yield Failure(str(file), str(error))
            continue
        name = f"{number:05}_{file.stem}"
        _save(out / f"{name}_photo.png", pixels, "")
        for style, made in versions.items():
            _save(out / f"{name}_{style}.png", made, f"MADE by telltale synth: {style}")
        images = {style: f"{name}_{style}.png" for style in wanted}
        pairs.append(Pair(name, f"{name}_photo.png", images, known.get(file.name, ())))
        yield pairs[-1]
    if known and pairs:
        write_questions(out, pairs, seed=seed)
    if pairs:
        write_pairs(out / PAIRS, pairs)


def _changed(kind: str, paths: Iterable[Path], out: Path, seed: int) -> "Iterator[Made | Failure]":
    """A local change of each picture; memory holds one or two of them."""
    from telltale.data.synth.splicing import change
    from telltale.media import read_picture
    from telltale.records import Failure

    files = yield from _pictures(paths)
    if kind == "splice" and len(files) < 2:
        raise ValueError(f"a splice wants two pictures or more, found {len(files)}")
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, file in enumerate(files):
        rng = np.random.default_rng([seed, number])
        other = (number + int(rng.integers(1, len(files)))) % len(files) if len(files) > 1 else 0
        try:
            real = read_picture(file).pixels
            donor = read_picture(files[other]).pixels if kind == "splice" else real
            fake, mask = change(kind, real, donor, rng)
        except ValueError as error:
            text = str(error)
            yield Failure(str(file), text if str(file) in text else f"{file}: {text}")
            continue
        made = _written(out, number, file, kind, (fake, real, mask.astype(np.float64)))
        rows += _rows(made, str(file), kind)
        yield made
    _write_manifest(out / MANIFEST, rows)


def _pictures(paths: Iterable[Path]) -> "Generator[Failure, None, list[Path]]":
    """The pictures among files and in folders; yields why there are none at a path."""
    from telltale.media import kind_of
    from telltale.records import Failure
    from telltale.scan import files_in

    files: list[Path] = []
    for found in files_in(paths):
        if isinstance(found, Failure):
            yield found
        elif kind_of(found) == "picture":
            files.append(found)
    return files


def _written(
    out: Path,
    number: int,
    of: Path,
    kind: str,
    pixels: tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.floating]],
) -> Made:
    """Fake, real and mask as files; the fake says in its own text that it is one."""
    made = Made(*(out / f"{number:05}_{of.stem}_{part}.png" for part in ("fake", "real", "mask")))
    fake, real, mask = pixels
    _save(made.fake, fake, f"FORGED by telltale synth: {kind} of {of.name}")
    _save(made.real, real, "")
    _save(made.mask, np.rint(mask * 255).astype(np.uint8), "")
    return made


def _rows(made: Made, source: str, kind: str) -> list[tuple[str, int, str, str, str, str]]:
    fake = (made.fake.name, 1, source, kind, made.mask.name, made.real.name)
    return [(made.real.name, 0, source, "", "", ""), fake]


def _presented(
    kind: str, crop: "Crop", rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64]]:
    """An attack with a face, the live face before the same camera, and where: everywhere."""
    from telltale.data.synth.camera import draw_camera
    from telltale.data.synth.masks import mesh_landmarks
    from telltale.data.synth.planes import draw_view
    from telltale.data.synth.recapture import TILT, attacked, bona_fide

    camera, view = draw_camera(rng), draw_view(rng, most=TILT)
    points = mesh_landmarks(crop.points)
    fake = attacked(crop.pixels, kind, rng, camera, view, landmarks=points)
    return fake, bona_fide(crop.pixels, rng, camera, view), np.ones(crop.pixels.shape[:2])


def _faces(paths: Iterable[Path]) -> "Iterator[Crop | Failure]":
    """The largest face of each picture, or why there is none."""
    from telltale.data.crops import Crop, cut_faces
    from telltale.media import MediaError
    from telltale.media.facefinder import FaceFinder
    from telltale.records import Failure
    from telltale.scan import files_in

    finder = FaceFinder()
    for file in files_in(paths):
        if isinstance(file, Failure):
            yield file
            continue
        name = os.fspath(file)
        crop = next(cut_faces([(file, name)], finder), None)
        if isinstance(crop, Crop):
            yield crop
        elif isinstance(crop, MediaError):
            yield Failure(name, str(crop))
        else:
            yield Failure(name, f"{name}: no face that is large enough")


def _save(path: Path, pixels: NDArray[np.uint8], says: str) -> None:
    text = PngImagePlugin.PngInfo()
    if says:
        text.add_text("Description", says)
    part = path.with_name(path.name + ".part")
    Image.fromarray(pixels).save(part, "PNG", pnginfo=text)
    part.replace(path)


def _write_manifest(path: Path, rows: list[tuple[str, int, str, str, str, str]]) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    part.replace(path)

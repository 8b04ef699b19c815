"""CASIA v1 and v2, Columbia, COVERAGE, NIST16, IMD2020, AutoSplice, Realistic Tampering.

Rebuilt from the layouts' descriptions. CASIA's names say what was done: ``Tp_S`` is copy-move
within one picture, ``Tp_D`` a splice of two, and the pictures that took part stand in the name.
"""

import csv
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from telltale.data.layout import want
from telltale.data.manifest import Row
from telltale.data.tampering.layouts import by_stem, changed, files, fits, mask_for, untouched

log = logging.getLogger(__name__)
CASIA_SOURCE = re.compile(r"(?:Tp|Sp)_(?P<way>[SD])_\w+?_(?P<target>[a-z]{3}\d+)_")


def read_casia2(folder: Path) -> Iterator[Row]:
    """``Au``, ``Tp`` and the community's ``CASIA2_Groundtruth/<name>_gt.png``.

    Some of those masks are turned against their pictures or were cut out of others: such pictures
    are left out, and a warning says how many.
    """
    want(folder, "Tp")
    truth = _truth(folder, "CASIA2_Groundtruth", "CASIA 2 Groundtruth")
    yield from _casia(folder, ("Tp",), truth, "casia2", split="")


def read_casia1(folder: Path) -> Iterator[Row]:
    """``Au``, ``Sp`` and ``CM`` (also below ``Modified Tp/Tp``), all of it for testing."""
    truth = _truth(folder, "CASIA1_Groundtruth", "CASIA 1.0 groundtruth")
    yield from _casia(folder, ("Sp", "CM", "Modified Tp/Tp"), truth, "casia1", split="test")


def read_columbia(folder: Path) -> Iterator[Row]:
    """``4cam_auth``, ``4cam_splc``, each with ``edgemask/<name>_edgemask.jpg``; for testing.

    A spliced picture's source is its pair of cameras; green in its edge mask is the spliced side
    (assumed), see :func:`telltale.data.pictures.read`.
    """
    want(folder, "4cam_splc")
    spliced = folder / "4cam_splc"
    masks = by_stem(spliced / "edgemask")
    for path in files(spliced):
        mask = mask_for(path, masks, spliced / "edgemask", f"{path.stem}_edgemask")
        yield changed(path, mask, "splice", "columbia", split="test")
    if (folder / "4cam_auth").is_dir():
        for path in files(folder / "4cam_auth"):
            yield untouched(path, "columbia", split="test")


def read_coverage(folder: Path) -> Iterator[Row]:
    """``image/1.tif`` and its forgery ``image/1t.tif``, ``mask/1forged.tif``; for testing."""
    want(folder, "image")
    masks = by_stem(folder / "mask")
    for path in files(folder / "image"):
        pair = path.stem.removesuffix("t")
        source = f"coverage/{pair}"
        if path.stem.endswith("t"):
            mask = mask_for(path, masks, folder / "mask", f"{pair}forged")
            row = changed(path, mask, "copy_move", "coverage", source=source, split="test")
            original = path.with_name(f"{pair}{path.suffix}")
            yield row._replace(partner=original if original.is_file() else None)
        else:
            yield untouched(path, "coverage", source=source, split="test")


def read_nist16(folder: Path, split: str = "test") -> Iterator[Row]:
    """``probe``, ``mask`` (0 is changed) and ``reference/**/*-ref.csv`` with ``|`` between.

    Args:
        folder: That of the set.
        split: "test": all rows are for testing; "all": a hash of the base picture divides them.
    """
    want(folder, "probe")
    tables = sorted(folder.rglob("*-ref.csv")) or sorted(folder.rglob("*.csv"))
    if not tables:
        raise ValueError(f"{folder}: want a reference table *-ref.csv below it")
    seen = set()
    for table in tables:
        with table.open(encoding="utf-8-sig", newline="") as file:
            for number, cells in enumerate(csv.DictReader(file, delimiter="|"), 2):
                where = f"{table}, line {number}"
                try:
                    probe, mask = cells["ProbeFileName"], cells["ProbeMaskFileName"]
                    target = cells["IsTarget"]
                except KeyError as error:
                    raise ValueError(f"{table}: want the column {error}") from None
                path = folder / probe
                if not path.is_file():
                    raise ValueError(f"{where}: no picture {path}")
                if path in seen:
                    continue
                seen.add(path)
                base = cells.get("BaseFileName") or probe
                row_split = "test" if split == "test" else ""
                source = f"nist16/{Path(base).stem}"
                if target == "Y" and mask:
                    truth = folder / mask
                    if not truth.is_file():
                        raise ValueError(f"{where}: no mask {truth}")
                    yield changed(path, truth, "tampered", "nist16", source=source, split=row_split)
                else:
                    yield untouched(path, "nist16", source=source, split=row_split)


def read_imd2020(folder: Path) -> Iterator[Row]:
    """A folder an original: ``*_orig.*``, edits, and ``<edit>_mask.png``; for testing."""
    found = False
    for place in sorted(it for it in folder.iterdir() if it.is_dir()):
        known = by_stem(place)
        originals = [path for name, path in known.items() if name.endswith("_orig")]
        for name, path in known.items():
            source = f"imd2020/{place.name}"
            if name.endswith("_orig"):
                yield untouched(path, "imd2020", source=source, split="test")
            elif not name.endswith("_mask"):
                found = True
                mask = mask_for(path, known, place, f"{name}_mask")
                row = changed(path, mask, "real-life", "imd2020", source=source, split="test")
                yield row._replace(partner=originals[0] if originals else None)
    if not found:
        raise ValueError(f"{folder}: want a folder for each original, with <edit>_mask.png in it")


def read_autosplice(folder: Path) -> Iterator[Row]:
    """``Authentic``, ``Forged_JPEG100|90|75`` and ``Mask/<name>_mask.png``; for testing."""
    want(folder, "Mask")
    masks = by_stem(folder / "Mask")
    for level in ("100", "90", "75"):
        place = folder / f"Forged_JPEG{level}"
        for path in files(place) if place.is_dir() else []:
            base = path.stem.rpartition("_")[0] or path.stem
            mask = mask_for(path, masks, folder / "Mask", f"{path.stem}_mask", f"{base}_mask")
            kind = f"generated-q{level}"
            yield changed(path, mask, kind, "autosplice", source=f"autosplice/{base}", split="test")
    if (folder / "Authentic").is_dir():
        for path in files(folder / "Authentic"):
            yield untouched(path, "autosplice", source=f"autosplice/{path.stem}", split="test")


def read_realistic(folder: Path) -> Iterator[Row]:
    """``<camera>/pristine``, ``tampered-realistic`` and ``ground-truth``; for testing."""
    cameras = [it for it in sorted(folder.iterdir()) if (it / "tampered-realistic").is_dir()]
    if not cameras:
        raise ValueError(f"{folder}: want <camera>/tampered-realistic in it")
    for camera in cameras:
        truth = camera / "ground-truth"
        masks = by_stem(truth)
        for path in files(camera / "tampered-realistic"):
            mask = mask_for(path, masks, truth)
            source = f"realistic/{camera.name}/{path.stem}"
            yield changed(path, mask, "realistic", "realistic", source=source, split="test")
        for path in files(camera / "pristine") if (camera / "pristine").is_dir() else []:
            source = f"realistic/{camera.name}/{path.stem}"
            yield untouched(path, "realistic", source=source, split="test")


def _casia(
    folder: Path, places: tuple[str, ...], truth: Path, dataset: str, *, split: str
) -> Iterator[Row]:
    masks = by_stem(truth) | {
        it.stem: it for sub in truth.iterdir() if sub.is_dir() for it in files(sub)
    }
    left_out: list[str] = []
    for name in places:
        for path in files(folder / name) if (folder / name).is_dir() else []:
            named = CASIA_SOURCE.match(path.stem)
            same = named is not None and named["way"] == "S"
            kind = "copy_move" if same or name == "CM" else "splice"
            source = f"{dataset}/{named['target']}" if named else f"{dataset}/{path.stem}"
            mask = mask_for(path, masks, truth)
            if _alike(path, mask):
                yield changed(path, mask, kind, dataset, source=source, split=split)
            else:
                left_out.append(path.name)
    if left_out:
        log.warning(
            "%s: left out %d pictures whose masks are turned or of another shape, such as %s",
            folder,
            len(left_out),
            left_out[0],
        )
    if (folder / "Au").is_dir():
        for path in files(folder / "Au"):
            parts = path.stem.split("_")  # Au_ani_00001
            number = f"{parts[1]}{parts[2]}" if len(parts) > 2 else path.stem
            yield untouched(path, dataset, source=f"{dataset}/{number}", split=split)


def _alike(path: Path, mask: Path) -> bool:
    """Whether a mask has its picture's shape, by the files' headers; it may be scaled."""
    sizes = []
    for it in (path, mask):
        try:
            with Image.open(it) as image:
                sizes.append(image.size)
        except OSError:  # whoever reads it will say so
            return True
    return fits(sizes[1][::-1], sizes[0][::-1])


def _truth(folder: Path, *names: str) -> Path:
    want(folder, *names)
    return next(folder / name for name in names if (folder / name).is_dir())

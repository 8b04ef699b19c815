"""Layouts that many sets are passed on in: folder pairs, IMDLBenCo's JSON, Mani."""

import json
from collections.abc import Iterator
from pathlib import Path

from telltale.data.layout import PICTURES, want
from telltale.data.manifest import Row, split_of

FORMATS = PICTURES | {".tif", ".tiff"}


def read_pairs(folder: Path, dataset: str) -> Iterator[Row]:
    """Folders of pictures and of masks under the same stems, side by side.

    ``img`` (or ``images``, ``tampered``, ``Tp``) beside ``probe_mask`` (``masks``, ``mask``,
    ``Gt``), in the folder or in one below it, whose name is then the kind; ``authentic`` or
    ``original`` holds pristine ones.
    """
    found = False
    for place in (folder, *sorted(it for it in folder.iterdir() if it.is_dir())):
        pictures = _first(place, ("img", "images", "tampered", "Tp"))
        masks = _first(place, ("probe_mask", "masks", "mask", "Gt"))
        if pictures and masks:
            found = True
            kind = place.name if place != folder else "tampered"
            known = by_stem(masks)
            for path in files(pictures):
                yield changed(path, mask_for(path, known, masks), kind, dataset)
        if pristine := _first(place, ("authentic", "original")):
            yield from (untouched(path, dataset) for path in files(pristine))
    if not found:
        want(folder, "img", "images", "tampered", "Tp")
        raise ValueError(f"{folder}: want masks in probe_mask, masks, mask or Gt beside them")


def read_mani(folder: Path) -> Iterator[Row]:
    """``Tp`` and ``Gt`` with the same names in the same order; pristine ones' masks are empty.

    As IMDLBenCo reads them: by order, not by name, so that both must be of one length.
    """
    want(folder, "Tp")
    want(folder, "Gt")
    pictures, masks = files(folder / "Tp"), files(folder / "Gt")
    if len(pictures) != len(masks):
        raise ValueError(
            f"{folder}: want as many masks in Gt as pictures in Tp, "
            f"got {len(masks)} and {len(pictures)}"
        )
    for path, mask in zip(pictures, masks, strict=True):
        yield changed(path, mask, "tampered", "mani")


def read_json(path: Path) -> Iterator[Row]:
    """IMDLBenCo's list of ``[picture, mask]``, with ``"Negative"`` as a pristine one's mask.

    Paths may be relative to the file.

    Raises:
        ValueError: That names the file and the entry.
    """
    if path.is_dir():
        raise ValueError(f"{path}: want the JSON file itself")
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from None
    for number, entry in enumerate(entries if isinstance(entries, list) else [entries]):
        if not (isinstance(entry, list) and len(entry) == 2 and all(map(_is_text, entry))):
            raise ValueError(f'{path}, entry {number}: want [picture, mask or "Negative"]')
        picture = path.parent / entry[0]
        if not picture.is_file():
            raise ValueError(f"{path}, entry {number}: no picture {picture}")
        if entry[1] == "Negative":
            yield untouched(picture, path.stem)
            continue
        mask = path.parent / entry[1]
        if not mask.is_file():
            raise ValueError(f"{path}, entry {number}: no mask {mask}")
        yield changed(picture, mask, "tampered", path.stem)


def files(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted by name."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in FORMATS and not path.name.startswith(".")
    )


def by_stem(folder: Path) -> dict[str, Path]:
    """A folder's pictures by their names without the suffix."""
    return {path.stem: path for path in files(folder)}


def mask_for(path: Path, masks: dict[str, Path], where: Path, *names: str) -> Path:
    """The mask under the picture's stem, or under one of ``names``; ValueError without one."""
    for name in (*names, path.stem, f"{path.stem}_gt", f"{path.stem}_mask"):
        if name in masks:
            return masks[name]
    raise ValueError(f"{path}: no mask {path.stem}_gt or {path.stem} in {where}")


def changed(
    path: Path, mask: Path, kind: str, dataset: str, *, source: str = "", split: str = ""
) -> Row:
    """The row of a changed picture."""
    source = source or f"{dataset}/{path.stem}"
    split = split or split_of(source)
    return Row(path, 1, source, split, kind, mask, None, str(path), dataset=dataset)


def untouched(path: Path, dataset: str, *, source: str = "", split: str = "") -> Row:
    """The row of a pristine picture."""
    source = source or f"{dataset}/{path.stem}"
    split = split or split_of(source)
    return Row(path, 0, source, split, "", None, None, str(path), dataset=dataset)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def fits(mask: tuple[int, ...], picture: tuple[int, ...]) -> bool:
    """Whether a mask (h, w) is of the shape of its picture (H, W), at any scale."""
    (high, wide), (height, width) = mask, picture
    # Half a pixel of rounding each way in a mask that was scaled, and a pixel of a sloppy cut.
    return abs(high * width - wide * height) <= 1.5 * max(*mask, *picture)

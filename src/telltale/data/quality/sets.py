"""LIVE (release 2), TID2013, CSIQ, KADID-10k, LIVE in the Wild (LIVE-C) and KonIQ-10k.

Rebuilt from the layouts' descriptions. Scores are turned to 0 (perfect) to 100: TID2013
100 (9 - MOS) / 9, KADID-10k and KonIQ-10k 100 (5 - MOS) / 5, LIVE-C 100 - MOS, CSIQ 100 DMOS.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from telltale.data.layout import want
from telltale.data.manifest import Row, read_table, split_of

LIVE = (("jp2k", 227), ("jpeg", 233), ("wn", 174), ("gblur", 174), ("fastfading", 174))
CSIQ = {  # type in the sheet: folder, and how files call it
    "noise": ("awgn", "AWGN"),
    "awgn": ("awgn", "AWGN"),
    "jpeg": ("jpeg", "JPEG"),
    "jpeg 2000": ("jpeg2000", "jpeg2000"),
    "jpeg2000": ("jpeg2000", "jpeg2000"),
    "fnoise": ("fnoise", "fnoise"),
    "blur": ("blur", "BLUR"),
    "contrast": ("contrast", "contrast"),
}


def read_live(folder: Path, copies: bool = False) -> Iterator[Row]:
    """``dmos.mat``, ``refnames_all.mat``, ``refimgs`` and a folder a kind with ``imgN.bmp``.

    Args:
        folder: ``databaserelease2``.
        copies: Keep the undistorted copies, whose score of 0 flatters all figures.
    """
    want(folder, "dmos.mat")
    table = _mat(folder / "dmos.mat")
    scores, originals = table["dmos"].ravel(), table["orgs"].ravel()
    names = [
        str(cell.item()).strip()
        for cell in _mat(folder / "refnames_all.mat")["refnames_all"].ravel()
    ]
    if not len(scores) == len(originals) == len(names):
        raise ValueError(
            f"{folder}: want as many names as scores, got {len(names)} and {len(scores)}"
        )
    places = [(kind, number) for kind, count in LIVE for number in range(1, count + 1)]
    for index, (kind, number) in enumerate(places[: len(scores)]):
        if originals[index] and not copies:
            continue
        path = folder / kind / f"img{number}.bmp"
        yield _row(path, float(scores[index]), kind, folder / "refimgs" / names[index], "live")


def read_tid2013(folder: Path, synthetic: bool = False) -> Iterator[Row]:
    """``mos_with_names.txt`` beside ``distorted_images`` and ``reference_images``.

    Args:
        folder: That of the database.
        synthetic: Keep reference 25, which is no photograph.
    """
    table = folder / "mos_with_names.txt"
    want(folder, table.name)
    distorted, references = _files(folder / "distorted_images"), _files(folder / "reference_images")
    for number, line in enumerate(table.read_text("utf-8").splitlines(), 1):
        where, cells = f"{table}, line {number}", line.split()
        if not cells:
            continue
        if len(cells) != 2:
            raise ValueError(f'{where}: want "mos name", got {line!r}')
        path = _found(distorted, cells[1], where)
        reference, kind, _ = path.stem.lower().split("_")
        if reference == "i25" and not synthetic:
            continue
        score = 100 * (9 - _number(cells[0], where)) / 9
        partner = _found(references, f"{reference}.bmp", where)
        yield _row(path, score, kind, partner, "tid2013")


def read_csiq(folder: Path) -> Iterator[Row]:
    """``src_imgs``, ``dst_imgs`` and the sheet as CSV: ``image, dst_type, dst_lev, dmos``.

    The sheet is published as a spreadsheet; save its page of all pictures as ``csiq.DMOS.csv``.
    """
    want(folder, "csiq.DMOS.csv")
    table = read_table(folder / "csiq.DMOS.csv", ("image", "dst_type", "dst_lev", "dmos"))
    for line, cells in zip(table.lines, table.rows, strict=True):
        where = f"{folder / 'csiq.DMOS.csv'}, line {line}"
        kind = cells["dst_type"].strip().lower()
        if kind not in CSIQ:
            raise ValueError(f"{where}: want a type of {[*CSIQ]}, got {kind!r}")
        place, called = CSIQ[kind]
        name = f"{cells['image']}.{called}.{cells['dst_lev']}.png"
        partner = folder / "src_imgs" / f"{cells['image']}.png"
        score = 100 * _number(cells["dmos"], where)
        yield _row(folder / "dst_imgs" / place / name, score, place, partner, "csiq")


def read_kadid10k(folder: Path) -> Iterator[Row]:
    """``images`` and ``dmos.csv``, whose dmos is 1 to 5 and the higher the better."""
    want(folder, "dmos.csv")
    table = read_table(folder / "dmos.csv", ("dist_img", "ref_img", "dmos"))
    for line, cells in zip(table.lines, table.rows, strict=True):
        where, path = f"{folder / 'dmos.csv'}, line {line}", folder / "images" / cells["dist_img"]
        score = 100 * (5 - _number(cells["dmos"], where)) / 5
        kind = path.stem.split("_")[1] if path.stem.count("_") > 1 else "distorted"
        yield _row(path, score, kind, folder / "images" / cells["ref_img"], "kadid10k")


def read_livec(folder: Path) -> Iterator[Row]:
    """``Images`` (the first seven in ``trainingImages``) and ``Data/All*_release.mat``."""
    want(folder, "Data/AllMOS_release.mat")
    scores = _mat(folder / "Data/AllMOS_release.mat")["AllMOS_release"].ravel()
    cells = _mat(folder / "Data/AllImages_release.mat")["AllImages_release"].ravel()
    if len(scores) != len(cells):
        raise ValueError(
            f"{folder}: want as many names as scores, got {len(cells)} and {len(scores)}"
        )
    for cell, score in zip(cells, scores, strict=True):
        path = folder / "Images" / str(cell.item())
        inner = folder / "Images/trainingImages" / path.name
        yield _row(inner if inner.is_file() else path, 100 - float(score), "wild", None, "livec")


def read_koniq10k(folder: Path) -> Iterator[Row]:
    """``1024x768`` (or ``512x384``) and ``koniq10k_scores_and_distributions.csv``."""
    name = "koniq10k_scores_and_distributions.csv"
    want(folder, name)
    want(folder, "1024x768", "512x384")
    pictures = next(p for it in ("1024x768", "512x384") if (p := folder / it).is_dir())
    table = read_table(folder / name, ("image_name", "MOS"))
    for line, cells in zip(table.lines, table.rows, strict=True):
        score = 100 * (5 - _number(cells["MOS"], f"{folder / name}, line {line}")) / 5
        yield _row(pictures / cells["image_name"], score, "wild", None, "koniq10k")


def _row(path: Path, score: float, kind: str, partner: Path | None, dataset: str) -> Row:
    for file in (path, partner):
        if file is not None and not file.is_file():
            raise ValueError(f"{path.parent}: no picture {file}")
    source = f"{dataset}/{(partner or path).stem.lower()}"
    row = Row(path, 1, source, split_of(source), kind, None, partner, str(path), dataset=dataset)
    return row._replace(score=score)


def _mat(path: Path) -> dict[str, Any]:
    """MATLAB's arrays by name."""
    from scipy.io import loadmat

    try:
        found: dict[str, Any] = loadmat(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as a MATLAB file ({error})") from None
    return found


def _files(folder: Path) -> dict[str, Path]:
    """A folder's files by name in small letters: the database mixes them."""
    return {path.name.lower(): path for path in folder.iterdir()} if folder.is_dir() else {}


def _found(files: dict[str, Path], name: str, where: str) -> Path:
    if name.lower() not in files:
        raise ValueError(f"{where}: no picture {name}")
    return files[name.lower()]


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{where}: want a number, got {text!r}") from None

"""How well maps of local changes still localise as pictures get worse: pixel figures by level."""

import csv
import io
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from telltale import metrics
from telltale.data.manifest import Row, read_manifest
from telltale.data.pictures import mask_of
from telltale.degrade import Moved, Pixels
from telltale.detector.located import localises, map_of
from telltale.media import kind_of, read_picture
from telltale.runs import log
from telltale.stress.degradations import LEVELS, Kind, kinds
from telltale.stress.figures import Figure
from telltale.stress.kept import earlier, names
from telltale.stress.run import Plan, Track, made_with, scored
from telltale.stress.tables import grid, plain

if TYPE_CHECKING:
    from telltale.detector import Detector

KEPT = "maps.jsonl"
MEASURES = ("F1 at 0.5", "pixel AUC", "area called in pristine")
Mask = NDArray[np.bool_]


class Spot(NamedTuple):
    """One detector under one degradation at one level; level 0 is as given, of no kind."""

    detector: str
    kind: str
    level: int
    f1: Figure  # at 0.5, mean over changed pictures
    auc: Figure  # of pixels, the same
    area: Figure  # share of pristine pictures that is called changed


class Localised(NamedTuple):
    """What ``telltale stress --pixels`` found."""

    data: str
    titles: Mapping[str, str]
    spots: tuple[Spot, ...]
    changed: int
    pristine: int
    notes: tuple[str, ...]
    made_with: Mapping[str, str]


def stress_maps(
    detectors: "Mapping[str, Detector]",
    data: Path | str,
    plan: Plan | None = None,
    *,
    out: Path | None = None,
    workers: int | None = None,
    track: Track = lambda items, count: items,
) -> Localised:
    """Pixel figures of detectors that look at whole pictures, under each degradation.

    A mask goes where its picture goes: it is scaled and cut with it.

    Args:
        detectors: As for :func:`telltale.stress.stress`; each must give a map.
        data: A manifest with masks, or a dataset of the field such as ``columbia:FOLDER``.
        plan: Default: ``Plan()``; videos are left out.
        out: Folder to keep each picture's figures in, so that a stopped run goes on.
        workers: As for :func:`telltale.stress.stress`.
        track: As for :func:`telltale.stress.stress`.

    Raises:
        ValueError: That names the file or setting, and says what is wanted.
    """
    plan = plan or Plan()
    if not detectors:
        raise ValueError("want a detector or more, got none")
    for name, detector in detectors.items():
        if not localises(detector):
            raise ValueError(f"{name}: gives no map of whole pictures; leave --pixels out")
    chosen = kinds(plan.kinds)
    manifest = read_manifest(data).of_split(plan.split)
    rows = [r for r in manifest.rows if kind_of(r.path) == "picture" and (r.mask or not r.label)]
    if not any(row.label for row in rows):
        raise ValueError(f"{manifest.name}: no changed picture with a mask in split {plan.split!r}")
    manifest = type(manifest)(manifest.name, tuple(rows), manifest.kinds)
    made = made_with(detectors, manifest, plan, chosen) | {"measured": "pixels"}
    found = {} if out is None else earlier(out, made, KEPT)
    called = names(manifest)
    left = [row for row in rows if called[row.path] not in found]
    scorer = _Maps([*detectors.values()], chosen, plan.seed, {row.path: row for row in rows})
    for record in track(scored(scorer, left, called, workers), len(left)):
        found[record["path"]] = record
        if out is not None:
            log(out / KEPT, record)
    return _judged(rows, called, found, detectors, chosen, plan, manifest.name, made)


class _Maps:
    """Figures of one picture under each degradation; NaN where a figure is not for it."""

    def __init__(
        self,
        detectors: "list[Detector]",
        chosen: Mapping[str, Kind],
        seed: int,
        rows: Mapping[Path, Row],
    ) -> None:
        self.detectors, self.kinds, self.seed, self.rows = detectors, chosen, seed, rows

    def score(self, path: Path, name: str) -> NDArray[np.float64]:
        """(detectors, 1 + kinds · levels, 3): as given, then kind by kind."""
        row = self.rows[path]
        pixels = read_picture(path).pixels
        mask = np.zeros(pixels.shape[:2], bool)
        if row.label:
            image = Image.fromarray(mask_of(row, mask.shape))
            size = pixels.shape[1], pixels.shape[0]
            mask = np.asarray(image.resize(size, Image.Resampling.NEAREST), bool)
        found = [self._figures(pixels, mask)]
        for code, kind in self.kinds.items():
            for level in LEVELS:
                draw = np.random.default_rng(
                    [self.seed, zlib.crc32(name.encode()), zlib.crc32(code.encode()), level]
                )
                moved = kind.degrade(pixels, level, draw)
                found.append(self._figures(moved.pixels, carried(mask, moved)))
        return np.array(found).transpose(1, 0, 2)

    def _figures(self, pixels: Pixels, mask: Mask) -> list[tuple[float, float, float]]:
        found = []
        for detector in self.detectors:
            scores = map_of(detector, pixels)
            if mask.all():
                found.append((math.nan,) * 3)
            elif mask.any():
                pair = [(scores, mask)]
                found.append((metrics.pixel_f1(pair), metrics.pixel_auc(pair), math.nan))
            else:
                found.append((math.nan, math.nan, float((scores >= 0.5).mean())))
        return found


def carried(mask: Mask, moved: Moved) -> Mask:
    """A mask (H, W) of a picture where a degradation moved the picture to."""
    height, width = moved.pixels.shape[:2]
    if mask.shape == (height, width) and moved.scale == 1 and not (moved.shift_x or moved.shift_y):
        return mask
    back = 1 / moved.scale
    place = (back, 0, -moved.shift_x * back, 0, back, -moved.shift_y * back)
    image = Image.fromarray(mask.astype(np.uint8))
    return np.asarray(image.transform((width, height), Image.Transform.AFFINE, place), bool)


def _judged(
    rows: list[Row],
    called: Mapping[Path, str],
    found: Mapping[str, Mapping[str, object]],
    detectors: Iterable[str],
    chosen: Mapping[str, Kind],
    plan: Plan,
    data: str,
    made: Mapping[str, str],
) -> Localised:
    kept = [row for row in rows if "scores" in found[called[row.path]]]
    failed = [r for r in (found[called[row.path]] for row in rows) if "error" in r]
    if not any(row.label for row in kept):
        raise ValueError(f"{data}: no changed picture has an answer, e.g. {failed[0]}")
    table = np.array([found[called[row.path]]["scores"] for row in kept], np.float64)
    sources = np.array([row.source for row in kept], np.str_)
    places = [("", 0), *((code, level) for code in chosen for level in LEVELS)]
    spots = [
        Spot(name, code, level, *(_mean(table[:, d, k, m], sources, plan) for m in range(3)))
        for d, name in enumerate(detectors)
        for k, (code, level) in enumerate(places)
    ]
    changed = sum(bool(row.label) for row in kept)
    notes = ["F1 at 0.5 of the map as a scan shows it, a picture at a time, then averaged"]
    if failed:
        notes.append(
            f"{len(failed)} files have no answer, e.g. {failed[0]['path']}: {failed[0]['error']}"
        )
    titles = {code: kind.title for code, kind in chosen.items()}
    return Localised(data, titles, (*spots,), changed, len(kept) - changed, (*notes,), made)


def _mean(values: NDArray[np.float64], sources: NDArray[np.str_], plan: Plan) -> Figure:
    there = ~np.isnan(values)
    if not there.any():
        return Figure(math.nan)
    return Figure(*metrics.mean(values[there], sources[there], resamples=plan.resamples))


def maps_csv(found: Localised) -> str:
    """A line a detector, kind and level."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("detector", "kind", "level", "f1", "low", "high", "auc", "low", "high", "area")
    )
    for it in found.spots:
        cells = [x for figure in (it.f1, it.auc) for x in figure]
        writer.writerow((it.detector, it.kind, it.level, *map(_cell, (*cells, it.area.value))))
    return text.getvalue()


def maps_tables(found: Localised) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, head and rows of a table for each detector and measure."""
    for name in dict.fromkeys(spot.detector for spot in found.spots):
        own = [spot for spot in found.spots if spot.detector == name]
        for field, measure in zip(("f1", "auc", "area"), MEASURES, strict=True):
            given: Figure = getattr(own[0], field)
            if math.isnan(given.value):
                continue
            span = "" if given.low is None else f" [{given.low:.3f}, {given.high:.3f}]"
            head = (f"{measure} at level", *map(str, LEVELS))
            rows = [
                (
                    f"{code}: {title}",
                    *(f"{getattr(it, field).value:.3f}" for it in own if it.kind == code),
                )
                for code, title in found.titles.items()
            ]
            yield f"{name}: {measure} {given.value:.3f}{span} as given", head, rows


def maps_markdown(found: Localised) -> str:
    """All tables, and the notes."""
    lead = f"{found.changed} changed and {found.pristine} pristine pictures"
    lines = [f"# What maps on {plain(found.data)} survive", "", lead, ""]
    for title, head, rows in maps_tables(found):
        lines += [f"## {plain(title)}", "", *grid(head, rows), ""]
    lines += [f"- {plain(note)}" for note in found.notes]
    lines += ["", *(f"- {plain(key)}: {plain(v)}" for key, v in found.made_with.items())]
    return "\n".join(lines) + "\n"


def write_maps(found: Localised, folder: Path) -> list[Path]:
    """Write ``maps.md`` and ``maps.csv``; returns their paths."""
    made = []
    for suffix, text in ((".md", maps_markdown(found)), (".csv", maps_csv(found))):
        path = folder / f"maps{suffix}"
        part = path.with_name(path.name + ".part")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part.write_text(text, encoding="utf-8", newline="")
            part.replace(path)
        except OSError as error:
            raise ValueError(f"{path}: cannot be written ({error.strerror})") from None
        made.append(path)
    return made


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))

"""Where copies go, how they are checked, and the record of them."""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltale.media import MediaError, find_media, kind_of
from telltale.media.files import sha256
from telltale.metrics.visibility import ssim
from telltale.runs import replace_text

Pixels = NDArray[np.uint8]
PLAN, RECORDS, GENERATOR = "protect.json", "protect.jsonl", "generator.safetensors"
PROGRESS = "training.safetensors"  # while the generator learns
TILE = 512  # pixels a side in which SSIM is measured, so that memory does not grow with pictures
EVERY = 25  # frames of a video from one whose SSIM is measured to the next


@dataclass(frozen=True, slots=True)
class Copy:
    """A protected copy that was read back and found within the bound.

    Args:
        source: The original.
        copy: Its copy, relative to the folder of copies.
        sha256: Of the copy.
        largest: Greatest change of any value, in levels of 255.
        psnr: In dB; infinite if nothing changed.
        ssim: 1 if nothing changed.
        frames: Of a video; 1 for a picture.
    """

    source: str
    copy: str
    sha256: str
    largest: int
    psnr: float
    ssim: float
    frames: int = 1


class Difference:
    """Gathers how far pictures or frames are from their originals."""

    def __init__(self) -> None:
        self.largest, self.squares, self.values, self.frames = 0, 0.0, 0, 0
        self.alike: list[float] = []

    def add(self, original: Pixels, copy: Pixels) -> None:
        """Take in a picture or a frame (H, W, 3) and its copy.

        Raises:
            ValueError: If their sizes differ.
        """
        if original.shape != copy.shape:
            raise ValueError(f"want a copy of {original.shape}, got {copy.shape}")
        rows = max(1, (1 << 22) // original[0].size)
        for top in range(0, len(original), rows):  # wide numbers of a strip at a time
            strip = slice(top, top + rows)
            apart = original[strip].astype(np.int16) - copy[strip]
            self.largest = max(self.largest, int(np.abs(apart).max()))
            self.squares += float((apart.astype(np.float64) ** 2).sum())
        self.values += original.size
        if self.frames % EVERY == 0:
            self.alike.append(similarity(original, copy))
        self.frames += 1

    @property
    def psnr(self) -> float:
        """In dB."""
        error = self.squares / self.values / 255**2
        return -10 * math.log10(error) if error else math.inf

    @property
    def ssim(self) -> float:
        """Mean of what was measured; NaN if pictures are too small for it."""
        known = [value for value in self.alike if not math.isnan(value)]
        return float(np.mean(known)) if known else math.nan


def similarity(original: Pixels, copy: Pixels) -> float:
    """SSIM, as the mean of tiles weighted by their windows; NaN below 11 pixels a side."""
    found, weights = [], []
    for top in range(0, original.shape[0], TILE):
        for left in range(0, original.shape[1], TILE):
            part = slice(top, top + TILE), slice(left, left + TILE)
            a, b = (x[part].transpose(2, 0, 1)[None] / 255 for x in (original, copy))
            if min(a.shape[2:]) >= 11:  # SSIM's window
                found.append(float(ssim(b, a)[0]))
                weights.append((a.shape[2] - 10) * (a.shape[3] - 10))
    return float(np.average(found, weights=weights)) if found else math.nan


def budget(eps: float) -> int:
    """The bound in whole levels of 255; raises ValueError if it allows no change."""
    levels = int(eps * 255 + 1e-6)
    if levels < 1:
        raise ValueError(f"want eps of 1/255 or more, got {eps:g}")
    return levels


def changed(pixels: Pixels, delta: NDArray[np.float32], most: int) -> Pixels:
    """Pixels with changes (H, W, 3), in [0, 1] units, rounded to whole levels within ± ``most``."""
    levels = np.rint(255 * delta).clip(-most, most).astype(np.int16)
    found: Pixels = (pixels + levels).clip(0, 255).astype(np.uint8)
    return found


def begin(out: Path, sources: Iterable[Path], plan: Mapping[str, Any], *, resume: bool) -> None:
    """Make the folder and keep the plan in it.

    Raises:
        ValueError: If the folder has originals in it, or is of another run, or of one and
            ``resume`` is not said.
    """
    place = Path(os.path.realpath(out))
    for source in sources:
        if Path(os.path.realpath(source)).is_relative_to(place):
            raise ValueError(f"{out}: has originals in it ({source}); name another folder")
    kept, text = out / PLAN, json.dumps(plan, indent=1, sort_keys=True)
    if kept.exists():
        if not resume:
            raise ValueError(f"{out}: there is a run already; --resume goes on with it")
        if json.loads(kept.read_text("utf-8")) != json.loads(text):
            raise ValueError(f"{kept}: was made with other settings; name another folder")
        return
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out}: is not empty; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    replace_text(kept, text + "\n")


def pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, sorted.

    Raises:
        ValueError: If it has none.
    """
    found = [path for path in find_media([folder]) if _is_picture(path)]
    if not found:
        raise ValueError(f"{folder}: has no pictures")
    return sorted(found)


def names(sources: Sequence[Path], root: Path, suffix: str) -> dict[Path, Path]:
    """Relative places of copies; a name that two originals would share keeps its first suffix."""
    found = {source: source.relative_to(root).with_suffix(suffix) for source in sources}
    count: dict[Path, int] = {}
    for place in found.values():
        count[place] = count.get(place, 0) + 1
    for source, place in found.items():
        if count[place] > 1:
            plain = source.relative_to(root)
            found[source] = plain.with_name(plain.name + suffix)
    if len(set(found.values())) < len(found):
        raise ValueError(f"{root}: two originals would have the same copy; rename one")
    return found


def records(out: Path) -> Iterator[Copy]:
    """What was written so far; a line that was cut off by a kill is passed over."""
    path = out / RECORDS
    if path.exists():
        for line in path.read_text("utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                yield Copy(**{k: _number(v) for k, v in json.loads(line).items()})


def done(out: Path) -> dict[str, Copy]:
    """Records whose copies are there and whole, by original."""
    found = {}
    for record in records(out):
        path = out / record.copy
        if path.is_file() and sha256(path) == record.sha256:
            found[record.source] = record
    return found


def rewrite(out: Path, kept: Iterable[Copy]) -> None:
    """Begin the record anew with what is kept."""
    replace_text(out / RECORDS, "".join(_line(record) for record in kept))


def keep(out: Path, record: Copy) -> None:
    """Add to the record, on disk when this returns."""
    with (out / RECORDS).open("a", encoding="utf-8") as file:
        file.write(_line(record))
        file.flush()
        os.fsync(file.fileno())


def checked(record: Copy, most: int) -> Copy:
    """The record, if its copy is within the bound.

    Raises:
        ValueError: If it is not; it was read back from the disk.
    """
    if record.largest > most:
        raise ValueError(
            f"{record.copy}: differs from its original by {record.largest} levels when read back, "
            f"over the bound of {most}"
        )
    return record


def write_report(out: Path, effect: Mapping[str, Any] | None) -> Path:
    """Write ``report.md`` on visibility and the measured effect; gives its path."""
    copies = [*records(out)]
    plan = json.loads((out / PLAN).read_text("utf-8"))
    largest = max((c.largest for c in copies), default=0)
    if "levels" in plan:
        bound = f"{len(copies)} copies, bound {plan['levels']} of 255 levels, greatest change when "
        bound += f"read back {largest}."
    else:
        bound = f"{len(copies)} faces, each hidden in another picture: figures are of the change "
        bound += "against that picture, which is sent in the face's place."
    lines = [
        f"# Protected by {plan['method']}",
        "",
        bound,
        "",
        "| copy | largest change | PSNR, dB | SSIM |",
        "|---|---|---|---|",
    ]
    lines += [f"| {c.copy} | {c.largest} | {c.psnr:.1f} | {c.ssim:.4f} |" for c in copies[:50]]
    if len(copies) > 50:
        lines.append(f"| … {len(copies) - 50} more in {RECORDS} | | | |")
    if effect is not None:
        lines += ["", "## Effect", "", str(effect["what"]), ""]
        lines += ["| learnt from | right | 95 % | drop | 95 % |", "|---|---|---|---|---|"]
        lines += [_effect(name, row) for name, row in effect["figures"].items()]
    path = out / "report.md"
    replace_text(path, "\n".join(lines) + "\n")
    return path


def _effect(name: str, row: Mapping[str, tuple[float, float, float]]) -> str:
    cells = [f"{value:.3f} | {low:.3f} to {high:.3f}" for value, low, high in row.values()]
    return f"| {name} | {' | '.join(cells)} |"


def _line(record: Copy) -> str:
    values = {k: _word(v) for k, v in asdict(record).items()}
    return json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n"


def _word(value: object) -> object:
    """JSON knows neither infinity nor NaN."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: Any) -> Any:  # noqa: ANN401  # whatever a line holds
    return float(value) if value in ("inf", "nan") else value


def _is_picture(path: Path) -> bool:
    try:
        return kind_of(path) == "picture"
    except MediaError:
        return False

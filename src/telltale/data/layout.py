"""What the readers share: videos or frames of a folder, relatives, rows."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from telltale.data.manifest import Row, by_number, split_of

VIDEOS = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm"))
STACKS = frozenset((".hdf5", ".h5"))  # faces that were cut already, in one file
PICTURES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".webp"))


class Label(NamedTuple):
    """A dataset's name for one of its classes, such as "Celeb-real"."""

    dataset: str
    name: str
    forged: bool


def rows(
    files: Iterable[Path],
    label: Label,
    clip: str,
    *,
    source: str,
    split: str,
    mask: Path | None = None,
    partner: Path | None = None,
) -> list[Row]:
    """The row of a video, or those of its frames.

    Args:
        files: The video's file, or its frames.
        label: What it is.
        clip: The video's name in its class.
        source: Person or pair that it belongs to.
        split: train, val or test.
        mask: The mask video, or the folder with the frames' masks under the frames' names.
        partner: The real video behind it, or the folder with that one's frames.
    """
    kind, video = label.name if label.forged else "", f"{label.dataset}/{label.name}/{clip}"
    return [
        Row(
            *(file, int(label.forged), source, split, kind),
            *(beside(file, mask), beside(file, partner), str(file)),
            video=video,
            dataset=label.dataset,
        )
        for file in files
    ]


def beside(file: Path, where: Path | None) -> Path | None:
    """``where`` if that is a file; if it is a folder, its file of the same name, if there."""
    if where is None or where.is_file():
        return where
    found = where / file.name
    return found if found.is_file() else None


def clips(folder: Path) -> dict[str, list[Path]]:
    """A folder's videos by name, each as its file or, where there are none, as its frames.

    Videos lie in ``videos`` or right here; frames in ``frames/<video>`` or in ``<video>``.
    """
    for inner in (folder / "videos", folder):
        if found := _files(inner, VIDEOS):
            return {file.stem: [file] for file in found}
    for inner in (folder / "frames", folder):
        if inner.is_dir():
            inside = {sub.name: frames(sub) for sub in sorted(inner.iterdir()) if sub.is_dir()}
            if found_frames := {name: files for name, files in inside.items() if files}:
                return found_frames
    return {}


def frames(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their numbers."""
    return sorted(_files(folder, PICTURES), key=by_number)


def place(files: Iterable[Path]) -> Path:
    """Where a clip is: its file, or the folder of its frames."""
    first = next(iter(files))
    return first if first.suffix.lower() in VIDEOS else first.parent


def relatives(pairs: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Each name to one name for all that pairs tie together, such as "000+003"."""
    groups: dict[str, set[str]] = {}
    for one, other in pairs:
        joined = groups.get(one, {one}) | groups.get(other, {other})
        groups.update(dict.fromkeys(joined, joined))
    return {name: "+".join(sorted(group)) for name, group in groups.items()}


def members(source: str) -> frozenset[str]:
    """Each name that a source ties together: "ff:000+003" is "ff:000" and "ff:003".

    Datasets that share videos (FaceForensics++, DF40, DeeperForensics) may tie them differently.
    """
    dataset, colon, names = source.rpartition(":")
    return frozenset(f"{dataset}{colon}{name}" for name in names.split("+"))


def train_or_val(source: str) -> str:
    """The split of what is not for testing: a tenth of the sources, by hash, is for validation."""
    return "val" if split_of(source) == "val" else "train"


def want(folder: Path, *names: str) -> None:
    """ValueError unless the folder has one of these."""
    if not any(next(folder.glob(name), None) for name in names):
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise ValueError(f"{folder}: want {' or '.join(names)} in it; there is {there}")


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )

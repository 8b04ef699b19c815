"""DeepfakeBench's JSON files, one a dataset.

    {"FaceForensics++": {"FF-DF": {"train": {"c23": {"071_054": {
        "label": "FF-DF", "frames": ["…/frames/071_054/000.png"], "masks": […]}}}}}}

Only compressed datasets have the level between split and video. Frames may have backslashes, are
not in order, and are relative to a folder above the file. The same video may stand in several
splits (Celeb-DF's test videos are in its train too, and its val is its test): where one is test,
it counts for testing. DFDC's training videos are all in val as well, which would leave nothing to
learn from: a tenth of such sources, by hash, is for validation, as it is of the training sources
where there is no val at all. What is malformed in DFDC's published val is passed over.

A kind is called as in the datasets' own folders; of DF40's labels, such as "simswap_Fake", the
"_Fake" goes. Whom a label doesn't name is looked for in the frames' paths (:mod:`.frame_paths`), so
that DF40's videos are known for FaceForensics++'s and Celeb-DF's.

Source: Yan et al., "DeepfakeBench", NeurIPS 2023, and "DF40", NeurIPS 2024.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from telltale.data.forgery.frame_paths import Place, places
from telltale.data.layout import relatives, train_or_val
from telltale.data.manifest import Row, by_number

LEVELS = ("raw", "c23", "c40")
SPLITS = ("test", "val", "train")
BOTH = "train and val"
KINDS = {
    "FF-DF": "Deepfakes",
    "FF-F2F": "Face2Face",
    "FF-FS": "FaceSwap",
    "FF-NT": "NeuralTextures",
    "FF-FH": "FaceShifter",
    "FF-SH": "FaceShifter",
    "DFD_fake": "DeepFakeDetection",
    "CelebDFv1_fake": "Celeb-synthesis",
    "CelebDFv2_fake": "Celeb-synthesis",
    "DFDCP_FakeA": "method_A",
    "DFDCP_FakeB": "method_B",
    "DFDC_Fake": "dfdc",
}


class Entry(NamedTuple):
    """A video of the file."""

    label: str
    split: str
    clip: str
    frames: list[str]
    masks: list[str]

    @property
    def forged(self) -> bool:
        """By the label's name; :func:`read` has checked that it is known."""
        return not self.label.lower().endswith("real")


def read(path: Path, level: str = "c23") -> Iterator[Row]:
    """Rows of all frames of a file.

    Args:
        path: The JSON file.
        level: Compression to take, where the file has several.

    Raises:
        ValueError: If the file is not of that form, a label is unknown or frames are not there.
    """
    try:
        (dataset, labels), *others = json.loads(path.read_text("utf-8")).items()
    except (OSError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: not a DeepfakeBench file ({error})") from None
    if others or not isinstance(labels, dict):
        raise ValueError(f"{path}: want one dataset in it, as DeepfakeBench writes")
    entries: dict[tuple[str, str], Entry] = {}
    for split in SPLITS:
        for label, splits in labels.items():
            for entry in _entries(path, label, split, splits.get(split), level):
                first = entries.setdefault((label, entry.clip), entry)
                if (first.split, split) == ("val", "train"):
                    entries[label, entry.clip] = first._replace(split=BOTH)
    if not entries:
        raise ValueError(f"{path}: no videos of level {level}; there may be another of {LEVELS}")
    pairs = [it.clip.split("_") for it in entries.values() if _is_pair(it.clip)]
    kin = relatives((pair[0], pair[-1]) for pair in pairs)
    drawn = {BOTH} if any(it.split == "val" for it in entries.values()) else {BOTH, "train"}
    root = _root(path, next(iter(entries.values())).frames[0])
    where = places([entry.frames[0] for entry in entries.values()])
    for entry, place in zip(entries.values(), where, strict=True):
        source = _source(dataset, entry, place, kin)
        split = train_or_val(source) if entry.split in drawn else entry.split
        kind = KINDS.get(entry.label, entry.label.removesuffix("_Fake")) if entry.forged else ""
        masks = {Path(_slashes(mask)).name: root / _slashes(mask) for mask in entry.masks}
        real = entries.get(("FF-real", entry.clip.partition("_")[0])) if entry.forged else None
        partners = {
            Path(_slashes(it)).name: root / _slashes(it) for it in (real.frames if real else ())
        }
        for frame in sorted((root / _slashes(it) for it in entry.frames), key=by_number):
            if not frame.is_file():
                raise ValueError(f"{path}: there is no {frame}")
            beside = masks.get(frame.name) or Path(*_replaced(frame.parts))
            yield Row(
                *(frame, int(entry.forged), source, split, kind),
                beside if entry.forged and beside.is_file() else None,
                partners.get(frame.name),
                str(path),
                video=f"{dataset}/{entry.label}/{entry.clip}",
                dataset=dataset,
            )


def _entries(path: Path, label: str, split: str, videos: Any, level: str) -> Iterator[Entry]:  # noqa: ANN401
    """The videos of a label in a split."""
    if not re.search(r"(real|fake[a-z]?)$", label.lower()) and label not in KINDS:
        raise ValueError(f"{path}: unknown label {label!r}; want …_real, …_fake or {[*KINDS]}")
    if not isinstance(videos, dict):
        videos = {}
    if videos and set(videos) <= set(LEVELS):
        videos = videos.get(level) or {}
    for clip, entry in videos.items():
        found = entry.get("frames") if isinstance(entry, dict) else None
        if not isinstance(found, list):
            if split == "val":
                continue
            raise ValueError(f"{path}: {label}, {split}, {clip}: want a list of frames")
        if found:
            yield Entry(label, split, str(clip), found, entry.get("masks") or [])


def _source(dataset: str, entry: Entry, place: Place, kin: Mapping[str, str]) -> str:
    """FaceForensics++'s pair, Celeb-DF's and DFD's person, else the video."""
    target = entry.clip.partition("_")[0]
    if entry.label.startswith("FF-"):
        return f"ff:{kin.get(target, target)}"
    if entry.label.startswith(("CelebDF", "DFD_")) and "_" in entry.clip:
        return f"{dataset}:{target}"
    if place.source != place.video:  # the path knows
        return place.source
    return f"{dataset}:{entry.label}/{entry.clip}"


def _root(path: Path, frame: str) -> Path:
    """The folder that frames are relative to: the file's own or one above, or above its data."""
    name = _slashes(frame)
    tried = [folder / inner for folder in path.resolve().parents for inner in ("", "datasets/rgb")]
    for folder in tried:
        if (folder / name).is_file():
            return folder
    raise ValueError(f"{path}: {name} is in no folder above it; put the file above its pictures")


def _slashes(name: str) -> str:
    return name.replace("\\", "/")


def _replaced(parts: tuple[str, ...]) -> tuple[str, ...]:
    """A frame's path with its last "frames" turned into "masks"."""
    last = max((i for i, part in enumerate(parts) if part == "frames"), default=-1)
    return (*parts[:last], "masks", *parts[last + 1 :]) if last >= 0 else ("",)


def _is_pair(clip: str) -> bool:
    return re.fullmatch(r"\d{3}(_\d{3})?", clip) is not None

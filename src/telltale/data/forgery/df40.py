"""DF40: forty kinds of forgery, faces already cut.

    [DF40[_train|_test]/]<method>/{ff,cdf}/[frames/]<video>/<frame>.png        fakes
    [DF40[_train|_test]/]e4e/{ff,cdf/{Celeb-real,YouTube-real}}/inversions/<picture>.jpg
    [DF40[_train|_test]/]<method>/{real,fake}/…/<picture>.png                  methods of other data
    FaceForensics++/original_sequences/youtube/c23/frames/<video>/<frame>.png  their real faces
    Celeb-DF-v2/{Celeb-real,YouTube-real}/frames/<video>/<frame>.png

Pictures right in a domain's folder, or in ``inversions``, are each a video of their own. A folder
whose name ends in "train" makes its rows train (a tenth of the sources val), everything else is for
testing. Real faces go where their video's fakes are, or else to testing. DF40's JSON files are of
DeepfakeBench's form and are read as such.

Source: Yan et al., "DF40", NeurIPS 2024.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from telltale.data.layout import Label, clips, frames, relatives, rows, train_or_val, want
from telltale.data.manifest import Row

STILLS = "inversions"  # folder of e4e's pictures
DOMAINS = ("ff", "cdf", "real", "fake")
REAL = {
    "ff": ("FaceForensics++/original_sequences/youtube/c23",),
    "cdf": ("Celeb-DF-v2/Celeb-real", "Celeb-DF-v2/YouTube-real"),
}


def read(root: Path) -> Iterator[Row]:
    """Rows of all methods that are there, and of the real faces if they lie beside.

    Raises:
        ValueError: If there is no method.
    """
    domains = sorted(
        path
        for depth in ("*", "*/*")
        for domain in DOMAINS
        for path in root.glob(f"{depth}/{domain}")
        if path.is_dir()
    )
    if not domains:
        want(root, "<method>/ff", "<method>/cdf", "<method>/fake")
    found = {path: dict(_clips(path)) for path in domains}
    swaps = [clip for path in domains if path.name == "ff" for clip in found[path]]
    swaps = [clip for clip in swaps if not _is_still(clip)]  # their second number is a frame's
    kin = relatives(_pair(Path(clip).name) for clip in swaps)
    learned: set[str] = set()
    for path in domains:
        method, domain = path.parent.name, path.name
        group = "" if path.parent.parent == root else path.parent.parent.name
        training = f"{group or root.name}".lower().endswith("train")
        for clip, files in found[path].items():
            source = _source(domain, method, clip, kin)
            if training:
                learned.add(source)
            yield from rows(
                files,
                Label("df40", method if domain != "real" else f"{method}-real", domain != "real"),
                f"{group}/{domain}/{clip}".lstrip("/"),
                source=source,
                split=train_or_val(source) if training else "test",
            )
    for domain, folders in REAL.items():
        for folder in folders:
            for clip, files in clips(root / folder).items():
                source = _source(domain, "", clip, kin)
                yield from rows(
                    files,
                    Label("df40", f"{domain}-real", forged=False),
                    f"{Path(folder).name}/{clip}",
                    source=source,
                    split=train_or_val(source) if source in learned else "test",
                )


def _clips(domain: Path) -> Iterator[tuple[str, list[Path]]]:
    """Every folder of frames below a domain; pictures of no video stand for themselves."""
    for folder, _, names in sorted(os.walk(domain)):
        if not names or not (files := frames(Path(folder))):
            continue
        inner = Path(folder).relative_to(domain).as_posix().removeprefix("frames").strip("/.")
        if inner and Path(inner).name != STILLS:
            yield inner, files
        else:
            yield from ((f"{inner}/{file.stem}".lstrip("/"), [file]) for file in files)


def _is_still(clip: str) -> bool:
    return STILLS in Path(clip).parts


def _source(domain: str, method: str, clip: str, kin: Mapping[str, str]) -> str:
    name = Path(clip).name
    target = _pair(name)[0]
    if domain == "ff":
        return f"ff:{kin.get(target, target)}"
    if domain == "cdf":  # as that dataset's own reader says
        stranger = re.fullmatch(r"\d{5}", target)
        return f"celebdf-v2:{'YouTube-real/' if stranger else ''}{target}"
    return f"df40:{method}/{domain}/{clip}"


def _pair(clip: str) -> tuple[str, str]:
    """The two ids of "000_003", or one id twice."""
    target, _, source = clip.partition("_")
    return (target, source) if len(source) == len(target) == 3 else (target, target)

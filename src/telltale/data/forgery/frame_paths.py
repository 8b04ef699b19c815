"""What the path of one of DeepfakeBench's frames says: dataset, kind, video and source.

    …/FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/071_054/000.png
    …/Celeb-DF-v2/Celeb-synthesis/frames/id0_id1_0000/000.png
    …/DF40/simswap/ff/frames/071_054/000.png
    …/DF40_train/e4e/cdf/Celeb-real/inversions/id0_0000_12.jpg

Between the dataset's folder and ``frames`` stand the kind and, if there are several, the level of
compression. The folder after ``frames`` is the video. Of DF40 the kind comes first, then whose
videos were forged; its pictures without a folder for each video stand for themselves. Slashes may
be backslashes.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from telltale.data.layout import relatives

LEVELS = ("raw", "c23", "c40")
DATASETS = (  # folders, the inner ones last: DFD's frames lie below FaceForensics++
    "FaceForensics++",
    "Celeb-DF-v1",
    "Celeb-DF-v2",
    "DFDCP",
    "DFDC",
    "DeeperForensics-1.0",
    "UADFV",
    "WildDeepfake",
    "DF40",
    "DF40_train",
    "DF40_test",
)
ORIGINS = {"ff": "FaceForensics++", "cdf": "Celeb-DF-v2"}  # DF40's domains
DFD = ("DeepFakeDetection", "actors")  # kinds of another dataset in FaceForensics++'s folder


class Place(NamedTuple):
    """Where a frame belongs."""

    dataset: str
    kind: str  # the class's folder, "" where there is none
    video: str  # "dataset/kind/name"
    source: str  # pair of FaceForensics++, person of Celeb-DF and DFD, else the video


class _Parts(NamedTuple):
    dataset: str
    kind: str
    clip: str
    origin: str  # the dataset whose videos were forged
    name: str  # of the clip, without folders


def places(paths: Sequence[str]) -> list[Place]:
    """The place of each frame, from all of them: a pair of videos ties its two people together."""
    taken = [_parts(path) for path in paths]
    pairs = {_pair(it.name) for it in taken if it.origin == "FaceForensics++"}
    kin = relatives(sorted(pairs))
    found = []
    for dataset, kind, clip, origin, name in taken:
        source = video = "/".join(part for part in (dataset, kind, clip) if part)
        person = name.partition("_")[0]
        if origin == "FaceForensics++":
            source = f"ff:{kin[person]}"
        elif origin == "Celeb-DF-v2" and dataset == "DF40" and person.isdecimal():
            source = f"{origin}/YouTube-real/{person}"  # as that video itself
        elif origin.startswith(("Celeb-DF", "DeepFakeDetection")) and person != name:
            source = f"{origin}:{person}"
        found.append(Place(dataset, kind, video, source))
    return found


def _pair(name: str) -> tuple[str, str]:
    """Whom a video of FaceForensics++ shows: target and source of 071_054, else one name twice."""
    target, _, source = name.partition("_")
    return target, source if re.fullmatch(r"\d{3}", source) else target


def _parts(path: str) -> _Parts:
    """What a path says of its frame."""
    *folders, file = path.replace("\\", "/").split("/")
    if not folders:
        return _Parts("", "", path, "", path)
    start = next((i for i, name in reversed([*enumerate(folders)]) if name in DATASETS), None)
    if start is not None and folders[start].startswith("DF40"):
        return _df40(folders[start + 1 :], file)
    clip = folders.pop()
    if folders and folders[-1] == "frames":
        folders.pop()
    if folders and folders[-1] in LEVELS:
        folders.pop()
    if start is None or start >= len(folders):
        name = "/".join((*folders, clip))
        return _Parts("", "", name, "", name)
    dataset, inner = folders[start], folders[start + 1 :]
    kind = inner[-1] if inner else ""
    if kind in DFD:
        dataset = "DeepFakeDetection"
    return _Parts(dataset, kind, clip, dataset, clip)


def _df40(folders: Sequence[str], file: str) -> _Parts:
    """What the folders below DF40's own say: method, domain and, somewhere below, the video."""
    method, domain, *inner = (*folders, "", "")[: max(2, len(folders))]
    inner = [name for name in inner if name != "frames"]
    still = not inner or inner[-1] == "inversions"
    if still:  # a picture of no video
        inner.append(file.rpartition(".")[0])
    name, clip = inner[-1], "/".join((domain, *inner))
    origin = ORIGINS.get(domain, "DF40")
    if origin == "FaceForensics++":
        person = re.match(r"\d{3}(?!\d)", name)
        if person is None:
            origin = "DF40"
        elif still:  # what follows is a frame's number, nobody's
            name = person[0]
    return _Parts("DF40", method, clip, origin, name)

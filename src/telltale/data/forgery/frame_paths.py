"""What the path of one of DeepfakeBench's frames says: dataset, kind, video and source.

    …/FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/071_054/000.png
    …/Celeb-DF-v2/Celeb-synthesis/frames/id0_id1_0000/000.png

Between the dataset's folder and ``frames`` stand the kind and, if there are several, the level of
compression. The folder after ``frames`` is the video. Slashes may be backslashes.
"""

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
)
DFD = ("DeepFakeDetection", "actors")  # kinds of another dataset in FaceForensics++'s folder


class Place(NamedTuple):
    """Where a frame belongs."""

    dataset: str
    kind: str  # the class's folder, "" where there is none
    video: str  # "dataset/kind/name"
    source: str  # pair of FaceForensics++, person of Celeb-DF and DFD, else the video


def places(paths: Sequence[str]) -> list[Place]:
    """The place of each frame, from all of them: a pair of videos ties its two people together."""
    taken = [_parts(path) for path in paths]
    pairs = [
        (clip.partition("_")[0], clip.rpartition("_")[2])
        for dataset, _, clip in taken
        if dataset == "FaceForensics++"
    ]
    kin = relatives(sorted(set(pairs)))
    found = []
    for dataset, kind, clip in taken:
        video = "/".join(part for part in (dataset, kind, clip) if part)
        person = clip.partition("_")[0]
        source = video
        if dataset == "FaceForensics++":
            source = f"ff:{kin[person]}"
        elif dataset.startswith(("Celeb-DF", "DeepFakeDetection")) and person != clip:
            source = f"{dataset}:{person}"
        found.append(Place(dataset, kind, video, source))
    return found


def _parts(path: str) -> tuple[str, str, str]:
    """Dataset, kind and the video's name."""
    *folders, _ = path.replace("\\", "/").split("/")
    if not folders:
        return "", "", path
    clip = folders.pop()
    if folders and folders[-1] == "frames":
        folders.pop()
    if folders and folders[-1] in LEVELS:
        folders.pop()
    start = next((i for i, name in reversed([*enumerate(folders)]) if name in DATASETS), None)
    if start is None:
        return "", "", "/".join((*folders, clip))
    dataset, inner = folders[start], folders[start + 1 :]
    kind = inner[-1] if inner else ""
    if kind in DFD:
        dataset = "DeepFakeDetection"
    return dataset, kind, clip

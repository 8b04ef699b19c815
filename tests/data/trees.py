"""Miniature trees of the field's datasets, with their true layouts and names; files are empty."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

PAIRS = {
    "train": [["071", "054"], ["087", "081"]],
    "val": [["720", "672"]],
    "test": [["953", "974"]],
}
METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")


def touch(paths: Iterable[Path]) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def ffpp(root: Path, level: str = "c23", *, splits: bool = True) -> Path:
    """FaceForensics++: four pairs, so eight originals and eight fakes a method; masks but for
    FaceShifter; two actors' videos and one fake of DeepFakeDetection."""
    pairs = [pair for found in PAIRS.values() for pair in found]
    ids = [name for pair in pairs for name in pair]
    fakes = [f"{a}_{b}" for a, b in pairs] + [f"{b}_{a}" for a, b in pairs]
    touch(root / f"original_sequences/youtube/{level}/videos/{name}.mp4" for name in ids)
    for method in METHODS:
        folder = root / "manipulated_sequences" / method
        touch(folder / level / f"videos/{name}.mp4" for name in fakes)
        if method != "FaceShifter":
            touch(folder / f"masks/videos/{name}.mp4" for name in fakes)
    actors = root / f"original_sequences/actors/{level}/videos"
    touch(actors / f"{name}__talking_outside.mp4" for name in ("01", "02"))
    dfd = root / "manipulated_sequences/DeepFakeDetection"
    touch([dfd / f"{level}/videos/01_02__talking_outside__YVGY8LOK.mp4"])
    for split, found in PAIRS.items() if splits else ():
        (root / f"{split}.json").write_text(json.dumps(found))
    return root


def celebdf(root: Path) -> Path:
    """Celeb-DF: three people, two of YouTube; the list's flag 1 means real."""
    touch(root / f"Celeb-real/{name}.mp4" for name in ("id0_0000", "id1_0000", "id2_0005"))
    touch(root / f"YouTube-real/{name}.mp4" for name in ("00000", "00170"))
    fakes = ("id0_id1_0000", "id1_id0_0000", "id2_id0_0005")
    touch(root / f"Celeb-synthesis/{name}.mp4" for name in fakes)
    (root / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\n1 Celeb-real/id1_0000.mp4\n0 Celeb-synthesis/id1_id0_0000.mp4\n"
    )
    return root


def dfdc(root: Path) -> Path:
    """Two training parts and a test set with its table."""
    parts = {
        "dfdc_train_part_0": {
            "aaa.mp4": {"label": "REAL", "split": "train", "original": None},
            "bbb.mp4": {"label": "FAKE", "split": "train", "original": "aaa.mp4"},
        },
        "dfdc_train_part_1": {
            "ccc.mp4": {"label": "FAKE", "split": "train", "original": "aaa.mp4"}
        },
    }
    for part, entries in parts.items():
        touch(root / part / name for name in entries)
        (root / part / "metadata.json").write_text(json.dumps(entries))
    touch(root / "test" / name for name in ("xxx.mp4", "yyy.mp4"))
    (root / "test/labels.csv").write_text("filename,label\nxxx.mp4,0\nyyy.mp4,1\n")
    return root


def dfdcp(root: Path) -> Path:
    entries = {
        "original_videos/643772/643772_A_001.mp4": {"label": "real", "set": "train"},
        "original_videos/1224068/1224068_C_001.mp4": {"label": "real", "set": "test"},
        "method_A/1224068/1224068_C_001/1224068_C_001_0.mp4": {
            "label": "fake",
            "set": "test",
            "target_id": "1224068",
            "swapped_id": "643772",
        },
    }
    touch(root / name for name in entries)
    (root / "dataset.json").write_text(json.dumps(entries))
    return root


def deeperforensics(root: Path, *, real: bool = True) -> Path:
    fakes = ("000_W120", "001_M004", "002_W120")
    touch(root / f"manipulated_videos/end_to_end/{name}.mp4" for name in fakes)
    touch(root / f"manipulated_videos/end_to_end_level_3/{name}.mp4" for name in fakes)
    touch([root / "source_videos/W120/W120_light_down/W120_neutral_front.mp4"])
    (root / "lists/splits").mkdir(parents=True)
    for split, name in zip(("train", "val", "test"), fakes, strict=True):
        (root / f"lists/splits/{split}.txt").write_text(f"{name}.mp4\n")
    if real:
        ids = ("000", "001", "002", "003")
        touch(root / f"original_sequences/youtube/c23/videos/{name}.mp4" for name in ids)
    return root


def wilddeepfake(root: Path) -> Path:
    """Archives that were unpacked: <n>/<class>/<sequence>/<frame>.png."""
    for name in ("real", "fake"):
        for split, archives in (("train", range(12)), ("test", range(2))):
            for n in archives:
                folder = root / f"{name}_{split}" / str(n)
                touch(folder / name / sequence / f"{k}.png" for sequence in "03" for k in (9, 10))
    return root


def df40(root: Path) -> Path:
    touch(root / f"DF40_train/simswap/ff/frames/071_054/{k:03}.png" for k in (0, 12))
    touch(root / f"DF40/simswap/ff/frames/953_974/{k:03}.png" for k in (0, 12))
    touch([root / "DF40/simswap/cdf/frames/id1_id0_0000/000.png", root / "DF40/ddim/ff/953.png"])
    touch([root / "DF40/heygen/real/frames/a/1.png", root / "DF40/heygen/fake/frames/b/1.png"])
    touch(root / f"DF40/e4e/ff/inversions/{name}.jpg" for name in ("953_021", "953_974"))
    stars, strangers = (root / f"DF40/e4e/cdf/{it}-real/inversions" for it in ("Celeb", "YouTube"))
    touch([stars / "id1_0000_3.jpg", stars / "id1_0000_4.jpg", strangers / "00170_3.jpg"])
    real = root / "FaceForensics++/original_sequences/youtube/c23/frames"
    touch(real / name / "000.png" for name in ("071", "953"))
    touch([root / "Celeb-DF-v2/Celeb-real/frames/id1_0000/000.png"])
    return root


def benchmark(root: Path, dataset: str, labels: dict[str, dict[str, object]]) -> Path:
    """A JSON file as DeepfakeBench writes it, beside nothing; frames are named by the caller."""
    path = root / "preprocessing/dataset_json" / f"{dataset}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({dataset: labels}))
    return path


def entry(root: Path, label: str, folder: str, numbers: Sequence[int]) -> dict[str, object]:
    """A video's entry: frames that lie in ``folder``, named with backslashes and out of order."""
    names = [f"{folder}/{number}.png" for number in numbers]
    touch(root / "datasets/rgb" / name for name in names)
    return {"label": label, "frames": [name.replace("/", "\\") for name in names]}

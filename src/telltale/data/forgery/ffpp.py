"""FaceForensics++, and FaceShifter and DeepFakeDetection that lie in its folder.

    original_sequences/{youtube,actors}/{raw,c23,c40}/videos/*.mp4
    manipulated_sequences/<method>/{raw,c23,c40}/videos/*.mp4
    manipulated_sequences/<method>/masks/videos/*.mp4
    train.json val.json test.json                        pairs of ids such as ["071", "054"]

Fakes are ``<target>_<source>``: their background and frame numbers are the target's, so the real
frame behind frame t of ``071_054`` is frame t of ``071``. Videos 071 and 054 and both swaps between
them share two faces, hence one source and one split.

Source: Rössler et al., "FaceForensics++", ICCV 2019. A dataset's own split files decide; without
them a hash of the pair does. DeepFakeDetection has none: benchmarks test on all of it, so do we.
FaceShifter (Li et al., 2020) came later and has no masks. Papers mean the first four manipulations
by FaceForensics++, and benchmarks test on FaceShifter by itself, so it is a dataset of its own.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from telltale.data.layout import Label, clips, place, relatives, rows, want
from telltale.data.manifest import SPLITS, Row, split_of

METHODS = {
    "ffpp": ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"),
    "faceshifter": ("FaceShifter",),
}
Pair = tuple[str, str]


def read(root: Path, level: str = "c23", dataset: str = "ffpp") -> Iterator[Row]:
    """Rows of the originals from YouTube and of the manipulations that are there.

    Args:
        root: The folder above ``original_sequences``.
        level: raw, c23 or c40.
        dataset: Of :data:`METHODS`, whose manipulations are read.

    Raises:
        ValueError: If there is nothing at this level, or the split files don't fit.
    """
    methods = METHODS[dataset]
    forged = [f"manipulated_sequences/{name}/{level}" for name in methods]
    want(root, f"original_sequences/youtube/{level}", *forged)
    real = clips(root / "original_sequences/youtube" / level)
    fakes = {name: clips(root / "manipulated_sequences" / name / level) for name in methods}
    official = official_pairs(root)
    of_id = {name: split for pair, split in official.items() for name in pair}
    made = [pair_of(clip, it[0]) for found in fakes.values() for clip, it in found.items()]
    kin = relatives([*official, *made, *((name, name) for name in real)])

    def split(name: str) -> str:
        if not official:
            return split_of(f"ff:{kin[name]}")
        if name not in of_id:
            raise ValueError(f"{root}: video {name} is in none of train.json, val.json, test.json")
        return of_id[name]

    splits = {name: split(name) for name in kin}
    for name, files in real.items():
        label = Label(dataset, "original", forged=False)
        yield from rows(files, label, name, source=f"ff:{kin[name]}", split=splits[name])
    for method, found in fakes.items():
        for clip, files in found.items():
            target, source = pair_of(clip, files[0])
            if splits[target] != splits[source]:
                raise ValueError(f"{files[0]}: {target} and {source} are in different splits")
            yield from rows(
                files,
                Label(dataset, method, forged=True),
                clip,
                source=f"ff:{kin[target]}",
                split=splits[target],
                mask=_mask(root / "manipulated_sequences" / method, files, clip),
                partner=place(real[target]) if target in real else None,
            )


def read_dfd(root: Path, level: str = "c23") -> Iterator[Row]:
    """Rows of DeepFakeDetection: actors' videos ``<actor>__<scene>`` and fakes of them.

    Fakes are ``<target>_<source>__<scene>__<letters>``. All are for testing; see the module.
    """
    want(
        root,
        f"original_sequences/actors/{level}",
        f"manipulated_sequences/DeepFakeDetection/{level}",
    )
    real = clips(root / "original_sequences/actors" / level)
    folder = root / "manipulated_sequences/DeepFakeDetection"
    for clip, files in real.items():
        label = Label("dfd", "actors", forged=False)
        yield from rows(files, label, clip, source=f"dfd:{clip.partition('__')[0]}", split="test")
    for clip, files in clips(folder / level).items():
        people, scene = clip.split("__")[:2] if "__" in clip else (clip, "")
        target = people.partition("_")[0]
        behind = real.get(f"{target}__{scene}")
        yield from rows(
            files,
            Label("dfd", "DeepFakeDetection", forged=True),
            clip,
            source=f"dfd:{target}",
            split="test",
            mask=_mask(folder, files, clip),
            partner=place(behind) if behind else None,
        )


def official_pairs(root: Path) -> dict[Pair, str]:
    """Pairs of ids to their split, of the JSON files in the folder; empty if there are none.

    Raises:
        ValueError: If one or two of the three files are missing, or one is not of that form.
    """
    folders: Sequence[Path] = (root, root / "splits", root / "dataset/splits")
    folder = next((it for it in folders if any((it / f"{s}.json").is_file() for s in SPLITS)), None)
    if folder is None:
        return {}
    pairs: dict[Pair, str] = {}
    for split in SPLITS:
        path = folder / f"{split}.json"
        try:
            found = json.loads(path.read_text("utf-8"))
            pairs |= {(str(one), str(other)): split for one, other in found}
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f'{path}: want pairs such as ["071", "054"] ({error})') from None
    return pairs


def remarks(root: Path) -> Iterator[str]:
    """What to know of a copy of the dataset before its figures are held against published ones."""
    if not official_pairs(root):
        yield (
            f"{root}: without train.json, val.json and test.json a hash of each pair splits it; "
            "published figures are for these files, which are in dataset/splits of "
            "https://github.com/ondyari/FaceForensics"
        )


def pair_of(clip: str, file: Path) -> Pair:
    """Target and source of a fake's name.

    Raises:
        ValueError: If it is not of the form ``071_054``; the text names the file.
    """
    found = re.fullmatch(r"(\d{3})_(\d{3})", clip)
    if not found:
        raise ValueError(f"{file}: want a fake's name such as 071_054, got {clip!r}")
    return found[1], found[2]


def _mask(folder: Path, files: Sequence[Path], clip: str) -> Path | None:
    """The mask video of a fake, or the folder of its frames' masks; None if there is none."""
    here = place(files)
    if here.is_file():
        video = folder / "masks/videos" / here.name
        return video if video.is_file() else None
    tried = (here.parents[1] / "masks" / clip, folder / "masks/frames" / clip)
    return next((path for path in tried if path.is_dir()), None)

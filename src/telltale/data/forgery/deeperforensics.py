"""DeeperForensics-1.0.

    manipulated_videos/<variant>/<target>_<source>.mp4     targets are FaceForensics++'s ids
    lists/splits/{train,val,test}.txt
    original_sequences/youtube/c23/videos/*.mp4            FaceForensics++'s, linked here by you

The real class is the targets' own videos of FaceForensics++. The ``source_videos`` are studio
footage of the actors; taken as the real class, as some benchmarks do, they make the set easy for a
reason that has nothing to do with forgery, so they are not read.

Source: Jiang et al., "DeeperForensics-1.0", CVPR 2020.
"""

from collections.abc import Iterator
from pathlib import Path

from telltale.data.layout import Label, clips, place, rows, want
from telltale.data.manifest import SPLITS, Row, split_of

VARIANTS = (
    "end_to_end",
    *(f"end_to_end_level_{level}" for level in range(1, 6)),
    "end_to_end_random_level",
    *(f"end_to_end_mix_{count}_distortions" for count in (2, 3, 4)),
    "reenact_postprocess",
)


def read(root: Path, variant: str = "end_to_end") -> Iterator[Row]:
    """Rows of one variant, and of the real videos if they are linked.

    Raises:
        ValueError: If the variant is not there, or the lists leave a video out.
    """
    want(root, f"manipulated_videos/{variant}")
    fakes = clips(root / "manipulated_videos" / variant)
    real = clips(root / "original_sequences/youtube/c23")
    lists = root / "lists/splits"
    splits: dict[str, str] = {}  # of targets
    for name in SPLITS if lists.is_dir() else ():
        for line in (lists / f"{name}.txt").read_text("utf-8").split():
            splits[Path(line).stem.partition("_")[0]] = name
    for clip, files in fakes.items():
        target = clip.partition("_")[0]
        if not lists.is_dir():
            splits[target] = split_of(f"ff:{target}")
        if target not in splits:
            raise ValueError(f"{files[0]}: is in none of the lists of {lists}")
        yield from rows(
            files,
            Label("deeperforensics", variant, forged=True),
            clip,
            source=f"ff:{target}",
            split=splits[target],
            partner=place(real[target]) if target in real else None,
        )
    for clip, files in real.items():
        if clip in splits:  # a target of these fakes
            label = Label("deeperforensics", "original", forged=False)
            yield from rows(files, label, clip, source=f"ff:{clip}", split=splits[clip])


def remarks(root: Path) -> Iterator[str]:
    """What to know of a copy of the dataset before its figures are held against published ones."""
    if not (root / "lists/splits").is_dir():
        yield (
            f"{root}: without lists/splits a hash of each target splits it; published figures are "
            "for these lists, which come with the videos"
        )

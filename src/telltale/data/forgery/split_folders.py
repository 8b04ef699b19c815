"""Faces sorted by split, class and video, as several groups keep them.

    {train,valid,test}/{original,Deepfakes,Face2Face,…}/<video>/<number>.png

A class is real if it is called ``original`` or has "real" in its name.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from telltale.data.layout import Label, clips, relatives, rows, want
from telltale.data.manifest import Row

SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}


def read(root: Path) -> Iterator[Row]:
    """Rows of all videos; ids such as 071 and 071_054 are taken for FaceForensics++'s.

    Raises:
        ValueError: If there is no split's folder.
    """
    want(root, *SPLITS)
    found = {
        (split, group.name): clips(group)
        for folder, split in SPLITS.items()
        if (root / folder).is_dir()
        for group in sorted((root / folder).iterdir())
        if group.is_dir()
    }
    names = [name for videos in found.values() for name in videos]
    ids = [it.split("_") for it in names if re.fullmatch(r"\d{3}(_\d{3})?", it)]
    kin = relatives((it[0], it[-1]) for it in ids)
    for (split, group), videos in found.items():
        forged = group != "original" and "real" not in group.lower()
        for clip, files in videos.items():
            target = clip.partition("_")[0]
            source = f"ff:{kin[target]}" if [*clip.split("_")] in ids else f"{root.name}:{clip}"
            label = Label(root.name, group, forged)
            yield from rows(files, label, clip, source=source, split=split)

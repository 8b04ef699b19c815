"""WildDeepfake: faces from the web, already cut, a folder of frames for each sequence.

    {real,fake}_{train,test}/<n>.tar.gz          unpacked: <n>/…/<sequence>/<frame>.png

An archive is one web video, so it is the source of all its sequences. There is no validation split;
a tenth of the training archives, by hash, becomes one.

Source: Zi et al., "WildDeepfake", ACM Multimedia 2020.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from telltale.data.layout import Label, frames, rows, train_or_val, want
from telltale.data.manifest import Row


def read(root: Path) -> Iterator[Row]:
    """Rows of all sequences.

    Raises:
        ValueError: If there are none, or the archives have not been unpacked.
    """
    want(root, "real[_ ]*", "fake[_ ]*")
    for group in sorted(root.glob("*[_ ]t*")):
        name, _, split = group.name.replace(" ", "_").partition("_")
        if name not in ("real", "fake") or split not in ("train", "test") or not group.is_dir():
            continue
        packed = [it for it in sorted(group.glob("*.tar.gz")) if not _unpacked(it).is_dir()]
        if packed:
            raise ValueError(
                f"{packed[0]}: unpack the archives first, each into a folder of its number, e.g. "
                f"mkdir {_unpacked(packed[0]).name} && tar xf {packed[0].name} "
                f"-C {_unpacked(packed[0]).name}"
            )
        for folder, _, files in sorted(os.walk(group)):
            if not files or not (found := frames(Path(folder))):
                continue
            clip = Path(folder).relative_to(group)
            source = f"wilddeepfake:{name}_{split}/{clip.parts[0]}"
            yield from rows(
                found,
                Label("wilddeepfake", name, forged=name == "fake"),
                f"{split}/{clip.as_posix()}",
                source=source,
                split="test" if split == "test" else train_or_val(source),
            )


def _unpacked(archive: Path) -> Path:
    return archive.with_name(archive.name.removesuffix(".tar.gz"))

"""The Deepfake Detection Challenge: its full set and its preview.

    dfdc_train_part_<i>/metadata.json + *.mp4    {"x.mp4": {"label": "FAKE", "original": "y.mp4"}}
    test/labels.csv + *.mp4                      filename,label with 1 = fake
    dataset.json                                 the preview: {"method_A/…/x.mp4": {"label", "set"}}

A fake's source is the original that it was made from. Who acts in an original is not published,
so the same actor can be on both sides of a split by hash.

Source: Dolhansky et al., "The DeepFake Detection Challenge Dataset", arXiv:2006.07397, and "The
Deepfake Detection Challenge (DFDC) Preview Dataset", arXiv:1910.08854.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from telltale.data.layout import Label, frames, rows, train_or_val, want
from telltale.data.manifest import Row, label_of, read_table, split_of


def read(root: Path) -> Iterator[Row]:
    """Rows of all training parts and test sets below a folder.

    Raises:
        ValueError: If there is no metadata, or a file that it names is missing.
    """
    tables = sorted(root.rglob("labels.csv"))
    parts = sorted(root.rglob("metadata.json"))
    if not tables and not parts:
        want(root, "**/metadata.json", "**/labels.csv")
    split = train_or_val if tables else split_of
    described = {part: _json(part) for part in parts}
    videos = {name: part.parent / name for part, entries in described.items() for name in entries}
    tested = {table.parent for table in tables}
    for part, entries in described.items():
        if part.parent in tested:  # some copies bring both for the test videos
            continue
        for name, entry in entries.items():
            forged = bool(label_of(str(entry.get("label")), f"{part}, {name}"))
            original = str(entry.get("original") or name)
            behind = videos.get(original) if forged else None
            yield from rows(
                _clip(videos[name], part),
                Label("dfdc", "dfdc" if forged else "original", forged),
                Path(name).stem,
                source=f"dfdc:{Path(original).stem}",
                split=split(f"dfdc:{Path(original).stem}"),
                partner=behind if behind and behind.is_file() else None,
            )
    for path in tables:
        table = read_table(path, ("filename", "label"))
        for line, cells in zip(table.lines, table.rows, strict=True):
            where = f"{path}, line {line}"
            forged = bool(label_of(cells["label"], where))
            clip = Path(cells["filename"]).stem
            yield from rows(
                _clip(path.parent / cells["filename"], path),
                Label("dfdc", "dfdc" if forged else "original", forged),
                f"test/{clip}",
                source=f"dfdc:test/{clip}",
                split="test",
            )


def read_preview(root: Path) -> Iterator[Row]:
    """Rows of the preview set; its methods A and B are two kinds.

    Raises:
        ValueError: If ``dataset.json`` or a file that it names is missing.
    """
    want(root, "dataset.json")
    for name, entry in _json(root / "dataset.json").items():
        path = root / name
        forged = bool(label_of(str(entry.get("label")), f"{root / 'dataset.json'}, {name}"))
        folder, *inner = Path(name).parts
        person = str(entry.get("target_id") or (inner[0] if len(inner) > 1 else path.stem))
        source = f"dfdcp:{person}"
        yield from rows(
            _clip(path, root / "dataset.json"),
            Label("dfdcp", folder, forged),
            "/".join(inner).removesuffix(path.suffix),
            source=source,
            split="test" if entry.get("set") == "test" else train_or_val(source),
        )


def _clip(video: Path, where: Path) -> list[Path]:
    """A video's file, in its folder or in ``videos`` there, or its frames."""
    for path in (video, video.parent / "videos" / video.name):
        if path.is_file():
            return [path]
    for folder in (video.parent / "frames" / video.stem, video.with_suffix("")):
        if found := frames(folder):
            return found
    raise ValueError(f"{where}: there is no {video.name} beside it")


def _json(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(found, dict) or not all(isinstance(it, dict) for it in found.values()):
        raise ValueError(f'{path}: want {{"x.mp4": {{"label": …}}}}')
    return found

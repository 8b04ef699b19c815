"""SiW: 165 people, live and attacked by print and replay, and its three protocols.

    {Train,Test}/{live,spoof}/<person>/<person>-<sensor>-<type>-<medium>-<session>.mov

Type 1 is live, 2 print (of two papers), 3 replay (on four displays). Protocol 1 trains on a
video's first 60 frames (mostly frontal faces), from which ``telltale prepare`` takes its own; 2
leaves one display out (2.1 to 2.4); 3 trains on prints and tests replays (3.1) or the reverse
(3.2). Figures of 2 and 3 are means over their folds.

Source: Liu et al., "Learning Deep Models for Face Anti-Spoofing", CVPR 2018.
"""

from collections.abc import Iterator
from pathlib import Path

from telltale.data.layout import Label, rows, train_or_val, want
from telltale.data.manifest import Row

PROTOCOLS = ("1", "2.1", "2.2", "2.3", "2.4", "3.1", "3.2")
FIRST = 60  # frames of a video that protocol 1 learns from
TYPES = {"1": "live", "2": "print", "3": "replay"}


def read(root: Path, protocol: str = "1") -> Iterator[Row]:
    """Rows of the videos that a protocol takes.

    Args:
        root: The folder above ``Train``.
        protocol: One of :data:`PROTOCOLS`.

    Raises:
        ValueError: If the folders are missing or a video has another name.
    """
    want(root, "Train", "Test")
    for half in ("Train", "Test"):
        for path in sorted((root / half).glob("*/*/*.mov")):
            parts = path.stem.split("-")
            if len(parts) != 5 or parts[2] not in TYPES:
                raise ValueError(
                    f"{path}: want a name <person>-<sensor>-<type>-<medium>-<session>.mov"
                )
            kind, medium = TYPES[parts[2]], parts[3]
            if not takes(protocol, kind, medium, training=half == "Train"):
                continue
            person = f"siw:{parts[0]}"
            split = "test" if half == "Test" else train_or_val(person)
            name = kind if kind == "live" else f"{kind} {medium}"
            label = Label("siw", name, kind != "live")
            first = FIRST if protocol == "1" and split != "test" else 0
            for row in rows([path], label, path.stem, source=person, split=split):
                yield row._replace(first=first)


def takes(protocol: str, kind: str, medium: str, *, training: bool) -> bool:
    """Whether a protocol takes a video of this kind and medium."""
    number, _, fold = protocol.partition(".")
    if number == "1" or kind == "live":
        return True
    if number == "2":  # replays alone; one display is for testing
        return kind == "replay" and (medium == fold) != training
    learnt = "print" if fold == "1" else "replay"
    return (kind == learnt) == training

"""MCIO: learn from some of four datasets, test on another.

    <root>/{msu,casia,replay,oulu}      M, C, I (Idiap's Replay-Attack) and O in their own layouts

``OCI2M`` learns from O, C and I and tests on all of M, which it never saw (zero-shot); ``MI2C`` and
``MI2O`` have two sources. With ``-celeba`` CelebA-Spoof, in the folder celeba, is a fourth source;
with ``-s5`` five live and five attack videos of the target are learnt from, too (few-shot). A tenth
of the sources' people is for validation: nothing is chosen on the target.

Source: the protocol of Shao et al., "Multi-Adversarial Discriminative Deep Domain Generalization
for Face Presentation Attack Detection", CVPR 2019; zero-shot and few-shot with CelebA-Spoof as
Huang et al., "Adaptive Transformers for Robust Few-shot Cross-domain Face Anti-spoofing", ECCV
2022, have it.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from telltale.data.manifest import Row, split_of
from telltale.data.spoofing import celeba_spoof, folders, oulu

SETS: Mapping[str, tuple[str, Callable[[Path], Iterator[Row]]]] = {
    "M": ("msu", folders.read_msu),
    "C": ("casia", folders.read_casia),
    "I": ("replay", folders.read_replay),
    "O": ("oulu", oulu.read),
    "celeba": ("celeba", celeba_spoof.read),
}
ZERO_SHOT = ("OCI2M", "OMI2C", "OCM2I", "ICM2O", "MI2C", "MI2O")
PROTOCOLS = tuple(
    f"{name}{more}{shots}"
    for name in ZERO_SHOT
    for more in (("", "-celeba") if len(name) == 5 else ("",))
    for shots in ("", "-s5")
)
SHOTS = 5


def read(root: Path, protocol: str = "OCI2M") -> Iterator[Row]:
    """Rows of the sources, to learn from, and of the target, to test on.

    Args:
        root: The folder above the four datasets.
        protocol: One of :data:`PROTOCOLS`.

    Raises:
        ValueError: If a dataset is missing or not in its layout.
    """
    name, *more = protocol.split("-")
    sources, _, target = name.partition("2")
    for letter in [*sources, *(["celeba"] if "celeba" in more else [])]:
        for row in _rows(root, letter):
            split = "val" if split_of(row.source) == "val" else "train"
            yield row._replace(split=split)
    tested = [row._replace(split="test") for row in _rows(root, target)]
    few = shot(tested) if "s5" in more else []
    for row in few:
        yield row._replace(split="train")
    yield from (row for row in tested if row.source not in {it.source for it in few})


def shot(rows: list[Row], count: int = SHOTS) -> list[Row]:
    """So many live and so many attack rows, the same on every machine."""
    ordered = sorted(rows, key=lambda row: hashlib.sha256(row.video.encode()).hexdigest())
    return [row for label in (0, 1) for row in [r for r in ordered if r.label == label][:count]]


def _rows(root: Path, letter: str) -> Iterator[Row]:
    folder, reader = SETS[letter]
    if not (root / folder).is_dir():
        raise ValueError(f"{root}: want the folder {folder} with its dataset in it")
    return reader(root / folder)

"""The field's datasets of local changes as they lie on disk, and the layouts of its toolkits.

    telltale train pim --recipe paper --data casia2:/data/CASIA2
    read_manifest("imdlbenco:/data/columbia.json")

Rows are pictures with masks; ``kind`` is the manipulation where the set says it, ``source`` the
picture that was changed where the names tell. ``docs/datasets.md`` shows each layout.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from telltale.data.manifest import Row
from telltale.data.tampering import layouts, sets

Reader = Callable[[Path], Iterator[Row]]

READERS: dict[str, Reader] = {
    "casia2": sets.read_casia2,
    "casia1": sets.read_casia1,
    "columbia": sets.read_columbia,
    "coverage": sets.read_coverage,
    **{f"nist16-{name}": partial(sets.read_nist16, split=name) for name in ("test", "all")},
    "imd2020": sets.read_imd2020,
    "defacto": partial(layouts.read_pairs, dataset="defacto"),
    "autosplice": sets.read_autosplice,
    "realistic": sets.read_realistic,
    "imdlbenco": layouts.read_json,
    "mani": layouts.read_mani,
}
SIGNS = {
    "casia2": ("CASIA2_Groundtruth", "CASIA 2 Groundtruth"),
    "casia1": ("CASIA1_Groundtruth", "CASIA 1.0 groundtruth", "Sp"),
    "columbia": ("4cam_splc",),
    "nist16": ("probe", "NC2016_Test*"),
    "autosplice": ("Forged_JPEG100", "Forged_JPEG90", "Forged_JPEG75"),
    "realistic": ("Canon_60D", "Nikon_D7000", "Nikon_D90", "Sony_A57"),
    "mani": ("Tp",),
}

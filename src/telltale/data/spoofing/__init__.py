"""The field's datasets of presentation attacks as they lie on disk, and its protocols over them.

    telltale train s_adapter --recipe paper --data mcio-OCI2M:/data
    read_manifest("oulu-1:/data/OULU-NPU")

Rows are videos, cut by ``telltale prepare``, or pictures; ``kind`` is the attack instrument,
``source`` the person, ``dataset`` the set. ``docs/datasets.md`` shows each layout.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from telltale.data.manifest import Row
from telltale.data.spoofing import celeba_spoof, folders, mcio, oulu, siw, wmca

Reader = Callable[[Path], Iterator[Row]]

READERS: dict[str, Reader] = {
    **{f"oulu-{name}": partial(oulu.read, protocol=name) for name in oulu.PROTOCOLS},
    "casiafasd": folders.read_casia,
    "replayattack": folders.read_replay,
    "msumfsd": folders.read_msu,
    **{f"siw-{name}": partial(siw.read, protocol=name) for name in siw.PROTOCOLS},
    "celebaspoof": celeba_spoof.read,
    **{f"wmca-{name}": partial(wmca.read, protocol=name) for name in wmca.PROTOCOLS},
    **{f"mcio-{name}": partial(mcio.read, protocol=name) for name in mcio.PROTOCOLS},
}
SIGNS = {
    "oulu": ("Train_files", "Dev_files", "Test_files"),
    "casiafasd": ("train_release", "test_release"),
    "replayattack": ("devel/attack", "train/attack", "test/attack"),
    "msumfsd": ("scene01/attack",),
    "celebaspoof": ("metas/intra_test", "Data/train"),
    "siw": ("Train/spoof", "Test/spoof"),
    "wmca": ("PROTOCOL-grandtest.csv", "*/PROTOCOL-grandtest.csv"),
}

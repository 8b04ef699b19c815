"""What a detector's ranking survives: ``telltale stress``.

Degrades the pictures and videos of a split, kind by kind and level by level, and measures how far
the AUC falls. Several detectors see the very same degraded pixels.

Source of kinds and levels: Jiang et al., "DeeperForensics-1.0", CVPR 2020, arXiv:2001.03024; the
rest is our own and marked so in :mod:`telltale.degrade`.
"""

from telltale.stress.curves import to_svg
from telltale.stress.degradations import LEVELS, Kind, kinds
from telltale.stress.figures import Figure, Point, Stress
from telltale.stress.maps import Localised, Spot, maps_tables, stress_maps, write_maps
from telltale.stress.run import Plan, detectors, stress
from telltale.stress.tables import to_csv, to_markdown, to_tables, write

__all__ = [
    "LEVELS",
    "Figure",
    "Kind",
    "Localised",
    "Plan",
    "Point",
    "Spot",
    "Stress",
    "detectors",
    "kinds",
    "maps_tables",
    "stress",
    "stress_maps",
    "to_csv",
    "to_markdown",
    "to_svg",
    "to_tables",
    "write",
    "write_maps",
]

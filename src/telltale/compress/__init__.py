"""The verb: smaller spiking networks, and smaller sets of events to train them on.

    made = prune("synth:saccades", Path("out"), patterns=[(2, 4)])   # SpikeNM
    made = distil("synth:saccades", Path("out"), ipcs=[1, 10])       # PACE

Both write what they made, and a table of what it is worth beside its rivals.
"""

from telltale.compress.distilling import distil
from telltale.compress.pruning import prune
from telltale.compress.report import Row, write_table

__all__ = ["Row", "distil", "prune", "write_table"]

"""The verb: how far one's own image encoder can be moved toward an instruction, and what helps.

    audit = Audit.of(clip="models/my-clip", own=True)
    found = [audit.picture(path) for path in paths]
    totals(found)

Nothing is sent anywhere and no changed picture is written. For each picture and each defence there
is the cosine of the picture's feature with the instruction's, before and after the change, whether
the instruction is then what the encoder finds nearest among decoys, and what the defence costs.
"""

from telltale.audit.defences import DEFENCES
from telltale.audit.figures import Answers, Defended, Moved, Total, totals
from telltale.audit.judging import Judged, detected, judged
from telltale.audit.run import Audit

__all__ = [
    "DEFENCES",
    "Answers",
    "Audit",
    "Defended",
    "Judged",
    "Moved",
    "Total",
    "detected",
    "judged",
    "totals",
]

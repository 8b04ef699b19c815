"""What one detector's answer means for another's."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from telltale.records import Finding

RECAPTURES = ("spoof", "documents")
_WHY = (
    "the picture was recaptured, so that local traces are those of the copy; "
    "ask for the original file"
)


_ASIDE = "while it can't tell, the verdict on the file rests on the other findings"


def joined(findings: Iterable[Finding], tasks: Mapping[str, str]) -> list[Finding]:
    """Findings, with maps of local changes withdrawn where the picture is a copy of a picture.

    A recapture lays its own noise, moiré and compression over all that was there before. One that
    is asked aside and cannot tell says that others decide, if any was weighed.

    Args:
        findings: Of one file.
        tasks: Slug of a method to its task.
    """
    findings = list(findings)
    copied = any(f.verdict == "yes" and tasks.get(f.slug) in RECAPTURES for f in findings)
    others = any(not it.aside and not math.isnan(it.score) for it in findings)
    found = []
    for finding in findings:
        if copied and tasks.get(finding.slug) == "tampering":
            finding = replace(finding, verdict="can't tell", notes=(_WHY, *finding.notes))
        if finding.aside and finding.verdict == "can't tell" and others:
            finding = replace(finding, notes=(*finding.notes, _ASIDE))
        found.append(finding)
    return found

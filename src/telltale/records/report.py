"""A report: one file's findings and its identity; or a failure: the file could not be read."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from telltale.records.finding import Finding, Verdict
from telltale.records.form import as_json
from telltale.records.observation import Observation

SCHEMA_VERSION = "4"
# The first knew no observations, the second one map, the third no question asked aside.
READABLE = ("1", "2", "3", SCHEMA_VERSION)


@dataclass(frozen=True, slots=True)
class Subject:
    """The file that a report is about.

    Args:
        path: As the user gave it.
        sha256: Of the file's bytes, hexadecimal.
        bytes: File size.
        kind: "picture" or "video".
        format: What the bytes are, e.g. "JPEG", whatever the name's extension says.
        width: Upright width in pixels (EXIF orientation applied).
        height: Upright height in pixels.
        seconds: Duration of a video; 0 for a picture.
        details: Facts read from the container: JPEG quality, camera, software, warnings.
    """

    path: str
    sha256: str
    bytes: int
    kind: Literal["picture", "video"]
    format: str
    width: int
    height: int
    seconds: float = 0.0
    details: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in ("picture", "video"):
            raise ValueError(f"{self.path}: want a picture or a video, got {self.kind!r}")
        if self.width < 1 or self.height < 1 or self.bytes < 0 or not 0 <= self.seconds < math.inf:
            raise ValueError(f"{self.path}: want sizes that a file can have, got {self}")

    def to_json(self) -> dict[str, Any]:
        return as_json(self)


@dataclass(frozen=True, slots=True)
class Report:
    """One file's findings and what is needed to make them again.

    Args:
        subject: The file.
        findings: One or more; each says its subject in ``about``.
        made_with: Name to version or SHA-256: software, method, weights.
        made_at: UTC time, ISO 8601, seconds.
        observations: What the file says of itself; they move no score and no verdict.
    """

    subject: Subject
    findings: tuple[Finding, ...]
    made_with: Mapping[str, str]
    made_at: str
    observations: tuple[Observation, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The gravest of the findings: "yes" before "can't tell" before "no".

        One that is asked aside and cannot tell does not count beside others that were weighed.
        """
        gravest = self.gravest
        return "can't tell" if gravest is None else gravest.verdict

    @property
    def gravest(self) -> Finding | None:
        """The finding that the report's verdict rests on: of the gravest, the highest score."""
        order: tuple[Verdict, ...] = ("no", "can't tell", "yes")
        counts = [f for f in self.findings if not (f.aside and f.verdict == "can't tell")]
        if all(math.isnan(f.score) for f in counts):
            counts = list(self.findings)
        return max(
            counts,
            key=lambda f: (order.index(f.verdict), -1 if math.isnan(f.score) else f.score),
            default=None,
        )

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA_VERSION, "verdict": self.verdict} | as_json(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote; raises ValueError for a schema that it does not know."""
        if data.get("schema") not in READABLE:
            raise ValueError(f"want report schema {SCHEMA_VERSION}, got {data.get('schema')!r}")
        try:
            return cls(
                subject=Subject(**data["subject"]),
                findings=tuple(Finding.from_json(finding) for finding in data["findings"]),
                made_with=data["made_with"],
                made_at=data["made_at"],
                observations=tuple(map(Observation.from_json, data.get("observations", ()))),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a report of schema {SCHEMA_VERSION}: {error}") from error


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that could not be read, and the one line that says why."""

    path: str
    error: str

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA_VERSION} | as_json(self)

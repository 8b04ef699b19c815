"""A line of the case that is no detector's answer: what a file says of itself, and what follows."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from telltale.records.form import as_json

Stage = Literal[
    "provenance", "history", "quality", "recapture", "forgery", "localisation", "explanation"
]
Basis = Literal["observed", "derived", "inferred"]
STAGES: tuple[Stage, ...] = (
    "provenance", "history", "quality", "recapture", "forgery", "localisation", "explanation",
)  # fmt: skip
BASES: tuple[Basis, ...] = ("observed", "derived", "inferred")


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that was read, worked out or concluded; it never moves a detector's score.

    Args:
        stage: The question that it belongs to; a case asks them in the order of :data:`STAGES`.
        basis: "observed": it stands in the file. "derived": computed from the file, by a rule that
            has no choice in it. "inferred": a conclusion that could be wrong.
        name: For machines, such as "c2pa.integrity".
        value: For machines, such as "intact".
        says: For people, a sentence without its full stop.
    """

    stage: Stage
    basis: Basis
    name: str
    value: str
    says: str

    def __post_init__(self) -> None:
        if self.stage not in STAGES or self.basis not in BASES:
            raise ValueError(f"want a stage and a basis, got {self.stage!r} and {self.basis!r}")
        if not (self.name and self.says):
            raise ValueError(f"an observation wants a name and words, got {self}")

    def to_json(self) -> dict[str, Any]:
        return as_json(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        return cls(**data)

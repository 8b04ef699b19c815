"""A method's card and its weights: what the catalogue knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

ON_MAP = "the heat map ("  # begins a note on a map, which is no reason for a verdict
TESTED = (
    ON_MAP + "{method}) was tested: what it marks most pointed the wrong way in "
    "{violation[0]:.0%} of tests on {pictures} pictures, {by_lot:.0%} for a map drawn by lot"
)
DISTRUST = ": don't trust this map"
TOLD = {"violation", "by_lot", "pictures", "trusted"}  # what a card says of each map it tested


@dataclass(frozen=True, slots=True)
class Weights:
    """One weights file: where it came from, what it was measured to do, where it may be used.

    Args:
        file: Name in ``telltale/weights``.
        sha256: Of the file's bytes, hexadecimal.
        license: SPDX expression of the weights.
        trained_on: Data, seed and recipe in words.
        input: How media become arrays: ``size`` in pixels, ``crop``, ``margin``.
        metrics: Name to ``[value, low, high]``, the last two a 95 % interval.
        calibration: ``slope``, ``intercept`` and ``covariance`` from logits to log-odds,
            ``limit`` the largest |log10 LR| that the validation data support.
        cells: The same for single cells of a map, where the picture's line is not theirs: 0.5 is
            then where the map's mask begins.
        operating_range: Quality measure to ``[low, high]``; outside, the verdict is "can't tell".
        threshold: Score in [0, 1] between "no" and "yes".
        doubt: Half-width of "can't tell" round the threshold, in score.
        maps: What the violation test found of each map that a scan can show: by name
            ``violation`` (share in [0, 1] and its 95 % interval), ``by_lot`` (that of weights drawn
            by lot), ``pictures`` (how many it was measured on) and ``trusted`` (whether it is
            clearly below the lot); of "occlusion" also ``grid``, blocks a side.
        learnt: Kinds of forgery or attack that training saw; empty where nobody wrote them down.
    """

    file: str
    sha256: str
    license: str
    trained_on: str
    input: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    operating_range: Mapping[str, Any] = field(default_factory=dict)
    threshold: float = 0.5
    doubt: float = 0.1
    source: str = ""
    notice: str = ""
    cells: Mapping[str, Any] = field(default_factory=dict)
    maps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    learnt: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "learnt", tuple(self.learnt))  # a list, as TOML has it
        for name in ("file", "sha256", "license", "trained_on"):
            if not getattr(self, name):
                raise ValueError(f"weights {self.file or '(no file)'}: {name} is missing")
        if not 0 < self.threshold < 1 or not 0 <= self.doubt < 0.5:
            raise ValueError(f"weights {self.file}: want threshold in (0, 1) and doubt in [0, 0.5)")
        for method, told in self.maps.items():
            if lacks := sorted(TOLD - {*told}):
                raise ValueError(f"weights {self.file}: the map {method!r} lacks {lacks}")

    def in_force(self) -> dict[str, Any]:
        """What decides a verdict: threshold, doubt and operating range, as a finding has them."""
        ranges = self.operating_range.items()
        return {
            "threshold": self.threshold,
            "doubt": self.doubt,
            "operating_range": {k: (float(low), float(high)) for k, (low, high) in ranges},
        }

    def told(self, method: str) -> tuple[str, ...]:
        """What is to be said beside a heat map: how often it pointed the wrong way when tested."""
        if method not in self.maps:
            return ()
        told = self.maps[method]
        line = TESTED.format(method=method, **told)
        return (line if told["trusted"] else line + DISTRUST,)


@dataclass(frozen=True, slots=True)
class Card:
    """A method as the catalogue knows it, read from ``<slug>.toml``.

    Args:
        network: ``"module:Class"``; imported only when it is built.
        verb: What it is for: "detect", "perturb", "revise", "certify" …
        claim: What a score of 1 asserts, in words.
        takes: Arguments of ``forward``.
        learns_from: Arguments of ``loss``.
        pairs: Whether its loss compares the i-th genuine picture with the i-th forged one, which
            has to be made from it.
        tiny: Settings of a model that trains in seconds.
        task: What ``--task`` calls its question: "faces", "spoof", "documents" …
        asked: Whether a scan without ``--task`` asks it, if weights are shipped.
        aside: Whether a report's verdict rests on the other findings while it cannot tell.
        contexts: Ways in which a picture was taken that make a scan ask it all the same: "selfie",
            "document".
    """

    slug: str
    title: str
    source: str
    network: str
    verb: str
    claim: str
    code: str = "not published"
    takes: tuple[str, ...] = ()
    learns_from: tuple[str, ...] = ()
    pairs: bool = False
    assumed: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    tiny: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[Weights, ...] = ()
    task: str = ""
    asked: bool = True
    aside: bool = False
    contexts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("slug", "title", "source", "verb", "claim"):
            if not getattr(self, name):
                raise ValueError(f"card {self.slug or '(no slug)'}: {name} is missing")

    @classmethod
    def from_toml(cls, slug: str, table: Mapping[str, Any]) -> Self:
        """Make a card from a parsed TOML table; raises ValueError for a key it does not know."""
        known = set(cls.__dataclass_fields__) - {"slug"}
        if unknown := sorted(set(table) - known):
            raise ValueError(f"card {slug}: unknown {', '.join(unknown)}; it has {sorted(known)}")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in table.items()
        }
        try:
            weights = tuple(Weights(**entry) for entry in table.get("weights", ()))
            return cls(**{**values, "slug": slug, "weights": weights})
        except TypeError as error:
            raise ValueError(f"card {slug}: {error}") from None

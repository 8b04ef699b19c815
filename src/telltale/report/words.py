"""The words and numbers of a report, the same on the page and in the terminal."""

import math
import unicodedata

from telltale.calibrate import strength
from telltale.records import Explanation, Finding, Report, Verdict
from telltale.records.card import ON_MAP

# What a claim is about, by a stem of its words; a claim without one is quoted as a whole.
_NOUNS = (
    ("forg", "forgery"),
    ("tamper", "tampering"),
    ("recaptur", "recapture"),
    ("presentation attack", "a presentation attack"),
)
_MEASURES = {
    "face_pixels": "face width, pixels",
    "jpeg_quality": "JPEG quality",
    "presence": "face presence, nats",
    "yaw": "yaw, degrees",
    "roll": "roll, degrees",
}
# Marks that reorder the text round them: a name may use them to look like another one.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def reasons(finding: Finding) -> tuple[str, ...]:
    """The notes that say why, without those on its heat map."""
    return tuple(note for note in finding.notes if not note.startswith(ON_MAP))


def on_map(finding: Finding) -> tuple[str, ...]:
    """The notes on its heat map."""
    return tuple(note for note in finding.notes if note.startswith(ON_MAP))


def headline(verdict: Verdict, claim: str) -> str:
    """The verdict in a few words, such as "Evidence of forgery"."""
    if verdict == "can't tell":
        return "Can't tell"
    noun = next((noun for stem, noun in _NOUNS if stem in claim.lower()), None)
    matter = f"of {noun}" if noun else f"that {claim}"
    if verdict == "yes":
        return f"Evidence {matter}"
    return f"No evidence {matter} found" if noun else f"No evidence found {matter}"


def report_headline(report: Report) -> str:
    """The headline of the finding that the report's verdict rests on."""
    gravest = report.gravest
    return "Nothing was asked" if gravest is None else headline(gravest.verdict, gravest.claim)


def tested(map_: Explanation) -> str:
    """What the violation test found of a kind of heat map, such as "wrong in 10 % of tests …"."""
    if math.isnan(map_.violation):
        return "not tested"
    span = (
        ""
        if map_.interval is None
        else " ({:.0f} to {:.0f})".format(*(100 * end for end in map_.interval))
    )
    told = (
        f"pointed the wrong way in {100 * map_.violation:.0f}{span} % of tests on "
        f"{count(map_.pictures, 'picture')}; drawn by lot {100 * map_.by_lot:.0f} %"
    )
    return told if map_.trusted else f"{told}: not to be trusted"


def score(value: float) -> str:
    """A score with two decimals that never rounds to certainty; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if 0.995 <= value < 1:
        return ">0.99"
    return "<0.01" if 0 < value < 0.005 else f"{value:.2f}"


def score_with_interval(finding: Finding) -> str:
    """A score such as "0.93 (0.88 to 0.96)"; without brackets if no interval is known."""
    if finding.interval is None or math.isnan(finding.score):
        return score(finding.score)
    low, high = finding.interval
    return f"{score(finding.score)} ({score(low)} to {score(high)})"


def log10_lr(value: float) -> str:
    """A log10 likelihood ratio with its sign, "+2.2"; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:+.1f}".replace("-", "−")


def support(finding: Finding) -> str:
    """What the likelihood ratio says, by ENFSI's words: "moderate support for the claim"."""
    if math.isnan(finding.log10_lr):
        return ""
    word = strength(abs(finding.log10_lr))
    if word == "no":
        return "no support either way"
    return f"{word} support {'for' if finding.log10_lr > 0 else 'against'} the claim"


def crosses(finding: Finding, degraded: float) -> bool:
    """Whether a degraded copy's score lies across the threshold from the original's."""
    return (degraded < finding.threshold) != (finding.score < finding.threshold) and not (
        math.isnan(degraded) or math.isnan(finding.score)
    )


def survival_range(finding: Finding) -> tuple[float, float] | None:
    """Lowest and highest score over the survival strip and the original; None without one."""
    known = [value for value in finding.survival.values() if not math.isnan(value)]
    if not known or math.isnan(finding.score):
        return None
    return min(*known, finding.score), max(*known, finding.score)


def measure(name: str) -> str:
    """The name of a quality measure in words."""
    return _MEASURES.get(name, name.replace("_", " "))


def number(value: float) -> str:
    """A measured number with three digits; a dash for NaN."""
    return "–" if math.isnan(value) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def operating_range(low: float, high: float) -> str:
    """A range in words, such as "112 or more" or "40 to 100"."""
    if math.isinf(low) and math.isinf(high):
        return "any"
    if math.isinf(high):
        return f"{number(low)} or more"
    return f"{number(high)} or less" if math.isinf(low) else f"{number(low)} to {number(high)}"


def inside(finding: Finding, name: str) -> bool | None:
    """Whether a quality measure lies in the operating range; None if the range does not ask."""
    if name not in finding.operating_range:
        return None
    low, high = finding.operating_range[name]
    return low <= finding.quality[name] <= high


def file_size(count: int) -> str:
    """A number of bytes in decimal units, "1.4 MB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:,.1f} {unit}"
    return f"{count} bytes"


def duration(seconds: float) -> str:
    """Seconds as "75.0 s", or "1:02:03" from two minutes on."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def visible(text: str) -> str:
    r"""Text whose control and direction marks are spelt out, ``\x1b``: a file's name is a guest.

    Without this a name could move a terminal's cursor or read as another name.
    """
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if character in _BIDI or unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
        else character
        for character in text
    )


def count(number: int, noun: str) -> str:
    """How many, such as "1 file" or "312 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

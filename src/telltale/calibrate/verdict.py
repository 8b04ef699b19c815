"""Likelihood ratios to verdicts, and verdicts to words: evidence, never proof."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from telltale.records import Finding, Verdict, Weights

# ENFSI Guideline for Evaluative Reporting in Forensic Science (2015), table of verbal equivalents:
# the likelihood ratio from which on each word holds.
STEPS = (
    (1e6, "extremely strong"),
    (1e4, "very strong"),
    (1e3, "strong"),
    (1e2, "moderately strong"),
    (1e1, "moderate"),
    (2.0, "weak"),
)
CAUTION = "This is evidence, not proof."


def decide(
    score: float,
    weights: Weights,
    quality: Mapping[str, float],
    survival: Mapping[str, float],
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict on a calibrated score, and why.

    "yes" from ``threshold + doubt`` on, "no" up to ``threshold - doubt``, else "can't tell". Also
    "can't tell" when a quality measure lies outside the operating range, or when the score of a
    degraded copy lies across the threshold. Across the *threshold*, not across the whole doubtful
    band: such a copy would by itself speak for the opposite, and who sees it on the survival
    strip on the other side of the line could not be told that the verdict survived. A copy that
    only sinks into the doubtful band on its own side lost evidence, which re-encoding does to
    every trace; that contradicts nothing.

    Args:
        score: In [0, 1]; NaN if nothing was weighed.
        weights: For threshold, doubt and operating range. A bound of ±inf is open.
        quality: Measures of this subject. One that is absent does not apply (a PNG has no JPEG
            quality); one that is NaN could not be measured, which is "can't tell".
        survival: Degradation to the score after it; NaN if the subject was not found again.

    Returns:
        The verdict, and reasons in words: for "can't tell", each reason for it; else remarks.
    """
    if math.isnan(score):
        return "can't tell", ("nothing could be weighed",)
    reasons = list(_outside(weights.operating_range, quality))
    verdict: Verdict = "can't tell"
    if score >= weights.threshold + weights.doubt:
        verdict = "yes"
    elif score <= weights.threshold - weights.doubt:
        verdict = "no"
    else:
        reasons.append(
            f"the score {score:.2f} is within {weights.doubt:.2f} of the threshold "
            f"{weights.threshold:.2f}"
        )
    if verdict != "can't tell":
        is_yes = verdict == "yes"
        for name, degraded in survival.items():
            # NaN compares false: a subject that was not found again contradicts nothing.
            if (degraded < weights.threshold) if is_yes else (degraded >= weights.threshold):
                reasons.append(
                    f"it does not survive {name}: the score goes from {score:.2f} to "
                    f"{degraded:.2f}, across the threshold {weights.threshold:.2f}"
                )
    if reasons:
        return "can't tell", tuple(reasons)
    lost = [name for name, degraded in survival.items() if math.isnan(degraded)]
    return verdict, tuple(f"after {name} it was not found again" for name in lost)


def in_words(finding: Finding) -> str:
    """The verdict as a sentence that calls it evidence of some strength, never proof.

    The strength is ENFSI's word for the likelihood ratio (:data:`STEPS`).
    """
    if finding.verdict == "can't tell":
        why = f": {finding.notes[0]}" if finding.notes else ""
        return f"Can't tell whether {finding.claim}{why}."
    side = "that" if finding.verdict == "yes" else "against the claim that"
    if math.isnan(finding.log10_lr):
        return f"Evidence {side} {finding.claim}, of unknown strength. {CAUTION}"
    # A "no" from a low threshold can go with a ratio above 1 and the reverse; say so, not less.
    towards = finding.log10_lr if finding.verdict == "yes" else -finding.log10_lr
    word = strength(towards)
    if word == "no":
        return f"No evidence {side} {finding.claim} beyond the chosen threshold. {CAUTION}"
    times = _round(10**towards)
    given = ("if so", "if not") if finding.verdict == "yes" else ("if not", "if so")
    return (
        f"{word.capitalize()} evidence {side} {finding.claim}: "
        f"this result is about {times} times more probable {given[0]} than {given[1]}. {CAUTION}"
    )


def strength(log10_lr: float) -> str:
    """ENFSI's word for how strongly a likelihood ratio supports the claim; "no" below 2."""
    steps = (word for least, word in STEPS if log10_lr >= math.log10(least))
    return next(steps, "no")


# Words for the quality measures that detectors report, with the format of their numbers.
_MEASURES = {
    "face_pixels": ("the face is {} pixels wide", ".0f"),
    "sharpness": ("its sharpness is {}", ".2g"),
    "jpeg_quality": ("its JPEG quality is {}", ".0f"),
    "visual_quality": ("its visual quality, by a proxy, is {}", ".2f"),
    "presence": ("the face finder is sure of it to {}", ".2f"),
    "yaw": ("the face is turned by {} degrees", ".0f"),
    "roll": ("the head is tilted by {} degrees", ".0f"),
}


def _outside(limits: Mapping[str, Any], quality: Mapping[str, float]) -> Iterator[str]:
    """A sentence for each measure that lies outside its ``[low, high]`` or has no value."""
    for name, (low, high) in limits.items():
        if name not in quality:
            continue
        phrase, form = _MEASURES.get(name, (f"its {name.replace('_', ' ')} is {{}}", ".3g"))
        value = quality[name]
        if math.isnan(value):
            yield f"its {name.replace('_', ' ')} could not be measured"
        elif not low <= value <= high:
            span = f"{low:{form}} to {high:{form}}"
            if high == math.inf:
                span = f"{low:{form}} or more"
            elif low == -math.inf:
                span = f"{high:{form}} or less"
            yield f"{phrase.format(format(value, form))}; calibrated for {span}"


def _round(ratio: float) -> str:
    """A ratio to one significant digit, or two below 100; more would feign precision."""
    digits = 1 if ratio >= 100 else 2
    return f"{float(f'{ratio:.{digits - 1}e}'):,.10g}"

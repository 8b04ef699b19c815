"""Verdicts keep to what was calibrated, and are put as evidence in plain words."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telltale.calibrate import CAUTION, decide, in_words, strength
from telltale.records import Finding, Weights


def weights(
    threshold: float = 0.5, doubt: float = 0.1, limits: Mapping[str, list[float]] | None = None
) -> Weights:
    return Weights(
        "x.onnx", "0", "Apache-2.0", "a test", None, {}, {}, limits or {}, threshold, doubt
    )


@given(st.floats(0, 1), st.floats(0.05, 0.95), st.floats(0, 0.4))
def test_a_verdict_is_the_threshold_with_a_doubtful_band(
    score: float, threshold: float, doubt: float
) -> None:
    verdict, reasons = decide(score, weights(threshold, doubt), {}, {})
    if score >= threshold + doubt:
        assert (verdict, reasons) == ("yes", ())
    elif score <= threshold - doubt:
        assert (verdict, reasons) == ("no", ())
    else:
        assert verdict == "can't tell"
        assert len(reasons) == 1
        assert "of the threshold" in reasons[0]


@given(
    st.floats(0, 1),
    st.dictionaries(st.sampled_from(["JPEG 50", "half size"]), st.floats(0, 1)),
)
def test_degraded_copies_of_a_decided_verdict_lie_on_its_side(
    score: float, survival: dict[str, float]
) -> None:
    verdict, reasons = decide(score, weights(), {}, survival)
    if verdict == "yes":
        assert all(again >= 0.5 for again in survival.values())
    if verdict == "no":
        assert all(again < 0.5 for again in survival.values())
    assert bool(reasons) == (verdict == "can't tell")


def test_a_copy_across_the_threshold_takes_the_verdict_back() -> None:
    verdict, reasons = decide(0.9, weights(), {}, {"JPEG 95": 0.88, "half size": 0.41})
    assert verdict == "can't tell"
    assert reasons == (
        "it does not survive half size: the score goes from 0.90 to 0.41, "
        "across the threshold 0.50",
    )
    # It merely sank into the doubtful band: evidence was lost, nothing was contradicted.
    assert decide(0.9, weights(), {}, {"half size": 0.52}) == ("yes", ())
    assert decide(0.1, weights(), {}, {"half size": 0.48}) == ("no", ())
    assert decide(0.1, weights(), {}, {"half size": 0.50})[0] == "can't tell"


def test_a_copy_in_which_the_face_was_not_found_is_a_remark() -> None:
    verdict, reasons = decide(0.9, weights(), {}, {"a crop": math.nan})
    assert verdict == "yes"
    assert reasons == ("after a crop it was not found again",)


def test_outside_the_operating_range_it_cannot_tell() -> None:
    limits = {"face_pixels": [60, math.inf], "jpeg_quality": [30, 100], "yaw": [-math.inf, 40]}
    asked = weights(limits=limits)
    assert decide(0.9, asked, {"face_pixels": 31.4}, {}) == (
        "can't tell",
        ("the face is 31 pixels wide; calibrated for 60 or more",),
    )
    assert decide(0.9, asked, {"jpeg_quality": 12.0}, {})[1] == (
        "its JPEG quality is 12; calibrated for 30 to 100",
    )
    assert decide(0.9, asked, {"yaw": 55.0}, {})[1] == (
        "the face is turned by 55 degrees; calibrated for 40 or less",
    )
    assert decide(0.9, asked, {"face_pixels": math.nan}, {})[1] == (
        "its face pixels could not be measured",
    )
    for inside in ({}, {"face_pixels": 60.0}, {"jpeg_quality": 30.0, "yaw": 40.0}):
        assert decide(0.9, asked, inside, {}) == ("yes", ())
    noisy = weights(limits={"moire_energy": [0, 1]})
    assert decide(0.1, noisy, {"moire_energy": 2.5}, {})[1] == (
        "its moire energy is 2.5; calibrated for 0 to 1",
    )


def test_every_reason_is_given_and_nothing_weighed_is_one() -> None:
    asked = weights(limits={"face_pixels": [60, 4000]})
    verdict, reasons = decide(0.9, asked, {"face_pixels": 20.0}, {"JPEG 50": 0.1})
    assert verdict == "can't tell"
    assert [reason.split()[0] for reason in reasons] == ["the", "it"]
    assert decide(math.nan, asked, {}, {}) == ("can't tell", ("nothing could be weighed",))


def finding(verdict: str, ratio: float = math.nan, score: float = 0.5, *notes: str) -> Finding:
    return Finding(
        "x", "the face was digitally forged", score, verdict, log10_lr=ratio, notes=notes
    )


@pytest.mark.parametrize(
    ("ratio", "word"),
    [
        (0.0, "no"),
        (0.30, "no"),
        (math.log10(2), "weak"),
        (1, "moderate"),
        (1.99, "moderate"),
        (2, "moderately strong"),
        (3, "strong"),
        (4, "very strong"),
        (5.9, "very strong"),
        (6, "extremely strong"),
        (-3, "no"),
    ],
)
def test_strength_is_the_guidelines_word(ratio: float, word: str) -> None:
    assert strength(ratio) == word


def test_words_for_each_verdict() -> None:
    assert in_words(finding("yes", 2.07)) == (
        "Moderately strong evidence that the face was digitally forged: this result is about "
        f"100 times more probable if so than if not. {CAUTION}"
    )
    assert in_words(finding("no", -1.3)) == (
        "Moderate evidence against the claim that the face was digitally forged: this result is "
        f"about 20 times more probable if not than if so. {CAUTION}"
    )
    assert in_words(finding("can't tell", 0.1, 0.55, "the face is 31 pixels wide")) == (
        "Can't tell whether the face was digitally forged: the face is 31 pixels wide."
    )
    assert in_words(finding("can't tell")).endswith("digitally forged.")
    assert "1,000,000 times" in in_words(finding("yes", 6))
    assert in_words(finding("yes", -0.5)).startswith("No evidence that")
    assert "unknown strength" in in_words(finding("no"))


@given(st.sampled_from(["yes", "no", "can't tell"]), st.floats(-8, 8), st.floats(0, 1))
def test_words_never_claim_proof(verdict: str, ratio: float, score: float) -> None:
    words = in_words(finding(verdict, ratio, score))
    assert words.endswith(".")
    assert "proof" not in words.replace(CAUTION, "")
    assert (CAUTION in words) == (verdict != "can't tell")

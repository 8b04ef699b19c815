"""Records check themselves, and JSON gives back what was put in."""

import copy
import dataclasses
import hashlib
import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays
import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import telltale.report
from telltale.records import (
    SCHEMA_VERSION,
    VERDICTS,
    Card,
    Explanation,
    Failure,
    Finding,
    Observation,
    Region,
    Report,
    Subject,
    Verdict,
    Weights,
)

SCHEMA = json.loads(Path(telltale.report.__file__).with_name("report.schema.json").read_text())
# Fields of each record by schema version. A new field is a new version: add a line, and never
# change one that was released.
FIELDS = {
    "1": "026749892d27d19e",
    "2": "00f886b0c478714b",
    "3": "bcf4f428dc3350fe",
    "4": "26584f1bd43a0e66",
}

PICTURE = Subject("a.jpg", "ab", 1, "picture", "JPEG", 2, 2)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
unit = st.floats(0, 1)
known = st.one_of(unit, st.just(math.nan))
words = st.text(max_size=12)
regions = st.builds(
    Region, finite, finite, st.floats(0.1, 1e4), st.floats(0.1, 1e4), st.floats(-180, 180)
)
ranges = st.tuples(
    st.one_of(st.just(-math.inf), st.floats(-9, 0)), st.one_of(st.just(math.inf), st.floats(0, 9))
)
heatmaps = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(0, 1, width=32)
)


explanations = st.builds(
    Explanation,
    words,
    heatmaps,
    known,
    st.none() | st.tuples(unit, unit),
    known,
    st.integers(0, 100),
    st.booleans(),
)


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    score = draw(known)
    verdict = draw(st.sampled_from(VERDICTS)) if not math.isnan(score) else "can't tell"
    return Finding(
        slug=draw(words),
        claim=draw(words),
        score=score,
        verdict=verdict,
        about=draw(words),
        log10_lr=draw(st.one_of(finite, st.just(math.nan))),
        interval=draw(st.none() | st.tuples(unit, unit).map(lambda pair: tuple(sorted(pair)))),
        region=draw(st.none() | regions),
        heatmap=draw(st.none() | heatmaps),
        survival=draw(st.dictionaries(words, known, max_size=3)),
        quality=draw(st.dictionaries(words, finite | st.just(math.nan), max_size=3)),
        timeline=tuple(draw(st.lists(st.tuples(st.floats(0, 1e5), known), max_size=3))),
        notes=tuple(draw(st.lists(words, max_size=3))),
        threshold=draw(st.floats(0.1, 0.9)),
        doubt=draw(st.floats(0, 0.4)),
        operating_range=draw(st.dictionaries(words, ranges, max_size=3)),
        limits=tuple(draw(st.lists(words, max_size=2))),
        explanations=tuple(draw(st.lists(explanations, max_size=2))),
        aside=draw(st.booleans()),
    )


subjects = st.builds(
    Subject,
    words,
    words,
    st.integers(0, 2**50),
    st.sampled_from(["picture", "video"]),
    words,
    st.integers(1, 10**5),
    st.integers(1, 10**5),
    st.floats(0, 1e6),
    st.dictionaries(words, words, max_size=3),
)
reports = st.builds(
    Report,
    subjects,
    st.lists(findings(), max_size=3).map(tuple),
    st.dictionaries(words, words, max_size=3),
    words,
)


@given(reports)
@settings(max_examples=50, deadline=None)
def test_json_gives_back_the_report_and_keeps_to_the_schema(report: Report) -> None:
    text = json.dumps(report.to_json(), allow_nan=False)
    data = json.loads(text)
    jsonschema.Draft202012Validator(SCHEMA).validate(data)
    again = Report.from_json(data)
    assert again == report
    assert again.to_json() == report.to_json()
    assert pickle.loads(pickle.dumps(report)) == report  # scans send reports between processes
    assert copy.deepcopy(report) == report


@given(findings(), findings())
@settings(max_examples=25, deadline=None)
def test_findings_are_equal_only_if_they_say_the_same(one: Finding, other: Finding) -> None:
    assert (one == other) == (json.dumps(one.to_json()) == json.dumps(other.to_json()))


def test_equality_sees_a_change_of_each_field() -> None:
    finding = Finding("a", "b", 0.5, "no", heatmap=np.zeros((2, 2), np.float32))
    changes: dict[str, Any] = {
        "slug": "c",
        "claim": "c",
        "score": 0.6,
        "verdict": "yes",
        "about": "c",
        "log10_lr": 1.0,
        "interval": (0.1, 0.2),
        "region": Region(0, 0, 1, 1),
        "heatmap": np.ones((2, 2), np.float32),
        "survival": {"c": 0.1},
        "quality": {"c": 0.1},
        "timeline": ((0.0, 0.1),),
        "notes": ("c",),
        "threshold": 0.7,
        "doubt": 0.2,
        "operating_range": {"c": (0.0, 1.0)},
        "limits": ("c",),
        "explanations": (Explanation("c", np.ones((1, 2), np.float32)),),
        "aside": True,
    }
    assert set(changes) == set(Finding.__dataclass_fields__)
    for name, value in changes.items():
        changed = dataclasses.replace(finding, **{name: value})
        assert changed != finding, name
        assert Finding.from_json(changed.to_json()) == changed


@pytest.mark.parametrize(("schema", "lacks"), [("2", ["explanations", "aside"]), ("3", ["aside"])])
def test_reports_of_before_are_read(schema: str, lacks: list[str]) -> None:
    report = Report(PICTURE, (Finding("a", "b", 0.5, "no"),), {}, "now")
    data = report.to_json() | {"schema": schema}
    for name in lacks:
        del data["findings"][0][name]
    assert Report.from_json(data) == report


@pytest.mark.parametrize(
    ("beside", "asked_aside", "says"),
    [
        ("no", "can't tell", "no"),
        ("no", "yes", "yes"),
        ("can't tell", "no", "can't tell"),
        ("yes", "can't tell", "yes"),
        (None, "can't tell", "can't tell"),
    ],
)
def test_a_question_asked_aside_decides_nothing_while_it_cannot_tell(
    beside: Verdict | None, asked_aside: Verdict, says: Verdict
) -> None:
    findings = [Finding("a", "b", 0.6, asked_aside, aside=True)]
    findings += [] if beside is None else [Finding("c", "d", 0.5, beside)]
    assert Report(PICTURE, tuple(findings), {}, "now").verdict == says


def test_a_question_asked_aside_counts_where_nothing_else_was_weighed() -> None:
    aside = Finding("a", "b", 0.6, "can't tell", aside=True)
    nothing = Finding("c", "d", math.nan, "can't tell", notes=("no face found",))
    assert Report(PICTURE, (nothing, aside), {}, "now").gravest == aside


def test_failures_keep_to_the_schema() -> None:
    data = Failure("a.jpg", "a.jpg: it is empty").to_json()
    jsonschema.Draft202012Validator(SCHEMA).validate(data)
    assert Failure(data["path"], data["error"]) == Failure("a.jpg", "a.jpg: it is empty")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.pop("made_at"),
        lambda data: data.update(extra=1),
        lambda data: data["findings"][0].update(score=1.5),
        lambda data: data["findings"][0].update(verdict="fake"),
        lambda data: data["findings"][0].pop("limits"),
        lambda data: data["subject"].update(width=0),
        lambda data: data.update(schema="0"),
    ],
)
def test_schema_refuses_what_is_no_report(spoil: Callable[[dict[str, Any]], None]) -> None:
    subject = Subject("a.jpg", "ab", 1, "picture", "JPEG", 2, 2)
    data = Report(subject, (Finding("a", "b", 0.5, "no"),), {}, "now").to_json()
    validator = jsonschema.Draft202012Validator(SCHEMA)
    assert validator.is_valid(data)
    spoil(data)
    assert not validator.is_valid(data)


def test_a_change_of_fields_is_a_new_schema_version() -> None:
    names = {
        record.__name__: list(record.__dataclass_fields__)
        for record in (Report, Failure, Subject, Finding, Region, Observation, Explanation)
    }
    digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
    assert FIELDS.get(SCHEMA_VERSION) == digest, "the fields changed: count SCHEMA_VERSION up"
    definitions = SCHEMA["$defs"]
    assert definitions["schema"]["const"] == SCHEMA_VERSION
    assert SCHEMA["$id"].endswith(f":{SCHEMA_VERSION}")
    added = {"Report": {"schema", "verdict"}, "Failure": {"schema"}}
    for name, fields in names.items():
        described = definitions[name.lower()]
        assert set(described["properties"]) == set(fields) | added.get(name, set())
        assert set(described["required"]) == set(described["properties"])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"score": 1.1}, "score in"),
        ({"verdict": "fake"}, "verdict of"),
        ({"score": math.nan}, "without a score"),
        ({"interval": (0.7, 0.2)}, "ascends"),
        ({"interval": (0.7, 1.2)}, "ascends"),
        ({"heatmap": np.zeros(4, np.float32)}, "heatmap"),
        ({"heatmap": np.zeros((0, 4), np.float32)}, "heatmap"),
        ({"heatmap": np.full((2, 2), np.nan, np.float32)}, "heatmap in"),
        ({"heatmap": np.full((2, 2), 1.5, np.float32)}, "heatmap in"),
        ({"survival": {"crop": 2.0}}, "score in"),
        ({"timeline": ((0.0, -1.0),)}, "score in"),
        ({"timeline": ((math.inf, 0.1),)}, "finite"),
        ({"log10_lr": math.inf}, "finite"),
        ({"quality": {"yaw": -math.inf}}, "finite"),
        ({"operating_range": {"yaw": (5.0, 1.0)}}, "operating range"),
    ],
)
def test_findings_refuse_what_cannot_be(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Finding(**({"slug": "a", "claim": "b", "score": 0.5, "verdict": "no"} | values))


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0, 1), (0, 0, 1, -1), (math.nan, 0, 1, 1), (0, 0, 1, 1, math.inf)]
)
def test_regions_have_an_area(numbers: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="want a region"):
        Region(*numbers)


@pytest.mark.parametrize("change", [{"kind": "sound"}, {"width": 0}, {"seconds": math.nan}])
def test_subjects_refuse_what_cannot_be(change: dict[str, Any]) -> None:
    values: dict[str, Any] = {"kind": "picture", "format": "JPEG", "width": 2, "height": 2}
    with pytest.raises(ValueError, match=r"a\.jpg: want"):
        Subject(path="a.jpg", sha256="ab", bytes=1, **(values | change))


def test_heat_maps_keep_256_steps() -> None:
    steps = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    finding = Finding("a", "b", 0.5, "no", heatmap=steps)
    again = Finding.from_json(finding.to_json())
    assert again.heatmap is not None
    np.testing.assert_allclose(again.heatmap, steps, atol=1e-6)
    assert len(np.unique(again.heatmap)) == 256


def test_the_gravest_finding_gives_the_verdict() -> None:
    subject = Subject("a.jpg", "ab", 1, "picture", "JPEG", 2, 2)
    no, unsure = Finding("a", "b", 0.9, "no"), Finding("a", "b", math.nan, "can't tell")
    low, high = Finding("a", "b", 0.7, "yes"), Finding("a", "b", 0.8, "yes")
    for told, gravest in (
        ((no, unsure), unsure),
        ((low, no, high, unsure), high),
        ((no,), no),
        ((), None),
    ):
        report = Report(subject, told, {}, "now")
        assert report.gravest is gravest
        assert report.verdict == (gravest.verdict if gravest else "can't tell")


@pytest.mark.parametrize(
    "data", [{}, {"schema": "0"}, {"schema": SCHEMA_VERSION}, {"schema": "1", "subject": 3}]
)
def test_what_is_no_report_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="schema"):
        Report.from_json(data)


def test_cards_come_from_toml_and_refuse_unknown_keys() -> None:
    table: dict[str, Any] = {
        "title": "T",
        "source": "S",
        "network": "m:C",
        "verb": "detect",
        "claim": "c",
        "limits": ["small faces"],
        "weights": [{"file": "f.onnx", "sha256": "ab", "license": "MIT", "trained_on": "d"}],
    }
    card = Card.from_toml("t", table)
    assert card.limits == ("small faces",)
    assert card.weights[0] == Weights("f.onnx", "ab", "MIT", "d")
    learnt = Card.from_toml(
        "t", {**table, "weights": [table["weights"][0] | {"learnt": ["print"]}]}
    )
    assert learnt.weights[0].learnt == ("print",)
    assert hash(learnt.weights[0].learnt)  # a tuple, whatever TOML gave
    assert pickle.loads(pickle.dumps(card)) == card
    with pytest.raises(ValueError, match="card t: unknown nettwork"):
        Card.from_toml("t", {**table, "nettwork": "m:C"})
    with pytest.raises(ValueError, match="card t: claim is missing"):
        Card.from_toml("t", {**table, "claim": ""})
    with pytest.raises(ValueError, match=r"card t: .*network"):
        Card.from_toml("t", {k: v for k, v in table.items() if k != "network"})
    with pytest.raises(ValueError, match=r"weights f\.onnx: license is missing"):
        Weights("f.onnx", "ab", "", "d")
    with pytest.raises(ValueError, match="want threshold in"):
        Weights("f.onnx", "ab", "MIT", "d", threshold=1.0)


def test_reports_of_the_first_schema_are_read() -> None:
    subject = Subject("a.jpg", "ab", 1, "picture", "JPEG", 2, 2)
    data = Report(subject, (Finding("a", "b", 0.5, "no"),), {}, "now").to_json()
    del data["observations"]
    assert Report.from_json(data | {"schema": "1"}).observations == ()

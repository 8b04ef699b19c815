"""The page: whole or not at all, nothing from outside, harmless whatever a file is called."""

import base64
import dataclasses
import hashlib
import io
import math
import os
import weakref
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from telltale.records import Explanation, Failure, Finding, Report
from telltale.report import write_html

Make = Callable[..., Report]
Pixels = NDArray[np.uint8]
VOID = {"meta", "img", "input", "br", "link", "hr"}
ODD = "<script>alert(1)</script>&\"'\u202egpj\x1b.exe"


class Page(HTMLParser):
    """A page's elements, having checked that each is closed in its turn."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.told: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closes another element"

    def handle_data(self, data: str) -> None:
        if data.strip():
            tag = self.open[-1] if self.open else ""
            self.texts.setdefault(tag, []).append(data)
            if tag not in ("style", "script"):
                self.told.append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and all(attributes.get(key) == value for key, value in wanted.items())
        ]

    @property
    def text(self) -> str:
        """What is read, in the page's order."""
        return " ".join(" ".join(self.told).split())


@pytest.fixture
def page_of(tmp_path: Path, drawn: Callable[[Report], Pixels]) -> Callable[..., Page]:
    def make(reports: Any, failures: Any = (), **options: Any) -> Page:  # noqa: ANN401
        path = tmp_path / "report.html"
        write_html(path, reports, failures, **({"pictures": drawn} | options))
        return Page(path)

    return make


def data_image(uri: str | None) -> Image.Image:
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_a_file_has_all_that_its_report_says(
    found: Finding, unsure: Finding, report_of: Make, page_of: Callable[..., Page]
) -> None:
    page = page_of([report_of(found, unsure)])
    for told in (
        "selfie.jpg",
        "Evidence of forgery",
        "Moderately strong evidence that the face was digitally forged",
        "0.93 (0.88 to 0.96)",
        "+2.2",
        "moderately strong support for the claim",
        "it does not survive JPEG 50",
        "after crop it was not found again",
        "80 or more",
        "outside",
        "0 to 55",
        "ab12" * 16,
        "cd34" * 16,
        "1,400,000 bytes",
        "2026-11-23T04:40:12Z",
        "not trained on presentation attacks",
        "camera",
        "evidence, never proof",
    ):
        assert told in page.text, told
    assert page.text.count("flips") == 1 + 1  # JPEG 50 of face 2, and "how to read"
    assert page.text.count("not found again") == 1
    assert "Can't tell whether the face was digitally forged:" in page.text


def test_picture_boxes_and_heat_map_lie_where_the_finding_says(
    found: Finding, unsure: Finding, report_of: Make, page_of: Callable[..., Page]
) -> None:
    page = page_of([report_of(found, unsure)])
    picture = next(image for image in page.all("img") if "picture" in (image["alt"] or ""))
    assert data_image(picture["src"]).size == (480, 320)
    assert "1: face 1, Evidence of forgery; 2: face 2, Can't tell" in (picture["alt"] or "")
    assert page.all("svg", viewbox="0 0 480 320")
    boxes = [box for box in page.all("rect") if (box.get("class") or "").startswith("box")]
    assert [(b["x"], b["y"], b["width"], b["height"], b["transform"]) for b in boxes] == [
        ("60", "40", "120", "120", "rotate(30 120.0 100.0)"),
        ("300", "100", "90", "90", "rotate(0.0 345.0 145.0)"),
    ]
    heat, *_ = page.all("image", x="60", y="40", transform="rotate(30 120.0 100.0)")
    alpha = np.asarray(data_image(heat["href"]))[..., 3]
    assert alpha.shape == (7, 7)
    assert alpha[0, 0] == 0
    assert alpha[6, 6] == alpha.max() > 200
    assert page.all("input", type="range")


def test_maps_lie_side_by_side_with_what_was_found_of_their_kind(
    found: Finding, report_of: Make, page_of: Callable[..., Page]
) -> None:
    heat = np.eye(4, dtype=np.float32)
    maps = (
        Explanation("occlusion", heat, 0.1, (0.04, 0.19), 0.4, 100, True),
        Explanation("own map", 1 - heat, 0.45, None, 0.4, 100, False),
        Explanation("new", heat),
    )
    page = page_of([report_of(dataclasses.replace(found, explanations=maps))])
    assert "Occlusion , shown above pointed the wrong way" in page.text.replace(
        "Pointed", "pointed"
    )
    assert "wrong way in 10 (4 to 19) % of tests on 100 pictures; drawn by lot 40 %" in page.text
    assert "in 45 % of tests on 100 pictures; drawn by lot 40 %: not to be trusted" in page.text
    assert "Not tested" in page.text
    assert len(page.all("li", **{"class": "doubted"})) == 1
    drawn = [data_image(it["href"]) for it in page.all("image", **{"class": "heat"})][-3:]
    assert [image.size for image in drawn] == [(4, 4)] * 3
    assert drawn[0].getpixel((0, 0)) != drawn[1].getpixel((0, 0))
    assert "side by side" not in page_of([report_of(found)]).text


def test_asks_the_network_for_nothing(
    found: Finding, report_of: Make, video_report: Report, page_of: Callable[..., Page]
) -> None:
    page = page_of([report_of(found), video_report], [Failure("a", "b")])
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            link = attributes.get(name) or "#"
            assert link.startswith(("#", "data:image/")), (tag, link)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert "style" not in attributes, "the policy forbids it"
    assert not {tag for tag, _ in page.elements} & {"link", "iframe", "object", "base", "form"}
    styles = "".join(page.texts["style"])
    assert "url(" not in styles
    assert "@import" not in styles
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"] or ""
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        digest = hashlib.sha256("".join(page.texts[tag]).encode()).digest()
        assert f"{tag}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy


def test_whatever_a_file_says_is_only_text(
    found: Finding, report_of: Make, page_of: Callable[..., Page]
) -> None:
    odd = dataclasses.replace(
        found, slug=ODD, claim=ODD, about=ODD, notes=(ODD,), limits=(ODD,), survival={ODD: 0.1},
        quality={ODD: 1.0}, operating_range={ODD: (0.0, 2.0)},
    )  # fmt: skip
    plain = report_of(odd, path=ODD)
    subject = dataclasses.replace(plain.subject, format=ODD, sha256=ODD, details={ODD: ODD})
    report = Report(subject, (odd,), {ODD: ODD}, ODD)
    page = page_of([report, report], [Failure(ODD, ODD)])
    assert len(page.all("script")) == 1
    shown = "<script>alert(1)</script>&\"'\\u202egpj\\x1b.exe"
    assert shown in page.text
    for text in (*page.text, *(str(value) for _, a in page.elements for value in a.values())):
        assert "\u202e" not in text
        assert "\x1b" not in text


def test_many_files_have_a_table_on_top_and_failures_at_the_end(
    found: Finding, unsure: Finding, report_of: Make, page_of: Callable[..., Page]
) -> None:
    no = Finding("m", found.claim, 0.02, "no", log10_lr=-1.7)
    reports = [
        report_of(no, path="desk/a.jpg"),
        report_of(found, path="desk/sub/b.jpg"),
        report_of(unsure, path="desk/c.jpg"),
    ]
    page = page_of(iter(reports), iter([Failure("desk/d.jpg", "it is empty")]))
    rows = [row for row in page.all("tr") if "data-verdict" in row]
    assert [(row["data-verdict"], row["data-file"]) for row in rows] == [
        ("no", "f1"),
        ("yes", "f2"),
        ("can't tell", "f3"),
    ]
    assert [article["id"] for article in page.all("article")] == ["f1", "f2", "f3"]
    assert [link["href"] for link in page.all("a") if (link["href"] or "").startswith("#f")] == [
        "#failures",
        "#f1",
        "#f2",
        "#f3",
    ]
    assert page.text.index("Verdict") < page.text.index("Could not be read")
    for told in ("1 Evidence of forgery", "1 Can't tell", "No evidence of forgery found"):
        assert told in page.text
    cells = [cell for cell in page.texts["a"] if cell.endswith(".jpg")]
    assert cells == ["a.jpg", f"sub{os.sep}b.jpg".replace("\\", "/"), "c.jpg"]
    assert "desk/d.jpg" in page.text
    assert "it is empty" in page.text


def test_reads_without_a_script_and_by_ear(
    found: Finding, unsure: Finding, report_of: Make, page_of: Callable[..., Page]
) -> None:
    page = page_of([report_of(found, unsure), report_of(found)], [Failure("a", "b")])
    for tag in ("header", "main", "footer", "h1"):
        assert page.all(tag), tag
    assert page.all("html", lang="en")
    assert page.all("a", href="#main")
    assert all(image.get("alt") is not None for image in page.all("img"))
    assert all(head.get("scope") for head in page.all("th"))
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    assert {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a} <= set(
        identifiers
    )
    # What needs the script is hidden until it runs; nothing else is.
    for _, attributes in page.elements:
        if "hidden" in attributes:
            assert "data-js" in attributes or not attributes.get("class")
    assert all("open" in details for details in page.all("details"))


def test_a_video_shows_its_scores_over_time(
    video_report: Report, page_of: Callable[..., Page]
) -> None:
    page = page_of([video_report])
    line, dots = (path["d"] for path in page.all("path"))
    # of 3.5 seconds; the third frame has no score
    assert line == "M0.0 20.0h0L285.7 10.0M857.1 30.0h0"
    assert dots == "M0.0 20.0h0M285.7 10.0h0M857.1 30.0h0"
    chart = next(svg for svg in page.all("svg") if svg.get("role") == "img")
    assert chart["aria-label"] == "3 frames; scores from 0.70 to 0.90"
    assert "highest 0.90 at 1.0 s, lowest 0.70" in page.text
    assert "The frame at 1.0 s, where the score was highest." in page.text


def test_a_finding_without_a_score_and_a_report_without_findings(
    report_of: Make, page_of: Callable[..., Page]
) -> None:
    nothing = Finding(
        "m", "the face was digitally forged", math.nan, "can't tell", notes=("no face",)
    )
    page = page_of([report_of(nothing), report_of()])
    assert "Can't tell whether the face was digitally forged:" in page.text
    assert "no face" in page.text
    assert "nan" not in page.text
    assert "Nothing was asked" in page.text
    assert "No file was scanned to the end." in page_of([], [Failure("a", "b")]).text


@pytest.mark.parametrize("error", [ValueError("the file has changed"), OSError("it is gone")])
def test_says_why_there_is_no_picture(
    found: Finding, report_of: Make, page_of: Callable[..., Page], error: Exception
) -> None:
    def missing(report: Report) -> Pixels:
        raise error

    page = page_of([report_of(found)], pictures=missing)
    assert f"The picture is not shown: {error}" in page.text
    assert not page.all("img")


def test_the_page_of_many_files_has_smaller_pictures_and_holds_none(
    found: Finding, report_of: Make, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    large = rng.integers(0, 255, (60, 90, 3), np.uint8).repeat(20, 0).repeat(20, 1)
    given: list[weakref.ref[Pixels]] = []

    def picture(report: Report) -> Pixels:
        assert sum(ref() is not None for ref in given) <= 1, "the page holds on to pictures"
        given.append(weakref.ref(pixels := large.copy()))
        return pixels

    path = tmp_path / "report.html"
    reports = (report_of(found, path=f"{number}.jpg") for number in range(52))
    write_html(path, reports, pictures=picture)
    sizes = [
        max(data_image(image["src"]).size)
        for image in Page(path).all("img")
        if "picture" in (image["alt"] or "")
    ]
    assert sizes == [1000] * 50 + [480] * 2
    write_html(path, [report_of(found)] * 51, pictures=lambda report: large[:100])
    assert path.stat().st_size < 51 * 60_000

"""The page in a real browser, from the disk: no request, no complaint, and its controls work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from telltale.records import Failure, Finding, Report
from telltale.report import write_html

pytestmark = pytest.mark.slow
Make = Callable[..., Report]


class Visit:
    """An open page, what it asked for and what it complained about."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:  # noqa: ANN401
        self.page = browser.new_page(**options)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def end(self) -> None:
        asked = {url for url in self.requests if not url.startswith("data:")}
        assert asked == {self.url}
        assert not self.complaints
        self.page.close()


@pytest.fixture
def many(
    tmp_path: Path, pixels: NDArray[np.uint8], found: Finding, unsure: Finding, report_of: Make
) -> Path:
    no = Finding("m", found.claim, 0.02, "no", log10_lr=-1.7)
    reports = [
        report_of(no, path="desk/b10.jpg"),
        report_of(found, unsure, path="desk/<script>alert(1)<script>.jpg"),
        report_of(unsure, path="desk/b9.jpg"),
    ]
    path = tmp_path / "many.html"
    failures = [Failure("desk/c.jpg", "it is empty")]
    write_html(path, reports, failures, pictures=lambda report: pixels)
    return path


def test_slider_outlines_and_theme(browser: Any, many: Path) -> None:  # noqa: ANN401
    visit = Visit(browser, many, color_scheme="dark")
    page = visit.page
    article = page.locator("#f2")
    article.scroll_into_view_if_needed()
    heat = article.locator(".stage .heat")
    opacity = "element => getComputedStyle(element).opacity"
    assert heat.evaluate(opacity) == "0.6"
    slider = article.get_by_label("Heat map")
    slider.focus()
    page.keyboard.press("Home")
    assert heat.evaluate(opacity) == "0"
    page.keyboard.press("End")
    assert heat.evaluate(opacity) == "1"
    assert article.locator(".closeup .heat").evaluate(opacity) == "1"
    assert article.locator("output").inner_text() == "100 %"
    article.get_by_label("Outlines").uncheck()
    assert article.locator(".boxes").is_hidden()
    article.get_by_label("Outlines").check()
    assert article.locator(".boxes").is_visible()

    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Light page").click()
    light = page.evaluate(ground)
    assert light != dark
    page.get_by_role("button", name="Dark page").click()
    assert page.evaluate(ground) == dark
    visit.end()


def test_table_filters_and_sorts(browser: Any, many: Path) -> None:  # noqa: ANN401
    visit = Visit(browser, many)
    page = visit.page
    rows = page.locator("#files tbody tr:visible")

    def names() -> list[str]:
        return [name.strip() for name in rows.locator("td:first-child").all_inner_texts()]

    odd = "<script>alert(1)<script>.jpg"
    assert names() == ["b10.jpg", odd, "b9.jpg"]
    page.get_by_role("button", name="Score").click()
    assert names() == [odd, "b9.jpg", "b10.jpg"]
    page.get_by_role("button", name="Score").click()
    assert names() == ["b10.jpg", "b9.jpg", odd]
    page.get_by_role("button", name="log10 LR").click()
    page.get_by_role("button", name="log10 LR").click()
    assert names() == ["b10.jpg", "b9.jpg", odd]  # −1.7 < 0.4 < 2.2: as numbers, not as words
    page.get_by_role("button", name="File").click()
    assert names()[1:] == ["b9.jpg", "b10.jpg"]  # 9 before 10
    page.get_by_label("Verdict").select_option("can't tell")
    assert names() == ["b9.jpg"]
    assert page.locator("article:visible").count() == 1
    assert page.locator("#shown").inner_text() == "1 of 3 files shown"
    page.get_by_label("Verdict").select_option("")
    page.get_by_label("Find").fill("SCRIPT")
    assert names() == [odd]
    visit.end()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_fits_the_screen_with_and_without_script(
    browser: Any,  # noqa: ANN401
    many: Path,
    width: int,
) -> None:
    for script in (True, False):
        context = browser.new_context(
            viewport={"width": width, "height": 800}, java_script_enabled=script
        )
        visit = Visit(context, many)
        page = visit.page
        for article in page.locator("article").all():
            article.scroll_into_view_if_needed()
            box = article.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= width
        if script:
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.get_by_label("Heat map").first.is_visible() == script
        assert page.get_by_text("0.93 (0.88 to 0.96)").is_visible()
        visit.end()
        context.close()


def test_prints_all_that_is_folded(browser: Any, many: Path) -> None:  # noqa: ANN401
    visit = Visit(browser, many)
    page = visit.page
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = false)")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#f2 details .facts").is_visible()
    assert page.locator("#theme").is_hidden()
    assert page.locator("#search").is_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#f2 details").get_attribute("open") is None
    visit.end()

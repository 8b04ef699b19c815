"""The web page in a real browser against the real server, with a keyboard and on a phone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import MEDIA, Server


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:  # noqa: ANN401
    """A page that may ask nothing of anyone else, and must not complain."""
    page = browser.new_page(base_url=server.url, permissions=["camera", "microphone"])
    asked, complaints = set(), []
    page.on("request", lambda request: asked.add(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert all(url.startswith((server.url, "data:", "blob:")) for url in asked)
    assert not complaints


def test_drop_see_and_delete(page: Any, tmp_path: Path) -> None:  # noqa: ANN401
    page.goto("/")
    page.locator("#files-in").set_input_files(MEDIA / "forged_swap.jpg")
    page.wait_for_url("**/r/*")
    assert page.locator("h2").first.inner_text() == "forged_swap.jpg"
    assert "Evidence of forgery" in page.locator(".verdict").inner_text()
    slider = page.locator("input[type=range]")
    slider.focus()
    before = slider.input_value()
    page.keyboard.press("ArrowLeft")
    assert slider.input_value() != before
    with page.expect_download() as saved:
        page.get_by_role("link", name="JSON").click()
    assert saved.value.suggested_filename == "forged_swap-telltale.json"
    with page.expect_download() as saved:
        page.get_by_role("link", name="PDF").click()
    assert Path(saved.value.path()).read_bytes().startswith(b"%PDF")
    page.get_by_role("button", name="Delete from this server").click()
    page.wait_for_url("**/")
    assert page.get_by_role("link", name="forged_swap.jpg").count() == 0


def test_several_are_listed_found_and_compared(page: Any, tmp_path: Path) -> None:  # noqa: ANN401
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes((MEDIA / "astronaut.jpg").read_bytes()[:3000])
    page.goto("/")
    files = [MEDIA / "four_people.jpg", MEDIA / "forged_blend.jpg", damaged]
    page.locator("#files-in").set_input_files(files)
    page.get_by_text("3 of 3 files scanned").wait_for()
    rows = page.locator("#sending li")
    assert rows.count() == 3
    assert "damaged.jpg" in rows.nth(2).inner_text()
    page.get_by_label("Compare forged_blend.jpg").first.wait_for()  # without loading the page again
    page.goto("/?q=.jpg")
    assert page.get_by_role("button", name="Compare two").is_disabled()
    for name in ("four_people.jpg", "forged_blend.jpg"):
        page.get_by_label(f"Compare {name}").first.check()
    with page.expect_download() as saved:
        page.get_by_role("button", name="One page on the ticked").click()
    bound = Path(saved.value.path()).read_text()
    assert bound.count("<article") == 2
    assert '<a href="#f2">forged_blend.jpg</a>' in bound or '<a href="#f2">four_people.jpg' in bound
    page.get_by_role("button", name="Compare two").click()
    page.wait_for_url("**/compare?**")
    assert page.locator("article").count() == 2
    assert page.locator(".versus .differs").count() >= 2
    ids = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
    assert len(ids) == len(set(ids))


def test_a_question_may_be_chosen(page: Any) -> None:  # noqa: ANN401
    page.goto("/")
    page.locator("#task").select_option("documents")
    page.locator("#files-in").set_input_files(MEDIA / "commodore.jpg")
    page.wait_for_url("**/r/*")
    assert "Asked of recapture" in page.locator("article").inner_text()


def test_a_video_has_a_timeline(page: Any) -> None:  # noqa: ANN401
    page.goto("/")
    page.locator("#files-in").set_input_files(MEDIA / "forged_video.mp4")
    page.wait_for_url("**/r/*")
    assert page.locator("svg.timeline").count() >= 1


def test_keyboard_and_phone(browser: Any, server: Server) -> None:  # noqa: ANN401
    view = {"width": 360, "height": 740}
    page = browser.new_page(base_url=server.url, viewport=view, color_scheme="dark")
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"files-in", "folder-in", "survival"} <= reached
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("input, button, select, progress, a")]
        .filter((one) => !one.labels?.length && !one.getAttribute("aria-label")
            && !one.textContent.trim()).map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, paper[4:-1].split(","))) < 150
    page.close()


def test_the_camera_takes_a_picture_and_hears_a_chirp(page: Any) -> None:  # noqa: ANN401
    page.goto("/camera")
    page.get_by_role("button", name="Play the chirp and record").click()
    page.locator("#echo").wait_for(timeout=15_000)
    with page.expect_download() as saved:
        page.locator("#echo").click()
    assert Path(saved.value.path()).read_bytes()[:4] == b"RIFF"
    page.get_by_role("button", name="Turn the camera on").click()
    page.get_by_text("The camera is on.").wait_for()
    asked = page.locator("#task option").all_inner_texts()
    assert asked[0].startswith("Is a face presented")
    page.get_by_role("button", name="Take the picture").click()
    page.wait_for_url("**/r/*", timeout=15_000)
    page.locator("article, .verdict").first.wait_for(timeout=30_000)


def test_without_a_script(browser: Any, server: Server) -> None:  # noqa: ANN401
    page = browser.new_page(base_url=server.url, java_script_enabled=False)
    page.goto("/")
    page.locator("#files-in").set_input_files(MEDIA / "commodore.jpg")
    page.get_by_role("button", name="Scan").click()
    page.wait_for_url("**/r/*")
    page.locator("article").wait_for(timeout=30_000)  # by the page's own refreshing
    page.close()

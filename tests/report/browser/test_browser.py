"""The datasheet in Chromium: offline, silent, fitting any width, usable by keyboard, on paper."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("one", "several", "image")
PHONE, DESK = {"width": 375, "height": 800}, {"width": 1200, "height": 900}


@contextmanager
def opened(browser: Any, path: Path, **options: Any) -> Iterator[Any]:
    """The page, open; `page.trouble` lists all that it asked the network for or complained of."""
    context = browser.new_context(viewport=DESK, **options)
    page = context.new_page()
    page.trouble = []
    page.on("console", lambda m: page.trouble.append(f"console {m.type}: {m.text}"))
    page.on("pageerror", lambda error: page.trouble.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (page.trouble.append("dialog"), dialog.dismiss()))

    def asked(route: Any) -> None:
        page.trouble.append(f"request: {route.request.url}")
        route.abort()

    page.route(lambda url: not url.startswith("data:") and url != path.as_uri(), asked)
    page.goto(path.as_uri())
    yield page
    context.close()


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_offline_and_silent(browser: Any, sheets: dict[str, Path], name: str) -> None:
    with opened(browser, sheets[name], offline=True) as page:
        page.mouse.wheel(0, 5000)
        page.wait_for_timeout(200)
        assert page.trouble == []
        assert page.locator("svg:visible").count() > 10


def test_the_guard_sees_requests_and_complaints(browser: Any, tmp_path: Path) -> None:
    """Guards the test above: a page that asks and complains is caught."""
    path = tmp_path / "bad.html"
    path.write_text(
        '<img src="http://example.com/a.png"><img src="b.png"><script>console.error(1)</script>'
    )
    with opened(browser, path) as page:
        page.wait_for_timeout(200)
        kinds = {entry.split(":")[0] for entry in page.trouble}
        assert {"request", "console error"} <= kinds
        assert len([entry for entry in page.trouble if entry.startswith("request")]) == 2


@pytest.mark.parametrize("name", NAMES)
def test_nothing_runs_out_of_the_window(browser: Any, sheets: dict[str, Path], name: str) -> None:
    with opened(browser, sheets[name]) as page:
        for shown in ("false", "true"):
            page.evaluate(f"document.querySelectorAll('details').forEach(d => d.open = {shown})")
            for width in (320, 375, 768, 1200):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.scrollingElement.scrollWidth") <= width


def test_text_is_large_enough_on_a_phone(browser: Any, sheets: dict[str, Path]) -> None:
    with opened(browser, sheets["one"]) as page:
        page.set_viewport_size(PHONE)
        sizes = page.evaluate(
            """() => [...document.querySelectorAll('svg text')].filter(t => t.textContent.trim())
              .map(t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a)
              .map(Math.abs).filter(Boolean)"""
        )
        assert len(sizes) > 50 and min(sizes) > 8.5


def test_colours_follow_the_scheme(browser: Any, sheets: dict[str, Path]) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        with opened(browser, sheets["one"], color_scheme=scheme) as page:
            seen[scheme] = page.evaluate(
                """() => [getComputedStyle(document.body).backgroundColor,
                  getComputedStyle(document.querySelector('.plot [fill="#55606c"]')).fill]"""
            )
    assert seen["light"][0] == "rgb(255, 255, 255)"
    assert all(a != b for a, b in zip(seen["light"], seen["dark"], strict=True))


def test_pointing_at_a_mark_shows_its_numbers(browser: Any, sheets: dict[str, Path]) -> None:
    with opened(browser, sheets["one"]) as page:
        assert page.locator(".tip").is_hidden()
        mark = page.locator("#figure-speed [data-tip]").first
        mark.scroll_into_view_if_needed()
        mark.hover(force=True)
        assert re.match(r"position 0: [\d,]+ \(", page.locator(".tip").inner_text())
        page.locator("h1").hover()
        assert page.locator(".tip").is_hidden()
        assert page.trouble == []


def test_the_filter_finds_figures(browser: Any, sheets: dict[str, Path]) -> None:
    with opened(browser, sheets["one"]) as page:
        every = page.locator("#figures tbody tr").count()
        page.locator("#filter-text").fill("wafer price")
        names = page.locator("#figures tbody tr:visible th").all_inner_texts()
        assert names == ["node.wafer_price"]
        page.locator("#filter-text").fill("")
        page.locator("#filter-kind").select_option("claim")
        shown = page.locator("#figures tbody tr:visible").count()
        assert 0 < shown < every
        assert page.locator(".filter output").inner_text() == f"{shown} of {every}"


def test_the_slider_reads_the_table(browser: Any, sheets: dict[str, Path]) -> None:
    with opened(browser, sheets["one"]) as page:
        page.locator("#load-slider").focus()
        page.keyboard.press("End")
        row = page.locator("#data-load tbody tr").last.locator("th, td").all_text_contents()
        said = page.locator(".slider output").inner_text()
        assert said.startswith(f"{row[0]}: {row[2]} USD ({row[1]} to {row[3]})")
        assert said.endswith(f"{row[4]} USD")
        page.keyboard.press("ArrowLeft")
        assert page.locator(".slider output").inner_text() != said


def test_without_scripts_everything_can_be_read(browser: Any, sheets: dict[str, Path]) -> None:
    with opened(browser, sheets["one"], java_script_enabled=False) as page:
        assert page.locator("#figures tbody tr:visible").count() > 50
        assert page.locator(".filter").is_hidden() and page.locator(".slider").is_hidden()
        page.locator("#figure-speed summary").click()
        assert page.locator("#data-speed").is_visible()


def test_the_keyboard_reaches_all_that_can_be_used(browser: Any, sheets: dict[str, Path]) -> None:
    with opened(browser, sheets["one"]) as page:
        wanted = page.evaluate(
            """() => [...document.querySelectorAll('a, summary, input, select, [tabindex]')]
              .filter(e => e.checkVisibility()).length"""
        )
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        reached = 1
        for _ in range(wanted + 20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.tagName") == "BODY":
                break
            reached += 1
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") in (
                "solid",
                "auto",
            )
        assert reached >= wanted


@pytest.mark.parametrize("name", NAMES)
def test_it_prints_on_a4(browser: Any, sheets: dict[str, Path], name: str) -> None:
    """Pages are A4 and few; in print nothing is wider than the paper, and only paper's colours."""
    with opened(browser, sheets[name], color_scheme="dark") as page:
        data = page.pdf(prefer_css_page_size=True, print_background=True)
        boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", data)
        assert 5 <= len(boxes) <= 25
        for width, height in boxes:
            assert (float(width), float(height)) == pytest.approx((595, 842), abs=1)
        page.emulate_media(media="print", color_scheme="dark")
        inside = 794 - 2 * 49  # A4 less margins of 13 mm, in CSS pixels
        page.set_viewport_size({"width": inside, "height": 1000})
        wide = page.evaluate(
            """(most) => [...document.querySelectorAll('main *')].filter(e => e.checkVisibility()
              && e.getBoundingClientRect().right > most + 1).map(e => e.outerHTML.slice(0, 90))""",
            inside,
        )
        assert wide == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)"

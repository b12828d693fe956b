"""axe-core finds nothing against WCAG 2.1 AA; nothing overflows; the keyboard alone is enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serve.browser.tab import Tab
from tests.serve.browser.test_markdown import RICH
from tests.serve.browser.test_race import ANSWER

axe_playwright_python = pytest.importorskip(
    "axe_playwright_python", reason="needs axe-core: pip install axe-playwright-python"
)
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
WIDE, PHONE = (1280, 800), (375, 700)
Open = Callable[..., Tab]


def complaints(tab: Tab) -> list[str]:
    """What axe-core finds, a line each."""
    tab.page.evaluate(AXE.read_text("utf-8"))
    found = tab.page.evaluate(
        """rules => axe.run(document,
          {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})""",
        RULES,
    )
    return [
        f"{entry['id']}: {node['target']} {node['failureSummary'][:200]}"
        for entry in found["violations"]
        for node in entry["nodes"]
    ]


@pytest.fixture(params=[(WIDE, "light"), (WIDE, "dark"), (PHONE, "light"), (PHONE, "dark")])
def tab(request: pytest.FixtureRequest, open_tab: Open) -> Tab:
    """A tab for axe-core, which the page's own policy would keep out."""
    (width, height), scheme = request.param
    return open_tab(
        viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
    )


def test_nothing_to_find_at_the_beginning(tab: Tab) -> None:
    found = complaints(tab)
    assert not found, "\n".join(found)
    assert tab.overflow() <= 0


def test_nothing_to_find_in_a_conversation(tab: Tab) -> None:
    wide_text = RICH + "\n" + "x" * 300 + "\n\n    " + "code " * 60 + "\n\n|" + "column |" * 30
    tab.keep({"role": "user", "content": "word" * 100}, {**ANSWER, "content": wide_text})
    tab.finished()
    tab.page.wait_for_selector(".words pre")
    found = complaints(tab)
    assert not found, "\n".join(found)
    assert tab.overflow() <= 0
    tab.page.click("button[aria-label='Edit message 1']")
    found = complaints(tab)
    assert not found, "\n".join(found)
    assert tab.overflow() <= 0


def test_nothing_to_find_in_the_race_and_the_settings(tab: Tab) -> None:
    tab.keep({"role": "user", "content": "go"}, ANSWER)
    tab.finished()
    tab.page.click(".race-open")
    tab.page.click("#race-start")
    found = complaints(tab)
    assert not found, "\n".join(found)
    assert tab.overflow() <= 0
    tab.page.click("#race-close")
    if tab.page.is_hidden("#panel"):
        tab.page.click("#settings")
    found = complaints(tab)
    assert not found, "\n".join(found)
    assert tab.overflow() <= 0


def test_nothing_to_find_when_something_is_wrong(tab: Tab) -> None:
    tab.expected = ["401"]
    tab.page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(status=401, json={"error": {"message": "no"}}),
    )
    tab.send("hello")
    tab.page.wait_for_selector("#keyform:visible")
    found = complaints(tab)
    assert not found, "\n".join(found)
    assert tab.overflow() <= 0


def test_nothing_to_find_where_access_is_asked_for(tab: Tab) -> None:
    tab.page.route("**/page/facts", lambda route: route.fulfill(json={"keys": True}))
    tab.go("/access")
    tab.page.click("#ask button")
    found = complaints(tab)
    assert not found, "\n".join(found)
    assert tab.overflow() <= 0


def test_the_keyboard_alone_is_enough(open_tab: Open) -> None:
    """From the address bar: skip, send, regenerate, race, close, edit, settings."""
    tab = open_tab()
    tab.say(*("word " for _ in range(30)))
    press, focused = tab.page.keyboard.press, "document.activeElement"
    # As if the reader came from the address bar.
    tab.page.evaluate("document.body.tabIndex = -1; document.body.focus()")
    press("Tab")
    assert tab.page.evaluate(f"{focused}.className") == "skip"
    press("Enter")
    assert tab.page.evaluate(f"{focused}.id") == "prompt"
    tab.page.keyboard.type("hello")
    press("Enter")
    tab.finished()
    assert tab.page.evaluate(f"{focused}.id") == "prompt"
    backwards = ["Race", "Regenerate", "Copy"]
    for name in backwards:
        press("Shift+Tab")
        assert tab.page.evaluate(f"{focused}.textContent") == name
    press("Tab")
    press("Tab")
    press("Enter")
    assert tab.page.evaluate(f"{focused}.id") == "race-start"
    press("Escape")
    assert tab.page.evaluate(f"{focused}.textContent") == "Race"
    for _ in range(4):
        press("Shift+Tab")
    assert tab.page.evaluate(f"{focused}.textContent") == "Edit"
    press("Enter")
    assert tab.page.evaluate(f"{focused}.tagName") == "TEXTAREA"
    press("Escape")
    tab.page.focus("#settings")
    was_open = tab.page.is_visible("#panel")
    press("Enter")
    assert tab.page.is_visible("#panel") != was_open


def test_a_finished_answer_is_said_once_and_politely(open_tab: Open) -> None:
    tab = open_tab()
    tab.say("Forty", "-two.")
    tab.send("hello")
    tab.page.wait_for_selector("#said:text-is('Answer: Forty-two.')")
    assert tab.page.get_attribute("#said", "aria-live") == "polite"
    live = tab.page.query_selector_all("#log [aria-live], #log[aria-live], [role=log]")
    assert live == []  # else every token would be read


def test_the_theme_follows_the_system_until_it_is_chosen(open_tab: Open) -> None:
    tab = open_tab(color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = tab.page.evaluate(paper)
    assert tab.page.get_attribute("#theme", "aria-pressed") == "true"
    tab.page.click("#theme")
    light = tab.page.evaluate(paper)
    assert light != dark
    tab.go()
    assert tab.page.evaluate(paper) == light
    assert tab.page.get_attribute("#theme", "aria-pressed") == "false"

"""The race: an answer replayed at the speed of this CPU, of a GPU and of the chip."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.serve.browser.tab import Tab

Open = Callable[..., Tab]

WORDS = [f"word{i} " for i in range(60)]
TEXT = "".join(WORDS)
ENDS = [len("".join(WORDS[: i + 1])) for i in range(60)]
ANSWER: dict[str, Any] = {
    "role": "assistant", "content": TEXT, "ends": ENDS, "tokens": 60, "counted": True,
    "seconds": 2.0, "first": 0.1, "seed": 1,
}  # fmt: skip
LANES = ("cpu", "gpu", "chip")
FACTS = {
    "model": "tiny",
    "digest": "ab" * 32,
    "context": 8192,
    "keys": False,
    "chip": {
        "title": "this chip, small on n6", "node": "n6", "kind": "derived", "unit": "tokens/s",
        "value": 20000.0, "low": 15000.0, "high": 24000.0, "source": "hardcast chip", "note": "why",
    },
    "gpus": [
        {"title": "GPU one", "kind": "claim", "value": 200.0, "low": 200.0, "high": 200.0,
         "unit": "tokens/s", "source": "a data sheet"},
        {"title": "GPU two", "kind": "derived", "value": 400.0, "low": 300.0, "high": 900.0,
         "unit": "tokens/s", "source": "a reckoning", "note": "not published: so and so"},
    ],
}  # fmt: skip


def open_race(open_tab: Open, facts: dict[str, Any] | None = None, **options: Any) -> Tab:
    """A tab whose race is open, with rates that do not depend on the image."""
    tab = open_tab(**options)
    tab.page.route("**/page/facts", lambda route: route.fulfill(json=facts or FACTS))
    tab.keep({"role": "user", "content": "go"}, ANSWER)
    tab.finished()
    tab.page.click(".race-open")
    return tab


def texts(tab: Tab) -> list[str]:
    """What each lane shows now, in one look."""
    return tab.page.evaluate(
        "Array.from(document.querySelectorAll('.lane .text'), e => e.textContent)"
    )


def tolds(tab: Tab) -> list[str]:
    return tab.page.evaluate(
        "Array.from(document.querySelectorAll('.lane .told'), e => e.textContent)"
    )


def test_each_lane_runs_at_its_rate(open_tab: Open) -> None:
    tab = open_race(open_tab)
    tab.page.wait_for_selector(".lane.chip .told:has-text('Finished in 2.95 ms, 678 ×')")
    seen = texts(tab)
    assert seen[2] == TEXT
    assert len(seen[0]) < len(TEXT) and TEXT.startswith(seen[0])
    tab.page.wait_for_selector(".lane.gpu .told:has-text('Finished in 295 ms, 6.78 ×')")
    tab.page.wait_for_selector(".lane.cpu .told:has-text('Finished in 2 s')")
    assert texts(tab) == [TEXT] * 3
    assert tab.page.inner_text("#race-clock") == "2.000 s"
    tab.page.wait_for_selector(
        "#race-said:text-is('Finished: This CPU 2 s, A GPU 295 ms, The chip, predicted 2.95 ms')"
    )


def test_every_rate_says_what_it_is_and_where_it_comes_from(open_tab: Open) -> None:
    tab = open_race(open_tab)
    cpu, gpu, chip = (tab.page.inner_text(f".lane.{name}") for name in LANES)
    assert "29.5 tokens/s" in cpu and "measured" in cpu and "60 tokens" in cpu
    assert "200 tokens/s" in gpu and "published" in gpu and "Source: a data sheet." in gpu
    assert "predicted" in chip and "20,000 tokens/s" in chip and "node n6" in chip
    assert "prediction, between 15,000 and 24,000" in chip and "Source: hardcast chip. Why." in chip


def test_another_gpu_starts_the_race_anew(open_tab: Open) -> None:
    tab = open_race(open_tab)
    tab.page.select_option(".lane select", label="GPU two")
    tab.page.wait_for_selector(".lane.gpu .told:has-text('Finished in 148 ms')")
    words = tab.page.inner_text(".lane.gpu")
    assert "reckoned, not published, between 300 and 900" in words
    assert "Source: a reckoning. Not published: so and so." in words


def test_slow_motion_shows_the_chip_at_work(open_tab: Open) -> None:
    """At a hundredth of the speed the chip takes 0.3 s, and the others stand at their beginning."""
    tab = open_race(open_tab)
    tab.page.check("#race-slow")
    tab.page.wait_for_selector(".lane.chip .told:has-text('Finished in 2.95 ms')")
    assert re.fullmatch(r"0\.0\d{3} s", tab.page.inner_text("#race-clock"))
    assert tab.page.inner_text(".lane.cpu .told") == "1 of 60 tokens"
    tab.page.click("#race-start")  # to the end
    assert texts(tab) == [TEXT] * 3


def test_it_starts_again_and_closes(open_tab: Open) -> None:
    tab = open_race(open_tab)
    tab.page.click("#race-start")
    assert texts(tab) == [TEXT] * 3
    tab.page.click("#race-start:text-is('Start again')")
    assert len(texts(tab)[0]) < len(TEXT)
    tab.page.keyboard.press("Escape")
    assert tab.page.is_hidden("#race")
    assert tab.page.evaluate("document.activeElement.textContent") == "Race"


def test_less_motion_shows_the_end_at_once(open_tab: Open) -> None:
    tab = open_race(open_tab, reduced_motion="reduce")
    assert texts(tab) == [TEXT] * 3
    assert "less motion" in tab.page.inner_text("#race-note")
    tab.page.click("#race-start")
    assert len(texts(tab)[0]) < len(TEXT)


@pytest.mark.parametrize("missing", ["chip", "gpus"])
def test_a_rate_that_is_not_known_is_no_rate(open_tab: Open, missing: str) -> None:
    none: Any = None if missing == "chip" else []
    tab = open_race(open_tab, {**FACTS, missing: none})
    tab.page.wait_for_selector(".lane.cpu .told:has-text('Finished')")
    lane = tab.page.inner_text(".lane.chip" if missing == "chip" else ".lane.gpu")
    assert "–" in lane and "no " in lane and "Finished" not in lane


def test_the_servers_own_rates_fit_the_lanes(open_tab: Open) -> None:
    """Nothing stubbed: the tiny image's facts, and an answer that the chip gave."""
    tab = open_tab()
    tab.never_end()
    tab.set(temperature=0, max_tokens=40)
    tab.send("hello")
    tab.finished()
    tab.page.click(".race-open")
    tab.page.wait_for_selector(".lane.cpu .told:has-text('Finished')")
    content = tab.kept()[1]["content"]
    assert texts(tab)[0] == content
    assert "Source:" in tab.page.inner_text(".lane.gpu")

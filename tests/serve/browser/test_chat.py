"""The conversation: send, stop, edit, regenerate, keep, clear, and what goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hardcast.serve.access.keys import KeyStore
from tests.serve import served
from tests.serve.browser.tab import Tab

Open = Callable[..., Tab]


def test_an_answer_is_the_apis(open_tab: Open, long_server: served.Server) -> None:
    tab = open_tab()
    tab.set(system="Be brief.", temperature=0, max_tokens=12)
    tab.send("hello there")
    tab.finished()
    with long_server.client() as client:
        messages = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "hello there"},
        ]
        body = {"messages": messages, "temperature": 0, "max_tokens": 12}
        reply = client.post("/v1/chat/completions", json=body).json()
    question, answer = tab.kept()
    assert question == {"role": "user", "content": "hello there"}
    assert answer["content"] == reply["choices"][0]["message"]["content"]
    assert answer["tokens"] == reply["usage"]["completion_tokens"]
    assert answer["prompt"] == reply["usage"]["prompt_tokens"]
    meta = tab.page.inner_text(".turn.answer .meta")
    assert re.match(r"\d+ tokens? · [\d.,]+ tokens/s · first after [\d.]+ m?s · seed \d+", meta)
    used = answer["tokens"] + answer["prompt"]
    assert tab.page.inner_text("#context") == f"{used:,} of 8,192 tokens"
    assert "tokens/s" in tab.page.inner_text("#rate")


def test_the_same_seed_gives_the_same_answer(open_tab: Open) -> None:
    tab = open_tab()
    tab.set(temperature=2, top_p=0.9, top_k=50, seed=7, max_tokens=20)
    tab.send("hello")
    tab.finished()
    first = tab.kept()[1]["content"]
    tab.page.click("button:text-is('Regenerate')")
    tab.finished()
    assert tab.kept()[1]["content"] == first
    tab.set(seed="")
    tab.page.click("button:text-is('Regenerate')")
    tab.finished()
    assert len(tab.kept()) == 2
    assert tab.kept()[1]["content"] != first
    assert tab.kept()[1]["seed"] != 7


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop_keeps_what_there_is(open_tab: Open, long_server: served.Server, how: str) -> None:
    tab = open_tab()
    tab.never_end()
    tab.set(temperature=0)
    tab.send("go on")
    tab.page.wait_for_selector("#rate:has-text('tokens/s')")
    if how == "button":
        tab.page.click("#stop")
    else:
        tab.page.keyboard.press("Escape")
    tab.finished()
    assert "stopped" in tab.page.inner_text(".turn.answer .meta")
    answer = tab.kept()[1]
    assert answer["content"] and answer["stopped"] and answer["tokens"] < 8000
    assert tab.page.evaluate("document.activeElement.id") == "prompt"
    # The chip is free again: the answer ended with its reader.
    served.wait_for(lambda: running(long_server) == 0, "end of the stopped answer")


def running(server: served.Server) -> float:
    """Answers that the server is making."""
    with server.client() as client:
        return served.metric(client.get("/metrics").text, "hardcast_running")


def test_a_new_message_ends_the_answer_before_it(open_tab: Open) -> None:
    tab = open_tab()
    tab.never_end()
    tab.set(temperature=0)
    tab.send("go on")
    tab.page.wait_for_selector("#rate:has-text('tokens/s')")
    tab.say("Enough.")  # what a tiny chip says has more tokens when it is read again
    tab.send("enough")
    tab.finished(2)
    assert [turn["role"] for turn in tab.kept()] == ["user", "assistant"] * 2
    assert tab.kept()[1]["stopped"]
    assert tab.kept()[3]["content"] == "Enough."


def test_editing_a_message_goes_on_from_there(open_tab: Open) -> None:
    tab = open_tab()
    tab.set(temperature=0, max_tokens=5)
    for number, text in enumerate(("one", "two", "three"), 1):
        tab.send(text)
        tab.finished(number)
    first = tab.kept()[:2]
    tab.page.click("button[aria-label='Edit message 2']")
    assert tab.page.input_value(".edit textarea") == "two"
    tab.page.keyboard.press("Escape")
    assert [text for who, text in tab.turns() if who == "You"] == ["one", "two", "three"]
    assert tab.page.evaluate("document.activeElement.textContent") == "Edit"
    tab.page.click("button[aria-label='Edit message 2']")
    tab.page.fill(".edit textarea", "two\nand a half")
    tab.page.keyboard.press("Enter")
    tab.finished(2)
    kept = tab.kept()
    assert kept[:2] == first
    assert [turn["content"] for turn in kept[2:] if turn["role"] == "user"] == ["two\nand a half"]
    assert len(kept) == 4


def test_regenerating_an_early_answer_drops_what_came_after(open_tab: Open) -> None:
    tab = open_tab()
    tab.set(temperature=0, max_tokens=5)
    for number, text in enumerate(("one", "two"), 1):
        tab.send(text)
        tab.finished(number)
    before = tab.kept()
    tab.page.click("button[aria-label='Regenerate answer 1']")
    tab.page.wait_for_selector(".turn >> nth=2", state="detached")
    tab.finished()
    assert [turn["content"] for turn in tab.kept()] == [turn["content"] for turn in before[:2]]


def test_a_conversation_survives_a_reload_until_it_is_cleared(open_tab: Open) -> None:
    tab = open_tab()
    tab.set(system="Be brief.", temperature=0, max_tokens=6)
    tab.send("hello")
    tab.finished()
    before = tab.turns()
    tab.go()
    tab.finished()
    assert tab.turns() == before
    assert tab.page.input_value("#system") == "Be brief."
    tab.page.on("dialog", lambda dialog: dialog.accept())
    tab.page.click("#clear")
    tab.page.wait_for_selector("#empty:visible")
    tab.go()
    assert tab.turns() == [] and tab.kept() == []


def test_shift_enter_begins_a_line(open_tab: Open) -> None:
    tab = open_tab()
    tab.say("Fine.")
    tab.page.focus("#prompt")
    tab.page.keyboard.type("one")
    tab.page.keyboard.press("Shift+Enter")
    tab.page.keyboard.type("two")
    tab.page.keyboard.press("Enter")
    tab.finished()
    assert tab.kept()[0]["content"] == "one\ntwo"
    assert tab.page.input_value("#prompt") == ""


def test_a_prompt_over_the_context_is_explained(open_tab: Open) -> None:
    tab = open_tab()
    tab.expected = ["400"]
    tab.send("word " * 9000)
    tab.page.wait_for_selector("#trouble:has-text('maximum context length is 8192')")
    assert [who for who, _ in tab.turns()] == ["You"]


def test_a_number_that_the_chip_cannot_take_is_not_sent(open_tab: Open) -> None:
    tab = open_tab()
    tab.set(top_k=1000)
    tab.send("hello")
    tab.page.wait_for_selector("#trouble:has-text('Top k')")
    assert tab.turns() == []
    assert tab.page.input_value("#prompt") == "hello"  # what was written is not lost


def test_a_server_that_is_gone_is_said_and_tried_again(open_tab: Open) -> None:
    tab = open_tab()
    tab.expected = ["Failed to load"]
    tab.page.route("**/v1/chat/completions", lambda route: route.abort())
    tab.send("hello")
    tab.page.wait_for_selector("#trouble:has-text('cannot be reached')")
    tab.page.unroute("**/v1/chat/completions")
    tab.set(temperature=0, max_tokens=5)
    tab.page.click("#trouble button")
    tab.finished()
    assert tab.page.inner_text("#trouble") == ""


def test_an_answer_that_breaks_off_is_kept_and_said(open_tab: Open) -> None:
    tab = open_tab()
    part = 'data: {"choices": [{"delta": {"content": "Half an"}}]}\n\n'
    tab.page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(body=part, content_type="text/event-stream"),
    )
    tab.send("hello")
    tab.page.wait_for_selector("#trouble:has-text('broke before the answer was finished')")
    assert tab.turns()[1] == ("Chip", "Half an")


def test_an_answer_without_a_word_is_said(open_tab: Open) -> None:
    tab = open_tab()
    tab.say()
    tab.send("hello")
    tab.finished()
    assert tab.turns()[1] == ("Chip", "Ended at once, without a word.")
    assert tab.page.is_hidden(".race-open")
    tab.go()
    tab.finished()
    assert tab.turns()[1] == ("Chip", "Ended at once, without a word.")


def test_too_many_requests_say_when_to_come_back(open_tab: Open) -> None:
    tab = open_tab()
    tab.expected = ["429"]
    tab.page.route(
        "**/v1/chat/completions",
        lambda route: route.fulfill(
            status=429, headers={"Retry-After": "7"}, json={"error": {"message": "full"}}
        ),
    )
    tab.send("hello")
    tab.page.wait_for_selector("#trouble:has-text('Try again in 7 s')")


def test_a_key_is_asked_for_and_kept_in_the_tab(
    open_tab: Open, long_image: Path, tmp_path: Path
) -> None:
    store = KeyStore(tmp_path / "keys.sqlite")
    _, key = store.create("a reader")
    store.close()
    options = ("--name", "tiny", "--keys", "--keys-file", str(tmp_path / "keys.sqlite"))
    with served.server(long_image, *options) as running:
        tab = open_tab(running)
        tab.expected = ["401"]
        tab.page.wait_for_selector("#keyform:visible")
        assert tab.page.evaluate("document.activeElement.id") == "key"
        tab.page.fill("#key", "hc-wrong")
        tab.page.press("#key", "Enter")
        tab.set(temperature=0, max_tokens=5)
        tab.send("hello")
        tab.page.wait_for_selector("#trouble:has-text('not accepted')")
        tab.page.fill("#key", key)
        tab.page.press("#key", "Enter")
        tab.finished()
        assert tab.page.is_hidden("#keyform")
        assert key not in tab.page.evaluate("JSON.stringify(localStorage)")
        tab.go()
        tab.send("and again")
        tab.finished(2)
        tab.page.goto("about:blank")  # before its server goes

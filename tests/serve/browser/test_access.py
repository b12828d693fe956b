"""The page that asks for access: into the queue of the keys, or why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hardcast.serve.access.keys import KeyStore
from tests.serve import served
from tests.serve.browser.tab import Tab

Open = Callable[..., Tab]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.sqlite"


@pytest.fixture(scope="module")
def keyed_server(long_image: Path, keys: Path) -> Iterator[served.Server]:
    options = ("--name", "tiny", "--keys", "--keys-file", str(keys))
    with served.server(long_image, *options) as running:
        yield running


def test_a_request_reaches_the_queue(
    open_tab: Open, keyed_server: served.Server, keys: Path
) -> None:
    tab = open_tab(keyed_server, "/access")
    tab.page.fill("#name", "Ada <b>")
    tab.page.fill("#email", "ada@example.org")
    tab.page.fill("#purpose", "To compute Bernoulli numbers.")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("#outcome:has-text('in the queue')")
    assert tab.page.is_hidden("#ask")
    assert tab.page.evaluate("document.activeElement.id") == "outcome"
    store = KeyStore(keys)
    (asked,) = store.asked()
    store.close()
    assert (asked.name, asked.email) == ("Ada <b>", "ada@example.org")
    assert asked.purpose == "To compute Bernoulli numbers."


def test_what_is_missing_is_said_at_its_field(open_tab: Open, keyed_server: served.Server) -> None:
    tab = open_tab(keyed_server, "/access")
    tab.page.fill("#name", "Ada")
    tab.page.fill("#email", "nowhere")
    tab.page.click("#ask button")
    assert tab.page.inner_text("#email-wrong") and tab.page.inner_text("#purpose-wrong")
    assert not tab.page.inner_text("#name-wrong")
    assert tab.page.evaluate("document.activeElement.id") == "email"
    tab.page.fill("#email", "ada@example.org")
    assert not tab.page.inner_text("#email-wrong")


def test_a_server_without_keys_says_so(open_tab: Open) -> None:
    tab = open_tab(path="/access")
    tab.page.wait_for_selector("#lead:has-text('asks for no key')")
    assert tab.page.is_hidden("#ask")

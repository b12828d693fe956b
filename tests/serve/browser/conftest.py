"""Chromium and a running server for the chat page's tests; skipped where one is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import chromium
from tests.serve import served
from tests.serve.browser.tab import Tab

CONTEXT = 8192  # long enough for an answer to be stopped while it runs


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, of one module's tests."""
    yield from chromium()


@pytest.fixture(scope="session")
def long_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny image with a long context."""
    return served.build_image(tmp_path_factory.mktemp("long"), context=CONTEXT)


@pytest.fixture(scope="session")
def long_server(long_image: Path) -> Iterator[served.Server]:
    """A server of it, without keys."""
    with served.server(long_image, "--name", "tiny", "--threads", "1") as running:
        yield running


@pytest.fixture
def open_tab(browser: Any, long_server: served.Server) -> Iterator[Callable[..., Tab]]:
    """Opens tabs, each with a storage of its own.

    At the end none may have asked anything of another machine, nor have an error in its console.
    """
    with ExitStack() as stack:

        def open_one(server: served.Server = long_server, path: str = "/", **options: Any) -> Tab:
            tab = Tab(browser.new_context(**options), server.url, path)
            stack.callback(tab.close)
            return tab

        yield open_one
